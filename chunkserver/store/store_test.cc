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
using testing::kChunk;
using testing::kOne;
using testing::kTwo;
using testing::SmallOptions;
using testing::SomeOrigin;
using testing::StoreTest;
using testing::StoreWorld;

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

// Found by the simulation of a whole cluster: recovery found nothing, the chunk was deleted, and
// then the first bytes of a slow writer arrived, were synced, and were no part of the file.
TEST_F(StoreTest, ADeletedChunkThatWasFencedBeforeItWasMadeKeepsLateWritersOut) {
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo)).code(), Code::kUnknownChunk);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, Epoch(3))).ok());
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, true).code(), Code::kFenced);
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, true).code(), Code::kFenced);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, Epoch(3))).ok());
  sim.world.RunFor(sim.store->context().options.tombstone_grace + std::chrono::seconds(5));
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, true).code(), Code::kOk) << "nobody is that late";
}

// A sync of nothing makes a replica; a fence then says that it is empty, as if it had never been.
TEST_F(StoreTest, ADeletedChunkThatWasMadeEmptyKeepsLateWritersOut) {
  constexpr ChunkId kSealed{2};
  constexpr Epoch kThree{3};
  ASSERT_TRUE(sim.Append(ChunkId(3), kOne, 0, 100, true).ok());  // holds the journal's tail
  for (const ChunkId chunk : {kChunk, kSealed}) {
    ASSERT_TRUE(sim.Append(chunk, kOne, 0, 0, true).ok());
    ASSERT_EQ(sim.Await(sim.store->Fence(chunk, kTwo))->held, 0u);
  }
  ASSERT_TRUE(sim.Await(sim.store->Seal(kSealed, kTwo, 0)).ok());
  ASSERT_TRUE(sim.world.RunUntil([&] { return sim.store->GetStatus().open_replicas == 2; }, 10s));
  for (const ChunkId chunk : {kChunk, kSealed}) {
    ASSERT_TRUE(sim.Await(sim.store->Delete(chunk, kThree)).ok());
  }
  const auto expect_fenced = [&] {
    for (const ChunkId chunk : {kChunk, kSealed}) {
      EXPECT_EQ(sim.store->Stat(chunk).code(), Code::kUnknownChunk);
      EXPECT_EQ(sim.Append(chunk, kOne, 0, 100, true).code(), Code::kFenced);
    }
  };
  expect_fenced();
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  expect_fenced();
  ASSERT_TRUE(sim.Await(sim.store->AppendCopied(CallOf(kChunk, kThree, 0, 100, true))).ok());
  ASSERT_TRUE(sim.Await(sim.store->Delete(kSealed, kThree)).ok());
  sim.world.RunFor(sim.store->context().options.tombstone_grace + std::chrono::seconds(5));
  EXPECT_EQ(sim.Append(kSealed, kOne, 0, 100, true).code(), Code::kOk) << "nobody is that late";
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk)->synced, 100u);
  EXPECT_EQ(sim.store->Stat(kSealed)->synced, 100u);
}

