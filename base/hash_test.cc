#include "base/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace moraine {
namespace {

std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + 7);
  return bytes;
}

// Made with Debian's `xxhsum -H3`: changing one of them makes every stored byte unreadable.
TEST(HashTest, GoldenValues) {
  EXPECT_EQ(Hash64(""), 0x2D06800538D394C2ULL);
  EXPECT_EQ(Hash64("a"), 0xE6C632B61E964E1FULL);
  EXPECT_EQ(Hash64("abc"), 0x78AF5F94892F3950ULL);
  EXPECT_EQ(BlockChecksum({}), 0x2D06800538D394C2ULL);
  EXPECT_EQ(BlockChecksum(Pattern(100)), 0x8C97158042FBF926ULL);
  EXPECT_EQ(BlockChecksum(Pattern(1000)), 0x989765D0EA7A5ECDULL);
  EXPECT_EQ(BlockChecksum(Pattern(4096)), 0xA3C19F8174CDE0BBULL);
  EXPECT_EQ(BlockChecksum(std::vector<std::byte>(4096)), 0x93D76FE148C689BAULL);
}

TEST(HashTest, EveryBitOfABlockCounts) {
  std::vector<std::byte> block = Pattern(4096);
  const uint64_t good = BlockChecksum(block);
  for (size_t bit = 0; bit < block.size() * 8; ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << (bit % 8))};
    block[bit / 8] ^= mask;
    ASSERT_NE(BlockChecksum(block), good) << "bit " << bit;
    block[bit / 8] ^= mask;
  }
}

TEST(HashTest, TextAndBytesAgree) {
  const std::string text = "one definition for both";
  EXPECT_EQ(Hash64(text), BlockChecksum(std::as_bytes(std::span(text))));
}

}  // namespace
}  // namespace moraine
