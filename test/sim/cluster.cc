#include "test/sim/cluster.h"

#include <fmt/format.h>

#include "base/units.h"

namespace moraine::simulation {
namespace {

constexpr uint16_t kMetaPort = 7440;
constexpr uint16_t kServerPort = 7420;

}  // namespace

Cluster::Cluster(uint64_t seed, const ClusterOptions& options, const sim::WorldOptions& world)
    : options_(options),
      meta_disk_(MixBits(seed) + 1),
      world_(seed, world),
      stage_(world_, MixBits(seed) + 2),
      meta_(&world_.AddMachine("meta")) {
  for (size_t i = 0; i < options.chunkservers; ++i) {
    chunkservers_.push_back(&world_.AddMachine(fmt::format("cs{}", i + 1)));
  }
}

Cluster::~Cluster() {
  for (size_t i = 0; i < world_.machine_count(); ++i) world_.machine(i).Kill();
}

// Times are short against those of a real cluster, so that a few simulated seconds hold many
// sessions that end, servers that are given up and repairs.
metaserver::MetaserverOptions Cluster::MetaOptions() const {
  metaserver::MetaserverOptions options;
  options.store.directory = "/meta";
  options.store.block_cache_bytes = 4 << 20;
  options.store.write_buffer_bytes = 4 << 20;
  options.listen = {"meta", kMetaPort};
  options.session_ttl = 1500ms;
  options.renewal_hold = 400ms;
  options.recovery_wait = 2s;
  options.session_tick = 100ms;
  options.registry.alive_for = 900ms;
  options.registry.repair_grace = 2500ms;
  options.registry.reserve_bytes = 1 << 20;
  options.sealer.call_timeout = 1s;
  options.sealer.copy_timeout = 5s;
  options.sealer.fence_deadline = 300ms;
  options.sealer.patience = 1200ms;
  options.sealer.retry_pause_max = 1s;
  options.sealer.tick = 500ms;
  options.caretaker.tick = 250ms;
  options.caretaker.copy_timeout = 5s;
  options.caretaker.delete_timeout = 1s;
  return options;
}

chunkserver::ChunkserverOptions Cluster::ServerOptions(const std::string& name) const {
  chunkserver::ChunkserverOptions options;
  options.store.dir = "store";
  options.store.journal_bytes = options_.journal_bytes;
  options.store.reserve_bytes = 1 << 20;
  options.store.dirty_bytes_max = 16 << 20;
  options.store.pending_flush_bytes = 64 << 10;
  options.store.verify_reads = options_.chunkservers_verify_reads;
  options.store.scrub_bytes_per_second = 0;  // the end of a schedule scrubs
  options.store.trash_grace = 2s;
  options.store.retry_delay = 200ms;
  options.store.idle_report = 2s;
  options.listen = fmt::format("{}:{}", name, kServerPort);
  options.metaserver = fmt::format("meta:{}", kMetaPort);
  options.location = fmt::format("zone/rack-{}/{}", name, name);
  options.heartbeat = 250ms;
  return options;
}

void Cluster::Start() {
  meta_->Start([this](sim::SimLoop& loop) {
    return std::make_unique<MetaProcess>(loop, &meta_disk_, &stage_, MetaOptions());
  });
  for (sim::Machine* machine : chunkservers_) {
    machine->Start([this, name = machine->name()](sim::SimLoop& loop) {
      return std::make_unique<ChunkserverProcess>(loop, &stage_, ServerOptions(name));
    });
  }
  const bool up = world_.RunUntil(
      [&] { return stage_.verdict.failed() || ServersAlive() == chunkservers_.size(); }, 20s);
  if (!up) stage_.Fail("the cluster does not come up");
}

sim::Machine& Cluster::AddClient(const std::string& name, std::vector<Workload*> workloads) {
  sim::Machine& machine = world_.AddMachine(name);
  clients_.push_back(&machine);
  fs::ClientOptions options;
  options.metaserver = {"meta", kMetaPort};
  options.name = name;
  options.timeout = options_.client_timeout;
  options.window_bytes = 1 << 20;
  options.cache_bytes = clients_.size() % 3 * 64_KiB;  // for some none
  machine.Start([options, workloads = std::move(workloads)](sim::SimLoop& loop) {
    return std::make_unique<ClientProcess>(loop, options, workloads);
  });
  return machine;
}

void Cluster::Restart(sim::Machine& machine) {
  if (!machine.running()) machine.Restart();
}

void Cluster::CutAllPower() {
  std::vector<sim::Machine*> servers = chunkservers_;
  servers.push_back(meta_);
  for (sim::Machine* machine : servers) machine->PowerCut();
  for (sim::Machine* machine : servers) machine->Restart();
}

metaserver::Metaserver* Cluster::metaserver() {
  return meta_->running() ? meta_->process_as<MetaProcess>().server() : nullptr;
}

chunkserver::Store* Cluster::store(size_t index) {
  sim::Machine& machine = *chunkservers_[index];
  if (!machine.running()) return nullptr;
  auto& process = machine.process_as<ChunkserverProcess>();
  return process.serving() ? &process.server().store() : nullptr;
}

void Cluster::RestartQuarantined() {
  for (size_t i = 0; i < chunkservers_.size(); ++i) {
    chunkserver::Store* disk = store(i);
    if (disk == nullptr || !disk->GetStatus().quarantined) continue;
    chunkservers_[i]->Kill();
    Restart(*chunkservers_[i]);
  }
}

// Told by the servers themselves: serving, registered, and answered by the metaserver of late.
size_t Cluster::ServersAlive() {
  size_t alive = 0;
  for (size_t i = 0; i < chunkservers_.size(); ++i) {
    if (store(i) == nullptr) continue;
    alive += chunkservers_[i]->process_as<ChunkserverProcess>().server().health().ok() ? 1 : 0;
  }
  return alive;
}

}  // namespace moraine::simulation
