#include "test/sim/schedule.h"

#include <cstdio>

#include "base/log.h"
#include "test/sim/cluster.h"
#include "test/sim/handover_workload.h"
#include "test/sim/names_workload.h"
#include "test/sim/overwrite_workload.h"
#include "test/sim/owner_workload.h"
#include "test/sim/read_workload.h"
#include "test/sim/settle.h"
#include "test/sim/storm.h"
#include "test/sim/stream_workload.h"
#include "test/sim/table_workload.h"

namespace moraine::simulation {
namespace {

constexpr Duration kLiveness = 30s;  // goal S3
constexpr Duration kSettling = 60s;

sim::WorldOptions WorldOptionsOf(const ScheduleOptions& schedule, Random& random) {
  sim::WorldOptions options;
  options.net.connect_retry = 200ms;
  options.net.retransmit_max = 300ms;
  options.net.stall_reset_min = 2s;
  options.net.stall_reset_max = 10s;
  options.net.split_read_chance = random.OneIn(4) ? 0.3 : 0.02;
  const double resets = random.OneIn(4) ? 0.002 : 0;
  options.net.reset_chance = schedule.random_resets ? resets : 0;
  options.trace_events_max = schedule.trace_events_max;
  options.disk.capacity_bytes = 256 << 20;
  options.disk.torn_sector_chance = 0;
  return options;
}

ClusterOptions ClusterOptionsOf(const ScheduleOptions& options, Random& random) {
  ClusterOptions cluster;
  cluster.client_timeout = random.OneIn(2) ? 8s : 2s;
  cluster.chunkservers_verify_reads = options.verify_reads;
  return cluster;
}

class Schedule {
 public:
  Schedule(const ScheduleOptions& options, Random random)
      : options_(options),
        random_(std::move(random)),
        cluster_(options.seed, ClusterOptionsOf(options, random_),
                 WorldOptionsOf(options, random_)) {}

