#include "fs/mount/mount_options.h"

#include <gmock/gmock.h>

#include <sstream>

#include "fs/mount/mount_point.h"

namespace moraine::fs::mount {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

Words Translate(std::string_view program, const Words& args) {
  Result<Words> out = TranslateArguments(program, args);
  return out.ok() ? *out : Words{out.status().ToString()};
}

// The error, or empty.
std::string Parse(MountOptions* options, const Words& args) {
  const auto table = MakeMountOptionTable(options);
  const ParseResult result = table->Parse(Translate("moraine-mount", args));
  return result.exit_code ? result.text : "";
}

TEST(TranslateArguments, OptionsOfMountAreTakenApart) {
  EXPECT_THAT(
      Translate("moraine-mount", {"h:1", "/mnt", "-o", "timeout=3s,allow_other,ro"}),
      ElementsAre("--timeout=3s", "--allow-other", "--read-only", "--metaserver=h:1", "/mnt"));
  EXPECT_THAT(Translate("moraine-mount", {"-otimeout=3s", "h:1", "/mnt"}),
              ElementsAre("--timeout=3s", "--metaserver=h:1", "/mnt"));
  EXPECT_THAT(Translate("moraine-mount", {"h:1", "/mnt", "-o"}),
              ElementsAre(HasSubstr("-o: needs a value")));
}

TEST(TranslateArguments, WordsOfFstabSayNothing) {
  EXPECT_THAT(Translate("mount.fuse.moraine",
                        {"h:1", "/mnt", "-o", "rw,_netdev,nofail,x-systemd.automount,user=me,,"}),
              ElementsAre("--metaserver=h:1", "/mnt"));
}

TEST(TranslateArguments, FlagsForTheKernelArePassedOn) {
  EXPECT_THAT(
      Translate("moraine-mount", {"h:1", "/mnt", "-o", "nosuid,noexec"}),
      ElementsAre("--mount-flag=nosuid", "--mount-flag=noexec", "--metaserver=h:1", "/mnt"));
}

TEST(TranslateArguments, TheHelpersFlagsHaveMountsMeanings) {
  EXPECT_THAT(Translate("/sbin/mount.fuse.moraine",
                        {"h:1", "/mnt", "-s", "-v", "-n", "-t", "fuse.moraine", "-r"}),
              ElementsAre("--read-only", "--metaserver=h:1", "/mnt"));
  EXPECT_THAT(Translate("moraine-mount", {"-f", "h:1", "/mnt"}),
              ElementsAre("--foreground", "--metaserver=h:1", "/mnt"));
}

TEST(TranslateArguments, LongOptionsKeepTheirValues) {
  EXPECT_THAT(Translate("moraine-mount", {"--metaserver", "h:1", "/mnt", "--foreground"}),
              ElementsAre("--metaserver", "h:1", "--foreground", "/mnt"));
  EXPECT_THAT(Translate("moraine-mount", {"--foreground", "h:1", "/mnt"}),
              ElementsAre("--foreground", "--metaserver=h:1", "/mnt"));
}

// TranslateArguments has to know which options take the next word; the table is the truth.
TEST(TranslateArguments, KnowsEverySwitchOfTheTable) {
  MountOptions options;
  std::istringstream help(MakeMountOptionTable(&options)->Help());
  int seen = 0;
  for (std::string line; std::getline(help, line);) {
    if (!line.starts_with("  --")) continue;
    std::istringstream words(line);
    std::string name;
    std::string placeholder;
    words >> name >> placeholder;
    ++seen;
    const Words out = Translate("moraine-mount", {name, "next", "/mnt"});
    if (placeholder.empty()) {
      EXPECT_THAT(out, ElementsAre(name, "--metaserver=next", "/mnt"));
    } else {
      EXPECT_THAT(out, ElementsAre(name, "next", "/mnt"));
    }
  }
  EXPECT_GT(seen, 15);
}

TEST(MountOptions, ReachTheirFields) {
  MountOptions options;
  EXPECT_EQ(Parse(&options, {"host:7400", "/mnt", "-o",
                             "timeout=5s,entry-timeout=250ms,read_ahead=8MiB,nodev,ro"}),
            "");
  EXPECT_EQ(options.metaserver, "host:7400");
  EXPECT_EQ(options.mountpoint, "/mnt");
  EXPECT_EQ(options.timeout, 5s);
  EXPECT_EQ(options.entry_timeout, 250ms);
  EXPECT_EQ(options.read_ahead_bytes, 8_MiB);
  EXPECT_TRUE(options.read_only);
  EXPECT_THAT(options.mount_flags, ElementsAre("nodev"));
}

// More dirty bytes than the chunks that a file may have attached hold could never be stored.
TEST(MountOptions, WhatIsHeldBackCanBeStored) {
  MountOptions options;
  EXPECT_EQ(Parse(&options, {"h:1", "/mnt", "--dirty", "2GiB"}), "");
  EXPECT_EQ(options.dirty_bytes, 2_GiB);
  EXPECT_THAT(Parse(&options, {"h:1", "/mnt", "--dirty", "4GiB"}), HasSubstr("--dirty"));
}

TEST(MountOptions, ErrorsNameTheNearestOption) {
  MountOptions options;
  EXPECT_THAT(Parse(&options, {"h:1", "/mnt", "-o", "timout=3s"}),
              HasSubstr("did you mean --timeout?"));
  EXPECT_THAT(Parse(&options, {"h:1", "/mnt", "--timeout", "soon"}), HasSubstr("--timeout"));
  EXPECT_THAT(Parse(&options, {"h:1", "/mnt", "--http", "nowhere"}), HasSubstr("host:port"));
  EXPECT_THAT(Parse(&options, {"nowhere", "/mnt"}), HasSubstr("--metaserver"));
  EXPECT_NE(Parse(&options, {"h:1"}), "");
  EXPECT_NE(Parse(&options, {"h:1", "/a", "/b"}), "");
}

TEST(MountPoint, LinesOfMountinfoAreRead) {
  const auto mount = ParseMountLine(
      "36 35 98:12 / /mnt/a\\040b rw,noatime shared:1 master:2 - fuse.moraine h:1 rw,user_id=0");
  ASSERT_TRUE(mount.has_value());
  EXPECT_EQ(mount->path, "/mnt/a b");
  EXPECT_EQ(mount->type, "fuse.moraine");
  EXPECT_EQ(mount->source, "h:1");
  EXPECT_EQ(mount->major, 98u);
  EXPECT_EQ(mount->minor, 12u);
  EXPECT_FALSE(ParseMountLine("").has_value());
  EXPECT_FALSE(ParseMountLine("36 35 98:12 / /mnt rw").has_value());
  EXPECT_TRUE(FindMount("/").has_value());
}

TEST(MountPoint, MustBeADirectory) {
  EXPECT_EQ(PrepareMountPoint("/no/such/place").code(), Code::kNotFound);
  EXPECT_EQ(PrepareMountPoint("/proc/self/stat").code(), Code::kNotDirectory);
  EXPECT_EQ(*PrepareMountPoint("/proc/../proc"), "/proc");
  EXPECT_EQ(DetachMount("/proc").code(), Code::kNotFound) << "not ours";
}

}  // namespace
}  // namespace moraine::fs::mount
