// A whole cluster in one thread on virtual time, from one seed.
//
// The World owns the event queue, the machines and the network between them. Nothing in it looks at
// real time, threads, addresses or unordered containers, so the same seed and the same program give
// the same events: compare TraceHash(). Events of one instant run in the order they were made.
//
// Thread rule: one thread, the one that calls Step/RunFor/RunUntil. What a test does between those
// calls (killing machines, cutting links) is part of the run; to do it at a set time use At().
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop/sim/machine.h"
#include "base/loop/sim/network.h"
#include "base/loop/sim/options.h"
#include "base/loop/task.h"
#include "base/loop/time.h"
#include "base/random.h"

namespace moraine::sim {

// In the trace and its hash.
enum class EventKind : uint8_t {
  kTurn = 1,      // a process runs what is ready
  kTimer = 2,     // a process runs because a timer is due
  kDisk = 3,      // a disk operation ends
  kConnect = 4,   // a step of making a connection
  kDeliver = 5,   // bytes or an end arrive
  kAck = 6,       // the sender learns that bytes were read
  kStall = 7,     // a connection gives up waiting
  kBlocking = 8,  // RunBlocking
  kControl = 9,   // At(): a fault or the test
  kNote = 10,     // text, not an event
};

class World {
 public:
  explicit World(uint64_t seed, WorldOptions options = {});
  ~World();  // kills every machine
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Names must differ; they are the host names of Endpoints.
  Machine& AddMachine(std::string name);
  Machine* Find(std::string_view name);
  size_t machine_count() const { return machines_.size(); }
  Machine& machine(size_t index) { return *machines_[index]; }

  // Runs the next event; false when nothing will ever happen again.
  bool Step();
  void RunFor(Duration duration);
  // Runs until `done` holds, looking after each event; false when `limit` has passed before.
  bool RunUntil(const std::function<bool()>& done, Duration limit);
  // Runs `task` on `loop` until it ends and returns its value; nothing when `limit` has passed or
  // the process died. For tests.
  template <class T>
  std::optional<T> Await(SimLoop& loop, Task<T> task, Duration limit = 60s);
  bool Await(SimLoop& loop, Task<void> task, Duration limit = 60s);

  // Runs `action` outside every process, `delay` from now. It may kill, pause and cut.
  void At(Duration delay, std::function<void()> action);

  Duration now() const { return now_; }  // since the beginning; machines see their own clocks
  uint64_t seed() const { return seed_; }
  const WorldOptions& options() const { return options_; }
  Network& net() { return *net_; }
  Random& random() { return random_; }  // of the world itself: each use shifts what follows

  // Over every event executed so far: time, kind, machine, size.
  uint64_t TraceHash() const { return trace_hash_; }
  uint64_t event_count() const { return event_count_; }
  // The last events and notes as text, for failures.
  std::string Trace() const;
  void Note(std::string text);
  // Is given every note as a line, at once; an empty function ends that.
  void OnNote(std::function<void(const std::string&)> sink) { note_sink_ = std::move(sink); }
  // "seed 7, at 12.000345 s, 8123 events, hash 0x…".
  std::string Describe() const;

  // For the parts of the simulation: queues an event of `machine` (may be null).
  void Push(Duration delay, EventKind kind, const Machine* machine, uint64_t size,
            std::function<void()> run);
  // The machine whose process is running now, or null.
  const Machine* running() const { return running_; }

 private:
  struct Event {
    Duration at;
    uint64_t order;
    EventKind kind;
    uint32_t machine;
    uint64_t size;
    std::function<void()> run;
    bool operator<(const Event& other) const {  // the queue's top is the largest
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct TraceEntry {
    Duration at;
    EventKind kind;
    uint32_t machine;
    uint64_t size;
    std::string note;
  };

  // Queues turns of processes that have work; returns the process whose timer is due first, if
  // that is before every queued event.
  SimLoop* PollMachines(Duration& timer_at);
  // When the next event is; nothing if never.
  std::optional<Duration> NextAt();
  void Record(EventKind kind, uint32_t machine, uint64_t size);
  void Remember(TraceEntry entry);

  const uint64_t seed_;
  const WorldOptions options_;
  Random random_;
  Duration now_{0};
  uint64_t next_order_ = 0;
  uint64_t event_count_ = 0;
  uint64_t trace_hash_ = 0;
  const Machine* running_ = nullptr;
  std::priority_queue<Event> queue_;
  std::deque<TraceEntry> trace_;
  std::function<void(const std::string&)> note_sink_;
  std::unique_ptr<Network> net_;
  std::vector<std::unique_ptr<Machine>> machines_;

  friend class SimLoop;
};

namespace world_internal {

template <class T>
Task<void> Keep(std::shared_ptr<std::optional<T>> kept, Task<T> task) {
  kept->emplace(co_await std::move(task));
}

}  // namespace world_internal

template <class T>
std::optional<T> World::Await(SimLoop& loop, Task<T> task, Duration limit) {
  auto kept = std::make_shared<std::optional<T>>();
  if (!Await(loop, world_internal::Keep<T>(kept, std::move(task)), limit)) return std::nullopt;
  return std::move(*kept);
}

}  // namespace moraine::sim