  Outcome Run() {
    if (options_.print_notes) {
      cluster_.world().OnNote(
          [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
    }
    SetLogSinkForTest([this](LogLevel, std::string_view message) {
      cluster_.world().Note(std::string(message));
    });
    Play();
    SetLogSinkForTest({});
    Outcome outcome;
    const sim::World& world = cluster_.world();
    outcome.failure = cluster_.stage().verdict.failure();
    if (!outcome.failure.empty()) outcome.trace = world.Trace();
    outcome.trace_hash = world.TraceHash();
    outcome.events = world.event_count();
    outcome.simulated = world.now();
    outcome.faults = faults_;
    for (const auto& workload : workloads_) outcome.operations += workload->operations();
    outcome.bytes_checked = compared_;
    return outcome;
  }

 private:
  bool Failed() { return cluster_.stage().verdict.failed(); }
  Stage& stage() { return cluster_.stage(); }

  void Play() {
    cluster_.Start();
    if (!Failed()) MakeDirectories();
    if (Failed()) return;
    if (options_.at_start) options_.at_start(cluster_);
    AddWorkloads();
    Weather();
    if (!Failed()) AwaitProgress();
    if (!Failed()) StopWorkloads();
    if (!Failed()) Inspect();
  }

  void MakeDirectories() {
    sim::Machine& machine = cluster_.AddClient("admin", {});
    auto& process = machine.process_as<ClientProcess>();
    if (!cluster_.world().RunUntil([&] { return process.started(); }, 20s)) {
      return stage().Fail("the first client does not start");
    }
    if (!cluster_.world().Await(machine.loop(), MakeAll(this, &process.client()))) {
      stage().Fail("the directories are not made");
    }
  }
  static Task<void> MakeAll(Schedule* self, fs::Client* client) {
    Stage& stage = self->stage();
    const InodeId root(1);
    for (const auto& [name, inode] : {std::pair{"streams", &stage.streams},
                                      {"tables", &stage.tables},
                                      {"names", &stage.names},
                                      {"owned", &stage.owned},
                                      {"changed", &stage.changed},
                                      {"handed", &stage.handed}}) {
      fs::NewEntry entry;
      entry.type = fs::FileType::kDirectory;
      auto made = co_await client->Create(root, name, entry, false);
      if (!made.ok()) co_return stage.Fail(made.status().ToString());
      *inode = made->attributes.inode;
    }
    const Status synced = co_await client->SyncNames(root);
    if (!synced.ok()) stage.Fail(synced.ToString());
  }

  template <class W, class... Args>
  Workload* Add(Args&&... args) {
    workloads_.push_back(std::make_unique<W>(stage(), std::forward<Args>(args)...));
    return workloads_.back().get();
  }
  void AddWorkloads() {
    cluster_.AddClient("c1", {Add<StreamWorkload>(1), Add<NamesWorkload>()});
    cluster_.AddClient("c2", {Add<TableWorkload>(), Add<OwnerWorkload>(ownership_, 1),
                              Add<OverwriteWorkload>(changed_, 1)});
    cluster_.AddClient("c3", {Add<StreamWorkload>(2), Add<OwnerWorkload>(ownership_, 2),
                              Add<HandoverWorkload>(handed_, 1)});
    cluster_.AddClient("c4", {Add<ReadWorkload>(), Add<OverwriteWorkload>(changed_, 2),
                              Add<HandoverWorkload>(handed_, 2)});
  }

  void RunFor(Duration duration) {
    cluster_.world().RunUntil([this] { return Failed(); }, duration);
  }
  void Weather() {
    Storm storm(cluster_, options_.weather, random_.Fork());
    RunFor(300ms);
    storm.Start();
    RunFor(Duration(random_.Between(1'500'000'000, 4'000'000'000)));
    faults_ = storm.faults();
    cluster_.world().Note("the faults are over");
    storm.Stop();
  }

  void AwaitProgress() {
    std::vector<uint64_t> before;
    for (const auto& workload : workloads_) before.push_back(workload->rounds());
    const auto stuck = [&]() -> const Workload* {
      for (size_t i = 0; i < workloads_.size(); ++i) {
        if (workloads_[i]->rounds() == before[i]) return workloads_[i].get();
      }
      return nullptr;
    };
    const bool all =
        cluster_.world().RunUntil([&] { return Failed() || stuck() == nullptr; }, kLiveness);
    if (!all) stage().Fail(std::string(stuck()->name()) + ": no progress after the faults");
  }

  void StopWorkloads() {
    stage().stopping = true;
    const auto running = [&]() -> const sim::Machine* {
      for (const sim::Machine* machine : cluster_.clients()) {
        auto* process = dynamic_cast<ClientProcess*>(const_cast<sim::Machine*>(machine)->process());
        if (machine->name() != "admin" && !process->ended()) return machine;
      }
      return nullptr;
    };
    const bool ended =
        cluster_.world().RunUntil([&] { return Failed() || running() == nullptr; }, kLiveness);
    if (!ended) stage().Fail(running()->name() + " does not end");
  }

  void Inspect() {
    AwaitServers();
    if (!Failed()) AwaitSettled(cluster_, kSettling);
    // What nobody has found yet is met by readers, or by the scrubber.
    if (!Failed() && random_.OneIn(2)) VerifyAll("early");
    if (!Failed()) ScrubAll(cluster_);
    if (!Failed()) RunFor(1s);  // reports of what the scrub has found
    if (!Failed()) AwaitSettled(cluster_, kSettling);
    if (!Failed()) compared_ = CompareReplicas(cluster_);
    if (!Failed()) VerifyAll("fresh");
  }

  // Also those that were not up yet when the faults ended, and then say that their disk is bad.
  void AwaitServers() {
    const auto all_alive = [&] {
      cluster_.RestartQuarantined();
      return Failed() || cluster_.ServersAlive() == cluster_.chunkservers().size();
    };
    if (!cluster_.world().RunUntil(all_alive, kLiveness)) {
      stage().Fail("a chunkserver is not alive");
    }
  }

  void VerifyAll(const std::string& client) {
    sim::Machine& machine = cluster_.AddClient(client, {});
    auto& process = machine.process_as<ClientProcess>();
    if (!cluster_.world().RunUntil([&] { return process.started(); }, kLiveness)) {
      return stage().Fail(client + " does not start");
    }
    for (const auto& workload : workloads_) {
      if (!cluster_.world().Await(machine.loop(), workload->Verify(process.client()), 60s)) {
        stage().Fail(std::string(workload->name()) + ": the end is not verified in time");
      }
      if (Failed()) return;
    }
    if (!cluster_.world().Await(machine.loop(), process.client().Stop(), kLiveness)) {
      stage().Fail(client + " does not stop");
    }
  }

  const ScheduleOptions options_;
  Random random_;
  // Before the cluster: processes that are killed with it refer to these.
  Ownership ownership_;
  ChangedFiles changed_;
  HandedFiles handed_;
  std::vector<std::unique_ptr<Workload>> workloads_;
  uint64_t faults_ = 0;
  uint64_t compared_ = 0;
  Cluster cluster_;
};

}  // namespace

Outcome RunSchedule(const ScheduleOptions& options) {
  auto schedule = std::make_unique<Schedule>(options, Random(MixBits(options.seed)));
  Outcome outcome = schedule->Run();
  // Processes cannot be taken apart in the middle of their work (storm.cc): a failed one stays.
  if (!outcome.failure.empty()) (void)schedule.release();
  return outcome;
}

}  // namespace moraine::simulation
