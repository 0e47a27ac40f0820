#include "protocol/append_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/random.h"

namespace moraine::protocol {
namespace {

constexpr ChunkId kChunk{7};
constexpr Epoch kEpoch{1};

AppendWriter Writer(const Policy& policy, int made, uint64_t capacity = limits::kChunkBytesMax) {
  return AppendWriter(kChunk, kEpoch, policy.ForMade(made).value(), capacity);
}

std::vector<uint64_t> DoneSequences(AppendWriter& writer) {
  std::vector<uint64_t> done;
  while (auto ticket = writer.PopDone()) done.push_back(ticket->sequence);
  return done;
}

TEST(AppendWriterTest, CommitsAtTheWthAnswer) {
  AppendWriter writer = Writer(kLogPolicy, 5);
  ASSERT_EQ(writer.Submit(10, false)->header.offset, 0u);
  ASSERT_EQ(writer.Submit(5, false)->header.offset, 10u);
  writer.OnAck(0, 15, 0);
  writer.OnAck(1, 15, 0);
  EXPECT_EQ(writer.committed(), 0u);
  writer.OnAck(4, 10, 0);
  EXPECT_EQ(writer.committed(), 10u);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1}));
  writer.OnAck(4, 15, 0);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{2}));
  EXPECT_EQ(writer.Submit(1, false)->header.committed, 15u);
  EXPECT_EQ(writer.holders(), (ReplicaSet{0, 1, 4}));
  EXPECT_EQ(writer.releasable(), 0u);
}

TEST(AppendWriterTest, SyncWaitsForDisksAndHoldsUpNobody) {
  AppendWriter writer = Writer(kImmutablePolicy, 3);
  ASSERT_TRUE(writer.Submit(10, true).ok());
  ASSERT_TRUE(writer.Submit(5, false).ok());
  for (int i = 0; i < 3; ++i) writer.OnAck(i, 15, i == 2 ? 9 : 10);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{2}));
  EXPECT_EQ(writer.synced(), 9u);
  writer.OnAck(2, 15, 15);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1}));
  EXPECT_FALSE(writer.has_waiting());
  EXPECT_EQ(writer.releasable(), 15u);
}

TEST(AppendWriterTest, PlainSyncAndRefusals) {
  AppendWriter writer = Writer(kSinglePolicy, 1, 10);
  EXPECT_EQ(writer.Submit(0, false).code(), Code::kInvalidArgument);
  EXPECT_EQ(writer.Submit(limits::kAppendBytesMax + 1, false).code(), Code::kTooLarge);
  ASSERT_TRUE(writer.Submit(0, true).ok());
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1}));  // nothing to flush
  ASSERT_TRUE(writer.Submit(8, false).ok());
  EXPECT_EQ(writer.roll(), Roll::kNone);
  EXPECT_EQ(writer.Submit(3, false).code(), Code::kSealed);
  EXPECT_EQ(writer.roll(), Roll::kNow);
}

TEST(AppendWriterTest, AnAppendOfNothingTellsWhatWasCommittedSinceTheLastOne) {
  AppendWriter writer = Writer(kImmutablePolicy, 3);
  ASSERT_TRUE(writer.Submit(10, false).ok());
  for (int i = 0; i < 2; ++i) writer.OnAck(i, 10, 0);
  EXPECT_EQ(writer.Submit(0, false).code(), Code::kInvalidArgument);
  writer.OnAck(2, 10, 0);
  EXPECT_EQ(writer.told(), 0u);
  const auto told = writer.Submit(0, false);
  ASSERT_TRUE(told.ok());
  EXPECT_EQ(told->header.offset, 10u);
  EXPECT_EQ(told->header.committed, 10u);
  EXPECT_EQ(writer.told(), 10u);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(writer.Submit(0, false).code(), Code::kInvalidArgument);
}

TEST(AppendWriterTest, RollsAtOnceOnlyWhereNothingCanCommit) {
  struct Row {
    Policy policy;
    int made;
    std::vector<Roll> after_failures;
  };
  const Row rows[] = {
      {kLogPolicy, 5, {Roll::kNone, Roll::kSoon, Roll::kSoon, Roll::kNow}},
      {kLogPolicy, 4, {Roll::kNone, Roll::kSoon, Roll::kNow}},
      {kLogPolicy, 3, {Roll::kNone, Roll::kNow}},
      {kImmutablePolicy, 3, {Roll::kNone, Roll::kNow}},
      {kImmutablePolicy, 2, {Roll::kNone, Roll::kNow}},
      {kSinglePolicy, 1, {Roll::kNone, Roll::kNow}},
  };
  for (const Row& row : rows) {
    AppendWriter writer = Writer(row.policy, row.made);
    for (size_t failures = 0; failures < row.after_failures.size(); ++failures) {
      if (failures > 0) writer.OnFailure(static_cast<int>(failures) - 1, Code::kTimeout);
      EXPECT_EQ(writer.roll(), row.after_failures[failures]) << row.made << " " << failures;
      EXPECT_EQ(writer.Submit(1, false).ok(), row.after_failures[failures] != Roll::kNow);
    }
  }
}

