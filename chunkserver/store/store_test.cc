#include "chunkserver/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::BytesOf;
using testing::CallOf;
using testing::ChecksumsOf;
using testing::IsRight;
using testing::SmallOptions;
using testing::SomeOrigin;
using testing::StoreWorld;

constexpr ChunkId kChunk{0x1107};
constexpr Epoch kOne{1};
constexpr Epoch kTwo{2};

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : sim(1) { EXPECT_TRUE(sim.Start().ok()); }

  void ExpectAllReadable(ChunkId chunk, uint64_t length) {
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      const auto read = sim.Await(sim.store->Read(chunk, at, 1_MiB, length));
      ASSERT_TRUE(read.ok()) << read.status().ToString();
      EXPECT_TRUE(IsRight(chunk, *read));
      EXPECT_EQ(read->offset + read->bytes.size(), std::min(length, at + 1_MiB));
      EXPECT_EQ(read->visible, length);
    }
  }
  void FillAndSeal(ChunkId chunk, uint64_t length) {
    const uint64_t open_before = sim.store->GetStatus().open_replicas;
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      ASSERT_TRUE(sim.Append(chunk, kOne, at, std::min<uint64_t>(1_MiB, length - at), false).ok());
    }
    const auto sealed = sim.Await(sim.store->Seal(chunk, kOne, length));
    ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
    sim.world.RunFor(std::chrono::seconds(2));  // the file is completed in the background
    ASSERT_EQ(sim.store->GetStatus().open_replicas, open_before);
  }

  StoreWorld sim;
};

TEST_F(StoreTest, AppendsAreHeldAndSynced) {
  auto result = sim.Append(kChunk, kOne, 0, 100, false);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  EXPECT_EQ(result->held, 100u);
  EXPECT_EQ(result->synced, 0u);
  result = sim.Append(kChunk, kOne, 100, 5000, true);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->held, 5100u);
  EXPECT_EQ(result->synced, 5100u);
  result = sim.Append(kChunk, kOne, 5100, 3'000'000, true);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->synced, 3'005'100u);
  ExpectAllReadable(kChunk, 3'005'100);
}

TEST_F(StoreTest, AppendRules) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 100, false).ok());
  EXPECT_EQ(sim.Append(kChunk, kOne, 200, 100, false).code(), Code::kWrongOffset);
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, true)->synced, 100u) << "a resend";
  EXPECT_EQ(sim.Append(kChunk, kTwo, 100, 100, false).code(), Code::kProtocol);
  EXPECT_EQ(sim.Append(ChunkId(5), kOne, 10, 100, false).code(), Code::kUnknownChunk);
  AppendCall call = CallOf(kChunk, kOne, 100, 9000, false);
  call.bytes.data()[4500] ^= std::byte{1};
  EXPECT_EQ(sim.Await(sim.store->Append(std::move(call))).code(), Code::kCorruption);
  EXPECT_EQ(sim.store->Stat(kChunk)->held, 100u);
}

TEST_F(StoreTest, ReadersOfAnOpenChunkSeeCommittedBytesOnly) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 6000, false).ok());
  EXPECT_EQ(sim.Await(sim.store->Read(kChunk, 0, 100, 0)).code(), Code::kNotCommitted);
  auto read = sim.Await(sim.store->Read(kChunk, 4500, 100, 5000));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->offset, 4096u);
  EXPECT_EQ(read->bytes.size(), 904u);
  EXPECT_TRUE(IsRight(kChunk, *read));
  ASSERT_TRUE(sim.Append(kChunk, kOne, 6000, 10, false).ok());  // says that 6000 are committed
  read = sim.Await(sim.store->Read(kChunk, 0, 100000, 0));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->visible, 6000u);
  EXPECT_EQ(read->bytes.size(), 6000u);
  EXPECT_EQ(sim.Await(sim.store->Read(kChunk, 6000, 1, 0)).code(), Code::kNotCommitted);
  EXPECT_EQ(sim.Await(sim.store->Read(ChunkId(9), 0, 1, 0)).code(), Code::kUnknownChunk);
}

