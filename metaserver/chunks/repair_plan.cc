#include "metaserver/chunks/repair_plan.h"

#include <algorithm>
#include <numeric>

namespace moraine::metaserver {
namespace {

// The live sources, least busy first.
std::vector<ServerId> Sources(const RepairCandidate& candidate,
                              const std::map<ServerId, const ServerView*>& alive,
                              std::map<ServerId, int>& busy, int per_server_max) {
  std::vector<ServerId> sources;
  for (const ServerId server : candidate.good) {
    if (alive.contains(server)) sources.push_back(server);
  }
  std::ranges::sort(sources, {}, [&](ServerId server) { return std::pair(busy[server], server); });
  if (!sources.empty() && busy[sources.front()] >= per_server_max) sources.clear();
  return sources;
}

}  // namespace

std::vector<PlannedCopy> PlanRepairs(std::span<const RepairCandidate> candidates,
                                     std::span<const ServerView> servers,
                                     std::map<ServerId, int> busy, const RepairLimits& limits,
                                     Random& random) {
  std::map<ServerId, const ServerView*> alive;
  for (const ServerView& server : servers) {
    if (server.placeable || server.start_id != 0) alive.emplace(server.id, &server);
  }
  // Two servers take part in each copy.
  int under_way = std::accumulate(busy.begin(), busy.end(), 0,
                                  [](int sum, const auto& entry) { return sum + entry.second; }) /
                  2;
  std::vector<const RepairCandidate*> order;
  for (const RepairCandidate& candidate : candidates) order.push_back(&candidate);
  std::ranges::sort(order, {},
                    [](const RepairCandidate* c) { return std::pair(c->good.size(), c->chunk); });

  std::vector<PlannedCopy> plan;
  for (const RepairCandidate* candidate : order) {
    if (under_way >= limits.copies_max) break;
    if (static_cast<int>(candidate->good.size()) >= candidate->wanted) continue;
    std::vector<ServerId> sources = Sources(*candidate, alive, busy, limits.per_server_max);
    if (sources.empty()) continue;
    std::vector<ServerView> targets;
    for (const ServerView& server : servers) {
      ServerView view = server;
      const bool holds = std::ranges::find(candidate->good, server.id) != candidate->good.end();
      if (!holds &&
          (busy[server.id] >= limits.per_server_max ||
           std::ranges::find(candidate->unusable, server.id) != candidate->unusable.end())) {
        view.placeable = false;
      }
      view.load = static_cast<uint64_t>(busy[server.id]);
      targets.push_back(view);
    }
    const std::vector<ServerId> target =
        Place(targets, {.wanted = 1, .floor = 1, .existing = candidate->good, .avoid = {}}, random);
    if (target.empty()) continue;
    ++busy[target.front()];
    ++busy[sources.front()];
    ++under_way;
    plan.push_back({candidate->chunk, target.front(), std::move(sources)});
  }
  return plan;
}

}  // namespace moraine::metaserver
