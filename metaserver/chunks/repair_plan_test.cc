#include "metaserver/chunks/repair_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace moraine::metaserver {
namespace {

std::vector<ServerView> Servers(uint64_t count) {
  std::vector<ServerView> servers;
  for (uint64_t i = 1; i <= count; ++i) {
    servers.push_back(
        {ServerId(i), Location::Parse(fmt::format("h{}", i)), true, 1ULL << 40, 0, i});
  }
  return servers;
}

std::vector<ServerId> Ids(std::initializer_list<uint64_t> ids) {
  std::vector<ServerId> out;
  for (const uint64_t id : ids) out.push_back(ServerId(id));
  return out;
}

TEST(RepairPlanTest, FewestCopiesFirst) {
  Random random(1);
  const std::vector<RepairCandidate> candidates{{ChunkId(1), 3, Ids({1, 2}), {}},
                                                {ChunkId(2), 3, Ids({1}), {}}};
  const auto plan = PlanRepairs(candidates, Servers(5), {}, {1, 4}, random);
  ASSERT_EQ(plan.size(), 1u);
  EXPECT_EQ(plan[0].chunk, ChunkId(2));
  EXPECT_EQ(plan[0].sources, Ids({1}));
}

TEST(RepairPlanTest, PassesOverWhatCannotBeDone) {
  Random random(1);
  std::vector<ServerView> servers = Servers(3);
  servers[2].placeable = false;
  servers[2].start_id = 0;  // dead
  const std::vector<RepairCandidate> candidates{
      {ChunkId(1), 3, {}, {}},               // lost
      {ChunkId(2), 3, Ids({3}), {}},         // its only source is dead
      {ChunkId(3), 3, Ids({1, 2}), {}},      // nowhere to go
      {ChunkId(4), 2, Ids({1, 2}), {}},      // enough
      {ChunkId(5), 2, Ids({1}), Ids({2})}};  // the only target is not usable
  EXPECT_TRUE(PlanRepairs(candidates, servers, {}, {10, 10}, random).empty());
}

// Whatever the cluster: limits hold, a target has nothing of the chunk yet, sources are good and
// alive, and while a server and a copy are free nothing repairable is left out.
TEST(RepairPlanTest, RandomPlansKeepTheLimits) {
  const uint64_t base = SeedFromEnvironment();
  for (uint64_t round = 0; round < 2000; ++round) {
    SCOPED_TRACE(fmt::format("MORAINE_SEED={} round {}", base, round));
    Random random(MixBits(base + round));
    std::vector<ServerView> servers = Servers(random.Between(2, 8));
    for (ServerView& server : servers) {
      if (random.OneIn(4)) {
        server.placeable = false;
        if (random.OneIn(2)) server.start_id = 0;
      }
    }
    std::vector<RepairCandidate> candidates;
    for (uint64_t chunk = 1; chunk <= 20; ++chunk) {
      RepairCandidate candidate{ChunkId(chunk), static_cast<int>(random.Between(1, 4)), {}, {}};
      for (const ServerView& server : servers) {
        if (random.OneIn(3))
          candidate.good.push_back(server.id);
        else if (random.OneIn(6))
          candidate.unusable.push_back(server.id);
      }
      candidates.push_back(candidate);
    }
    std::map<ServerId, int> busy;
    const RepairLimits limits{static_cast<int>(random.Between(1, 8)),
                              static_cast<int>(random.Between(1, 3))};
    const auto plan = PlanRepairs(candidates, servers, busy, limits, random);
    EXPECT_LE(plan.size(), static_cast<size_t>(limits.copies_max));
    std::map<ServerId, int> taking_part;
    std::set<ChunkId> chunks;
    for (const PlannedCopy& copy : plan) {
      const RepairCandidate& candidate = candidates[copy.chunk.value() - 1];
      EXPECT_TRUE(chunks.insert(copy.chunk).second);
      EXPECT_LT(candidate.good.size(), static_cast<size_t>(candidate.wanted));
      EXPECT_TRUE(servers[copy.target.value() - 1].placeable);
      EXPECT_EQ(std::ranges::count(candidate.good, copy.target), 0);
      EXPECT_EQ(std::ranges::count(candidate.unusable, copy.target), 0);
      for (const ServerId source : copy.sources) {
        EXPECT_EQ(std::ranges::count(candidate.good, source), 1);
        EXPECT_NE(servers[source.value() - 1].start_id, 0u);
      }
      ++taking_part[copy.target];
      ++taking_part[copy.sources.front()];
    }
    for (const auto& [server, count] : taking_part) EXPECT_LE(count, limits.per_server_max);
  }
}

}  // namespace
}  // namespace moraine::metaserver
