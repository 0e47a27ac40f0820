#include "kv/rocksfs/path.h"

#include <gtest/gtest.h>

namespace moraine::rocksfs {
namespace {

TEST(NormalizePath, CollapsesAndStaysBelowTheRoot) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "/"},
      {"/", "/"},
      {"//", "/"},
      {"/db", "/db"},
      {"/db/", "/db"},
      {"/db//LOG", "/db/LOG"},
      {"db/000012.sst", "/db/000012.sst"},
      {"/a/./b/../c", "/a/c"},
      {"/../../etc", "/etc"},
      {"..", "/"},
      {"/a/...", "/a/..."},
  };
  for (const auto& [given, expected] : kCases) EXPECT_EQ(NormalizePath(given), expected) << given;
}

TEST(PathBelow, CannotLeaveTheRoot) {
  EXPECT_EQ(PathBelow("/", "/x/y"), "/x/y");
  EXPECT_EQ(PathBelow("", "/x"), "/x");
  EXPECT_EQ(PathBelow("/shard/", "/x"), "/shard/x");
  EXPECT_EQ(PathBelow("/shard", "/"), "/shard");
  EXPECT_EQ(PathBelow("/shard", "../../x"), "/shard/x");
}

TEST(Split, SeparatesDirectoryAndName) {
  EXPECT_EQ(Split("/").directory, "/");
  EXPECT_EQ(Split("/").name, "");
  EXPECT_EQ(Split("/x").directory, "/");
  EXPECT_EQ(Split("/x").name, "x");
  EXPECT_EQ(Split("/a/b/c").directory, "/a/b");
  EXPECT_EQ(Split("/a/b/c").name, "c");
}

TEST(IsWithin, GoesByWholeNames) {
  EXPECT_TRUE(IsWithin("/a", "/a"));
  EXPECT_TRUE(IsWithin("/a/b", "/a"));
  EXPECT_TRUE(IsWithin("/a", "/"));
  EXPECT_FALSE(IsWithin("/ab", "/a"));
  EXPECT_FALSE(IsWithin("/", "/a"));
}

TEST(PolicyFor, FollowsRocksDbsFileNames) {
  const PolicyNames policies{.state = "S", .table = "T", .other = "O"};
  const std::pair<const char*, const char*> kCases[] = {
      {"000004.log", "S"},
      {"MANIFEST-000005", "S"},
      {"CURRENT", "S"},
      {"IDENTITY", "S"},
      {"OPTIONS-000007", "S"},
      {"000008.dbtmp", "S"},
      {"000009.sst", "T"},
      {"000010.blob", "T"},
      {"LOG", "O"},
      {"LOG.old.1700000000000000", "O"},
      {"LOCK", "O"},
      {"notes.txt", "O"},
      {"CURRENT.bak", "O"},
      {"sst", "O"},
      {"OPTIONS-000007.dbtmp", "S"},
  };
  for (const auto& [name, expected] : kCases)
    EXPECT_EQ(PolicyFor(name, policies), expected) << name;
  EXPECT_EQ(PolicyFor("LOG", PolicyNames()), "");
  EXPECT_EQ(PolicyFor("1.log", PolicyNames()), "log");
  EXPECT_EQ(PolicyFor("1.sst", PolicyNames()), "immutable");
}

TEST(GrowsAsStream, IsTrueForLogsAndTablesOnly) {
  for (const char* name : {"000004.log", "MANIFEST-000005", "000009.sst", "000010.blob"}) {
    EXPECT_TRUE(GrowsAsStream(name)) << name;
  }
  for (const char* name :
       {"CURRENT", "IDENTITY", "OPTIONS-000007", "000008.dbtmp", "LOG", "LOCK"}) {
    EXPECT_FALSE(GrowsAsStream(name)) << name;
  }
}

}  // namespace
}  // namespace moraine::rocksfs
