#include "fs/chunkio/checksums.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace moraine::fs {
namespace {

TEST(PieceChecksums, OneForEveryPieceBetweenBoundaries) {
  const std::string text(10000, 'x');
  const ConstBytes bytes = std::as_bytes(std::span(text));
  EXPECT_EQ(PieceChecksums(0, bytes).size(), 3 * 8u);
  EXPECT_EQ(PieceChecksums(4095, bytes).size(), 4 * 8u);
  EXPECT_EQ(PieceChecksums(0, bytes.first(4096)).size(), 8u);
  EXPECT_EQ(PieceChecksums(100, bytes.first(0)).size(), 0u);
}

TEST(PieceChecksums, EveryFlippedBitIsFound) {
  Random random(3);
  std::string text(9000, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  for (int i = 0; i < 200; ++i) {
    const uint64_t offset = random.Uniform(1 << 20);
    const std::string checksums = PieceChecksums(offset, std::as_bytes(std::span(text)));
    ASSERT_TRUE(VerifyPieceChecksums(offset, std::as_bytes(std::span(text)), checksums).ok());
    std::string damaged = text;
    damaged[random.Uniform(damaged.size())] ^= static_cast<char>(1 << random.Uniform(8));
    ASSERT_EQ(VerifyPieceChecksums(offset, std::as_bytes(std::span(damaged)), checksums).code(),
              Code::kCorruption);
    ASSERT_EQ(
        VerifyPieceChecksums(offset, std::as_bytes(std::span(text)), checksums + "12345678").code(),
        Code::kProtocol);
    ASSERT_EQ(VerifyPieceChecksums(offset, std::as_bytes(std::span(text)),
                                   std::string_view(checksums).substr(8))
                  .ok(),
              false);
  }
}

}  // namespace
}  // namespace moraine::fs
