#include "base/units.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace moraine {
namespace {

using std::chrono::nanoseconds;

TEST(UnitsTest, ParsesSizes) {
  const std::pair<const char*, uint64_t> kCases[] = {
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"64KiB", 64_KiB},
      {"64kib", 64_KiB},
      {"64 MiB", 64_MiB},
      {"1.5GiB", 1536_MiB},
      {"2T", 2_TiB},
      {"10MB", 10'000'000},
      {"1kB", 1000},
      {".5KiB", 512},
      {"15EiB", 15ULL << 60},
      {"18446744073709551615", UINT64_MAX},
  };
  for (const auto& [text, bytes] : kCases) {
    const Result<uint64_t> result = ParseBytes(text);
    ASSERT_TRUE(result.ok()) << text;
    EXPECT_EQ(*result, bytes) << text;
  }
}

TEST(UnitsTest, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", " ", "-1", "+1", "1.3KiB", "1.", "1..5K", "16EiB", "x", "KiB", "64 MiB ", "64MiBs",
        "64iB", "1 2", "18446744073709551616", "1e3", "0x10"}) {
    EXPECT_EQ(ParseBytes(text).code(), Code::kInvalidArgument) << text;
  }
  EXPECT_EQ(ParseBytes("lots").status().message(),
            "'lots' is no size; write 4096, 64KiB or 1.5GiB");
}

TEST(UnitsTest, ParsesTimes) {
  const std::pair<const char*, int64_t> kCases[] = {
      {"0", 0},
      {"0s", 0},
      {"7ns", 7},
      {"250ms", 250'000'000},
      {"1.5s", 1'500'000'000},
      {"1.5 s", 1'500'000'000},
      {"90m", 5'400'000'000'000},
      {"2min", 120'000'000'000},
      {"1h30m", 5'400'000'000'000},
      {"1w2d", 777'600'000'000'000},
  };
  for (const auto& [text, ns] : kCases) {
    const Result<nanoseconds> result = ParseDuration(text);
    ASSERT_TRUE(result.ok()) << text;
    EXPECT_EQ(result->count(), ns) << text;
  }
}

TEST(UnitsTest, RefusesWhatIsNoTime) {
  for (const char* text :
       {"", "5", "s", "-1s", "1.5ns", "1s ", "1x", "1s5", "300y", "16000w", "1h 30"}) {
    EXPECT_EQ(ParseDuration(text).code(), Code::kInvalidArgument) << text;
  }
}

TEST(UnitsTest, FormatsForPeople) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1536_MiB), "1.5 GiB");
  EXPECT_EQ(FormatBytes(64_MiB), "64 MiB");
  EXPECT_EQ(FormatBytes(64_MiB + 1), "64 MiB");
  EXPECT_EQ(FormatDuration(nanoseconds(0)), "0 s");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(250)), "250 ms");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(1500)), "1.5 s");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(90)), "1.5 min");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(-250)), "-250 ms");
}

TEST(UnitsTest, ExactTextsParseBack) {
  EXPECT_EQ(ExactBytes(1536_MiB), "1536MiB");
  EXPECT_EQ(ExactBytes(4097), "4097");
  EXPECT_EQ(ExactBytes(0), "0");
  EXPECT_EQ(ExactDuration(std::chrono::hours(24 * 9)), "1w2d");
  EXPECT_EQ(ExactDuration(nanoseconds(0)), "0s");
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t bytes = (random.Next() >> random.Uniform(64)) / 16 << random.Uniform(4);
    const Result<uint64_t> parsed = ParseBytes(ExactBytes(bytes));
    ASSERT_TRUE(parsed.ok()) << ExactBytes(bytes);
    ASSERT_EQ(*parsed, bytes);
    const nanoseconds time(static_cast<int64_t>(random.Next() >> (1 + random.Uniform(63))));
    ASSERT_EQ(*ParseDuration(ExactDuration(time)), time);
  }
}

}  // namespace
}  // namespace moraine
