// The faults of one schedule, within the policies' limits: which machines may be hurt, how many at
// a time, whose disk is bad. Three plans of base/loop/sim side by side, and what those lack: a cut
// of all power, a full disk, a disk that damages what it stores.
#pragma once

#include <memory>
#include <vector>

#include "base/loop/sim/faults.h"
#include "test/sim/cluster.h"

namespace moraine::simulation {

// What may be hurt besides chunkservers, clients and the network.
struct Weather {
  bool metaserver = true;
  bool disks = true;
};

class Storm {
 public:
  Storm(Cluster& cluster, Weather weather, Random random);
  // Says in the stage what may be lost.
  void Start();
  // Everything is mended and runs again; what bad disks have damaged stays damaged.
  void Stop();
  uint64_t faults() const;

 private:
  void PlanServers();
  void PlanMeta();
  void PlanClients();
  void PlanDisk();
  void Later(Duration most, std::function<void()> action);
  void FillDisk(sim::Machine& machine);

  Cluster& cluster_;
  const Weather weather_;
  Random random_;
  std::vector<sim::Machine*> victims_;
  std::vector<std::unique_ptr<sim::FaultPlan>> plans_;
  uint64_t single_ = 0;  // faults outside the plans
  std::shared_ptr<int> life_;
};

}  // namespace moraine::simulation
