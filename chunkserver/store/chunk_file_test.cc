#include "chunkserver/store/chunk_file.h"

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "base/random.h"
#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::Hex;

ChunkHeader SomeHeader() {
  ChunkHeader header;
  header.cluster = "c-1";
  header.chunk = ChunkId(0x0102030405060708);
  header.incarnation = 0x1112131415161718;
  header.epoch = Epoch(3);
  header.sealed = true;
  header.sealed_length = 10'000;
  header.origin = {InodeId(77), 1 << 20, "log", 5, 3, 3, 4};
  return header;
}

// CHUNK_FILE.md section 2: bytes on disks out there do not change.
TEST(ChunkFile, HeaderBytes) {
  Buffer page = Buffer::Allocate(kPageBytes);
  EncodeChunkHeader(SomeHeader(), page.bytes());
  EXPECT_EQ(Hex(page.bytes().first(80)),
            "4d524e4348554e4b"
            "01000000"
            "02000000"
            "0807060504030201"
            "1817161514131211"
            "0300000000000000"
            "4d00000000000000"
            "0000100000000000"
            "1027000000000000"
            "0500"
            "0300"
            "0300"
            "0400"
            "0300"
            "6c6f67"
            "000000");
  EXPECT_EQ(Hex(page.bytes().subspan(138, 5)), "0300632d31");
  EXPECT_EQ(Hex(page.bytes().subspan(504, 8)), "9510620fbae67889");
  const auto decoded = DecodeChunkHeader(page.bytes());
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, SomeHeader());
}

TEST(ChunkFile, EveryFlippedBitOfAHeaderIsFound) {
  Buffer page = Buffer::Allocate(kPageBytes);
  for (size_t bit = 0; bit < 512 * 8; ++bit) {
    EncodeChunkHeader(SomeHeader(), page.bytes());
    page.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(DecodeChunkHeader(page.bytes()).ok()) << bit;
  }
  EXPECT_FALSE(DecodeChunkHeader(page.bytes().first(511)).ok());
}

TEST(ChunkFile, LayoutIsDense) {
  EXPECT_EQ(FileOffsetOf(0), 2 * 4096u);
  EXPECT_EQ(FileOffsetOf(kGroupBytes - 4096), 513 * 4096u);
  EXPECT_EQ(ChecksumPageOffset(1), 514 * 4096u);
  EXPECT_EQ(FileOffsetOf(kGroupBytes), 515 * 4096u);
  EXPECT_EQ(ChunkFileBytes(0), 4096u);
  EXPECT_EQ(ChunkFileBytes(1), 3 * 4096u);
  EXPECT_EQ(ChunkFileBytes(10'000), 20'480u);  // the page's worked example
  EXPECT_EQ(ChunkFileBytes(limits::kChunkBytesMax), (1 + 32 * 513) * 4096u);
}

TEST(ChunkFile, NamesRoundTrip) {
  EXPECT_EQ(ChunkPath(ChunkId(0x1107)), "chunks/07/0000000000001107.chunk");
  EXPECT_EQ(*ParseChunkFileName("0000000000001107.chunk"), ChunkId(0x1107));
  for (const char* name : {"", "1107.chunk", "0000000000001107.chunkx", "000000000000110g.chunk",
                           "+000000000001107.chunk"}) {
    EXPECT_FALSE(ParseChunkFileName(name).ok()) << name;
  }
}

}  // namespace
}  // namespace moraine::chunkserver
