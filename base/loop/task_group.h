// Background work with an orderly end: spawn into the group, Close it, then wait until it is empty.
// Also a gate: Enter fails after Close, and Drain waits for everybody inside to leave.
#pragma once

#include "base/loop/sync.h"

namespace moraine {

class TaskGroup {
 public:
  explicit TaskGroup(Loop& loop) : loop_(loop), empty_(loop) {}
  // The owner drains first; only while its loop drops its coroutines (a killed simulated process, a
  // process that ends in a hurry) may a group go with work inside, which then goes too.
  ~TaskGroup() {
    MORAINE_CHECK(inside_ == 0 || loop_.dropping(),
                  "a TaskGroup is drained before it is destroyed");
    while (Pass* pass = passes_.PopFront()) pass->group_ = nullptr;
  }

  // Held by everyone inside.
  class [[nodiscard]] Pass : public ListNode {
   public:
    explicit Pass(TaskGroup* group) : group_(group) {
      group_->passes_.PushBack(*this);
      ++group_->inside_;
    }
    Pass(Pass&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {
      if (group_ != nullptr) group_->passes_.PushBack(*this);
      other.Unlink();
    }
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (group_ == nullptr) return;
      Unlink();
      group_->Leave();
    }

   private:
    friend class TaskGroup;
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
  List<Pass> passes_;
  size_t inside_ = 0;
  bool closed_ = false;
};

}  // namespace moraine
