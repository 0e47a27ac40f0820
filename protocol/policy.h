// How many copies a chunk has and how many answers count: the arithmetic of APPEND.md section 2.
//
// A Policy is what an operator chooses for a kind of file. A MadePolicy is the same for one chunk,
// fixed when the chunk is made, because a chunk may be made on fewer servers than the policy wants.
// Everything after that moment (writer, replicas, recovery) uses the chunk's MadePolicy only.
#pragma once

#include "base/limits.h"
#include "base/status.h"

namespace moraine::protocol {

// The numbers of one chunk.
//
// Any set of f replicas and any set of w replicas, out of `made`, share a replica, because
// f + w = made + 1 is more than there are. So whoever hears from f replicas hears from one that
// holds every acknowledged byte.
struct MadePolicy {
  int made = 1;   // replicas that the chunk was created on
  int w = 1;      // replicas that hold a byte before it is acknowledged
  int floor = 1;  // fewest durable replicas with which a degraded chunk may pass for safe

  constexpr int f() const { return made - w + 1; }
  // Replicas that may be dead or restarted while every acknowledged byte is still kept.
  constexpr int FailuresMax() const { return w - 1; }
  // Replicas that may lack an acknowledged byte.
  constexpr int LackMax() const { return made - w; }
  constexpr bool IsValid() const {
    return made >= 1 && made <= limits::kReplicasMax && w >= 1 && w <= made && floor >= 1 &&
           floor <= made;
  }
  constexpr bool operator==(const MadePolicy&) const = default;
};

struct Policy {
  int n = 1;      // replicas wanted
  int w = 1;      // replicas that hold a byte before it is acknowledged
  int floor = 1;  // fewest replicas on which a chunk is made when servers are missing

  // kInvalidArgument with a sentence that names the number and its bounds.
  Status Validate() const;

  // The numbers of a chunk made on `made` replicas: w stays as long as it can be met and shrinks to
  // `made` below that, so f + w = made + 1 in every case.
  //   (5,3) on 5: w 3, f 3    on 4: w 3, f 2    on 3: w 3, f 1
  //   (3,3) on 3: w 3, f 1    on 2: w 2, f 1
  // Errors: kTooFewServers below the floor, kInvalidArgument above n.
  Result<MadePolicy> ForMade(int made) const;

  constexpr bool operator==(const Policy&) const = default;
};

inline constexpr Policy kImmutablePolicy{.n = 3, .w = 3, .floor = 2};
inline constexpr Policy kLogPolicy{.n = 5, .w = 3, .floor = 3};
inline constexpr Policy kSinglePolicy{.n = 1, .w = 1, .floor = 1};

}  // namespace moraine::protocol
