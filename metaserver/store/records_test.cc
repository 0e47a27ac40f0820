#include "metaserver/store/records.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "metaserver/store/families.h"

namespace moraine::metaserver {
namespace {

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return out;
}

template <class Record>
void ExpectRoundTrip(const Record& record) {
  const std::string bytes = record.Encode();
  const auto decoded = Record::Decode(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().ToString();
  EXPECT_EQ(*decoded, record);
  // Nothing shorter, nothing longer, and no other version is taken for it.
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(Record::Decode(std::string_view(bytes).substr(0, length)).code(), Code::kCorruption);
  }
  EXPECT_EQ(Record::Decode(bytes + "x").code(), Code::kCorruption);
  std::string newer = bytes;
  newer[0] = 100;  // of a distant future
  EXPECT_EQ(Record::Decode(newer).code(), Code::kCorruption);
}

InodeRecord SampleInode() {
  InodeRecord inode;
  inode.type = FileType::kRegular;
  inode.mode = 0644;
  inode.uid = 1000;
  inode.gid = 100;
  inode.links = 1;
  inode.size = 300;
  inode.atime_ns = 1;
  inode.mtime_ns = 2;
  inode.ctime_ns = -3;
  inode.version = 7;
  inode.stored_bytes = 5;
  inode.parent = kRootInode;
  inode.policy = "log";
  inode.inline_data = "hi";
  inode.attached = {{ChunkId(9), AttachKind::kTail, 300}};
  return inode;
}

ChunkRecord SampleChunk() {
  ChunkRecord chunk;
  chunk.state = ChunkState::kClosed;
  chunk.epoch = Epoch(2);
  chunk.policy = {"log", 5, 3, 3};
  chunk.made = 2;
  chunk.length = 4096;
  chunk.mapped = 4096;
  chunk.references = 1;
  chunk.inode = InodeId(3);
  chunk.file_offset = 300;
  chunk.writer = SessionId(4);
  chunk.replicas = {{ServerId(1), ReplicaState::kGood, 0x0102030405060708},
                    {ServerId(2), ReplicaState::kLagging, 0}};
  return chunk;
}

// The bytes of RECORDS.md, section "Worked examples".
TEST(RecordsTest, Golden) {
  EXPECT_EQ(Hex(SampleInode().Encode()),
            "0101a403e807640001ac0202040507050103"
            "6c6f67000268690109"
            "01ac02");
  InodeRecord counted = SampleInode();
  counted.layout_bytes = 300;
  EXPECT_EQ(Hex(counted.Encode()), "02" + Hex(SampleInode().Encode()).substr(2) + "ac02");
  InodeRecord lossy = SampleInode();
  lossy.layout_bytes = 300;
  lossy.losses = 2;
  EXPECT_EQ(Hex(lossy.Encode()), "03" + Hex(SampleInode().Encode()).substr(2) + "ac0202");
  EXPECT_EQ(Hex(DentryRecord{InodeId(300), FileType::kDirectory}.Encode()), "01ac0202");
  EXPECT_EQ(Hex(ExtentRecord{4096, ChunkId(9), 0}.Encode()), "0180200900");
  EXPECT_EQ(Hex(SampleChunk().Encode()),
            "0105"
            "02036c6f67050303"
            "02802080200103ac02"
            "0402"
            "01010807060504030201"
            "02020000000000000000");
  EXPECT_EQ(Hex(PolicyRecord{"p", 3, 2, 2}.Encode()), "010170030202");
  EXPECT_EQ(Hex(LeaseRecord{SessionId(5), LeaseState::kRecovering}.Encode()), "010502");
  EXPECT_EQ(Hex(TokenRecord{Token(6), SessionId(5), "kv"}.Encode()), "010605026b76");
  EXPECT_EQ(Hex(SessionRecord{"m", "mount", 1}.Encode()), "01016d056d6f756e7402");
  EXPECT_EQ(Hex(RulesRecord{{{"*.log", "log"}}}.Encode()), "0101052a2e6c6f67036c6f67");
  EXPECT_EQ(Hex(ReservedIds{1, 2, 3, 300}.Encode()), "01010203ac02");
}

TEST(RecordsTest, GoldenKeys) {
  EXPECT_EQ(Hex(DentryKey(InodeId(1), "ab")), "00000000000000016162");
  EXPECT_EQ(Hex(ExtentKey(InodeId(1), 4096)), "00000000000000010000000000001000");
  EXPECT_EQ(Hex(HoldingKey(InodeId(2))), "690000000000000002");
  EXPECT_EQ(Hex(HoldingOfSessionKey(SessionId(3), InodeId(2))),
            "7300000000000000030000000000000002");
  EXPECT_EQ(Hex(RepairKey(1, ChunkId(2))), "72010000000000000002");
  EXPECT_EQ(Hex(DeletionKey(ServerId(1), ChunkId(2))), "6400000000000000010000000000000002");
  EXPECT_EQ(Hex(SettleKey(ChunkId(2))), "660000000000000002");
}

TEST(RecordsTest, RoundTrips) {
  ExpectRoundTrip(SampleInode());
  InodeRecord counted = SampleInode();
  counted.layout_bytes = 0;
  ExpectRoundTrip(counted);
  InodeRecord lossy = SampleInode();
  lossy.layout_bytes = 300;
  lossy.losses = 2;
  ExpectRoundTrip(lossy);
  ExpectRoundTrip(DentryRecord{InodeId(300), FileType::kSymlink});
  ExpectRoundTrip(ExtentRecord{1, ChunkId(UINT64_MAX), UINT64_MAX});
  ExpectRoundTrip(SampleChunk());
  ExpectRoundTrip(PolicyRecord{"p", 3, 2, 2});
  ExpectRoundTrip(ServerRecord{"inc", "h:1", "z/r/h", ServerState::kDead, true, 10, 5, 77});
  ExpectRoundTrip(SessionRecord{"m", "mount", -1});
  ExpectRoundTrip(LeaseRecord{SessionId(5), LeaseState::kHeld});
  ExpectRoundTrip(TokenRecord{Token(6), SessionId(5), "kv"});
  ExpectRoundTrip(RulesRecord{{{"*.log", "log"}, {"*", "immutable"}}});
  ExpectRoundTrip(ReservedIds{1, 2, 3, 4});
  ExpectRoundTrip(Counters{1, -2, 3, 4, 5, 6, 7, 8});
}

TEST(RecordsTest, GarbageNeverCrashes) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(fmt::format("MORAINE_SEED={}", seed));
  Random random(seed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = random.OneIn(2) ? SampleInode().Encode() : SampleChunk().Encode();
    for (uint64_t flips = random.Between(1, 3); flips > 0; --flips) {
      bytes[random.Uniform(bytes.size())] = static_cast<char>(random.Next());
    }
    // What decodes must encode to the same bytes: the form is unique.
    const auto inode = InodeRecord::Decode(bytes);
    if (inode.ok()) EXPECT_EQ(inode->Encode(), bytes);
    const auto chunk = ChunkRecord::Decode(bytes);
    if (chunk.ok()) EXPECT_EQ(chunk->Encode(), bytes);
  }
}

}  // namespace
}  // namespace moraine::metaserver
