#include "fs/client/dirty_ranges.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "base/random.h"

namespace moraine::fs {
namespace {

ConstBytes Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(DirtyRanges, LaterWritesWin) {
  DirtyRanges dirty;
  dirty.Write(10, Bytes("aaaaaaaaaa"));
  dirty.Write(14, Bytes("bb"));
  EXPECT_EQ(dirty.bytes(), 10u);
  EXPECT_EQ(dirty.ranges().at(10), "aaaabbaaaa");
  dirty.Write(8, Bytes("cccc"));
  EXPECT_EQ(dirty.bytes(), 12u);
  EXPECT_EQ(dirty.end(), 20u);
}

TEST(DirtyRanges, AgreesWithAByteArray) {
  constexpr uint64_t kSize = 200;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    DirtyRanges dirty;
    std::vector<std::optional<char>> model(kSize);
    for (int step = 0; step < 40; ++step) {
      const uint64_t offset = random.Uniform(kSize);
      if (random.Chance(0.1)) {
        dirty.Cut(offset);
        for (uint64_t i = offset; i < kSize; ++i) model[i].reset();
      } else {
        std::string text(random.Between(1, kSize - offset),
                         static_cast<char>('a' + random.Uniform(26)));
        dirty.Write(offset, Bytes(text));
        for (size_t i = 0; i < text.size(); ++i) model[offset + i] = text[i];
      }
      std::vector<std::optional<char>> seen(kSize);
      uint64_t bytes = 0;
      for (const auto& [begin, range] : dirty.ranges()) {
        for (size_t i = 0; i < range.size(); ++i) {
          ASSERT_FALSE(seen[begin + i].has_value()) << "seed " << seed << ": ranges overlap";
          seen[begin + i] = range[i];
        }
        bytes += range.size();
      }
      ASSERT_EQ(seen, model) << "seed " << seed << " step " << step;
      ASSERT_EQ(bytes, dirty.bytes()) << "seed " << seed << " step " << step;
      const uint64_t from = random.Uniform(kSize);
      const uint64_t count = random.Between(1, kSize - from);
      bool touches = false;
      for (uint64_t i = from; i < from + count; ++i) touches |= model[i].has_value();
      ASSERT_EQ(dirty.Intersects(from, count), touches) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace moraine::fs
