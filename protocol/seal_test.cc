#include "protocol/seal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/random.h"

namespace moraine::protocol {
namespace {

using Kind = SealRequest::Kind;
using Phase = SealProcedure::Phase;

constexpr ChunkId kChunk{7};

ChunkRecord Fencing(const Policy& policy, int made, uint64_t length = limits::kChunkBytesMax) {
  return {.state = ChunkState::kFencing,
          .epoch = Epoch(2),
          .policy = policy.ForMade(made).value(),
          .length = length};
}

ChunkRecord Closed(const Policy& policy, int made, uint64_t length) {
  ChunkRecord record = Fencing(policy, made, length);
  record.state = ChunkState::kClosed;
  record.good = ReplicaSet::FirstN(record.policy.w);
  return record;
}

ReplicaSet Asked(const std::vector<SealRequest>& requests, Kind kind) {
  ReplicaSet set;
  for (const SealRequest& request : requests) {
    if (request.kind == kind) set.Add(request.replica);
  }
  return set;
}

struct Answer {
  uint64_t length;
  bool restarted;
};
constexpr std::optional<Answer> kSilent = std::nullopt;

TEST(SealTest, DecidesTheLength) {
  struct Row {
    const char* what;
    Policy policy;
    std::vector<std::optional<Answer>> answers;
    bool patience_over;
    std::optional<uint64_t> length;  // none: goes on waiting, or fails when patience is over
    bool last_resort;
  };
  const Answer a10{10, false}, a7{7, false}, a3{3, false}, r4{4, true}, r9{9, true};
  const Row rows[] = {
      {"immutable: all", kImmutablePolicy, {a10, a7, a3}, false, 3, false},
      {"immutable: two", kImmutablePolicy, {a10, a7, kSilent}, false, 7, false},
      {"immutable: last copy", kImmutablePolicy, {a10, kSilent, kSilent}, false, 10, false},
      {"immutable: restarted do not count", kImmutablePolicy, {a10, r4, r9}, false, 10, false},
      {"immutable: all restarted", kImmutablePolicy, {r9, r4, r9}, false, 4, true},
      {"immutable: restarted, others may come",
       kImmutablePolicy,
       {r9, r4, kSilent},
       false,
       {},
       false},
      {"immutable: restarted, others dead", kImmutablePolicy, {r9, r4, kSilent}, true, 4, true},
      {"immutable: nobody", kImmutablePolicy, {kSilent, kSilent, kSilent}, true, {}, false},
      {"log: all", kLogPolicy, {a10, a10, a7, a3, a3}, false, 7, false},
      {"log: four", kLogPolicy, {a10, kSilent, a7, a3, a3}, false, 7, false},
      {"log: three", kLogPolicy, {kSilent, kSilent, a7, a3, a3}, false, 7, false},
      {"log: two are too few", kLogPolicy, {a10, a10, kSilent, kSilent, kSilent}, true, {}, false},
      {"log: three without a restart", kLogPolicy, {r9, r9, a3, a3, a3}, false, 3, false},
      {"log: two without a restart", kLogPolicy, {r9, a3, a3, kSilent, kSilent}, false, {}, false},
      {"log: the same at last", kLogPolicy, {r9, a3, a3, kSilent, kSilent}, true, 9, true},
      {"log on three: any one", kLogPolicy, {kSilent, a7, kSilent}, false, 7, false},
      {"single", kSinglePolicy, {a7}, false, 7, false},
      {"single restarted", kSinglePolicy, {r4}, false, 4, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    SealProcedure seal(kChunk, Fencing(row.policy, static_cast<int>(row.answers.size())));
    for (size_t i = 0; i < row.answers.size(); ++i) {
      if (!row.answers[i]) continue;
      seal.OnFenceAnswer(static_cast<int>(i), {.length = row.answers[i]->length,
                                               .restarted = row.answers[i]->restarted});
    }
    seal.OnFenceDeadline();
    if (row.patience_over) seal.OnPatienceOver();
    if (row.length) {
      ASSERT_EQ(seal.phase(), Phase::kHolding);
      EXPECT_EQ(seal.length(), *row.length);
    } else {
      EXPECT_EQ(seal.phase(), row.patience_over ? Phase::kFailed : Phase::kFencing);
    }
    EXPECT_EQ(seal.last_resort(), row.last_resort);
  }
}

TEST(SealTest, NeverPastTheClosedLength) {
  SealProcedure seal(kChunk, Fencing(kImmutablePolicy, 3, /*length=*/5));
  for (int i = 0; i < 3; ++i) seal.OnFenceAnswer(i, {.length = 10});
  EXPECT_EQ(seal.length(), 5u);
}

TEST(SealTest, HoldsCopiesRecordsSeals) {
  SealProcedure seal(kChunk, Fencing(kLogPolicy, 5));
  EXPECT_EQ(Asked(seal.TakeRequests(), Kind::kFence), ReplicaSet::FirstN(5));
  seal.OnFenceAnswer(0, {.length = 10});
  seal.OnFenceAnswer(3, {.length = 4});
  seal.OnFenceAnswer(4, {.length = 2});
  EXPECT_EQ(seal.phase(), Phase::kFencing);
  seal.OnFenceDeadline();
  EXPECT_EQ(seal.length(), 10u);
  EXPECT_EQ(Asked(seal.TakeRequests(), Kind::kHold), ReplicaSet{0});
  seal.OnHeld(0);
  std::vector<SealRequest> copies = seal.TakeRequests();
  EXPECT_EQ(Asked(copies, Kind::kCopy), (ReplicaSet{3, 4}));
  EXPECT_EQ(copies[0].source, 0);
  EXPECT_EQ(copies[0].from, 4u);
  EXPECT_EQ(copies[0].length, 10u);
  EXPECT_EQ(seal.Outstanding().size(), 2u);
  seal.OnCopied(3);
  seal.OnCopied(4);
  EXPECT_EQ(Asked(seal.TakeRequests(), Kind::kHold), (ReplicaSet{3, 4}));
  seal.OnHeld(3);
  EXPECT_EQ(seal.phase(), Phase::kHolding);
  seal.OnHeld(4);
  EXPECT_EQ(seal.phase(), Phase::kRecording);
  EXPECT_EQ(seal.good(), (ReplicaSet{0, 3, 4}));
  EXPECT_EQ(seal.TakeRequests().at(0).kind, Kind::kRecord);
  seal.OnRecorded();
  EXPECT_EQ(seal.phase(), Phase::kSealed);
  EXPECT_EQ(Asked(seal.TakeRequests(), Kind::kSeal), ReplicaSet::FirstN(5));
}

// The deadline stays over: the answer that makes f is not kept waiting for a silent one.
TEST(SealTest, EnoughAnswersAfterTheDeadlineDecideAtOnce) {
  SealProcedure seal(kChunk, Fencing(kLogPolicy, 5));
  seal.OnFenceAnswer(0, {.length = 10});
  seal.OnFenceAnswer(1, {.length = 10});
  seal.OnFenceAnswer(2, {.length = 12, .restarted = true});  // does not count
  seal.OnFenceDeadline();
  EXPECT_EQ(seal.phase(), Phase::kFencing);
  seal.OnFenceAnswer(3, {.length = 7});
  EXPECT_EQ(seal.phase(), Phase::kHolding);
  EXPECT_EQ(seal.length(), 10u);
  EXPECT_FALSE(seal.last_resort());
}

TEST(SealTest, ARestartAfterTheAnswerIsFoundByTheHold) {
  SealProcedure seal(kChunk, Fencing(kImmutablePolicy, 3));
  seal.OnFenceAnswer(0, {.length = 10});
  seal.OnFenceAnswer(1, {.length = 10});
  seal.OnFenceDeadline();
  seal.OnShort(0, 6);
  EXPECT_EQ(seal.phase(), Phase::kHolding);
  seal.OnShort(1, 3);
  EXPECT_EQ(seal.phase(), Phase::kFailed);  // nobody has the ten any more: start again
}

TEST(SealTest, ASecondAnswerWithARestartReplacesTheFirst) {
  SealProcedure seal(kChunk, Fencing(kImmutablePolicy, 3));
  seal.OnFenceAnswer(0, {.length = 10});
  seal.OnFenceAnswer(0, {.length = 4, .restarted = true});
  seal.OnFenceAnswer(0, {.length = 10});  // the first one, doubled and late
  seal.OnFenceDeadline();
  EXPECT_EQ(seal.phase(), Phase::kFencing);
  seal.OnPatienceOver();
  EXPECT_EQ(seal.length(), 4u);
  EXPECT_TRUE(seal.last_resort());
}

TEST(SealTest, SettlesAClosedChunkWithoutFencing) {
  SealProcedure seal(kChunk, Closed(kImmutablePolicy, 3, 8));
  std::vector<SealRequest> requests = seal.TakeRequests();
  EXPECT_EQ(Asked(requests, Kind::kHold), ReplicaSet::FirstN(3));
  EXPECT_EQ(Asked(requests, Kind::kFence), ReplicaSet());
  seal.OnHeld(0);
  seal.OnShort(1, 5);
  std::vector<SealRequest> copies = seal.TakeRequests();
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0].from, 5u);
  EXPECT_EQ(seal.phase(), Phase::kHolding);
  seal.OnPatienceOver();  // 1 and 2 are silent: one durable copy is the truth, repair does the rest
  EXPECT_EQ(seal.phase(), Phase::kRecording);
  EXPECT_EQ(seal.good(), ReplicaSet{0});
}

TEST(SealTest, TooFewLeftWhileHoldingFails) {
  SealProcedure seal(kChunk, Closed(kLogPolicy, 5, 8));
  seal.OnHeld(0);
  seal.OnHeld(1);
  for (int i = 2; i < 5; ++i) seal.OnFailed(i);
  EXPECT_EQ(seal.phase(), Phase::kFailed);
}

TEST(SealTest, ChunkNobodyEverHeardOfIsSealedEmpty) {
  SealProcedure seal(kChunk, Fencing(kLogPolicy, 5));
  seal.TakeRequests();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(seal.phase(), Phase::kFencing);
    seal.OnUnknown(i);
  }
  EXPECT_EQ(seal.phase(), Phase::kRecording);
  EXPECT_EQ(seal.length(), 0u);
  EXPECT_TRUE(seal.good().Empty());
  EXPECT_EQ(seal.TakeRequests().at(0).kind, Kind::kRecord);
}

