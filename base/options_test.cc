#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/options_internal.h"

namespace moraine {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

struct Example {
  std::string data_dir;
  std::string listen = "127.0.0.1:7400";
  std::string mode = "fast";
  std::vector<std::string> peers;
  uint64_t journal_bytes = 256_MiB;
  int threads = 2;
  std::chrono::milliseconds timeout{1500};
  bool verify = true;
  double share = 0.5;
  std::string source;
  std::vector<std::string> targets;
};

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() : table_("moraine-example", "Shows options.") {
    table_.AddPath("data-dir", &example_.data_dir, "Where data lives.", {.required = true});
    table_.AddEndpoint("listen", &example_.listen, "Address to listen on.");
    table_.AddChoice("mode", &example_.mode, {"fast", "safe"}, "How to go about it.");
    table_.AddEndpoints("peer", &example_.peers, "Other servers.");
    table_.AddBytes("journal-bytes", &example_.journal_bytes, 1_MiB, 64_GiB, "Size of the journal.",
                    {.reload = ReloadClass::kReload});
    table_.AddInt("threads", &example_.threads, 1, 64, "Number of loops.");
    table_.AddDuration("timeout", &example_.timeout, std::chrono::milliseconds(1),
                       std::chrono::hours(1), "Longest wait.", {.reload = ReloadClass::kReload});
    table_.AddBool("verify", &example_.verify, "Whether to verify.");
    table_.AddNumber("share", &example_.share, 0, 1, "Part of the disk.");
    table_.AddRule([this] {
      if (example_.threads < 32 || example_.mode == "fast") return Status::Ok();
      return table_.Bad("threads", "must be below 32 in safe mode");
    });
  }
  ~OptionsTest() override { std::filesystem::remove(config_); }

  // The error line of a parse that must fail, without its newline.
  std::string Error(std::vector<std::string> args) {
    const ParseResult result = table_.Parse(args);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.text, StartsWith("moraine-example: "));
    EXPECT_THAT(result.text, EndsWith("\n"));
    EXPECT_EQ(std::count(result.text.begin(), result.text.end(), '\n'), 1);
    const size_t start = std::string("moraine-example: ").size();
    return result.text.substr(start, result.text.size() - start - 1);
  }
  std::string FileError(const std::string& text) {
    WriteConfig(text);
    std::string error = Error({"--data-dir=/d", "--config", config_});
    const size_t at = error.find(config_);
    if (at != std::string::npos) error.replace(at, config_.size(), "F");
    return error;
  }
  void WriteConfig(const std::string& text) { std::ofstream(config_) << text; }

  const std::string config_ =
      (std::filesystem::path(testing::TempDir()) / ("moraine_options_" + std::to_string(getpid())))
          .string();
  Example example_;
  OptionTable table_;
};

TEST_F(OptionsTest, DefaultsStay) {
  EXPECT_EQ(table_.Parse({"--data-dir", "/d"}).exit_code, std::nullopt);
  EXPECT_EQ(example_.data_dir, "/d");
  EXPECT_EQ(example_.journal_bytes, 256_MiB);
  EXPECT_EQ(table_.Source("data-dir"), "command line");
  EXPECT_EQ(table_.Source("threads"), "default");
}

