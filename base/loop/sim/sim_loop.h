// The loop of a simulated process: virtual time of its machine, the world's network, its machine's
// disk. Runs only when the world gives it a turn. Made by Machine::Start.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/loop/loop.h"
#include "base/random.h"

namespace moraine::sim {

class Machine;
class SimDisk;

class SimLoop final : public Loop {
 public:
  SimLoop(Machine& machine, Random random);
  ~SimLoop() override;

  Instant Now() const override;
  int64_t WallNanoseconds() const override;
  Random& random() override { return random_; }
  // From the world's thread only, inside a turn or between events.
  void Post(std::function<void()> work) override;
  // After a delay, inline in a turn. Dropped when the process dies before.
  Task<void> RunBlocking(std::function<void()> work) override;
  Task<Result<std::unique_ptr<Stream>>> Connect(Endpoint to, Instant deadline) override;
  Result<std::unique_ptr<Listener>> Listen(Endpoint at) override;
  Disk& disk() override;

  Machine& machine() { return machine_; }
  // Expires when the process dies. For events that must find the loop alive.
  std::weak_ptr<SimLoop*> life() const { return life_; }
  // True while a kill is taking the process apart: its objects may then go in any order.
  bool dying() const { return dying_; }

 private:
  friend class Machine;
  friend class World;

  // Queues a turn if something is ready and none is queued.
  void QueueTurn();
  // When the earliest timer is due, in the world's time.
  std::optional<Duration> TimerDue();
  void Turn();
  // Destroys every coroutine; the process object goes next, then the loop.
  void Die();

  Machine& machine_;
  Random random_;
  std::shared_ptr<SimLoop*> life_;
  std::unique_ptr<SimDisk> disk_;
  std::vector<std::function<void()>> posted_;
  bool turn_queued_ = false;
  bool dying_ = false;
  // A timer that is always due must not stop time: turns for timers are this far apart.
  static constexpr Duration kTimerSlack = 1us;
  Duration last_turn_{0};
  // The last answer of TimerDue, which is asked at each event.
  Instant timer_asked_ = kNever;
  Duration timer_due_{0};
};

}  // namespace moraine::sim
