#include "base/loop/sim/world.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/loop/sim/sim_loop.h"

namespace moraine::sim {
namespace {

constexpr uint32_t kNoMachine = UINT32_MAX;

const char* KindName(EventKind kind) {
  switch (kind) {
    case EventKind::kTurn: return "turn";
    case EventKind::kTimer: return "timer";
    case EventKind::kDisk: return "disk";
    case EventKind::kConnect: return "connect";
    case EventKind::kDeliver: return "deliver";
    case EventKind::kAck: return "ack";
    case EventKind::kStall: return "stall";
    case EventKind::kBlocking: return "blocking";
    case EventKind::kControl: return "control";
    case EventKind::kNote: return "note";
  }
  return "?";
}

Task<void> Finish(std::shared_ptr<bool> ended, Task<void> task) {
  co_await std::move(task);
  *ended = true;
}

double Seconds(Duration d) { return static_cast<double>(d.count()) / 1e9; }

}  // namespace

World::World(uint64_t seed, WorldOptions options)
    : seed_(seed), options_(std::move(options)), random_(seed), trace_hash_(MixBits(seed)) {
  net_ = std::make_unique<Network>(*this, random_.Fork());
}

World::~World() {
  for (auto& machine : machines_) machine->Kill();
}

Machine& World::AddMachine(std::string name) {
  MORAINE_CHECK(Find(name) == nullptr, "machine names differ");
  const auto index = static_cast<uint32_t>(machines_.size());
  machines_.push_back(std::make_unique<Machine>(*this, index, std::move(name), random_.Fork()));
  return *machines_.back();
}

Machine* World::Find(std::string_view name) {
  for (auto& machine : machines_) {
    if (machine->name() == name) return machine.get();
  }
  return nullptr;
}

void World::Push(Duration delay, EventKind kind, const Machine* machine, uint64_t size,
                 std::function<void()> run) {
  MORAINE_CHECK(delay >= Duration::zero(), "the past is over");
  const uint32_t index = machine == nullptr ? kNoMachine : machine->index();
  queue_.push(Event{now_ + delay, next_order_++, kind, index, size, std::move(run)});
}

void World::At(Duration delay, std::function<void()> action) {
  Push(delay, EventKind::kControl, nullptr, 0, std::move(action));
}

SimLoop* World::PollMachines(Duration& timer_at) {
  SimLoop* first = nullptr;
  for (auto& machine : machines_) {
    if (!machine->running() || machine->paused()) continue;
    SimLoop& loop = machine->loop();
    loop.QueueTurn();
    const std::optional<Duration> due = loop.TimerDue();
    if (due && (first == nullptr || *due < timer_at)) {
      first = &loop;
      timer_at = *due;
    }
  }
  if (first != nullptr && !queue_.empty() && queue_.top().at <= timer_at) first = nullptr;
  return first;
}

std::optional<Duration> World::NextAt() {
  Duration timer_at{0};
  if (PollMachines(timer_at) != nullptr) return timer_at;
  if (queue_.empty()) return std::nullopt;
  return queue_.top().at;
}

bool World::Step() {
  MORAINE_CHECK(running_ == nullptr, "Step is for the outside of processes");
  Duration timer_at{0};
  if (SimLoop* loop = PollMachines(timer_at)) {
    now_ = std::max(now_, timer_at);
    Record(EventKind::kTimer, loop->machine().index(), 0);
    loop->Turn();
    return true;
  }
  if (queue_.empty()) return false;
  // The top is const only to protect the order, which moving the action out does not touch.
  Event event = std::move(const_cast<Event&>(queue_.top()));
  queue_.pop();
  now_ = event.at;
  Record(event.kind, event.machine, event.size);
  event.run();
  return true;
}

void World::RunFor(Duration duration) {
  RunUntil([] { return false; }, duration);
}

bool World::RunUntil(const std::function<bool()>& done, Duration limit) {
  const Duration end = now_ + limit;
  while (!done()) {
    const std::optional<Duration> next = NextAt();
    if (!next || *next > end) {
      now_ = end;
      return done();
    }
    Step();
  }
  return true;
}

bool World::Await(SimLoop& loop, Task<void> task, Duration limit) {
  auto ended = std::make_shared<bool>(false);
  const std::weak_ptr<SimLoop*> life = loop.life();
  loop.Spawn(Finish(ended, std::move(task)));
  RunUntil([&] { return *ended || life.expired(); }, limit);
  return *ended;
}

void World::Record(EventKind kind, uint32_t machine, uint64_t size) {
  ++event_count_;
  for (const uint64_t word : {static_cast<uint64_t>(now_.count()), static_cast<uint64_t>(kind),
                              static_cast<uint64_t>(machine), size}) {
    trace_hash_ = MixBits(trace_hash_ ^ word);
  }
  Remember({now_, kind, machine, size, {}});
}

void World::Remember(TraceEntry entry) {
  if (options_.trace_events_max == 0) return;
  if (trace_.size() >= options_.trace_events_max) trace_.pop_front();
  trace_.push_back(std::move(entry));
}

void World::Note(std::string text) {
  if (note_sink_) note_sink_(fmt::format("{:>14.9f} {}", Seconds(now_), text));
  Remember({now_, EventKind::kNote, kNoMachine, 0, std::move(text)});
}

std::string World::Trace() const {
  std::string text = Describe() + "\n";
  for (const TraceEntry& entry : trace_) {
    const std::string machine =
        entry.machine == kNoMachine ? "-" : machines_[entry.machine]->name();
    text += fmt::format("{:>14.9f} {:<8} {:<8} ", Seconds(entry.at), KindName(entry.kind), machine);
    text += entry.kind == EventKind::kNote ? entry.note : std::to_string(entry.size);
    text += '\n';
  }
  return text;
}

std::string World::Describe() const {
  return fmt::format("seed {}, at {:.9f} s, {} events, hash {:#018x}", seed_, Seconds(now_),
                     event_count_, trace_hash_);
}

}  // namespace moraine::sim