TEST_F(OptionsTest, EveryTypeFromTheCommandLine) {
  const ParseResult result =
      table_.Parse({"--data-dir=/d", "--listen", "[::1]:80", "--mode=safe", "--peer=a:1", "--peer",
                    "b:2", "--journal-bytes=1.5GiB", "--threads=4", "--timeout", "1m",
                    "--verify=false", "--share=0.25"});
  ASSERT_EQ(result.exit_code, std::nullopt) << result.text;
  EXPECT_EQ(example_.listen, "[::1]:80");
  EXPECT_EQ(example_.mode, "safe");
  EXPECT_THAT(example_.peers, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(example_.journal_bytes, 1536_MiB);
  EXPECT_EQ(example_.threads, 4);
  EXPECT_EQ(example_.timeout, std::chrono::minutes(1));
  EXPECT_FALSE(example_.verify);
  EXPECT_EQ(example_.share, 0.25);
}

TEST_F(OptionsTest, TheCommandLineWinsOverTheFile) {
  WriteConfig(
      "data-dir = '/file'\npeer = ['x:1']\nthreads = 8\ntimeout = \"2s\"\n"
      "journal-bytes = 2097152\nverify = false\nshare = 1\n");
  const ParseResult result = table_.Parse({"--config=" + config_, "--threads=3"});
  ASSERT_EQ(result.exit_code, std::nullopt) << result.text;
  EXPECT_EQ(example_.data_dir, "/file");
  EXPECT_THAT(example_.peers, ElementsAre("x:1"));
  EXPECT_EQ(example_.threads, 3);
  EXPECT_EQ(example_.timeout, std::chrono::seconds(2));
  EXPECT_EQ(example_.journal_bytes, 2_MiB);
  EXPECT_FALSE(example_.verify);
  EXPECT_EQ(table_.Source("data-dir"), config_ + ":1");
}

TEST_F(OptionsTest, CommandLineErrors) {
  const std::string d = "--data-dir=/d";
  EXPECT_EQ(Error({}), "--data-dir: must be set: a path that is not empty");
  EXPECT_EQ(Error({d, "--jornal-bytes=5"}),
            "--jornal-bytes: no such option, did you mean --journal-bytes?");
  EXPECT_EQ(Error({d, "--journal_bytes", "5"}),
            "--journal_bytes: no such option, did you mean --journal-bytes?");
  EXPECT_EQ(Error({d, "--hlep"}), "--hlep: no such option, did you mean --help?");
  EXPECT_EQ(Error({d, "--xyzzy-plugh"}), "--xyzzy-plugh: no such option, --help lists all options");
  EXPECT_EQ(Error({d, "-t", "4"}), "-t: no such option, --help lists all options");
  EXPECT_EQ(Error({d, "--journal-bytes=5"}),
            "--journal-bytes=5: must be a size from 1MiB to 64GiB");
  EXPECT_EQ(Error({d, "--threads=two"}), "--threads=two: must be a whole number from 1 to 64");
  EXPECT_EQ(Error({d, "--threads=65"}), "--threads=65: must be a whole number from 1 to 64");
  EXPECT_EQ(Error({d, "--threads=99999999999999999999"}),
            "--threads=99999999999999999999: must be a whole number from 1 to 64");
  EXPECT_EQ(Error({d, "--threads"}), "--threads: needs a whole number from 1 to 64");
  EXPECT_EQ(Error({d, "--threads=1", "--threads=2"}), "--threads=2: the option is given twice");
  EXPECT_EQ(Error({d, "--timeout=5"}),
            "--timeout=5: must be a time from 1ms to 1h in steps of 1ms");
  EXPECT_EQ(Error({d, "--timeout=1500us"}),
            "--timeout=1500us: must be a time from 1ms to 1h in steps of 1ms");
  EXPECT_EQ(Error({d, "--verify=maybe"}), "--verify=maybe: must be true or false");
  EXPECT_EQ(Error({d, "--share=nan"}), "--share=nan: must be a number from 0 to 1");
  EXPECT_EQ(Error({d, "--mode=slow"}), "--mode=slow: must be one of fast, safe");
  EXPECT_EQ(Error({d, "--help=1"}), "--help: takes no value");
  EXPECT_EQ(Error({d, "--config"}), "--config: needs the name of a file");
  EXPECT_EQ(Error({d, "stray"}),
            "'stray': unexpected argument: usage: moraine-example [OPTION]...");
  EXPECT_EQ(Error({d, "--mode=a\nb\x1B"}), "--mode=a?b?: must be one of fast, safe");
  EXPECT_EQ(Error({"--data-dir="}), "--data-dir=: must be a path that is not empty");
  for (const char* bad : {"", "host", ":80", "host:", "host:x", "host:65536", "::1:80", "a b:1"}) {
    EXPECT_EQ(Error({d, std::string("--listen=") + bad}),
              std::string("--listen=") + bad + ": must be host:port, for example 127.0.0.1:7400");
  }
}

TEST_F(OptionsTest, WhatIsEmptyByDefaultMayBeSetEmpty) {
  std::string http;
  std::string log;
  std::string must;
  std::string any = "127.0.0.1:0";
  table_.AddEndpoint("http", &http, "Status.", {.zero_port = true});
  table_.AddPath("log", &log, "Log.");
  table_.AddEndpoint("server", &must, "Server.", {.required = true});
  table_.AddEndpoint("any", &any, "Any.", {.zero_port = true});
  const std::vector<std::string> good = {"--data-dir=/d", "--http=", "--log=", "--server=a:1"};
  EXPECT_EQ(table_.Parse(good).exit_code, std::nullopt);
  EXPECT_EQ(Error({"--data-dir=/d", "--server="}),
            "--server=: must be host:port, for example 127.0.0.1:7400");
  EXPECT_EQ(Error({"--data-dir=/d", "--server=a:0"}),
            "--server=a:0: must be host:port, for example 127.0.0.1:7400");
  EXPECT_EQ(
      Error({"--data-dir=/d", "--server=a:1", "--http=x"}),
      "--http=x: must be host:port, for example 127.0.0.1:7400 (port 0: a free one), or empty");
  EXPECT_EQ(Error({"--data-dir=/d", "--server=a:1", "--any="}),
            "--any=: must be host:port, for example 127.0.0.1:7400 (port 0: a free one)");
}

// Once they were stored after the rules, and `moraine policy set PATH POLICY` never worked.
TEST_F(OptionsTest, RulesSeeArguments) {
  table_.AddArgument("SOURCE", &example_.source, true, "Where from.");
  table_.AddArguments("TARGET", &example_.targets, 0, "Where to.");
  table_.AddRule([this]() -> Status {
    if (example_.source == "good" && example_.targets.size() == 1) return {};
    return {Code::kInvalidArgument, "not good"};
  });
  EXPECT_EQ(Error({"--data-dir=/d", "bad", "x"}), "not good");
  EXPECT_EQ(example_.source, "");
  EXPECT_TRUE(example_.targets.empty());
  EXPECT_EQ(table_.Parse({"--data-dir=/d", "good", "x"}).exit_code, std::nullopt);
}

TEST_F(OptionsTest, FileErrors) {
  EXPECT_EQ(FileError("\n\njornal-bytes = 1\n"),
            "F:3: jornal-bytes: no such option, did you mean journal-bytes?");
  EXPECT_EQ(FileError("threads = 100 # many"),
            "F:1: threads = 100: must be a whole number from 1 to 64");
  EXPECT_EQ(FileError("threads = '4'"),
            "F:1: threads = '4': must be a whole number from 1 to 64, written as a whole number");
  EXPECT_EQ(FileError("timeout = 5"),
            "F:1: timeout = 5: must be a time from 1ms to 1h in steps of 1ms, written as a text in "
            "quotes");
  EXPECT_EQ(FileError("verify = 'yes'"),
            "F:1: verify = 'yes': must be true or false, written as true or false");
  EXPECT_EQ(FileError("peer = 'a:1'"),
            "F:1: peer = 'a:1': must be a list of host:port, for example 127.0.0.1:7400, written "
            "as a list of texts, [\"like\", \"this\"]");
  EXPECT_EQ(FileError("peer = ['a:1',\n 'b']"),
            "F:1: peer = ...: must be a list of host:port, for example 127.0.0.1:7400");
  EXPECT_EQ(FileError("[threads]\nx = 1"),
            "F:1: sections are not used here: write every option as name = value");
  EXPECT_EQ(FileError("help = true"), "F:1: help: no such option, --help lists all options");
  EXPECT_THAT(FileError("[+"), StartsWith("F:1: "));
  EXPECT_THAT(FileError("threads = \n"), StartsWith("F:1: "));
  EXPECT_THAT(FileError("threads = 1\nthreads = 2\n"), StartsWith("F:2: "));
  EXPECT_THAT(FileError(std::string("a\0b = 1", 7)), StartsWith("F:1: "));
  EXPECT_EQ(FileError(std::string((1 << 20) + 1, '\n')), "--config=F: larger than 1 MiB");
  EXPECT_EQ(Error({"--config=/no/such/file"}), "--config=/no/such/file: No such file or directory");
  EXPECT_EQ(Error({"--config=/"}), "--config=/: Is a directory");
}

TEST_F(OptionsTest, AFailedParseChangesNothing) {
  Error({"--data-dir=/d", "--threads=4", "--mode=slow"});
  EXPECT_EQ(example_.data_dir, "");
  EXPECT_EQ(example_.threads, 2);
  EXPECT_EQ(Error({"--data-dir=/d", "--threads=40", "--mode=safe"}),
            "--threads=40 (command line): must be below 32 in safe mode");
  EXPECT_EQ(example_.data_dir, "");
  EXPECT_EQ(example_.mode, "fast");
  EXPECT_EQ(FileError("threads = 40\nmode = 'safe'"),
            "F:1: threads = 40: must be below 32 in safe mode");
}

TEST_F(OptionsTest, QuestionsAreAnsweredWithoutRequiredOptions) {
  for (const char* question : {"--help", "-h", "--version", "--print-sample-config", "--man"}) {
    const ParseResult result = table_.Parse({question});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.text, HasSubstr("moraine")) << question;
  }
  EXPECT_EQ(table_.Parse({"--version"}).text,
            "moraine-example " + std::string(ProgramVersion()) + "\n");
}