TEST_F(StoreTest, RecoveryBringsAChunkToWhereItsFenceFoundNothing) {
  constexpr Epoch kThree{3};
  EXPECT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo)).code(), Code::kUnknownChunk);
  EXPECT_EQ(sim.Append(kChunk, kTwo, 0, 100, true).code(), Code::kFenced) << "no writer's";
  EXPECT_EQ(sim.Await(sim.store->AppendCopied(CallOf(kChunk, kOne, 0, 100, true))).code(),
            Code::kFenced)
      << "an attempt that was overtaken";
  ASSERT_TRUE(sim.Await(sim.store->AppendCopied(CallOf(kChunk, kTwo, 0, 5'000, true))).ok());
  ASSERT_TRUE(sim.Await(sim.store->Hold(kChunk, kTwo, 5'000)).ok());
  EXPECT_EQ(sim.store->List(ChunkId(), 10).size(), 1u) << "the tombstone is gone";
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk)->synced, 5'000u);
  ASSERT_TRUE(sim.Await(sim.store->Fence(kChunk, kThree)).ok());
  ASSERT_TRUE(sim.Await(sim.store->Seal(kChunk, kThree, 5'000)).ok());
  ExpectAllReadable(kChunk, 5'000);
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

TEST_F(StoreTest, ASealedReplicaAcknowledgesWhatItHas) {
  FillAndSeal(kChunk, 9'000);  // at the writer's epoch; the file is complete
  const auto resent = sim.Append(kChunk, kOne, 4'000, 5'000, true);
  ASSERT_TRUE(resent.ok()) << resent.status().ToString();
  EXPECT_EQ(resent->synced, 9'000u);
  EXPECT_EQ(sim.Append(kChunk, kOne, 4'000, 5'001, true).code(), Code::kSealed);
  EXPECT_EQ(sim.Append(kChunk, Epoch(0), 4'000, 5'000, true).code(), Code::kFenced);
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

// Its seal may have been missed, and nobody would say so again.
TEST_F(StoreTest, AnIdleOpenReplicaIsToldOfOnceInAWhile) {
  const auto told = [&] {
    std::vector<ChunkId> chunks;
    for (const ReplicaInfo& info : sim.store->TakeChanges(10).changed) chunks.push_back(info.chunk);
    return chunks;
  };
  FillAndSeal(ChunkId(2), 5'000);
  EXPECT_THAT(told(), ::testing::ElementsAre(ChunkId(2)));
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 100, false).ok());
  const Duration period = sim.options().idle_report;
  sim.world.RunFor(period / 2);
  ASSERT_TRUE(sim.Append(kChunk, kOne, 100, 100, false).ok());
  // It is looked for each quarter of a period.
  sim.world.RunFor(period - std::chrono::seconds(1));
  EXPECT_TRUE(told().empty()) << "its writer is at work";
  sim.world.RunFor(period / 4 + std::chrono::seconds(3));
  EXPECT_THAT(told(), ::testing::ElementsAre(kChunk));
  sim.world.RunFor(period / 2);
  EXPECT_TRUE(told().empty());
  sim.world.RunFor(period);
  EXPECT_THAT(told(), ::testing::ElementsAre(kChunk));
  ASSERT_TRUE(sim.Await(sim.store->Seal(kChunk, kOne, 200)).ok());
  EXPECT_THAT(told(), ::testing::ElementsAre(kChunk)) << "of the seal";
  sim.world.RunFor(period * 2);
  EXPECT_TRUE(told().empty());
}

TEST_F(StoreTest, WholeCopyReplacesATombstoneAndADamagedReplica) {
  const auto copy = [&](ChunkId chunk, Epoch epoch, uint64_t length) {
    return sim.Await(sim.store->Install(sim.CopyOf(chunk, epoch, length)));
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

TEST(StoreLimits, ALargeAppendFindsRoomAmongManySmallOnes) {
  StoreOptions options = SmallOptions();
  options.dirty_bytes_max = limits::kAppendBytesMax;
  StoreWorld sim(1, {}, options);
  ASSERT_TRUE(sim.Start().ok());
  // Each below what is flushed by itself, together below half of what may be held.
  for (uint64_t chunk = 1; chunk <= 9; ++chunk) {
    ASSERT_TRUE(sim.Append(ChunkId(chunk), kOne, 0, 200'000, false).ok());
  }
  const auto large = sim.Append(ChunkId(50), kOne, 0, limits::kAppendBytesMax, false);
  EXPECT_TRUE(large.ok()) << large.status().ToString();
}

TEST(StoreLimits, WhoWaitsAtTheDoorLeavesAtTheDeadlineWithNothingDone) {
  StoreOptions options = SmallOptions();
  options.dirty_bytes_max = 4_MiB;
  StoreWorld sim(1, {}, options);
  ASSERT_TRUE(sim.Start().ok());
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 4_MiB, false).ok());
  sim.machine.disk().SetSlowness(1'000'000);  // nothing is flushed for minutes
  const auto late = [&](uint64_t offset) {
    AppendCall call = CallOf(kChunk, kOne, offset, 1_MiB, false);
    call.deadline = sim.loop->After(std::chrono::seconds(2));
    return call;
  };
  std::vector<Code> codes;
  const auto send = [](Store* store, AppendCall call, std::vector<Code>* codes) -> Task<void> {
    codes->push_back((co_await store->Append(std::move(call))).code());
  };
  sim.loop->Spawn(send(sim.store, late(4_MiB), &codes));  // waits for room
  sim.loop->Spawn(send(sim.store, late(5_MiB), &codes));  // waits for its turn
  ASSERT_TRUE(sim.world.RunUntil([&] { return codes.size() == 2; }, 10s));
  EXPECT_THAT(codes, ::testing::Each(Code::kOverloaded));
  EXPECT_EQ(sim.store->Stat(kChunk)->held, 4_MiB);
  EXPECT_EQ(sim.Await(sim.store->Fence(ChunkId(2), kOne, sim.loop->Now())).code(),
            Code::kOverloaded);
  sim.machine.disk().SetSlowness(1);
  EXPECT_TRUE(sim.store->List(kChunk, 10).empty()) << "no tombstone";
}

TEST(StoreLimits, FencesOfUnknownChunksAreBounded) {
  StoreWorld sim(1);
  ASSERT_TRUE(sim.Start().ok());
  uint64_t chunk = 1;
  while (sim.Await(sim.store->Fence(ChunkId(chunk), kTwo)).code() == Code::kUnknownChunk) ++chunk;
  EXPECT_EQ(sim.Await(sim.store->Fence(ChunkId(chunk), kTwo)).code(), Code::kOverloaded);
  EXPECT_EQ(sim.Await(sim.store->Fence(ChunkId(1), kTwo)).code(), Code::kUnknownChunk)
      << "what is fenced already may be fenced again";
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

// One bad name among what is to be thrown away was the end of all replicas.
TEST(StoreOpen, WhatCannotBeThrownAwayIsNotTheEndOfTheStore) {
  StoreWorld sim(1);
  ASSERT_TRUE(sim.Start().ok());
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 5'000, true).ok());
  sim.CopyOf(ChunkId(2), kOne, 8'000).reset();  // and its file stays
  sim.Kill();
  sim.machine.disk().FailNext(sim::DiskOp::kRemove, "*incoming*");
  const Status started = sim.Start();
  ASSERT_TRUE(started.ok()) << started.ToString();
  EXPECT_EQ(sim.machine.disk().failures_left(), 0u);
  EXPECT_TRUE(sim.store->GetStatus().quarantined);
  EXPECT_TRUE(sim.Await(sim.store->Read(kChunk, 0, 5'000, 5'000)).ok());
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

}  // namespace
}  // namespace moraine::chunkserver
