#include "base/loop/sim/sim_loop.h"

#include <algorithm>

#include "base/loop/sim/pending.h"
#include "base/loop/sim/sim_disk.h"
#include "base/loop/sim/world.h"

namespace moraine::sim {

SimLoop::SimLoop(Machine& machine, Random random)
    : machine_(machine),
      random_(std::move(random)),
      life_(std::make_shared<SimLoop*>(this)),
      disk_(std::make_unique<SimDisk>(*this, machine.disk())) {}

SimLoop::~SimLoop() { Die(); }

Instant SimLoop::Now() const { return machine_.Monotonic(); }
int64_t SimLoop::WallNanoseconds() const { return machine_.WallNanoseconds(); }
Disk& SimLoop::disk() { return *disk_; }

void SimLoop::Post(std::function<void()> work) { posted_.push_back(std::move(work)); }

Task<void> SimLoop::RunBlocking(std::function<void()> work) {
  struct Done {};
  auto pending = std::make_shared<Pending<Done>>(*this);
  World& world = machine_.world();
  const auto delay_max = static_cast<uint64_t>(world.options().blocking_delay_max.count());
  auto finish = [life = life(), pending, work = std::move(work)] {
    const auto alive = life.lock();
    if (alive == nullptr) return;
    // Through Post, so that a stopped process does not go on working.
    (*alive)->Post([pending, work] {
      work();
      pending->Complete(Done{});
    });
  };
  world.Push(Duration(machine_.world().random().Uniform(delay_max + 1)), EventKind::kBlocking,
             &machine_, 0, std::move(finish));
  co_await Await<Done>(pending);
}

Task<Result<std::unique_ptr<Stream>>> SimLoop::Connect(Endpoint to, Instant deadline) {
  return machine_.world().net().Connect(*this, std::move(to), deadline);
}

Result<std::unique_ptr<Listener>> SimLoop::Listen(Endpoint at) {
  return machine_.world().net().Listen(*this, std::move(at));
}

void SimLoop::QueueTurn() {
  if (turn_queued_ || (!HasReady() && posted_.empty())) return;
  turn_queued_ = true;
  World& world = machine_.world();
  const auto delay_max = static_cast<uint64_t>(world.options().turn_delay_max.count());
  const Duration delay(1 + world.random().Uniform(delay_max + 1));
  world.Push(delay, EventKind::kTurn, &machine_, 0, [life = life()] {
    const auto alive = life.lock();
    if (alive == nullptr) return;
    SimLoop& loop = **alive;
    loop.turn_queued_ = false;
    if (!loop.machine_.paused()) loop.Turn();
  });
}

std::optional<Duration> SimLoop::TimerDue() {
  const std::optional<Instant> earliest = timers().Earliest();
  if (!earliest || *earliest == kNever) return std::nullopt;
  if (*earliest != timer_asked_) {
    timer_asked_ = *earliest;
    timer_due_ = machine_.WorldTimeOf(*earliest);
  }
  return std::max(timer_due_, last_turn_ + kTimerSlack);
}

void SimLoop::Turn() {
  World& world = machine_.world();
  MORAINE_CHECK(world.running_ == nullptr);
  world.running_ = &machine_;
  last_turn_ = world.now();
  RunTimers();
  std::vector<std::function<void()>> posted;
  posted.swap(posted_);
  for (auto& work : posted) work();
  RunReady();  // what is left over comes in the next turn
  world.running_ = nullptr;
}

void SimLoop::Die() {
  dying_ = true;
  life_.reset();
  posted_.clear();
  DestroySpawned();
  posted_.clear();
}

}  // namespace moraine::sim