TEST_F(StoreTest, FenceStopsOldWriters) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 100, false).ok());
  const auto fenced = sim.Await(sim.store->Fence(kChunk, kTwo));
  ASSERT_TRUE(fenced.ok());
  EXPECT_EQ(fenced->held, 100u);
  EXPECT_FALSE(fenced->restarted);
  EXPECT_EQ(sim.Append(kChunk, kOne, 100, 100, false).code(), Code::kFenced);
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kOne)).code(), Code::kFenced);
}

TEST_F(StoreTest, FenceOfAnUnknownChunkKeepsLateWritersOutForEver) {
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo)).code(), Code::kUnknownChunk);
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, false).code(), Code::kFenced);
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, false).code(), Code::kFenced);
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kOne)).code(), Code::kFenced);
  ASSERT_EQ(sim.store->List(ChunkId(), 10).size(), 1u);
  EXPECT_TRUE(sim.Await(sim.store->Delete(kChunk, kTwo)).ok());
  EXPECT_TRUE(sim.store->List(ChunkId(), 10).empty());
}

TEST_F(StoreTest, SealCutsInsideABlockThatIsInTheFile) {
  // 2 MB go to the file at once; the seal cuts one of its whole blocks.
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 2'000'000, true).ok());
  ASSERT_TRUE(sim.Await(sim.store->Fence(kChunk, kTwo)).ok());
  EXPECT_EQ(sim.Await(sim.store->Seal(kChunk, kTwo, 3'000'000)).code(), Code::kWrongOffset);
  const auto sealed = sim.Await(sim.store->Seal(kChunk, kTwo, 1'234'567));
  ASSERT_TRUE(sealed.ok());
  EXPECT_TRUE(sealed->sealed);
  ExpectAllReadable(kChunk, 1'234'567);  // before the file shows it
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->GetStatus().open_replicas, 0u);
  ExpectAllReadable(kChunk, 1'234'567);
  EXPECT_TRUE(sim.Await(sim.store->Seal(kChunk, kTwo, 1'234'567)).ok()) << "a repeat";
  EXPECT_EQ(sim.Await(sim.store->Seal(kChunk, kTwo, 1'000)).code(), Code::kSealed);
  EXPECT_EQ(sim.Append(kChunk, kTwo, 1'234'567, 10, false).code(), Code::kSealed);
}

TEST_F(StoreTest, FullChunkOverManyGroups) {
  FillAndSeal(kChunk, limits::kChunkBytesMax);
  ExpectAllReadable(kChunk, limits::kChunkBytesMax);
  EXPECT_EQ(sim.Append(ChunkId(3), kOne, 0, limits::kAppendBytesMax + 1, false).code(),
            Code::kTooLarge);
  ASSERT_TRUE(sim.Stop().ok());
  ASSERT_TRUE(sim.Start().ok());
  ExpectAllReadable(kChunk, limits::kChunkBytesMax);
}

TEST_F(StoreTest, EmptyChunkCanBeSealed) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 10, false).ok());
  ASSERT_TRUE(sim.Await(sim.store->Seal(kChunk, kOne, 0)).ok());
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  const auto read = sim.Await(sim.store->Read(kChunk, 0, 10, 0));
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->bytes.empty());
  EXPECT_TRUE(read->sealed);
}