TEST_F(OptionsTest, HelpTellsAll) {
  const std::string help = table_.Help();
  EXPECT_THAT(help, StartsWith("usage: moraine-example [OPTION]...\nShows options.\n"));
  EXPECT_THAT(help, HasSubstr("  --journal-bytes BYTES\n        Size of the journal.\n        "
                              "(default: 256MiB; a size from 1MiB to 64GiB; takes effect at "
                              "reload)\n"));
  EXPECT_THAT(help, HasSubstr("  --verify\n"));
  EXPECT_THAT(help, HasSubstr("(must be set; a path that is not empty; takes effect at restart)"));
  EXPECT_THAT(table_.ManPageText(), HasSubstr(".TP\n\\fB\\-\\-journal\\-bytes\\fR BYTES\n"));
}

// The sample file, with its options uncommented, is valid and means the defaults.
TEST_F(OptionsTest, TheSampleConfigIsTheDefaults) {
  std::string text = table_.SampleConfig();
  std::string options;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const bool is_option = line.find(" = ") != std::string::npos;
    if (is_option) options += line.substr(2) + "\n";
  }
  EXPECT_EQ(std::count(options.begin(), options.end(), '\n'), 9);
  WriteConfig(options);
  const ParseResult result = table_.Parse({"--config", config_, "--data-dir=/d"});
  ASSERT_EQ(result.exit_code, std::nullopt) << result.text;
  EXPECT_EQ(table_.SampleConfig(), text);
  EXPECT_EQ(example_.timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(example_.journal_bytes, 256_MiB);
}

