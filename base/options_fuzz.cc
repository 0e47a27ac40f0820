// Arbitrary bytes as a configuration file and, split at zero bytes, as a command line; the same
// bytes as size, time and pattern. Nothing may crash, and every error is one line.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/glob.h"
#include "base/options.h"

namespace moraine {
namespace {

struct Example {
  std::string text;
  std::string endpoint = "a:1";
  std::vector<std::string> peers;
  uint64_t bytes = 4096;
  int count = 2;
  std::chrono::milliseconds timeout{1500};
  bool flag = true;
  double share = 0.5;
};

void CheckResult(const ParseResult& result) {
  if (result.exit_code != 2) return;
  MORAINE_CHECK(result.text.find('\n') == result.text.size() - 1, result.text);
}

// One table for all inputs: what one leaves behind must not disturb the next.
struct Fixture {
  Fixture() : table("fuzz", "Parses anything.") {
    table.AddString("text", &example.text, "Text.");
    table.AddEndpoint("endpoint", &example.endpoint, "Endpoint.");
    table.AddEndpoints("peers", &example.peers, "List.");
    table.AddBytes("bytes", &example.bytes, 1, 1_TiB, "Bytes.");
    table.AddInt("count", &example.count, 0, 100, "Count.");
    table.AddDuration("timeout", &example.timeout, std::chrono::seconds(0), std::chrono::hours(1),
                      "Time.");
    table.AddBool("flag", &example.flag, "Flag.");
    table.AddNumber("share", &example.share, 0, 1, "Share.");
  }
  Example example;
  OptionTable table;
};

void ParseOnce(const std::vector<std::string>& args) {
  static Fixture fixture;
  const Example& example = fixture.example;
  CheckResult(fixture.table.Parse(args));
  MORAINE_CHECK(example.bytes >= 1 && example.bytes <= 1_TiB);
  MORAINE_CHECK(example.count >= 0 && example.count <= 100);
  MORAINE_CHECK(example.share >= 0 && example.share <= 1);
}

void ParseAsFile(std::string_view text) {
  static const int file = memfd_create("fuzz", 0);
  MORAINE_CHECK(file >= 0 && ftruncate(file, 0) == 0);
  MORAINE_CHECK(pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  ParseOnce({"--config=/proc/self/fd/" + std::to_string(file)});
}

void ParseAsCommandLine(std::string_view text) {
  std::vector<std::string> args;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\0'), text.size());
    args.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  // The file is the other half of this test.
  if (std::any_of(args.begin(), args.end(),
                  [](const std::string& a) { return a.find("config") != std::string::npos; })) {
    return;
  }
  ParseOnce(args);
}

}  // namespace
}  // namespace moraine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  moraine::ParseAsFile(text);
  moraine::ParseAsCommandLine(text);
  if (const auto bytes = moraine::ParseBytes(text); bytes.ok()) {
    MORAINE_CHECK(*moraine::ParseBytes(moraine::ExactBytes(*bytes)) == *bytes);
  }
  if (const auto time = moraine::ParseDuration(text); time.ok()) {
    MORAINE_CHECK(*moraine::ParseDuration(moraine::ExactDuration(*time)) == *time);
  }
  const size_t half = size / 2;
  if (!moraine::CheckGlob(text.substr(0, half)).ok()) {
    MORAINE_CHECK(!moraine::GlobMatch(text.substr(0, half), text.substr(half)));
  } else {
    moraine::GlobMatch(text.substr(0, half), text.substr(half));
  }
  return 0;
}
