// Which copies to make now: a pure function from the queue of damaged chunks, the servers and the
// copies under way to a list of copies. Fewest copies first; sources and targets are spread; never
// more than the limits. The executor (service/repairer.h) does what the plan says.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/random.h"
#include "metaserver/chunks/placement.h"

namespace moraine::metaserver {

struct RepairCandidate {
  ChunkId chunk;
  int wanted = 0;                  // good replicas that the policy asks for
  std::vector<ServerId> good;      // have every byte, on disk
  std::vector<ServerId> unusable;  // hold something else of it, or are to delete it
};

struct RepairLimits {
  int copies_max = 0;      // under way in the cluster
  int per_server_max = 0;  // in which one server takes part
};

struct PlannedCopy {
  ChunkId chunk;
  ServerId target;
  std::vector<ServerId> sources;  // alive ones, in the order to try
  bool operator==(const PlannedCopy&) const = default;
};

// `busy`: copies under way by server. At most one new copy of a chunk at a time; a chunk without a
// live good replica, or without a server to go to, is passed over.
std::vector<PlannedCopy> PlanRepairs(std::span<const RepairCandidate> candidates,
                                     std::span<const ServerView> servers,
                                     std::map<ServerId, int> busy, const RepairLimits& limits,
                                     Random& random);

}  // namespace moraine::metaserver