TEST_F(OptionsTest, ReloadTakesWhatItMay) {
  WriteConfig("journal-bytes = '2MiB'\nthreads = 3\ntimeout = '2s'\n");
  ASSERT_EQ(table_.Parse({"--config", config_, "--data-dir=/d", "--timeout=7s"}).exit_code,
            std::nullopt);
  WriteConfig("journal-bytes = '3MiB'\nthreads = 4\ntimeout = '3s'\n");
  ReloadReport report = table_.Reload();
  EXPECT_TRUE(report.status.ok());
  EXPECT_THAT(report.changed, ElementsAre("journal-bytes"));
  EXPECT_THAT(report.need_restart, ElementsAre("threads"));
  EXPECT_EQ(example_.journal_bytes, 3_MiB);
  EXPECT_EQ(example_.threads, 3);
  EXPECT_EQ(example_.timeout, std::chrono::seconds(7));
  WriteConfig("threads = 3\n");
  report = table_.Reload();
  EXPECT_THAT(report.changed, ElementsAre("journal-bytes"));
  EXPECT_EQ(example_.journal_bytes, 256_MiB);
}

TEST_F(OptionsTest, ABadReloadChangesNothing) {
  WriteConfig("journal-bytes = '2MiB'\n");
  ASSERT_EQ(table_.Parse({"--config", config_, "--data-dir=/d"}).exit_code, std::nullopt);
  WriteConfig("journal-bytes = '3MiB'\ntimeout = 'soon'\n");
  const ReloadReport report = table_.Reload();
  EXPECT_EQ(report.status.message(),
            config_ + ":2: timeout = 'soon': must be a time from 1ms to 1h in steps of 1ms");
  EXPECT_EQ(example_.journal_bytes, 2_MiB);
}

