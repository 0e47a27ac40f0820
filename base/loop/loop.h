// The loop: one thread of control on which a process (or a part of it) runs its coroutines, and the
// only door to time, randomness, sockets and disks.
//
// Implementations, chosen at construction:
//   UringLoop   (uring_loop.h)   servers and the mount: one io_uring for sockets and disks
//   DrivenLoop  (driven_loop.h)  a library inside somebody else's process: epoll, driven by
//                                whichever calling thread waits
//   SimLoop     (sim/world.h)    virtual time, simulated network and disks, from a seed
//
// Thread rule: everything is confined to the loop's thread, except Post. A coroutine runs without
// interruption until it awaits. Resumptions go through the ready queue: setting an event never runs
// other code in the middle of yours.
#pragma once

#include <functional>
#include <memory>

#include "base/loop/disk.h"
#include "base/loop/net.h"
#include "base/loop/task.h"
#include "base/loop/time.h"
#include "base/loop/timer_queue.h"
#include "base/loop/waiter.h"
#include "base/random.h"

namespace moraine {

namespace loop_internal {
struct SleepAwaiter;
struct YieldAwaiter;
}  // namespace loop_internal

class Loop {
 public:
  Loop();
  virtual ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  virtual Instant Now() const = 0;
  virtual int64_t WallNanoseconds() const = 0;  // since 1970, for mtimes and people
  Instant After(Duration delay) const { return Now() + delay; }
  virtual Random& random() = 0;

  // Runs `work` on the loop soon. Any thread; the only call that is.
  virtual void Post(std::function<void()> work) = 0;

  // Runs blocking `work` elsewhere (a small pool; inline on virtual time) and resumes afterwards.
  // `work` must not touch the loop. Nothing is canceled: it runs to its end.
  virtual Task<void> RunBlocking(std::function<void()> work) = 0;

  // kUnavailable, kTimeout, kCanceled.
  virtual Task<Result<std::unique_ptr<Stream>>> Connect(Endpoint to, Instant deadline) = 0;
  // kBusy: the port is taken.
  virtual Result<std::unique_ptr<Listener>> Listen(Endpoint at) = 0;
  virtual Disk& disk() = 0;

  // Puts a suspended coroutine into the ready queue.
  void Ready(Waiter& waiter) { ready_.PushBack(waiter); }
  TimerQueue& timers() { return timers_; }

  // Starts `task` on its own; it begins at the next turn of the loop. The loop owns the frame.
  // Prefer TaskGroup (task_group.h), which can be waited for.
  void Spawn(Task<void> task);
  size_t spawned() const { return spawned_; }

  // co_await loop.Sleep(d): resumes not before d has passed.
  loop_internal::SleepAwaiter Sleep(Duration delay);
  loop_internal::SleepAwaiter SleepUntil(Instant at);
  // co_await loop.Yield(): lets everything else that is ready run first, and timers and input when
  // the turn has lasted for some 2 ms.
  loop_internal::YieldAwaiter Yield();

  // Its coroutines are being destroyed where they stand.
  bool dropping() const { return dropping_; }

 protected:
  // Resumes what is ready, including what becomes ready meanwhile, up to a bound in number and in
  // this loop's time; returns whether more is left.
  bool RunReady();
  // Fires due timers.
  void RunTimers();
  bool HasReady() const { return !ready_.empty(); }
  // Destroys every spawned coroutine where it stands. For ends of processes only.
  void DestroySpawned();

 private:
  friend struct loop_internal::YieldAwaiter;
  struct Detached;
  static Detached RunDetached(Loop* loop, Task<void> task);

  List<Waiter> ready_;
  TimerQueue timers_;
  List<ListNode> detached_;
  size_t spawned_ = 0;
  bool yielded_ = false;  // since RunReady has looked at the clock
  bool dropping_ = false;
};

namespace loop_internal {

struct SleepAwaiter : Timer, Waiter {
  SleepAwaiter(Loop& loop, Instant at) : loop_(loop), at_(at) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) {
    coroutine = awaiting;
    loop_.timers().Arm(*this, at_);
  }
  void await_resume() const {}
  void Fire() override { loop_.Ready(*this); }

 private:
  Loop& loop_;
  Instant at_;
};

struct YieldAwaiter : Waiter {
  explicit YieldAwaiter(Loop& loop) : loop_(loop) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) {
    coroutine = awaiting;
    loop_.yielded_ = true;  // who does so has worked for a while
    loop_.Ready(*this);
  }
  void await_resume() const {}

 private:
  Loop& loop_;
};

}  // namespace loop_internal

inline loop_internal::SleepAwaiter Loop::SleepUntil(Instant at) {
  return loop_internal::SleepAwaiter(*this, at);
}
inline loop_internal::SleepAwaiter Loop::Sleep(Duration delay) { return SleepUntil(After(delay)); }
inline loop_internal::YieldAwaiter Loop::Yield() { return loop_internal::YieldAwaiter(*this); }

}  // namespace moraine