TEST_F(StoreTest, OrderlyEndKeepsEverythingHeld) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 700'001, false).ok());
  ASSERT_TRUE(sim.Append(ChunkId(8), kOne, 0, 33, false).ok());
  ASSERT_TRUE(sim.Stop().ok());
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk)->synced, 700'001u);
  EXPECT_EQ(sim.store->Stat(ChunkId(8))->held, 33u);
  EXPECT_TRUE(sim.store->Stat(kChunk)->restarted);
  // A restarted replica takes bytes from recovery only.
  EXPECT_EQ(sim.Append(kChunk, kOne, 700'001, 10, false).code(), Code::kSealed);
  ASSERT_TRUE(sim.Await(sim.store->Fence(kChunk, kTwo)).ok());
  EXPECT_TRUE(sim.Await(sim.store->AppendCopied(CallOf(kChunk, kTwo, 700'001, 10, true))).ok());
  ExpectAllReadable(kChunk, 700'011);
}

TEST_F(StoreTest, DeleteIsDurableAndRefusesNewerReplicas) {
  FillAndSeal(kChunk, 5'000);
  EXPECT_EQ(sim.Await(sim.store->Delete(kChunk, Epoch(0))).code(), Code::kFenced);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, kOne)).ok());
  EXPECT_EQ(sim.store->Stat(kChunk).code(), Code::kUnknownChunk);
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk).code(), Code::kUnknownChunk);
  sim.world.RunFor(std::chrono::seconds(10));
  for (const std::string& file : sim.machine.disk().Files()) {
    EXPECT_THAT(file, ::testing::Not(::testing::HasSubstr("1107"))) << "the trash is emptied";
  }
  EXPECT_TRUE(sim.Await(sim.store->Delete(kChunk, kOne)).ok()) << "a repeat";
}

TEST_F(StoreTest, WholeCopyReplacesATombstoneAndADamagedReplica) {
  const auto copy = [&](ChunkId chunk, Epoch epoch, uint64_t length) {
    auto incoming = sim.Await(sim.store->BeginCopy(chunk, epoch, length, SomeOrigin(chunk)));
    EXPECT_TRUE(incoming.ok()) << incoming.status().ToString();
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      Buffer bytes = BytesOf(chunk, at, std::min<uint64_t>(1_MiB, length - at));
      auto checksums = ChecksumsOf(at, bytes.bytes());
      EXPECT_TRUE(sim.Await((*incoming)->Write(at, std::move(bytes).Share(), checksums)).ok());
    }
    return sim.Await(sim.store->Install(std::move(*incoming)));
  };
  ASSERT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo)).code(), Code::kUnknownChunk);
  ASSERT_TRUE(copy(kChunk, kTwo, 2'500'000).ok());
  ExpectAllReadable(kChunk, 2'500'000);
  EXPECT_EQ(sim.Await(sim.store->BeginCopy(kChunk, kTwo, 2'500'000, SomeOrigin(kChunk))).code(),
            Code::kAlreadyExists);
  ASSERT_TRUE(sim.machine.disk().FlipBit("store/" + ChunkPath(kChunk), 8 * 50'000).ok());
  EXPECT_EQ(sim.Await(sim.store->Read(kChunk, 0, 1_MiB, 0)).code(), Code::kCorruption);
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  ASSERT_TRUE(copy(kChunk, kTwo, 2'500'000).ok());
  EXPECT_FALSE(sim.store->Stat(kChunk)->damaged);
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  ExpectAllReadable(kChunk, 2'500'000);
}

TEST_F(StoreTest, EveryFlippedBitOfASealedReplicaIsFound) {
  constexpr uint64_t kLength = 30'000;
  FillAndSeal(kChunk, kLength);
  const std::string path = "store/" + ChunkPath(kChunk);
  Random random(SeedFromEnvironment());
  const uint64_t blocks = BlocksOf(kLength);
  for (int i = 0; i < 200; ++i) {
    // A data byte below the length, or one of the checksums that are in use.
    const uint64_t byte = random.OneIn(3) ? ChecksumPageOffset(0) + random.Uniform(blocks * 8)
                                          : FileOffsetOf(0) + random.Uniform(kLength);
    const uint64_t bit = byte * 8 + random.Uniform(8);
    ASSERT_TRUE(sim.machine.disk().FlipBit(path, bit).ok());
    sim.Kill();
    ASSERT_TRUE(sim.Start().ok());
    if (random.OneIn(2)) {
      EXPECT_EQ(sim.Await(sim.store->Read(kChunk, 0, kLength, 0)).code(), Code::kCorruption) << bit;
    } else {
      ASSERT_TRUE(sim.world.Await(*sim.loop, sim.store->ScrubOnce()));
    }
    EXPECT_TRUE(sim.store->Stat(kChunk)->damaged) << bit;
    EXPECT_EQ(sim.store->TakeChanges(10).changed.size(), 1u);
    ASSERT_TRUE(sim.machine.disk().FlipBit(path, bit).ok());
  }
}

TEST_F(StoreTest, TheScrubberChecksHeaders) {
  FillAndSeal(kChunk, 30'000);
  FillAndSeal(ChunkId(2), 10);
  for (const ChunkId chunk : {kChunk, ChunkId(2)}) {
    ASSERT_TRUE(sim.world.Await(*sim.loop, sim.store->ScrubOnce()));
    EXPECT_FALSE(sim.store->Stat(chunk)->damaged);
    ASSERT_TRUE(sim.machine.disk().FlipBit("store/" + ChunkPath(chunk), 8 * 64).ok());
    ASSERT_TRUE(sim.world.Await(*sim.loop, sim.store->ScrubOnce()));
    EXPECT_TRUE(sim.store->Stat(chunk)->damaged);
  }
}

TEST_F(StoreTest, MissingOrCutFilesAreFoundAtStart) {
  FillAndSeal(kChunk, 30'000);
  FillAndSeal(ChunkId(2), 30'000);
  const std::string path = "store/" + ChunkPath(ChunkId(2));
  sim.Kill();
  ASSERT_TRUE(sim.machine.disk().FlipBit(path, 100).ok());  // in the header
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_TRUE(sim.store->Stat(ChunkId(2))->damaged);
  EXPECT_FALSE(sim.store->Stat(kChunk)->damaged);
}

TEST_F(StoreTest, DiskErrorsAreNeverAcknowledged) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 5'000, true).ok());
  FillAndSeal(ChunkId(2), 9'000);
  sim.machine.disk().FailNext(sim::DiskOp::kWrite, "*journal*");
  EXPECT_FALSE(sim.Append(kChunk, kOne, 5'000, 100, true).ok());
  EXPECT_TRUE(sim.store->GetStatus().quarantined);
  EXPECT_EQ(sim.Append(kChunk, kOne, 5'100, 100, true).code(), Code::kQuarantined);
  EXPECT_EQ(sim.Append(ChunkId(3), kOne, 0, 100, false).code(), Code::kQuarantined);
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo)).code(), Code::kQuarantined);
  EXPECT_EQ(sim.Await(sim.store->Delete(ChunkId(2), kOne)).code(), Code::kQuarantined);
  ExpectAllReadable(ChunkId(2), 9'000);
  EXPECT_TRUE(sim.Await(sim.store->Read(kChunk, 0, 5'000, 5'000)).ok());
}

TEST_F(StoreTest, FailedFlushOfAFileIsTheDisksEnd) {
  sim.machine.disk().FailNext(sim::DiskOp::kSync, "*.chunk");
  EXPECT_FALSE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok());
  EXPECT_TRUE(sim.store->GetStatus().quarantined);
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 1'000'000, true).code(), Code::kCorruption);
}

TEST_F(StoreTest, FullDiskIsNotADamagedDisk) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok());
  const uint64_t used = sim.machine.disk().used_bytes();
  sim.machine.disk().SetCapacity(used + 500'000);
  EXPECT_EQ(sim.Append(kChunk, kOne, 1'000'000, 4'000'000, true).code(), Code::kNoSpace);
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
  // Small syncs go on: the journal's room is there already.
  ASSERT_TRUE(sim.Append(ChunkId(2), kOne, 0, 5'000, true).ok());
  sim.machine.disk().SetCapacity(1_GiB);
  const auto retried = sim.Append(kChunk, kOne, 1'000'000, 4'000'000, true);
  ASSERT_TRUE(retried.ok()) << retried.status().ToString();
  EXPECT_EQ(retried->synced, 5'000'000u);
  ExpectAllReadable(kChunk, 5'000'000);
}

TEST(StoreLimits, NoNewReplicasBelowTheReserve) {
  StoreOptions options = SmallOptions();
  options.reserve_bytes = 100_MiB;
  StoreWorld sim(1, {}, options);
  sim.machine.disk().SetCapacity(200_MiB);
  ASSERT_TRUE(sim.Start().ok());
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 100, true).ok());
  sim.machine.disk().SetCapacity(90_MiB);
  sim.world.RunFor(std::chrono::seconds(3));
  EXPECT_EQ(sim.Append(ChunkId(2), kOne, 0, 100, true).code(), Code::kNoSpace);
  EXPECT_EQ(sim.Await(sim.store->BeginCopy(ChunkId(3), kOne, 100, SomeOrigin(ChunkId(3)))).code(),
            Code::kNoSpace);
  EXPECT_TRUE(sim.Append(kChunk, kOne, 100, 100, true).ok()) << "an open replica goes on";
}

TEST(StoreOpen, RefusesWhatIsNotItsOwn) {
  StoreWorld sim(1);
  ASSERT_TRUE(sim.Start().ok());
  {
    auto second = sim.Await(Store::Open(*sim.loop, sim.options(), *sim.metrics));
    EXPECT_EQ(second.code(), Code::kBusy);
  }
  sim.Kill();
  sim.options().cluster = "another";
  EXPECT_EQ(sim.Start().code(), Code::kWrongCluster);
  sim.Kill();
  sim.options().cluster = "test-cluster";
  ASSERT_TRUE(sim.machine.disk().FlipBit("store/superblock", 200).ok());
  EXPECT_EQ(sim.Start().code(), Code::kCorruption);
  sim.Kill();
}

TEST(StoreOpen, RefusesADirectoryThatIsPartlyMissing) {
  StoreWorld sim(1);
  ASSERT_TRUE(sim.Start().ok());
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok());
  ASSERT_TRUE(sim.Await(sim.loop->disk().Rename("store/journal", "elsewhere")).ok());
  sim.Kill();
  const Status status = sim.Start();
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("journal"));
  ASSERT_TRUE(sim.Await(sim.loop->disk().Rename("elsewhere", "store/journal")).ok());
  ASSERT_TRUE(sim.Await(sim.loop->disk().Rename("store/superblock", "elsewhere")).ok());
  sim.Kill();
  EXPECT_EQ(sim.Start().code(), Code::kCorruption) << "chunks without a superblock";
  ASSERT_TRUE(sim.Await(sim.loop->disk().Rename("elsewhere", "store/superblock")).ok());
  sim.Kill();
  EXPECT_TRUE(sim.Start().ok());
}

