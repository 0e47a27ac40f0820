// Background work with an orderly end: spawn into the group, Close it, then wait until it is empty.
// Also a gate: Enter fails after Close, and Drain waits for everybody inside to leave.
#pragma once

#include "base/loop/sync.h"

namespace moraine {

class TaskGroup {
 public:
  explicit TaskGroup(Loop& loop) : loop_(loop), empty_(loop) {}
  // The owner drains first; only a killed simulated process may drop a group with work inside,
  // after its loop has destroyed the coroutines.
  ~TaskGroup() { MORAINE_CHECK(inside_ == 0, "a TaskGroup is drained before it is destroyed"); }

  // Held by everyone inside.
  class [[nodiscard]] Pass {
   public:
    explicit Pass(TaskGroup* group) : group_(group) { ++group_->inside_; }
    Pass(Pass&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (group_ != nullptr) group_->Leave();
    }

   private:
    TaskGroup* group_;
  };

  std::optional<Pass> Enter() {
    if (closed_) return std::nullopt;
    return Pass(this);
  }
  // Starts `task` inside the group; after Close the task is dropped unstarted and false returned.
  bool Spawn(Task<void> task) {
    if (closed_) return false;
    loop_.Spawn(Run(Pass(this), std::move(task)));
    return true;
  }
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }
  size_t inside() const { return inside_; }
  // Waits until nobody is inside. False: the deadline came first.
  Task<bool> Drain(Instant deadline = kNever) {
    while (inside_ > 0) {
      const bool woken = co_await empty_.Wait(deadline);
      if (!woken && inside_ > 0) co_return false;
    }
    co_return true;
  }

 private:
  static Task<void> Run(Pass pass, Task<void> task) {
    Pass held = std::move(pass);
    co_await std::move(task);
  }
  void Leave() {
    if (--inside_ == 0) empty_.NotifyAll();
  }

  Loop& loop_;
  Condition empty_;
  size_t inside_ = 0;
  bool closed_ = false;
};

}  // namespace moraine
