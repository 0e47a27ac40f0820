#include "fs/chunkio/visible_length.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"

namespace moraine::fs {
namespace {

using Answers = std::vector<ReplicaAnswer>;

protocol::MadePolicy Policy(int n, int w) {
  const protocol::Policy policy{.n = n, .w = w, .floor = std::min(2, w)};
  return *policy.ForMade(n);
}

ReplicaAnswer Held(uint64_t held, uint64_t committed = 0) {
  ReplicaAnswer answer;
  answer.held = held;
  answer.committed = committed;
  return answer;
}

std::optional<uint64_t> Length(const Answers& answers, int n, int w) {
  const auto visible = VisibleFrom(answers, Policy(n, w));
  return visible ? std::optional<uint64_t>(visible->length) : std::nullopt;
}

TEST(VisibleFrom, WaitsOnlyForAnswersThatCouldTellMore) {
  EXPECT_EQ(Length({}, 5, 3), std::nullopt);
  EXPECT_EQ(Length({Held(10), Held(10)}, 5, 3), std::nullopt);
  EXPECT_EQ(Length({Held(10), Held(10), Held(10)}, 5, 3), 10);  // two are silent
  // Somebody silent may hold the 12 too: then they are acknowledged.
  EXPECT_EQ(Length({Held(12), Held(10), Held(10)}, 5, 3), std::nullopt);
  EXPECT_EQ(Length({Held(12), Held(10), Held(10), Held(10), Held(10)}, 5, 3), 10);
  EXPECT_EQ(Length({Held(10, 10)}, 3, 3), 10);  // one that knows
  EXPECT_EQ(Length({Held(10), Held(10)}, 3, 3), std::nullopt);
}

TEST(VisibleFrom, ASealedReplicaTellsAll) {
  ReplicaAnswer sealed = Held(7);
  sealed.sealed = true;
  const auto visible = VisibleFrom(Answers{Held(10), sealed}, Policy(5, 3));
  ASSERT_TRUE(visible);
  EXPECT_TRUE(visible->sealed);
  EXPECT_EQ(visible->length, 7U);
}

TEST(VisibleFrom, BelievesNoDamagedReplica) {
  ReplicaAnswer damaged = Held(99, 99);
  damaged.sealed = damaged.damaged = true;
  EXPECT_EQ(Length({damaged, Held(10), Held(10)}, 5, 3), std::nullopt);
  EXPECT_EQ(Length({damaged, Held(10), Held(10), Held(10)}, 5, 3), 10);
}

TEST(VisibleFrom, ARestartedReplicaDoesNotVouchForWhatItMayHaveLost) {
  ReplicaAnswer restarted = Held(4);
  restarted.restarted = true;
  EXPECT_EQ(Length({Held(4), Held(4), Held(4)}, 5, 3), 4);
  EXPECT_EQ(Length({restarted, restarted, Held(4)}, 5, 3), std::nullopt);
  // The last resort: everybody has answered.
  EXPECT_EQ(Length({restarted, restarted, restarted, restarted, Held(4)}, 5, 3), 4);
}

// Against the truth: what a writer has had acknowledged is told in full or not at all.
TEST(VisibleFrom, NeverTellsLessThanWasAcknowledgedOrMoreThanIsSafe) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  for (int round = 0; round < 100000; ++round) {
    const int n = 1 + static_cast<int>(random.Uniform(5));
    const int w = n / 2 + 1 + static_cast<int>(random.Uniform(static_cast<uint64_t>(n - n / 2)));
    const protocol::MadePolicy policy = Policy(n, std::min(w, n));
    std::vector<uint64_t> held(static_cast<size_t>(n));
    for (uint64_t& length : held) length = random.Uniform(8);
    std::vector<uint64_t> sorted = held;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const uint64_t held_by_w = sorted[static_cast<size_t>(policy.w) - 1];
    const uint64_t acknowledged = held_by_w == 0 ? 0 : random.Uniform(held_by_w + 1);
    Answers answers;
    for (const uint64_t length : held) {
      if (random.Uniform(4) == 0) continue;  // silent
      const uint64_t told = std::min({length, acknowledged, random.Uniform(8)});
      answers.push_back(Held(length, told));
      if (random.Uniform(8) == 0) {  // it had this much before
        answers.back().held = random.Uniform(length + 1);
        answers.back().committed = std::min(answers.back().committed, answers.back().held);
        answers.back().restarted = true;
      }
    }
    if (answers.size() == held.size()) continue;  // the last resort may tell less
    const auto visible = VisibleFrom(answers, policy);
    if (!visible) continue;
    ASSERT_GE(visible->length, acknowledged) << "round " << round;
    ASSERT_LE(visible->length, held_by_w) << "round " << round;
  }
}

}  // namespace
}  // namespace moraine::fs
