#include "fs/chunkio/block_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/random.h"

namespace moraine::fs {
namespace {

constexpr uint64_t kUnit = BlockCache::kUnitBytes;

std::byte ByteAt(ChunkId chunk, uint64_t offset) {
  return static_cast<std::byte>((chunk.value() * 131 + offset * 7 + offset / 251) & 0xFF);
}

OwnedBytes Content(ChunkId chunk, uint64_t begin, uint64_t end) {
  Buffer buffer = Buffer::Allocate(end - begin);
  for (uint64_t i = begin; i < end; ++i) buffer.data()[i - begin] = ByteAt(chunk, i);
  OwnedBytes bytes;
  bytes.owner = std::move(buffer).Share();
  bytes.bytes = bytes.owner->bytes();
  return bytes;
}

class BlockCacheTest : public testing::Test {
 protected:
  void Insert(BlockCache& cache, ChunkId chunk, const BlockCache::Range& range) {
    cache.Insert(chunk, range, Content(chunk, range.begin, range.end));
  }
  static bool IsRight(const OwnedBytes& bytes, ChunkId chunk, uint64_t offset, uint64_t length) {
    const OwnedBytes wanted = Content(chunk, offset, offset + length);
    return std::ranges::equal(bytes.bytes, wanted.bytes);
  }
  MetricRegistry metrics_;
};

TEST_F(BlockCacheTest, CoversWholeUnitsUpToTheEndOfTheChunk) {
  const BlockCache cache(1 << 20, metrics_);
  const uint64_t length = 3 * kUnit + 100;
  const auto inside = cache.Cover(kUnit + 5, 4096, length);
  ASSERT_TRUE(inside.has_value());
  EXPECT_EQ(inside->begin, kUnit);
  EXPECT_EQ(inside->end, 2 * kUnit);
  const auto across = cache.Cover(kUnit - 1, 2, length);
  ASSERT_TRUE(across.has_value());
  EXPECT_EQ(across->begin, 0);
  EXPECT_EQ(across->end, 2 * kUnit);
  const auto last = cache.Cover(length - 1, 1, length);
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->begin, 3 * kUnit);
  EXPECT_EQ(last->end, length);
}

TEST_F(BlockCacheTest, LeavesTheRestAlone) {
  const BlockCache cache(1 << 20, metrics_);
  EXPECT_FALSE(cache.Cover(0, kUnit + 1, 4 * kUnit).has_value());  // large
  EXPECT_FALSE(cache.Cover(kUnit, 2, kUnit + 1).has_value());      // past the end
  EXPECT_FALSE(cache.Cover(0, 0, kUnit).has_value());
  const BlockCache none(0, metrics_);
  EXPECT_FALSE(none.Cover(0, 1, kUnit).has_value());
}

TEST_F(BlockCacheTest, FindsOnlyWhatIsWhollyThere) {
  BlockCache cache(1 << 20, metrics_);
  const ChunkId chunk(7);
  Insert(cache, chunk, {kUnit, 2 * kUnit});
  EXPECT_FALSE(cache.Find(chunk, kUnit - 1, 2).has_value());
  EXPECT_FALSE(cache.Find(chunk, 2 * kUnit - 1, 2).has_value());
  EXPECT_FALSE(cache.Find(ChunkId(8), kUnit, 1).has_value());
  const auto found = cache.Find(chunk, kUnit + 9, 5000);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(IsRight(*found, chunk, kUnit + 9, 5000));
}

TEST_F(BlockCacheTest, DropsTheLeastRecentlyUsed) {
  BlockCache cache(3 * kUnit, metrics_);
  const ChunkId chunk(7);
  for (uint64_t unit = 0; unit < 3; ++unit)
    Insert(cache, chunk, {unit * kUnit, (unit + 1) * kUnit});
  EXPECT_TRUE(cache.Find(chunk, 0, 1).has_value());
  Insert(cache, chunk, {3 * kUnit, 4 * kUnit});
  EXPECT_EQ(cache.bytes(), 3 * kUnit);
  EXPECT_TRUE(cache.Find(chunk, 0, 1).has_value());
  EXPECT_FALSE(cache.Find(chunk, kUnit, 1).has_value());
}

TEST_F(BlockCacheTest, GivesWhatWasReadWhateverIsAsked) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  BlockCache cache(20 * kUnit, metrics_);
  const uint64_t length = 30 * kUnit + 777;
  for (int i = 0; i < 3000; ++i) {
    const ChunkId chunk(1 + random.Uniform(2));
    const uint64_t offset = random.Uniform(length);
    const uint64_t size = std::min(1 + random.Uniform(kUnit), length - offset);
    const auto range = cache.Cover(offset, size, length);
    ASSERT_TRUE(range.has_value());
    auto found = cache.Find(chunk, offset, size);
    if (!found.has_value()) {
      Insert(cache, chunk, *range);
      found = cache.Find(chunk, offset, size);
    }
    ASSERT_TRUE(found.has_value());
    ASSERT_TRUE(IsRight(*found, chunk, offset, size)) << "step " << i;
    ASSERT_LE(cache.bytes(), 20 * kUnit);
  }
}

}  // namespace
}  // namespace moraine::fs
