#include "base/glob.h"

#include <fnmatch.h>
#include <gtest/gtest.h>

#include <string>

#include "base/random.h"

namespace moraine {
namespace {

TEST(GlobTest, Table) {
  struct Case {
    const char* pattern;
    const char* name;
    bool matches;
  };
  const Case kCases[] = {
      {"*.sst", "000012.sst", true},
      {"*.sst", "000012.sst.tmp", false},
      {"MANIFEST-*", "MANIFEST-000001", true},
      {"MANIFEST-*", "MANIFEST", false},
      {"CURRENT", "CURRENT", true},
      {"CURRENT", "current", false},
      {"*", "", true},
      {"**", "x", true},
      {"?", "", false},
      {"?", "x", true},
      {"a?c", "abc", true},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[!a-c]x", "dx", true},
      {"[]a]", "]", true},
      {"[a-]", "-", true},
      {"[\\]]", "]", true},
      {"\\*", "*", true},
      {"\\*", "x", false},
      {"*a*b*c", "xxaxxbxxcxxc", true},
      {"*a*b*c", "xxaxxcxxb", false},
      {".*", ".hidden", true},
      {"*", ".hidden", true},
      {"*b", "a/b", true},
      {"[\xC0-\xFF]", "\xE4", true},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(GlobMatch(c.pattern, c.name), c.matches) << c.pattern << " " << c.name;
    EXPECT_TRUE(CheckGlob(c.pattern).ok()) << c.pattern;
  }
}

TEST(GlobTest, MalformedPatternsMatchNothing) {
  for (const char* pattern : {"", "[", "[a", "[]", "[!]", "a\\", "[z-a]", "[\\", "[a-\\"}) {
    EXPECT_EQ(CheckGlob(pattern).code(), Code::kInvalidArgument) << pattern;
    EXPECT_FALSE(GlobMatch(pattern, pattern)) << pattern;
    EXPECT_FALSE(GlobMatch(pattern, "a")) << pattern;
  }
}

TEST(GlobTest, HostilePatternsEnd) {
  const std::string name(4000, 'a');
  std::string pattern;
  for (int i = 0; i < 1000; ++i) pattern += "*a";
  EXPECT_TRUE(GlobMatch(pattern, name));
  EXPECT_FALSE(GlobMatch(pattern + "b", name));
}

// The C library is the judge, over an alphabet where the two agree on what is well formed.
TEST(GlobTest, AgreesWithFnmatch) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  const std::string_view kPieces[] = {"a", "b", "c", "*", "?", "[ab]", "[!a]", "[a-c]", "\\*", "-"};
  const std::string_view kBytes = "abc-*";
  for (int i = 0; i < 20000; ++i) {
    std::string pattern;
    std::string name;
    for (uint64_t n = random.Between(1, 6); n > 0; --n)
      pattern += kPieces[random.Uniform(std::size(kPieces))];
    for (uint64_t n = random.Uniform(7); n > 0; --n) name += random.Pick(kBytes);
    ASSERT_EQ(GlobMatch(pattern, name), fnmatch(pattern.c_str(), name.c_str(), 0) == 0)
        << pattern << " " << name;
  }
}

}  // namespace
}  // namespace moraine
