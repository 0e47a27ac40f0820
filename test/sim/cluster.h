// A whole cluster on one simulated world: a metaserver, chunkservers in failure domains of their
// own, and clients. Owns the machines' disks; every process can be killed and started again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/loop/sim/world.h"
#include "test/sim/processes.h"
#include "test/sim/stage.h"

namespace moraine::simulation {

struct ClusterOptions {
  size_t chunkservers = 5;
  Duration client_timeout = 5s;
  uint64_t journal_bytes = 4 << 20;
  bool chunkservers_verify_reads = true;
};

class Cluster {
 public:
  Cluster(uint64_t seed, const ClusterOptions& options, const sim::WorldOptions& world);
  ~Cluster();  // kills everything

  sim::World& world() { return world_; }
  Stage& stage() { return stage_; }
  const ClusterOptions& options() const { return options_; }
  MetaDisk& meta_disk() { return meta_disk_; }

  // Starts the servers and waits until all are registered; a failure fails the stage.
  void Start();
  sim::Machine& AddClient(const std::string& name, std::vector<Workload*> workloads);
  // Brings a machine back with the program that it ran before.
  void Restart(sim::Machine& machine);
  // Of all servers at once; each runs its program anew afterwards.
  void CutAllPower();

  sim::Machine& meta() { return *meta_; }
  metaserver::Metaserver* metaserver();  // null while it is down
  const std::vector<sim::Machine*>& chunkservers() const { return chunkservers_; }
  const std::vector<sim::Machine*>& clients() const { return clients_; }
  // Null while it is down or still starting.
  chunkserver::Store* store(size_t index);
  size_t ServersAlive();
  // A server that has put its disk into quarantine stays so until somebody has looked at it.
  void RestartQuarantined();

 private:
  metaserver::MetaserverOptions MetaOptions() const;
  chunkserver::ChunkserverOptions ServerOptions(const std::string& name) const;

  const ClusterOptions options_;
  MetaDisk meta_disk_;
  sim::World world_;
  Stage stage_;
  sim::Machine* meta_;
  std::vector<sim::Machine*> chunkservers_;
  std::vector<sim::Machine*> clients_;
};

}  // namespace moraine::simulation
