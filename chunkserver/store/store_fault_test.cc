// What the store makes of single faults: of the disk, of the journal, of memory and descriptors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/random.h"
#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::BytesOf;
using testing::CallOf;
using testing::ChecksumsOf;
using testing::kChunk;
using testing::kOne;
using testing::kTwo;
using testing::SmallOptions;
using testing::SomeOrigin;
using testing::StoreTest;
using testing::StoreWorld;

// The file shows nothing of a seal whose record is not durable: neither the checksum of the block
// that it cuts, which a flush under way would write, nor what the keeper's Finalize writes.
TEST_F(StoreTest, TheFileShowsNoSealBeforeItsRecordIsDurable) {
  constexpr uint64_t kCut = 500'001;
  constexpr uint64_t kEntry = kCut / limits::kBlockBytes;
  const Buffer block = BytesOf(kChunk, BlockFloor(kCut), limits::kBlockBytes);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(seed);
    StoreWorld world(seed);
    sim::DiskImage& disk = world.machine.disk();
    ASSERT_TRUE(world.Start().ok());
    ASSERT_TRUE(world.Append(kChunk, kOne, 0, 1_MiB, true).ok());
    const std::string path = "store/" + ChunkPath(kChunk);
    // So slow that the keeper comes by while one write is under way.
    disk.SetSlowness(20'000);
    const auto ignore = [](auto task) -> Task<void> { (void)co_await std::move(task); };
    world.loop->Spawn(ignore(world.store->Append(CallOf(kChunk, kOne, 1_MiB, 1_MiB, false))));
    world.loop->Spawn(ignore(world.store->Append(CallOf(ChunkId(2), kOne, 0, 100, true))));
    bool answered = false;
    const auto seal = [](Store* store, bool* answered) -> Task<void> {
      EXPECT_TRUE((co_await store->Seal(kChunk, kOne, kCut)).ok());
      *answered = true;
    };
    world.world.RunFor(Duration(world.world.random().Uniform(1'000'000)));
    world.loop->Spawn(seal(world.store, &answered));
    while (!answered) {
      ASSERT_TRUE(world.world.Step());
      const auto file = disk.Contents(path);
      ASSERT_TRUE(file.ok());
      const auto bytes = std::as_bytes(std::span(*file));
      ASSERT_FALSE(DecodeChunkHeader(bytes.first(kPageBytes))->sealed && !answered);
      ASSERT_EQ(LoadLittle64(bytes.data() + ChecksumPageOffset(0) + kEntry * 8),
                BlockChecksum(block.bytes()));
    }
    disk.SetSlowness(1);
    world.PowerCut();
    ASSERT_TRUE(world.Start().ok());
    const auto info = world.store->Stat(kChunk);
    EXPECT_TRUE(info->sealed && !info->damaged);
    EXPECT_EQ(info->held, kCut);
  }
}

