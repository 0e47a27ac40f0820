#include "base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace moraine {
namespace {

// SplitMix64 from state 0: the values of the published reference program.
TEST(RandomTest, MixBitsGolden) {
  EXPECT_EQ(MixBits(0), 0xE220A8397B1DCDAFULL);
  EXPECT_EQ(MixBits(0x9E3779B97F4A7C15ULL), 0x6E789E6AA1B965F4ULL);
}

TEST(RandomTest, GoldenSequence) {
  Random random(42);
  EXPECT_EQ(random.Next(), 0x15780B2E0C2EC716ULL);
  EXPECT_EQ(random.Next(), 0x6104D9866D113A7EULL);
  EXPECT_EQ(random.Next(), 0xAE17533239E499A1ULL);
}

TEST(RandomTest, GoldenShuffle) {
  Random random(7);
  std::vector<int> items(8);
  std::iota(items.begin(), items.end(), 0);
  random.Shuffle(items);
  EXPECT_THAT(items, testing::ElementsAre(6, 0, 2, 3, 4, 7, 1, 5));
}

TEST(RandomTest, UniformCoversItsRangeEvenly) {
  Random random(1);
  std::vector<int> count(10);
  for (int i = 0; i < 100000; ++i) ++count[random.Uniform(10)];
  EXPECT_GT(*std::min_element(count.begin(), count.end()), 9500);
  EXPECT_LT(*std::max_element(count.begin(), count.end()), 10500);
}

TEST(RandomTest, BetweenIncludesBothEnds) {
  Random random(3);
  bool low = false;
  bool high = false;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.Between(5, 8);
    ASSERT_GE(value, 5u);
    ASSERT_LE(value, 8u);
    low |= value == 5;
    high |= value == 8;
  }
  EXPECT_TRUE(low && high);
  EXPECT_EQ(random.Between(9, 9), 9u);
  random.Between(0, UINT64_MAX);
}

TEST(RandomTest, ChanceHoldsItsProbability) {
  Random random(4);
  int hits = 0;
  for (int i = 0; i < 100000; ++i) {
    hits += random.Chance(0.25) ? 1 : 0;
    ASSERT_FALSE(random.Chance(0));
    ASSERT_TRUE(random.Chance(1));
  }
  EXPECT_NEAR(hits, 25000, 600);
}

TEST(RandomTest, ForksDiffer) {
  Random random(5);
  Random a = random.Fork();
  Random b = random.Fork();
  EXPECT_NE(a.Next(), b.Next());
}

TEST(RandomTest, SeedComesFromTheEnvironment) {
  setenv("MORAINE_SEED", "0x10", 1);
  EXPECT_EQ(SeedFromEnvironment(), 16u);
  unsetenv("MORAINE_SEED");
  EXPECT_NE(SeedFromEnvironment(), SeedFromEnvironment());
}

TEST(RandomDeathTest, AnAbortTellsTheSeed) {
  EXPECT_DEATH(
      {
        setenv("MORAINE_SEED", "77", 1);
        SeedFromEnvironment();
        std::abort();
      },
      "MORAINE_SEED=77");
  EXPECT_DEATH(
      {
        TellSeedOnAbort(UINT64_MAX);
        TellSeedOnAbort(0);
        std::abort();
      },
      "MORAINE_SEED=0");
}

}  // namespace
}  // namespace moraine
