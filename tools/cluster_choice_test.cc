#include "tools/cluster_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace moraine::tools {
namespace {

constexpr const char* kMounts =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 22 0:5 / /dev/cluster rw - tmpfs tmpfs rw\n"
    "31 30 0:6 / /dev/cluster/mnt rw - fuse.moraine 127.0.0.1:7440 rw\n"
    "32 30 8:2 /data /dev/cluster/a\\040b rw shared:7 - ext4 /dev/sdb rw\n"
    "33 22 0:7 / /dev/cluster2 rw - tmpfs tmpfs rw\n"
    "a line of another time\n";

std::vector<std::string> Below(const std::string& directory) {
  std::istringstream text(kMounts);
  return FindMountsBelow(directory, text);
}

// `dev down --delete` removes nothing through these.
TEST(MountsBelowTest, NamesEveryMountBelowAndNoOther) {
  EXPECT_THAT(Below("/dev/cluster"), testing::ElementsAre("/dev/cluster/mnt", "/dev/cluster/a b"));
  EXPECT_THAT(Below("/dev/cluster/mnt"), testing::IsEmpty());
  EXPECT_THAT(Below("/dev/clust"), testing::IsEmpty());
  EXPECT_THAT(Below("/dev"), testing::SizeIs(4));
}

TEST(MountsBelowTest, LooksAtThisMachine) {
  const auto root = FindMountsBelow("/");
  ASSERT_TRUE(root.ok()) << root.status().ToString();
  EXPECT_THAT(*root, testing::Contains("/proc"));
  const auto temporary = FindMountsBelow("/proc/self/fd");
  ASSERT_TRUE(temporary.ok()) << temporary.status().ToString();
  EXPECT_THAT(*temporary, testing::IsEmpty());
  EXPECT_FALSE(FindMountsBelow("/nobody/made/this").ok());
}

}  // namespace
}  // namespace moraine::tools