TEST(SealTest, AnEmptyReplicaElsewhereIsNotUnknown) {
  SealProcedure seal(kChunk, Fencing(kImmutablePolicy, 3));
  seal.OnUnknown(0);
  seal.OnUnknown(1);
  seal.OnFenceAnswer(2, {.length = 9});
  EXPECT_EQ(seal.phase(), Phase::kHolding);
  EXPECT_EQ(seal.length(), 9u);
}

// For any policy, any set of replicas that hold an acknowledged length and any f answers.
TEST(SealTest, NoAnswersCutAcknowledgedBytes) {
  uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int round = 0; round < 3000; ++round) {
    int n = static_cast<int>(random.Between(1, limits::kReplicasMax));
    Policy policy{.n = n, .w = static_cast<int>(random.Between(1, n)), .floor = 1};
    int made = static_cast<int>(random.Between(1, n));
    ChunkRecord record = Fencing(policy, made);
    std::vector<int> order;
    for (int i = 0; i < made; ++i) order.push_back(i);
    random.Shuffle(order);
    uint64_t acknowledged = random.Uniform(10);
    std::vector<uint64_t> lengths(made);
    for (int i = 0; i < made; ++i) {
      bool holds = i < record.policy.w;
      lengths[order[i]] = holds ? acknowledged + random.Uniform(5) : random.Uniform(15);
    }
    random.Shuffle(order);
    SealProcedure seal(kChunk, record);
    int answers = static_cast<int>(random.Between(record.policy.f(), made));
    for (int i = 0; i < answers; ++i) {
      seal.OnFenceAnswer(order[i], {.length = lengths[order[i]]});
    }
    seal.OnFenceDeadline();
    ASSERT_EQ(seal.phase(), Phase::kHolding);
    ASSERT_GE(seal.length(), acknowledged);
    ASSERT_LE(seal.length(), *std::max_element(lengths.begin(), lengths.end()));
  }
}

}  // namespace
}  // namespace moraine::protocol