TEST_F(StoreTest, TheSecondOfTwoDeletionsAnswersNoEarlierThanTheFirst) {
  FillAndSeal(kChunk, 5'000);
  FillAndSeal(ChunkId(2), 5'000);
  const auto remove = [](Store* store, ChunkId chunk, std::vector<Code>* codes) -> Task<void> {
    codes->push_back((co_await store->Delete(chunk, kTwo)).code());
  };
  sim.machine.disk().FailNext(sim::DiskOp::kWrite, "*journal*");
  std::vector<Code> codes;
  for (const ChunkId chunk : {kChunk, kChunk, ChunkId(2), ChunkId(2)}) {
    sim.loop->Spawn(remove(sim.store, chunk, &codes));
  }
  ASSERT_TRUE(sim.world.RunUntil([&] { return codes.size() == 4; }, 10s));
  EXPECT_THAT(codes, ::testing::Not(::testing::Contains(Code::kOk)));
}

TEST_F(StoreTest, ADeletionWhoseFileCannotBeMovedIsTriedAgainAndNeverComesBack) {
  FillAndSeal(kChunk, 5'000);
  sim.machine.disk().FailNext(sim::DiskOp::kRename, "*.chunk", 2, Code::kNoSpace);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, kOne)).ok());
  ASSERT_TRUE(sim.world.RunUntil([&] { return sim.machine.disk().failures_left() == 0; }, 10s));
  // The old file has its name still: no new replica may be made over it.
  ASSERT_TRUE(sim.Append(kChunk, kTwo, 0, 7'000, true).ok());
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk)->held, 7'000u);
  EXPECT_FALSE(sim.store->Stat(kChunk)->sealed);
}

// The journal still had the DONE of its seal, and the deletion behind it was not looked at.
TEST_F(StoreTest, ADeletedReplicaWhoseFileIsStillThereAtTheStartIsThrownAwayThen) {
  ASSERT_TRUE(sim.Append(ChunkId(2), kOne, 0, 100, true).ok());  // holds the journal's tail
  FillAndSeal(kChunk, 5'000);
  sim.machine.disk().FailNext(sim::DiskOp::kRename, "*.chunk", 1000, Code::kNoSpace);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, kOne)).ok());
  for (int start = 0; start < 3; ++start) {
    sim.PowerCut();
    if (start == 1) sim.machine.disk().ForgetFailures();
    ASSERT_TRUE(sim.Start().ok());
    EXPECT_EQ(sim.store->Stat(kChunk).code(), Code::kUnknownChunk) << start;
  }
  const std::string path = "store/" + ChunkPath(kChunk);
  const sim::DiskImage& disk = sim.machine.disk();
  EXPECT_TRUE(
      sim.world.RunUntil([&] { return disk.Contents(path).code() == Code::kNotFound; }, 10s));
}

// Its tombstone is the record of the deletion; it outlives its grace time while the file is there.
TEST_F(StoreTest, AnEmptyDeletedReplicaWhoseFileCannotBeMovedNeverComesBack) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 0, true).ok());
  ASSERT_TRUE(sim.Await(sim.store->Seal(kChunk, kTwo, 0)).ok());
  ASSERT_TRUE(sim.world.RunUntil([&] { return sim.store->GetStatus().open_replicas == 0; }, 10s));
  const std::string path = "store/" + ChunkPath(kChunk);
  ASSERT_TRUE(sim.machine.disk().Contents(path).ok());
  sim.machine.disk().FailNext(sim::DiskOp::kRename, "*.chunk", 100'000, Code::kNoSpace);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, kTwo)).ok());
  sim.world.RunFor(sim.store->context().options.tombstone_grace + std::chrono::seconds(5));
  for (int start = 0; start < 3; ++start) {
    sim.PowerCut();
    if (start == 1) sim.machine.disk().ForgetFailures();
    ASSERT_TRUE(sim.Start().ok());
    EXPECT_EQ(sim.store->Stat(kChunk).code(), Code::kUnknownChunk) << start;
  }
  const sim::DiskImage& disk = sim.machine.disk();
  EXPECT_TRUE(
      sim.world.RunUntil([&] { return disk.Contents(path).code() == Code::kNotFound; }, 10s));
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 100, true).code(), Code::kFenced);
}