TEST(AppendWriterTest, CloseFreezesAndMovesTheRest) {
  AppendWriter writer = Writer(kImmutablePolicy, 3);
  ASSERT_TRUE(writer.Submit(10, true).ok());
  ASSERT_TRUE(writer.Submit(5, false).ok());
  ASSERT_TRUE(writer.Submit(5, true).ok());
  writer.OnAck(0, 20, 10);
  writer.OnAck(1, 20, 10);
  writer.OnAck(2, 12, 0);
  writer.OnFailure(2, Code::kUnavailable);
  CloseRequest request = writer.Close();
  EXPECT_EQ(request.length, 12u);
  EXPECT_EQ(request.epoch, kEpoch);
  EXPECT_EQ(request.holders, (ReplicaSet{0, 1, 2}));
  writer.OnAck(2, 20, 0);  // too late to commit here
  EXPECT_EQ(writer.committed(), 12u);
  EXPECT_EQ(writer.Submit(1, false).code(), Code::kSealed);

  std::vector<uint64_t> moved;
  while (auto ticket = writer.PopUnfinished()) moved.push_back(ticket->sequence);
  EXPECT_EQ(moved, (std::vector<uint64_t>{2, 3}));
  EXPECT_TRUE(DoneSequences(writer).empty());
  EXPECT_TRUE(writer.has_waiting());
  writer.OnSealed(12, 1);  // below the floor of 2
  EXPECT_TRUE(DoneSequences(writer).empty());
  writer.OnSealed(12, 2);
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1}));
  EXPECT_FALSE(writer.cut());
}

TEST(AppendWriterTest, SealedShorterThanCommittedIsALoss) {
  AppendWriter writer = Writer(kSinglePolicy, 1);
  ASSERT_TRUE(writer.Submit(10, true).ok());
  writer.OnAck(0, 10, 0);
  writer.Close();
  writer.OnSealed(4, 1);
  EXPECT_TRUE(writer.cut());
  EXPECT_TRUE(DoneSequences(writer).empty());
  EXPECT_TRUE(writer.has_waiting());
}

TEST(AppendWriterTest, FencedEndsTheWriterButNotWhatWasTrue) {
  AppendWriter writer = Writer(kImmutablePolicy, 3);
  ASSERT_TRUE(writer.Submit(10, false).ok());
  writer.OnFailure(1, Code::kFenced);
  EXPECT_TRUE(writer.fenced());
  EXPECT_EQ(writer.Submit(1, false).code(), Code::kFenced);
  EXPECT_EQ(writer.roll(), Roll::kNone);
  for (int i = 0; i < 3; ++i) writer.OnAck(i, 10, 0);  // sent before the fence
  EXPECT_EQ(DoneSequences(writer), (std::vector<uint64_t>{1}));

  AppendWriter closed = Writer(kImmutablePolicy, 3);
  closed.Close();
  closed.OnFailure(0, Code::kFenced);
  EXPECT_FALSE(closed.fenced());
}

TEST(AppendWriterTest, AnswersBeyondWhatWasSentCountForNothing) {
  AppendWriter writer = Writer(kSinglePolicy, 1);
  ASSERT_TRUE(writer.Submit(4, false).ok());
  writer.OnAck(0, 100, 100);
  EXPECT_EQ(writer.committed(), 4u);
  EXPECT_EQ(writer.synced(), 4u);
}

// Against the definition: sort and take the w-th.
TEST(AppendWriterTest, CommittedIsTheWthLargestForAnyAnswers) {
  uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int round = 0; round < 500; ++round) {
    int n = static_cast<int>(random.Between(1, limits::kReplicasMax));
    int w = static_cast<int>(random.Between(1, n));
    AppendWriter writer = Writer({.n = n, .w = w, .floor = 1}, n);
    std::vector<uint64_t> held(n), synced(n);
    ASSERT_TRUE(writer.Submit(1000, true).ok());
    for (int step = 0; step < 40; ++step) {
      size_t i = random.Uniform(n);
      uint64_t h = random.Uniform(1001);
      uint64_t s = random.Uniform(h + 1);
      writer.OnAck(static_cast<int>(i), h, s);
      held[i] = std::max(held[i], h);
      synced[i] = std::max(synced[i], s);
      auto wth = [w](std::vector<uint64_t> lengths) {
        std::sort(lengths.begin(), lengths.end(), std::greater<>());
        return lengths[w - 1];
      };
      ASSERT_EQ(writer.committed(), wth(held));
      ASSERT_EQ(writer.synced(), wth(synced));
    }
  }
}

}  // namespace
}  // namespace moraine::protocol
