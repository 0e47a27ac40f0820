// The programs of a simulated cluster, as processes of base/loop/sim: what main() does, no more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop/sim/machine.h"
#include "base/loop/sim/sim_loop.h"
#include "chunkserver/service/chunkserver.h"
#include "fs/client/client.h"
#include "metaserver/service/metaserver.h"
#include "test/sim/one_thread_env.h"
#include "test/sim/stage.h"

namespace moraine::simulation {

// What the metaserver's machine keeps on its disk.
struct MetaDisk {
  explicit MetaDisk(uint64_t seed) : random(seed) {}
  std::shared_ptr<metaserver::VolatileFileSystem> files =
      std::make_shared<metaserver::VolatileFileSystem>();
  Random random;
};

class MetaProcess : public sim::Process {
 public:
  MetaProcess(sim::SimLoop& loop, MetaDisk* disk, Stage* stage,
              metaserver::MetaserverOptions options);
  // On a power cut the disk loses what was not synced.
  ~MetaProcess() override;
  // Null when it could not start, which fails the stage.
  metaserver::Metaserver* server() { return server_.get(); }

 private:
  Task<void> RunJobs();

  sim::SimLoop& loop_;
  MetaDisk* const disk_;
  Stage* const stage_;
  MetricRegistry metrics_;
  std::shared_ptr<metaserver::VolatileFileSystem> files_;
  OneThreadEnv env_;
  std::unique_ptr<metaserver::Metaserver> server_;
};

class ChunkserverProcess : public sim::Process {
 public:
  ChunkserverProcess(sim::SimLoop& loop, Stage* stage, chunkserver::ChunkserverOptions options);
  bool serving() const { return started_; }
  chunkserver::Chunkserver& server() { return server_; }

 private:
  static Task<void> Run(ChunkserverProcess* self);

  sim::SimLoop& loop_;
  Stage* const stage_;
  MetricRegistry metrics_;
  chunkserver::Chunkserver server_;
  bool started_ = false;
};

// One client and the workloads that go through it.
class ClientProcess : public sim::Process {
 public:
  ClientProcess(sim::SimLoop& loop, fs::ClientOptions options, std::vector<Workload*> workloads);
  bool started() const { return started_; }
  bool ended() const { return ended_; }  // all workloads have returned, the client has stopped
  fs::Client& client() { return client_; }

 private:
  static Task<void> Run(ClientProcess* self);
  static Task<void> RunOne(ClientProcess* self, Workload* workload);

  sim::SimLoop& loop_;
  MetricRegistry metrics_;
  fs::Client client_;
  const std::vector<Workload*> workloads_;
  size_t running_ = 0;
  bool started_ = false;
  bool ended_ = false;
};

}  // namespace moraine::simulation
