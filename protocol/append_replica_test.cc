#include "protocol/append_replica.h"

#include <gtest/gtest.h>

#include "base/limits.h"

namespace moraine::protocol {
namespace {

constexpr ChunkId kChunk{7};
constexpr Epoch kFirst{1};
constexpr Epoch kSecond{2};

AppendHeader Header(uint64_t offset, uint64_t bytes, Epoch epoch = kFirst) {
  return {.epoch = epoch, .offset = offset, .bytes = bytes};
}

// A replica that holds `length` bytes, of which `synced` are on disk.
AppendReplica Holding(uint64_t length, uint64_t synced = 0) {
  AppendReplica replica(kChunk, kFirst);
  EXPECT_EQ(replica.Append(Header(0, length)).value(),
            length == 0 ? AppendVerdict::kHeld : AppendVerdict::kWrite);
  EXPECT_TRUE(replica.OnWritten(kFirst, length));
  replica.OnSynced(synced);
  return replica;
}

TEST(AppendReplicaTest, DecidesByOffsetAndLength) {
  struct Row {
    uint64_t offset, bytes;
    Code code;
    AppendVerdict verdict;
  };
  // Held are [0, 10), in flight [10, 15).
  const Row rows[] = {
      {15, 5, Code::kOk, AppendVerdict::kWrite},
      {15, 0, Code::kOk, AppendVerdict::kInFlight},
      {10, 5, Code::kOk, AppendVerdict::kInFlight},
      {8, 4, Code::kOk, AppendVerdict::kInFlight},
      {0, 10, Code::kOk, AppendVerdict::kHeld},
      {10, 0, Code::kOk, AppendVerdict::kHeld},
      {3, 2, Code::kOk, AppendVerdict::kHeld},
      {16, 1, Code::kWrongOffset, {}},
      {16, 0, Code::kWrongOffset, {}},
      {14, 2, Code::kWrongOffset, {}},
      {0, 16, Code::kWrongOffset, {}},
      {limits::kChunkBytesMax, 1, Code::kTooLarge, {}},
      {~uint64_t{0}, 2, Code::kTooLarge, {}},
      {0, ~uint64_t{0}, Code::kTooLarge, {}},
  };
  for (const Row& row : rows) {
    AppendReplica replica = Holding(10);
    ASSERT_TRUE(replica.Append(Header(10, 5)).ok());
    Result<AppendVerdict> verdict = replica.Append(Header(row.offset, row.bytes));
    ASSERT_EQ(verdict.code(), row.code) << row.offset << "+" << row.bytes;
    if (verdict.ok()) EXPECT_EQ(*verdict, row.verdict) << row.offset << "+" << row.bytes;
  }
}

TEST(AppendReplicaTest, RefusesOtherEpochs) {
  AppendReplica replica = Holding(4);
  EXPECT_EQ(replica.Append(Header(4, 1, kSecond)).code(), Code::kProtocol);
  ASSERT_TRUE(replica.Fence(kSecond).ok());
  EXPECT_EQ(replica.Append(Header(4, 1, kFirst)).code(), Code::kFenced);
  EXPECT_EQ(replica.Append(Header(0, 4, kFirst)).code(), Code::kFenced);
  EXPECT_EQ(replica.accepted(), 4u);
}

TEST(AppendReplicaTest, FenceCutsWritesInFlight) {
  AppendReplica replica = Holding(4, 2);
  ASSERT_EQ(replica.Append(Header(4, 3)).value(), AppendVerdict::kWrite);
  Result<FenceAnswer> answer = replica.Fence(kSecond);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->length, 4u);
  EXPECT_EQ(answer->synced, 2u);
  EXPECT_FALSE(answer->restarted);
  EXPECT_FALSE(replica.OnWritten(kFirst, 7));
  EXPECT_EQ(replica.held(), 4u);
  // Recovery copies the same range; its write counts, the late one still does not.
  ASSERT_EQ(replica.Copy(kSecond, 4, 3).value(), AppendVerdict::kWrite);
  EXPECT_FALSE(replica.OnWritten(kFirst, 7));
  EXPECT_TRUE(replica.OnWritten(kSecond, 7));
  EXPECT_EQ(replica.held(), 7u);
}

TEST(AppendReplicaTest, FenceRepeatsAndRefusesOlder) {
  AppendReplica replica = Holding(4);
  EXPECT_TRUE(replica.Fence(Epoch(3)).ok());
  EXPECT_TRUE(replica.Fence(Epoch(3)).ok());
  EXPECT_EQ(replica.Fence(kSecond).code(), Code::kFenced);
  EXPECT_EQ(replica.epoch(), Epoch(3));
  EXPECT_EQ(replica.Hold(kSecond, 4).code(), Code::kFenced);
  EXPECT_EQ(replica.Hold(Epoch(4), 4).code(), Code::kProtocol);
}

TEST(AppendReplicaTest, RestartedTakesNoNewBytesButCopies) {
  AppendReplica replica = AppendReplica::Reopened(kChunk, kFirst, 6, std::nullopt);
  EXPECT_TRUE(replica.restarted());
  EXPECT_EQ(replica.synced(), 6u);
  EXPECT_EQ(replica.readable(), 0u);
  EXPECT_EQ(replica.Append(Header(6, 1)).code(), Code::kSealed);
  EXPECT_EQ(replica.Append(Header(2, 4)).value(), AppendVerdict::kHeld);
  Result<FenceAnswer> answer = replica.Fence(kSecond);
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(answer->restarted);
  EXPECT_EQ(replica.Hold(kSecond, 8).code(), Code::kWrongOffset);
  EXPECT_EQ(replica.Copy(kSecond, 6, 2).value(), AppendVerdict::kWrite);
  EXPECT_TRUE(replica.OnWritten(kSecond, 8));
  EXPECT_TRUE(replica.Hold(kSecond, 8).ok());
}

TEST(AppendReplicaTest, SealCutsAndIsFinal) {
  AppendReplica replica = Holding(10, 10);
  EXPECT_EQ(replica.Seal(kSecond, 11).code(), Code::kWrongOffset);
  ASSERT_TRUE(replica.Seal(kSecond, 8).ok());
  EXPECT_TRUE(replica.sealed());
  EXPECT_EQ(replica.readable(), 8u);
  EXPECT_EQ(replica.synced(), 8u);
  EXPECT_TRUE(replica.Seal(kSecond, 8).ok());
  EXPECT_EQ(replica.Seal(kSecond, 7).code(), Code::kSealed);
  EXPECT_EQ(replica.Seal(kFirst, 8).code(), Code::kFenced);
  EXPECT_EQ(replica.Append(Header(8, 1, kSecond)).code(), Code::kSealed);
  EXPECT_EQ(replica.Copy(kSecond, 8, 1).code(), Code::kSealed);
  EXPECT_EQ(replica.Fence(Epoch(3)).code(), Code::kSealed);
  EXPECT_EQ(replica.Hold(kSecond, 7).code(), Code::kSealed);
}

TEST(AppendReplicaTest, SealedBytesAreAcknowledgedAgainForSyncs) {
  AppendReplica replica = Holding(10);
  ASSERT_TRUE(replica.Seal(kFirst, 8).ok());
  EXPECT_EQ(replica.Append(Header(5, 3)).value(), AppendVerdict::kHeld);
  EXPECT_EQ(replica.Append(Header(5, 4)).code(), Code::kSealed);
}

TEST(AppendReplicaTest, SealDropsWritesInFlight) {
  AppendReplica replica = Holding(4);
  ASSERT_TRUE(replica.Append(Header(4, 3)).ok());
  ASSERT_TRUE(replica.Seal(kFirst, 4).ok());
  EXPECT_FALSE(replica.OnWritten(kFirst, 7));
  EXPECT_EQ(replica.held(), 4u);
}

TEST(AppendReplicaTest, ReopenedSealed) {
  AppendReplica replica = AppendReplica::Reopened(kChunk, kSecond, 12, 9);
  EXPECT_TRUE(replica.sealed());
  EXPECT_FALSE(replica.restarted());
  EXPECT_EQ(replica.held(), 9u);
  EXPECT_EQ(replica.readable(), 9u);
}

TEST(AppendReplicaTest, ReadersSeeCommittedAndHeldOnly) {
  AppendReplica replica = Holding(10);
  EXPECT_EQ(replica.readable(), 0u);
  AppendHeader note = Header(10, 0);
  note.committed = 6;
  ASSERT_TRUE(replica.Append(note).ok());
  EXPECT_EQ(replica.readable(), 6u);
  note.committed = 3;  // late
  ASSERT_TRUE(replica.Append(note).ok());
  EXPECT_EQ(replica.readable(), 6u);
  note.committed = 20;  // others hold more
  ASSERT_TRUE(replica.Append(note).ok());
  EXPECT_EQ(replica.readable(), 10u);
}

TEST(AppendReplicaTest, FailedWriteStopsAppends) {
  AppendReplica replica = Holding(4);
  ASSERT_TRUE(replica.Append(Header(4, 4)).ok());
  replica.OnWriteFailed();
  EXPECT_FALSE(replica.OnWritten(kFirst, 8));
  EXPECT_EQ(replica.Append(Header(4, 4)).code(), Code::kIo);
  EXPECT_EQ(replica.Append(Header(0, 4)).value(), AppendVerdict::kHeld);
  EXPECT_EQ(replica.Fence(kSecond)->length, 4u);
}

}  // namespace
}  // namespace moraine::protocol
