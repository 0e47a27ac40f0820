#include "fs/client/extent_map.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace moraine::fs {
namespace {

Extent Make(uint64_t offset, uint64_t length, uint64_t chunk, uint64_t chunk_offset) {
  return {offset, length, ChunkId(chunk), chunk_offset};
}

TEST(ExtentMap, LaterExtentsLieOverEarlierOnes) {
  ExtentMap map;
  map.Overlay(Make(0, 100, 1, 0));
  map.Overlay(Make(40, 20, 2, 7));
  EXPECT_EQ(map.All(),
            (std::vector<Extent>{Make(0, 40, 1, 0), Make(40, 20, 2, 7), Make(60, 40, 1, 60)}));
  EXPECT_EQ(map.Find(50, 20), (std::vector<Extent>{Make(50, 10, 2, 17), Make(60, 10, 1, 60)}));
}

TEST(ExtentMap, WhatContinuesAnExtentJoinsIt) {
  ExtentMap map;
  map.Overlay(Make(0, 10, 1, 0));
  map.Overlay(Make(10, 10, 1, 10));
  EXPECT_EQ(map.All(), (std::vector<Extent>{Make(0, 20, 1, 0)}));
  EXPECT_EQ(map.MappedEnd(ChunkId(1)), 20u);
  EXPECT_EQ(map.MappedEnd(ChunkId(2)), 0u);
}

TEST(ExtentMap, AgreesWithAByteArray) {
  constexpr uint64_t kSize = 300;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    ExtentMap map;
    std::vector<std::pair<uint64_t, uint64_t>> model(
        kSize);  // (chunk, chunk offset), chunk 0: a hole
    for (int step = 0; step < 40; ++step) {
      const uint64_t offset = random.Uniform(kSize);
      const uint64_t length = random.Between(1, kSize - offset);
      if (random.Chance(0.2)) {
        map.Remove(offset, length);
        for (uint64_t i = 0; i < length; ++i) model[offset + i] = {};
      } else {
        const uint64_t chunk = random.Between(1, 4);
        const uint64_t chunk_offset = random.Uniform(1000);
        map.Overlay(Make(offset, length, chunk, chunk_offset));
        for (uint64_t i = 0; i < length; ++i) model[offset + i] = {chunk, chunk_offset + i};
      }
      const uint64_t from = random.Uniform(kSize);
      const uint64_t count = random.Between(1, kSize - from);
      std::vector<std::pair<uint64_t, uint64_t>> seen(kSize);
      for (const Extent& extent : map.Find(from, count)) {
        for (uint64_t i = 0; i < extent.length; ++i) {
          seen[extent.file_offset + i] = {extent.chunk.value(), extent.chunk_offset + i};
        }
      }
      for (uint64_t i = from; i < from + count; ++i) {
        ASSERT_EQ(seen[i], model[i]) << "seed " << seed << " step " << step << " byte " << i;
      }
    }
  }
}

}  // namespace
}  // namespace moraine::fs
