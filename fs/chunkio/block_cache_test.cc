#include "fs/chunkio/block_cache.h"

#include <gtest/gtest.h>

#include <string>

#include "base/limits.h"
#include "base/random.h"
#include "base/units.h"

namespace moraine::fs {
namespace {

constexpr uint64_t kBlock = limits::kBlockBytes;
constexpr ChunkId kChunk(7);

// Another text for each chunk.
std::string TextOf(ChunkId chunk, uint64_t length) {
  Random random(chunk.value());
  std::string text(length, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  return text;
}

ConstBytes Part(const std::string& text, BlockCache::Range range) {
  return std::as_bytes(std::span(text)).subspan(range.offset, range.length);
}

std::string Text(const OwnedBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.bytes.data()), bytes.bytes.size()};
}

TEST(BlockCache, NothingIsKeptWithoutRoom) {
  MetricRegistry metrics;
  EXPECT_FALSE(BlockCache(0, metrics).Serves(1));
  EXPECT_FALSE(BlockCache(kBlock - 1, metrics).Serves(1));
  EXPECT_TRUE(BlockCache(kBlock, metrics).Serves(1));
  EXPECT_FALSE(BlockCache(1_MiB, metrics).Serves(BlockCache::kReadBytesMax + 1));
}

TEST(BlockCache, AMissBringsItsWindowWhileThereIsRoom) {
  MetricRegistry metrics;
  BlockCache cache(1_MiB, metrics);
  const uint64_t window = BlockCache::kWindowBytes;
  const auto range = cache.RangeToRead(kChunk, window + 5000, 4096, 1_MiB);
  EXPECT_EQ(range.offset, window);
  EXPECT_EQ(range.length, window);
  const auto last = cache.RangeToRead(kChunk, 1_MiB - 48, 48, 1_MiB);
  EXPECT_EQ(last.offset + last.length, 1_MiB);
  const auto cut = cache.RangeToRead(kChunk, 0, 10, 5000);
  EXPECT_EQ(cut.offset, 0u);
  EXPECT_EQ(cut.length, 5000u);
}

TEST(BlockCache, OnceItIsFullOnlyAScanGetsMoreThanItAsksFor) {
  MetricRegistry metrics;
  BlockCache cache(4 * kBlock, metrics);
  const std::string text = TextOf(kChunk, 1_MiB);
  auto range = cache.RangeToRead(kChunk, 10 * kBlock + 100, 200, text.size());
  EXPECT_EQ(range.offset, 10 * kBlock);
  EXPECT_EQ(range.length, kBlock);
  cache.Insert(kChunk, range.offset, Part(text, range));
  range = cache.RangeToRead(kChunk, 11 * kBlock, 200, text.size());
  EXPECT_EQ(range.length, kBlock) << "the block before was only brought along";
  cache.NoteRead(kChunk, 10 * kBlock + 100, 200);
  range = cache.RangeToRead(kChunk, 11 * kBlock, 200, text.size());
  EXPECT_EQ(range.offset, 11 * kBlock);
  EXPECT_EQ(range.length, BlockCache::kWindowBytes);
  range = cache.RangeToRead(ChunkId(8), 11 * kBlock, 200, text.size());
  EXPECT_EQ(range.length, kBlock);
}

TEST(BlockCache, TheLeastRecentlyUsedGoesFirst) {
  MetricRegistry metrics;
  BlockCache cache(3 * kBlock, metrics);
  const std::string text = TextOf(kChunk, 8 * kBlock);
  for (const uint64_t block : {0, 1, 2}) {
    cache.Insert(kChunk, block * kBlock, Part(text, {block * kBlock, kBlock}));
  }
  ASSERT_TRUE(cache.Find(kChunk, 0, 1).has_value());
  cache.Insert(kChunk, 3 * kBlock, Part(text, {3 * kBlock, kBlock}));
  EXPECT_EQ(cache.blocks(), 3u);
  EXPECT_TRUE(cache.Find(kChunk, 0, 1).has_value());
  EXPECT_FALSE(cache.Find(kChunk, kBlock, 1).has_value());
  EXPECT_TRUE(cache.Find(kChunk, 2 * kBlock, 1).has_value());
}

// The chunk was still written to: the block is replaced when it is read again.
TEST(BlockCache, AShortBlockServesNoMoreThanItHas) {
  MetricRegistry metrics;
  BlockCache cache(1_MiB, metrics);
  const std::string text = TextOf(kChunk, 2 * kBlock);
  cache.Insert(kChunk, 0, Part(text, {0, 1000}));
  EXPECT_TRUE(cache.Find(kChunk, 0, 1000).has_value());
  EXPECT_FALSE(cache.Find(kChunk, 0, 1001).has_value());
  EXPECT_FALSE(cache.Find(kChunk, 999, 2).has_value());
  cache.Insert(kChunk, 0, Part(text, {0, 2 * kBlock}));
  const auto all = cache.Find(kChunk, 999, kBlock);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(Text(*all), text.substr(999, kBlock));
}

TEST(BlockCache, AnyReadsAsTheChunksAre) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(seed);
  Random random(seed);
  for (const uint64_t room : {kBlock, 5 * kBlock, 40 * kBlock, 1000 * kBlock}) {
    MetricRegistry metrics;
    BlockCache cache(room, metrics);
    std::vector<std::string> chunks;
    for (uint64_t i = 0; i < 3; ++i)
      chunks.push_back(TextOf(ChunkId(i), random.Uniform(200'000) + 1));
    int hits = 0;
    for (int i = 0; i < 3000; ++i) {
      const uint64_t number = random.Uniform(chunks.size());
      const std::string& text = chunks[number];
      const uint64_t offset = random.Uniform(text.size());
      const uint64_t length =
          1 + random.Uniform(std::min<uint64_t>(text.size() - offset, BlockCache::kReadBytesMax));
      const auto found = cache.Find(ChunkId(number), offset, length);
      if (found.has_value()) {
        ++hits;
        ASSERT_EQ(Text(*found), text.substr(offset, length));
        continue;
      }
      const auto range = cache.RangeToRead(ChunkId(number), offset, length, text.size());
      ASSERT_LE(range.offset, offset);
      ASSERT_GE(range.offset + range.length, offset + length);
      ASSERT_LE(range.offset + range.length, text.size());
      cache.Insert(ChunkId(number), range.offset, Part(text, range));
      ASSERT_LE(cache.blocks() * kBlock, room);
    }
    if (room > 300 * kBlock) EXPECT_GT(hits, 2900);
  }
}

}  // namespace
}  // namespace moraine::fs
