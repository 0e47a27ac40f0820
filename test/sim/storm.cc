#include "test/sim/storm.h"

namespace moraine::simulation {

Storm::Storm(Cluster& cluster, Weather weather, Random random)
    : cluster_(cluster),
      weather_(weather),
      random_(std::move(random)),
      life_(std::make_shared<int>(0)) {
  std::vector<sim::Machine*> servers = cluster.chunkservers();
  random_.Shuffle(servers);
  // With two victims no set of w - 1 failures is passed, so nothing acknowledged may be lost. With
  // more of them, over time, what was not synced may be.
  const bool few = random_.OneIn(2);
  const size_t count = few ? 2 : servers.size();
  victims_.assign(servers.begin(), servers.begin() + static_cast<std::ptrdiff_t>(count));
  cluster.stage().keeps_unsynced = few;
}

void Storm::Start() {
  PlanServers();
  PlanClients();
  const bool meta = random_.OneIn(2);
  if (meta && weather_.metaserver) PlanMeta();
  if (weather_.disks) PlanDisk();
  if (weather_.metaserver && !cluster_.stage().keeps_unsynced && random_.OneIn(3)) {
    Later(3s, [this] {
      cluster_.world().Note("fault: all power");
      cluster_.CutAllPower();
    });
  }
  for (auto& plan : plans_) plan->Start();
}

void Storm::PlanServers() {
  sim::FaultPlanOptions options;
  options.machines = victims_;
  options.hurt_max = random_.OneIn(2) ? 2 : 1;
  options.quiet_min = 20ms;
  options.quiet_max = 600ms;
  options.hurt_time_max = random_.OneIn(2) ? 3500ms : 800ms;
  options.restart = [this](sim::Machine& machine) { cluster_.Restart(machine); };
  plans_.push_back(std::make_unique<sim::FaultPlan>(cluster_.world(), options));
}

void Storm::PlanMeta() {
  sim::FaultPlanOptions options;
  options.machines = {&cluster_.meta()};
  options.quiet_min = 300ms;
  options.quiet_max = 2s;
  options.hurt_time_max = 1500ms;
  options.slow_disk = 0;
  options.restart = [this](sim::Machine& machine) { cluster_.Restart(machine); };
  plans_.push_back(std::make_unique<sim::FaultPlan>(cluster_.world(), options));
}

void Storm::PlanClients() {
  sim::FaultPlanOptions options;
  options.machines = cluster_.clients();
  options.hurt_max = 2;
  options.quiet_min = 100ms;
  options.quiet_max = 1500ms;
  options.hurt_time_max = 3s;
  options.kill = options.power_cut = 0;  // a client's coroutines cannot be dropped at any event
  options.pause = 5;
  options.slow_disk = 0;
  options.restart = [this](sim::Machine& machine) { cluster_.Restart(machine); };
  plans_.push_back(std::make_unique<sim::FaultPlan>(cluster_.world(), options));
}

// One disk is bad, that of a victim, or disks are full: a victim's, or everybody's.
void Storm::PlanDisk() {
  const uint64_t kind = random_.Uniform(4);
  if (kind == 0) {
    const bool all = random_.OneIn(2);
    Later(2s, [this, all] {
      if (!all) return FillDisk(*victims_.front());
      for (sim::Machine* machine : cluster_.chunkservers()) FillDisk(*machine);
    });
  } else if (kind < 3) {
    sim::FaultPlanOptions options;
    options.machines = {victims_.front()};
    options.quiet_min = 20ms;
    options.quiet_max = random_.OneIn(2) ? 2s : 100ms;
    options.kill = options.power_cut = options.pause = options.isolate = options.one_way = 0;
    options.bridge = options.slow_link = options.slow_disk = options.reset = options.wall_jump = 0;
    options.disk_error = kind == 1 ? 1 : 0;
    options.bit_flip = kind == 2 ? 1 : 0;
    options.disk_pattern = kind == 1 ? "store/*" : "store/chunks/*";
    plans_.push_back(std::make_unique<sim::FaultPlan>(cluster_.world(), options));
  }
}

void Storm::Later(Duration most, std::function<void()> action) {
  const Duration delay(random_.Uniform(static_cast<uint64_t>(most.count())));
  cluster_.world().At(delay, [this, life = std::weak_ptr<int>(life_), action = std::move(action)] {
    if (life.expired()) return;
    ++single_;
    action();
  });
}

void Storm::FillDisk(sim::Machine& machine) {
  sim::DiskImage& disk = machine.disk();
  cluster_.world().Note("fault: disk full at " + machine.name());
  disk.SetCapacity(disk.used_bytes() + random_.Uniform(2 << 20));
  const uint64_t whole = cluster_.world().options().disk.capacity_bytes;
  Later(2s, [&disk, whole] { disk.SetCapacity(whole); });
}

void Storm::Stop() {
  life_.reset();
  for (auto& plan : plans_) plan->Stop();
  sim::World& world = cluster_.world();
  world.net().MendAll();
  for (size_t i = 0; i < world.machine_count(); ++i) {
    sim::Machine& machine = world.machine(i);
    machine.disk().SetSlowness(1);
    machine.disk().ForgetFailures();
    machine.disk().SetCapacity(world.options().disk.capacity_bytes);
    if (machine.paused()) machine.Resume();
    cluster_.Restart(machine);
  }
  cluster_.RestartQuarantined();
}

uint64_t Storm::faults() const {
  uint64_t faults = single_;
  for (const auto& plan : plans_) faults += plan->fault_count();
  return faults;
}

}  // namespace moraine::simulation