TEST_F(OptionsTest, Arguments) {
  table_.AddArgument("SOURCE", &example_.source, true, "Where from.");
  table_.AddArguments("TARGET", &example_.targets, 1, "Where to.");
  const std::string usage = "usage: moraine-example [OPTION]... SOURCE TARGET...";
  EXPECT_EQ(Error({"--data-dir=/d"}), "SOURCE is missing: " + usage);
  EXPECT_EQ(Error({"--data-dir=/d", "a"}), "TARGET is missing: " + usage);
  EXPECT_EQ(table_.Parse({"a", "--data-dir=/d", "b", "--", "--c", "-"}).exit_code, std::nullopt);
  EXPECT_EQ(example_.source, "a");
  EXPECT_THAT(example_.targets, ElementsAre("b", "--c", "-"));
}

TEST_F(OptionsTest, TheManualIsPartOfHelpAndPage) {
  table_.SetManual({.section = 1,
                    .description = "More.",
                    .files = {},
                    .environment = {{"`HERE`", "A place."}},
                    .signals = {},
                    .metrics = "",
                    .errors = {},
                    .examples = {{"moraine-example --help", "Say `all`:"}},
                    .see_also = {"other(8)"}});
  EXPECT_THAT(table_.Help(), EndsWith("\nEnvironment:\n  HERE\n        A place.\n\nExamples:\n"
                                      "  # Say all:\n  moraine-example --help\n"));
  const std::string page = table_.ManPageText();
  EXPECT_THAT(page, StartsWith(".TH \"MORAINE\\-EXAMPLE\" 1 "));
  for (const char* part : {".SH ENVIRONMENT\n", ".SH EXAMPLES\n", ".SH SEE ALSO\n.BR other (8)\n",
                           "Default: \\fB256MiB\\fR\\&.\nAllowed: a size from 1MiB to 64GiB.\n"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
}

TEST(OptionsInternalTest, NearestName) {
  EXPECT_EQ(NearestName("polcy list", {"policy get", "policy list"}), "policy list");
  EXPECT_EQ(NearestName("xyzzy", {"status", "locate"}), "");
  EXPECT_EQ(NearestName("status", {}), "");
}

TEST(OptionsInternalTest, EditDistance) {
  using options_internal::EditDistance;
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("ab", "ba"), 1u);
  EXPECT_EQ(EditDistance("same", "same"), 0u);
}

TEST(OptionsInternalTest, TomlValues) {
  EXPECT_EQ(options_internal::TomlValue(FileKind::kStrings, {"a", "b"}), "[\"a\", \"b\"]");
  EXPECT_EQ(options_internal::TomlValue(FileKind::kStrings, {}), "[]");
}

}  // namespace
}  // namespace moraine