TEST_F(StoreTest, NobodyWaitsForEverForAFileThatCannotBeMoved) {
  constexpr uint64_t kLength = 8'000;
  auto incoming = sim.CopyOf(kChunk, kTwo, kLength);
  FillAndSeal(kChunk, 5'000);
  sim.machine.disk().FailNext(sim::DiskOp::kRename, "*.chunk", 100'000, Code::kNoSpace);
  ASSERT_TRUE(sim.Await(sim.store->Delete(kChunk, kOne)).ok());
  const auto begin = [&](Instant deadline) {
    return sim.store->BeginCopy(kChunk, kTwo, kLength, SomeOrigin(kChunk), deadline);
  };
  EXPECT_EQ(sim.Await(begin(sim.loop->After(1s))).code(), Code::kOverloaded);
  EXPECT_EQ(sim.Await(sim.store->Install(std::move(incoming), sim.loop->After(1s))).code(),
            Code::kOverloaded);
  std::vector<Code> codes;
  const auto wait = [](auto task, std::vector<Code>* codes) -> Task<void> {
    codes->push_back((co_await std::move(task)).code());
  };
  sim.loop->Spawn(wait(begin(kNever), &codes));
  sim.loop->Spawn(wait(sim.store->Fence(kChunk, kTwo), &codes));
  sim.world.RunFor(std::chrono::seconds(5));
  EXPECT_TRUE(codes.empty());
  EXPECT_TRUE(sim.Stop().ok()) << "Close hangs";
  EXPECT_THAT(codes, ::testing::ElementsAre(Code::kCanceled, Code::kCanceled));
}

TEST_F(StoreTest, ACopyThatCannotBeInstalledLeavesTheOldReplicaAlive) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 300'000, true).ok());
  constexpr uint64_t kLength = 8'000;
  auto incoming = sim.CopyOf(kChunk, kOne, kLength);
  sim.machine.disk().FailNext(sim::DiskOp::kRename, "*incoming*", 1, Code::kNoSpace);
  EXPECT_EQ(sim.Await(sim.store->Install(std::move(incoming))).code(), Code::kNoSpace);
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
  ASSERT_TRUE(sim.Append(kChunk, kOne, 300'000, 300'000, true).ok());
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(kChunk)->synced, 600'000u);
}

// The disk that could not be trusted any more said that it had the copy.
TEST_F(StoreTest, ACopyIsNotInstalledOnADiskInQuarantine) {
  constexpr uint64_t kLength = 8'000;
  const auto begin = [&](ChunkId chunk) {
    auto incoming = sim.Await(sim.store->BeginCopy(chunk, kOne, kLength, SomeOrigin(chunk)));
    EXPECT_TRUE(incoming.ok());
    return std::move(*incoming);
  };
  const auto fill = [&](IncomingReplica& incoming, ChunkId chunk) {
    Buffer bytes = BytesOf(chunk, 0, kLength);
    auto checksums = ChecksumsOf(0, bytes.bytes());
    return sim.Await(incoming.Write(0, std::move(bytes).Share(), checksums)).code();
  };
  auto whole = begin(kChunk);
  auto empty = begin(ChunkId(2));
  ASSERT_EQ(fill(*whole, kChunk), Code::kOk);
  sim.store->context().Quarantine(Status(Code::kIo, "an error of another file"));
  EXPECT_EQ(fill(*empty, ChunkId(2)), Code::kQuarantined);
  EXPECT_EQ(sim.Await(sim.store->Install(std::move(whole))).code(), Code::kQuarantined);
  EXPECT_EQ(sim.store->Stat(kChunk).code(), Code::kUnknownChunk);
}

TEST_F(StoreTest, EveryFlippedBitOfASealedReplicaIsFound) {
  constexpr uint64_t kLength = 30'000;
  FillAndSeal(kChunk, kLength);
  const std::string path = "store/" + ChunkPath(kChunk);
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(::testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
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

// Its checksums matched its bytes, so readers were given those of the other chunk.
TEST_F(StoreTest, AnotherChunksFileIsNotRead) {
  constexpr uint64_t kLength = 3'000'000;  // two groups
  FillAndSeal(kChunk, kLength);
  FillAndSeal(ChunkId(2), kLength);
  const auto foreign = sim.machine.disk().Contents("store/" + ChunkPath(ChunkId(2)));
  ASSERT_TRUE(foreign.ok());
  const std::string path = "store/" + ChunkPath(kChunk);
  const ConstBytes bytes = std::as_bytes(std::span(*foreign));
  ASSERT_TRUE(sim.machine.disk().Overwrite(path, 0, bytes).ok());
  for (const uint64_t offset : {uint64_t{0}, kLength - 1}) {
    EXPECT_EQ(sim.Await(sim.store->Read(kChunk, offset, 1, 0)).code(), Code::kCorruption) << offset;
  }
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_TRUE(sim.Await(sim.store->Read(ChunkId(2), 0, 1, 0)).ok());
}

// A bad sector under the header must not cost a chunk whose bytes and checksums are good.
TEST_F(StoreTest, AHeaderThatCannotBeReadCostsNoBytes) {
  constexpr uint64_t kLength = 3'000'000;  // two groups
  FillAndSeal(kChunk, kLength);
  for (const uint64_t offset : {uint64_t{0}, kLength - 1}) {
    sim.machine.disk().FailNext(sim::DiskOp::kRead, "*" + ChunkPath(kChunk));
    const auto read = sim.Await(sim.store->Read(kChunk, offset, 1, 0));
    EXPECT_TRUE(read.ok()) << offset << ": " << read.status().ToString();
  }
  EXPECT_FALSE(sim.store->Stat(kChunk)->damaged);
}

// It took the open that found no file for an error that passes.
TEST_F(StoreTest, TheScrubberFindsAMissingFile) {
  FillAndSeal(kChunk, 30'000);
  FillAndSeal(ChunkId(2), 10);
  EXPECT_EQ(sim.store->TakeChanges(10).changed.size(), 2u);
  ASSERT_TRUE(sim.Await(sim.loop->disk().Remove("store/" + ChunkPath(kChunk))).ok());
  ASSERT_TRUE(sim.world.Await(*sim.loop, sim.store->ScrubOnce()));
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_FALSE(sim.store->Stat(ChunkId(2))->damaged);
  EXPECT_EQ(sim.store->TakeChanges(10).changed.size(), 1u);
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

TEST_F(StoreTest, AnUnreadableSectorIsNotTheEndOfTheStore) {
  FillAndSeal(kChunk, 30'000);
  ASSERT_TRUE(sim.Append(ChunkId(2), kOne, 0, 300'000, true).ok());
  ASSERT_TRUE(sim.Append(ChunkId(3), kOne, 0, 300'000, true).ok());
  sim.Kill();
  sim.machine.disk().FailNext(sim::DiskOp::kRead, "*" + ChunkPath(kChunk));
  sim.machine.disk().FailNext(sim::DiskOp::kRead, "*" + ChunkPath(ChunkId(2)));
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_TRUE(sim.store->Stat(ChunkId(2))->damaged);
  EXPECT_FALSE(sim.store->Stat(ChunkId(3))->damaged);
  ExpectAllReadable(ChunkId(3), 300'000);
}

TEST_F(StoreTest, ReadErrorsAtStartNeverMakeAShortReplicaLookGood) {
  int started = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(seed);
    StoreWorld world(seed);
    ASSERT_TRUE(world.Start().ok());
    ASSERT_TRUE(world.Append(kChunk, kOne, 0, 300'000, true).ok());
    ASSERT_TRUE(world.Append(kChunk, kOne, 300'000, 9'000, true).ok());
    world.Kill();
    world.machine.disk().options().read_error_chance = 0.2;
    const Status status = world.Start();
    world.machine.disk().options().read_error_chance = 0;
    if (!status.ok()) {  // the superblock or the journal's own header
      EXPECT_EQ(status.code(), Code::kIo) << status.ToString();
      world.Kill();
      continue;
    }
    ++started;
    const auto info = world.store->Stat(kChunk);
    EXPECT_TRUE(world.store->GetStatus().quarantined ||
                (info.ok() && (info->damaged || info->synced == 309'000u)));
  }
  EXPECT_GT(started, 10);
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

TEST_F(StoreTest, OutOfSpaceInAFlushIsTheDisksEnd) {
  sim.machine.disk().FailNext(sim::DiskOp::kSync, "*.chunk", 1, Code::kNoSpace);
  EXPECT_FALSE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok());
  EXPECT_TRUE(sim.store->GetStatus().quarantined);
  EXPECT_FALSE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok())
      << "a second flush covers nothing";
}

TEST_F(StoreTest, OutOfDescriptorsIsNeitherDamageNorTheDisksEnd) {
  sim.machine.disk().FailNext(sim::DiskOp::kOpen, "*.chunk", 1, Code::kOverloaded);
  EXPECT_EQ(sim.Append(kChunk, kOne, 0, 1'000'000, true).code(), Code::kOverloaded);
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok()) << "a resend";
  FillAndSeal(ChunkId(2), 9'000);
  sim.machine.disk().FailNext(sim::DiskOp::kOpen, "*.chunk", 1, Code::kOverloaded);
  ASSERT_TRUE(sim.world.Await(*sim.loop, sim.store->ScrubOnce()));
  EXPECT_EQ(sim.machine.disk().failures_left(), 0u);
  EXPECT_FALSE(sim.store->Stat(kChunk)->damaged);
  EXPECT_FALSE(sim.store->Stat(ChunkId(2))->damaged);
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
}

TEST(StoreQuarantine, DamagesNoReplicaThatHasLostNothing) {
  StoreOptions options = SmallOptions();
  options.flush_piece_bytes = limits::kBlockBytes;
  StoreWorld sim(1, {}, options);
  ASSERT_TRUE(sim.Start().ok());
  constexpr uint64_t kSize = 40'000;
  for (uint64_t at = 0; at < 5 * kSize; at += kSize) {  // in the journal, not in the file
    ASSERT_TRUE(sim.Append(kChunk, kOne, at, kSize, true).ok());
  }
  ASSERT_TRUE(sim.Await(sim.store->Seal(kChunk, kOne, 5 * kSize)).ok());
  const Counter& flushed = sim.store->context().metrics.flush_bytes;
  ASSERT_TRUE(sim.world.RunUntil([&] { return flushed.Value() > 0; }, 10s));
  ASSERT_LT(flushed.Value(), 4 * kSize) << "the file is being completed";
  sim.store->context().Quarantine(Status(Code::kIo, "an error of another file"));
  sim.world.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(sim.store->GetStatus().open_replicas, 1u);
  EXPECT_FALSE(sim.store->Stat(kChunk)->damaged);
}

TEST_F(StoreTest, WhatAFailedFlushLeftInThePageCacheIsWrittenAgain) {
  // Reads find it after a restart, but no flush would write it any more.
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(seed);
    StoreWorld world(seed);
    ASSERT_TRUE(world.Start().ok());
    ASSERT_TRUE(world.Append(kChunk, kOne, 0, 50'000, true).ok());
    world.machine.disk().FailNext(sim::DiskOp::kSync, "*.chunk");
    EXPECT_FALSE(world.Append(kChunk, kOne, 50'000, 200'000, true).ok());
    world.Kill();
    ASSERT_TRUE(world.Start().ok());
    ASSERT_FALSE(world.store->Stat(kChunk)->damaged);
    const uint64_t vouched = world.store->Stat(kChunk)->synced;
    EXPECT_GE(vouched, 50'000u);
    world.PowerCut();
    ASSERT_TRUE(world.Start().ok());
    const auto info = world.store->Stat(kChunk);
    ASSERT_FALSE(info->damaged);
    EXPECT_EQ(info->held, vouched);
  }
}

// Recovery wrote its blocks once more, and could not make a checkpoint. It said that they are on
// the disk all the same.
TEST_F(StoreTest, WhatNoCheckpointOfTheStartCoversIsFlushedBeforeItIsPromised) {
  constexpr uint64_t kLength = 4_MiB;  // groups that are full: their checksums are in the file too
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(seed);
    StoreWorld world(seed);
    ASSERT_TRUE(world.Start().ok());
    ASSERT_TRUE(world.Append(kChunk, kOne, 0, 5'000, true).ok());
    for (uint64_t at = 5'000; at < kLength; at += std::min(1_MiB, kLength - at)) {
      ASSERT_TRUE(world.Append(kChunk, kOne, at, std::min(1_MiB, kLength - at), false).ok());
    }
    const Counter& flushed = world.store->context().metrics.flush_bytes;
    ASSERT_TRUE(world.world.RunUntil([&] { return flushed.Value() == kLength; }, 10s));
    world.world.RunFor(std::chrono::milliseconds(100));
    world.Kill();
    // The flush of the checkpoint gives out before anything is flushed.
    ASSERT_TRUE(ArmFaults("chunk.write_checksums=nospace").ok());
    ASSERT_TRUE(world.Start().ok());
    ResetFaults();
    const auto found = world.store->Stat(kChunk);
    ASSERT_TRUE(found.ok() && !found->damaged);
    ASSERT_EQ(found->held, kLength);
    uint64_t promised = found->synced;
    EXPECT_GE(promised, 5'000u);
    EXPECT_FALSE(world.store->GetStatus().quarantined);
    if (seed % 2 == 0) {
      const auto hold = world.Await(world.store->Hold(kChunk, kOne, kLength));
      ASSERT_TRUE(hold.ok()) << hold.status().ToString();
      promised = kLength;
    }
    world.PowerCut();
    ASSERT_TRUE(world.Start().ok());
    const auto info = world.store->Stat(kChunk);
    ASSERT_FALSE(info->damaged);
    EXPECT_GE(info->held, promised);
    EXPECT_EQ(info->held, info->synced);
  }
}

TEST_F(StoreTest, ADamagedOpenReplicaDoesNotHoldTheJournal) {
  ASSERT_TRUE(sim.Append(kChunk, kOne, 0, 1'000'000, true).ok());
  ASSERT_EQ(sim.Await(sim.store->Fence(kChunk, kTwo))->epoch, kTwo);
  ASSERT_TRUE(sim.machine.disk().FlipBit("store/" + ChunkPath(kChunk), 8 * 50'000).ok());
  EXPECT_EQ(sim.Await(sim.store->Read(kChunk, 0, 1_MiB, 1_MiB)).code(), Code::kCorruption);
  ASSERT_TRUE(sim.store->Stat(kChunk)->damaged);
  constexpr uint64_t kSize = 60'000;
  for (uint64_t at = 0; at < 200 * kSize; at += kSize) {  // the journal, three times over
    ASSERT_TRUE(sim.Append(ChunkId(2), kOne, at, kSize, true).ok());
  }
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
  EXPECT_TRUE(sim.store->Stat(kChunk)->damaged);
  EXPECT_EQ(sim.store->Stat(kChunk)->epoch, kTwo);
  EXPECT_TRUE(sim.Await(sim.store->Delete(kChunk, kTwo)).ok());
}

TEST_F(StoreTest, DeletionsGoOnWhenTheJournalIsFull) {
  sim.machine.disk().SetCapacity(sim.machine.disk().used_bytes());  // no file can grow
  uint64_t chunk = 1;
  while (sim.Append(ChunkId(chunk), kOne, 0, 60'000, true).ok()) ASSERT_LT(++chunk, 100u);
  EXPECT_EQ(sim.Append(ChunkId(1), kOne, 60'000, 60'000, true).code(), Code::kNoSpace);
  for (uint64_t i = 1; i < chunk; ++i) {
    ASSERT_TRUE(sim.Await(sim.store->Delete(ChunkId(i), kOne)).ok()) << i;
  }
  EXPECT_TRUE(sim.Append(ChunkId(200), kOne, 0, 60'000, true).ok());
}

// Only they make room on such a disk, and they waited for it in the journal.
TEST_F(StoreTest, DeletionsOfSealedReplicasGoOnWhenDiskAndJournalAreFull) {
  constexpr uint64_t kSealed = 1000;
  constexpr uint64_t kCount = 20;
  for (uint64_t i = 0; i < kCount; ++i) FillAndSeal(ChunkId(kSealed + i), 100'000);
  sim.machine.disk().SetCapacity(sim.machine.disk().used_bytes());  // no file can grow
  uint64_t chunk = 1;
  while (sim.Append(ChunkId(chunk), kOne, 0, 60'000, true).ok()) ASSERT_LT(++chunk, 100u);
  while (sim.Append(ChunkId(chunk), kOne, 0, 100, true).ok()) ASSERT_LT(++chunk, 200u);
  EXPECT_EQ(sim.Append(ChunkId(1), kOne, 60'000, 60'000, true).code(), Code::kNoSpace);
  for (uint64_t i = 0; i < kCount; ++i) {
    const Status deleted = sim.Await(sim.store->Delete(ChunkId(kSealed + i), kOne));
    ASSERT_TRUE(deleted.ok()) << i << ": " << deleted.ToString();
  }
  EXPECT_FALSE(sim.store->GetStatus().quarantined);
  // The trash is emptied, what is open can leave the journal, and appends go on.
  sim.world.RunFor(std::chrono::seconds(20));
  const auto appended = sim.Append(ChunkId(1), kOne, 60'000, 60'000, true);
  EXPECT_TRUE(appended.ok()) << appended.status().ToString();
  sim.PowerCut();
  ASSERT_TRUE(sim.Start().ok());
  EXPECT_EQ(sim.store->Stat(ChunkId(1))->synced, 120'000u);
  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(sim.store->Stat(ChunkId(kSealed + i)).code(), Code::kUnknownChunk);
  }
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
