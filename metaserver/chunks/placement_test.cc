#include "metaserver/chunks/placement.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace moraine::metaserver {
namespace {

ServerView Server(uint64_t id, std::string_view location, uint64_t free = 1ULL << 40) {
  return {ServerId(id), Location::Parse(location), true, free, 0, 1};
}

std::vector<ServerId> PlaceOn(const std::vector<ServerView>& servers, int wanted, uint64_t seed = 1,
                              std::vector<ServerId> existing = {}, std::vector<ServerId> avoid = {},
                              int floor = 0) {
  Random random(seed);
  return Place(servers, {wanted, floor, existing, avoid}, random);
}

TEST(PlacementTest, ParsesLocations) {
  EXPECT_EQ(Location::Parse("z/r/h").rack, "r");
  EXPECT_EQ(Location::Parse("z/r/h/x").host, "h/x");
  EXPECT_EQ(Location::Parse("h").host, "h");
  EXPECT_EQ(Location::Parse("h").zone, "");
  EXPECT_EQ(Location::Parse("z/r").host, "");
  EXPECT_EQ(Location::Parse("").host, "");
}

TEST(PlacementTest, TakesFewerThanWantedWhenThereAreFewer) {
  EXPECT_TRUE(PlaceOn({}, 3).empty());
  EXPECT_EQ(PlaceOn({Server(1, "a"), Server(2, "b")}, 3).size(), 2u);
  std::vector<ServerView> servers{Server(1, "a"), Server(2, "b")};
  servers[0].placeable = false;
  EXPECT_EQ(PlaceOn(servers, 3), std::vector<ServerId>{ServerId(2)});
  EXPECT_TRUE(PlaceOn(servers, 0).empty());
}

TEST(PlacementTest, AvoidedServersAreUsedOnlyBelowTheFloor) {
  const std::vector<ServerView> servers{Server(1, "a"), Server(2, "b"), Server(3, "c")};
  EXPECT_EQ(PlaceOn(servers, 3, 1, {}, {ServerId(2)}, 2).size(), 2u);
  const auto chosen = PlaceOn(servers, 3, 1, {}, {ServerId(1), ServerId(2)}, 2);
  ASSERT_EQ(chosen.size(), 2u);
  EXPECT_EQ(chosen[0], ServerId(3));
}

// Domains are never shared while enough are there; no server twice; existing ones count.
TEST(PlacementTest, RandomClustersRespectTheRules) {
  const uint64_t base = SeedFromEnvironment();
  for (uint64_t round = 0; round < 3000; ++round) {
    SCOPED_TRACE(fmt::format("MORAINE_SEED={} round {}", base, round));
    Random random(MixBits(base + round));
    std::vector<ServerView> servers;
    const uint64_t count = random.Between(1, 14);
    for (uint64_t i = 1; i <= count; ++i) {
      servers.push_back(Server(
          i, fmt::format("z{}/r{}/h{}", random.Uniform(3), random.Uniform(3), random.Uniform(3)),
          random.Uniform(1ULL << 42)));
      servers.back().placeable = !random.OneIn(5);
    }
    std::vector<ServerId> existing;
    for (const ServerView& server : servers) {
      if (random.OneIn(5)) existing.push_back(server.id);
    }
    const int wanted = static_cast<int>(random.Between(1, 6));
    const auto chosen = PlaceOn(servers, wanted, random.Next(), existing);
    size_t placeable = 0;
    std::set<std::string> zones_free;  // zones where a server could still go
    for (const ServerView& server : servers) {
      if (std::ranges::find(existing, server.id) != existing.end()) continue;
      placeable += server.placeable;
      if (server.placeable) zones_free.insert(server.location.zone);
    }
    EXPECT_EQ(chosen.size(), std::min<size_t>(placeable, static_cast<size_t>(wanted)));
    std::map<std::string, int> per_zone;
    for (const ServerId id : existing) ++per_zone[servers[id.value() - 1].location.zone];
    std::set<ServerId> seen(existing.begin(), existing.end());
    for (const ServerId id : chosen) {
      const ServerView& server = servers[id.value() - 1];
      EXPECT_TRUE(server.placeable);
      EXPECT_TRUE(seen.insert(id).second);
      // Nobody was put into a zone while a fuller choice had been a lonelier zone.
      for (const std::string& zone : zones_free) {
        const bool room = std::ranges::any_of(servers, [&](const ServerView& s) {
          return s.placeable && s.location.zone == zone && !seen.contains(s.id);
        });
        if (room) EXPECT_LE(per_zone[server.location.zone], per_zone[zone]);
      }
      ++per_zone[server.location.zone];
    }
  }
}

TEST(PlacementTest, PrefersFreeSpaceAndIdleServers) {
  std::vector<ServerView> servers{Server(1, "a", 9ULL << 40), Server(2, "b", 1ULL << 40)};
  std::map<ServerId, int> count;
  for (uint64_t seed = 0; seed < 2000; ++seed) ++count[PlaceOn(servers, 1, seed)[0]];
  EXPECT_GT(count[ServerId(1)], 1650);
  EXPECT_GT(count[ServerId(2)], 100);
  servers[0].load = 99;
  count.clear();
  for (uint64_t seed = 0; seed < 2000; ++seed) ++count[PlaceOn(servers, 1, seed)[0]];
  EXPECT_GT(count[ServerId(2)], 1650);
}

// Pinned: a change of the choice for a given seed must be seen.
TEST(PlacementTest, Golden) {
  std::vector<ServerView> servers;
  for (uint64_t i = 1; i <= 6; ++i)
    servers.push_back(Server(i, fmt::format("z{}/r/h{}", i % 3, i)));
  std::string text;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    for (const ServerId id : PlaceOn(servers, 3, seed)) text += id.ToString();
    text += ' ';
  }
  EXPECT_EQ(text, "546 153 543 261 ");
}

TEST(ChooseKeptTest, LiveServersThenDomainsThenTheFirst) {
  const auto view = [](uint64_t id, const char* location, bool alive) {
    return ServerView{ServerId(id), Location::Parse(location), alive, 1 << 30, 0, alive ? id : 0};
  };
  const std::vector<ServerView> servers = {view(1, "z/r1/a", false), view(2, "z/r1/b", true),
                                           view(3, "z/r1/b", true), view(4, "z/r2/c", true),
                                           view(5, "z/r1/d", true)};
  const auto kept = [&](std::vector<uint64_t> holders, size_t wanted) {
    std::vector<ServerId> ids;
    for (const uint64_t holder : holders) ids.push_back(ServerId(holder));
    std::vector<uint64_t> out;
    for (const ServerId id : ChooseKept(servers, ids, wanted)) out.push_back(id.value());
    return out;
  };
  using Ids = std::vector<uint64_t>;
  EXPECT_EQ(kept({1, 2, 3, 4, 5}, 3), (Ids{2, 4, 5}));
  EXPECT_EQ(kept({1, 2, 4}, 2), (Ids{2, 4}));
  EXPECT_EQ(kept({1, 2, 3}, 2), (Ids{2, 3}));  // one host, but alive
  EXPECT_EQ(kept({1, 9, 4}, 2), (Ids{4, 1}));  // a server that nobody knows comes last
  EXPECT_EQ(kept({5, 4}, 3), (Ids{5, 4}));
}

}  // namespace
}  // namespace moraine::metaserver