TEST(StoreOpen, JoinsAClusterOnce) {
  StoreOptions options = SmallOptions();
  options.cluster.clear();
  StoreWorld sim(1, {}, options);
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_TRUE(sim.store->superblock().server.IsNone());
  const std::string incarnation = sim.store->superblock().incarnation;
  ASSERT_TRUE(sim.Await(sim.store->Join("c1", ServerId(4))).ok());
  EXPECT_EQ(sim.Await(sim.store->Join("c2", ServerId(4))).code(), Code::kWrongCluster);
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->superblock().cluster, "c1");
  EXPECT_EQ(sim.store->superblock().server, ServerId(4));
  EXPECT_EQ(sim.store->superblock().incarnation, incarnation);
}

TEST(StoreOpen, SecondOfTwoLostJournalFramesPutsTheDiskInQuarantine) {
  StoreWorld sim(1);
  ASSERT_TRUE(sim.Start().ok());
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 100, true).ok());
  ASSERT_TRUE(sim.Append(ChunkId(2), kOne, 0, 100, true).ok());
  ASSERT_TRUE(sim.Append(ChunkId(3), kOne, 0, 100, true).ok());
  sim.Kill();
  // The frames of a fresh journal lie one behind the other; the third is not the newest.
  ASSERT_TRUE(sim.machine.disk().FlipBit("store/journal", 8 * (3 * kPageBytes + 80)).ok());
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_TRUE(sim.store->GetStatus().quarantined);
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_EQ(sim.Append(ChunkId(9), kOne, 0, 100, true).code(), Code::kQuarantined);
}

}  // namespace
}  // namespace moraine::chunkserver
