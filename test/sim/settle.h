// What must hold when everything has healed: chunks sealed and at full redundancy, and every
// replica of a chunk, read from its own server, the same bytes.
#pragma once

#include "test/sim/cluster.h"

namespace moraine::simulation {

// Waits until the metaserver has nothing left to do; a failure fails the stage.
void AwaitSettled(Cluster& cluster, Duration limit);
// Reads every block on every disk once; what is damaged is reported by the servers.
void ScrubAll(Cluster& cluster);
// Compares all replicas; returns the bytes read.
uint64_t CompareReplicas(Cluster& cluster);

}  // namespace moraine::simulation
