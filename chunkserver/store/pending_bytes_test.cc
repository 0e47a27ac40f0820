#include "chunkserver/store/pending_bytes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace moraine::chunkserver {
namespace {

// Random appends, drops and cuts against a plain vector of the whole chunk.
TEST(PendingBytes, BehavesLikeAVector) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(::testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::byte> all;
    PendingBytes pending;
    for (int step = 0; step < 60; ++step) {
      const uint64_t size = random.OneIn(3) ? random.Between(1, 300'000) : random.Between(1, 9'000);
      auto bytes = std::make_shared<Buffer>(Buffer::Allocate(
          size, random.OneIn(4) ? random.Uniform(4096) : all.size() % limits::kBlockBytes));
      for (std::byte& b : bytes->bytes()) b = static_cast<std::byte>(random.Next());
      const ConstBytes view = bytes->bytes();
      all.insert(all.end(), view.begin(), view.end());
      if (random.OneIn(2)) {
        pending.AppendShared(bytes, view);
      } else {
        pending.Append(view);
      }
      ASSERT_EQ(pending.end(), all.size());
      if (random.OneIn(3)) {
        pending.DropBefore(BlockFloor(random.Between(pending.begin(), pending.end())));
      }
      if (random.OneIn(10)) {
        const uint64_t cut = random.Between(pending.begin(), pending.end());
        pending.CutAt(cut);
        all.resize(cut);
      }
      const uint64_t from = random.Between(pending.begin(), pending.end());
      const uint64_t to = random.Between(from, pending.end());
      std::vector<std::byte> out(to - from);
      pending.CopyOut(from, out);
      ASSERT_TRUE(std::equal(out.begin(), out.end(), all.begin() + static_cast<ptrdiff_t>(from)));
      // Whole blocks can go to the disk from where they are.
      for (const ConstBytes& piece : pending.SliceOf(pending.begin(), pending.full_end()).pieces) {
        ASSERT_EQ(reinterpret_cast<uintptr_t>(piece.data()) % kPageBytes, 0u);
        ASSERT_EQ(piece.size() % kPageBytes, 0u);
      }
      if (pending.begin() < pending.end()) {
        const uint64_t block = BlockFloor(random.Between(pending.begin(), pending.end() - 1));
        const ConstBytes bytes_of = pending.BlockAt(block);
        ASSERT_EQ(bytes_of.size(), std::min(limits::kBlockBytes, pending.end() - block));
        ASSERT_TRUE(std::equal(bytes_of.begin(), bytes_of.end(),
                               all.begin() + static_cast<ptrdiff_t>(block)));
      }
    }
  }
}

TEST(PendingBytes, LargeAlignedAppendsAreNotCopied) {
  auto bytes = std::make_shared<Buffer>(Buffer::Allocate(1 << 20, 100));
  PendingBytes pending;
  const std::vector<std::byte> head(100);
  pending.Append(head);
  pending.AppendShared(bytes, bytes->bytes());
  const auto slice = pending.SliceOf(limits::kBlockBytes, pending.full_end());
  EXPECT_EQ(slice.pieces.front().data(), bytes->data() + limits::kBlockBytes - 100);
}

}  // namespace
}  // namespace moraine::chunkserver
