// One operation of a process that the world is working on, and how a coroutine waits for it.
//
// The operation's state is on the heap, shared by the waiting coroutine and the world's event. A
// destroyed coroutine leaves the state `abandoned`: the event then finds nobody and touches neither
// the coroutine's buffers nor its loop.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "base/loop/loop.h"

namespace moraine::sim {

template <class T>
struct Pending {
  explicit Pending(Loop& of) : loop(of) {}
  Loop& loop;
  Waiter* waiter = nullptr;
  bool abandoned = false;
  std::optional<T> value;

  bool Wanted() const { return !abandoned && !value.has_value(); }
  // The first value stays; later ones are dropped.
  void Complete(T result) {
    if (!Wanted()) return;
    value.emplace(std::move(result));
    if (waiter != nullptr) loop.Ready(*waiter);
  }
};

template <class T>
using PendingPtr = std::shared_ptr<Pending<T>>;

// co_await Await<T>(pending) gives the value. With a deadline: `late` when it came first.
template <class T>
class Await : Waiter, Timer {
 public:
  explicit Await(PendingPtr<T> pending) : pending_(std::move(pending)) {}
  Await(PendingPtr<T> pending, Instant deadline, T late)
      : pending_(std::move(pending)), deadline_(deadline), late_(std::move(late)) {}
  ~Await() override {
    pending_->abandoned = true;
    pending_->waiter = nullptr;
  }

  bool await_ready() const { return pending_->value.has_value(); }
  void await_suspend(std::coroutine_handle<> awaiting) {
    coroutine = awaiting;
    pending_->waiter = this;
    if (deadline_ != kNever) pending_->loop.timers().Arm(*this, deadline_);
  }
  T await_resume() {
    Cancel();
    return std::move(*pending_->value);
  }

 private:
  void Fire() override { pending_->Complete(std::move(*late_)); }

  PendingPtr<T> pending_;
  Instant deadline_ = kNever;
  std::optional<T> late_;
};

}  // namespace moraine::sim
