// On which servers new replicas go: a pure function of a snapshot of the servers.
//
// Rules, strongest first:
//   1. only servers that can take a replica now, each at most once;
//   2. as few as possible in one zone, then in one rack, then on one host;
//   3. by chance, weighted by free space over the chunks lately placed there.
// Replicas that exist already count for rule 2. Agreed between nobody, but pinned by golden tests
// so that a change is seen.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/random.h"

namespace moraine::metaserver {

// `zone/rack/host`; missing parts are empty, an empty host is the server's own.
struct Location {
  std::string zone;
  std::string rack;
  std::string host;
  static Location Parse(std::string_view text);
};

struct ServerView {
  ServerId id;
  Location location;
  bool placeable = false;  // alive, not quarantined, not full
  uint64_t free_bytes = 0;
  uint64_t load = 0;  // chunks placed there lately
  uint64_t start_id = 0;
  bool full = false;  // alive, not quarantined, but without room
};

struct PlacementRequest {
  int wanted = 0;  // new replicas
  int floor = 0;   // of these needed at least: avoided servers are used only below it
  std::span<const ServerId> existing;  // hold a replica already
  std::span<const ServerId> avoid;     // failed for the caller a moment ago
};

// At most `wanted` servers, best effort; fewer when there are not enough.
std::vector<ServerId> Place(std::span<const ServerView> servers, const PlacementRequest& request,
                            Random& random);

// Which `wanted` of the servers that hold a good replica shall keep it: those that are alive first,
// then the fewest in one zone, rack and host, then the first of the list.
std::vector<ServerId> ChooseKept(std::span<const ServerView> servers,
                                 std::span<const ServerId> holders, size_t wanted);

}  // namespace moraine::metaserver
