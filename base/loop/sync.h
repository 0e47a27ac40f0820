// What coroutines of one loop wait for each other with. All are confined to their loop, and all
// waiting can end at a deadline. Wake-ups are in order of waiting and go through the ready queue.
#pragma once

#include <optional>
#include <utility>

#include "base/loop/loop.h"

namespace moraine {

// Waits of a list with an optional deadline; the building block of the types below.
class WaitList {
 public:
  explicit WaitList(Loop& loop) : loop_(loop) {}

  class Awaiter : public Timer, public Waiter {
   public:
    Awaiter(WaitList& list, Instant deadline) : list_(list), deadline_(deadline) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      coroutine = awaiting;
      list_.waiting_.PushBack(*this);
      if (deadline_ != kNever) list_.loop_.timers().Arm(*this, deadline_);
    }
    bool await_resume() {
      Cancel();
      return !timed_out_;
    }
    void Fire() override {
      timed_out_ = true;
      list_.loop_.Ready(*this);  // moves it from the wait list into the ready queue
    }

   private:
    friend class WaitList;
    WaitList& list_;
    Instant deadline_;
    bool timed_out_ = false;
  };

  // co_await gives false when the deadline came first.
  Awaiter Wait(Instant deadline = kNever) { return Awaiter(*this, deadline); }
  bool WakeOne() {
    Waiter* waiter = waiting_.PopFront();
    if (waiter == nullptr) return false;
    static_cast<Awaiter*>(waiter)->Cancel();
    loop_.Ready(*waiter);
    return true;
  }
  void WakeAll() {
    while (WakeOne()) {
    }
  }
  bool empty() const { return waiting_.empty(); }
  Loop& loop() { return loop_; }

 private:
  Loop& loop_;
  List<Waiter> waiting_;
};

// A flag that coroutines wait for. Stays set until Reset.
class Event {
 public:
  explicit Event(Loop& loop) : waiters_(loop) {}
  bool is_set() const { return set_; }
  void Set() {
    set_ = true;
    waiters_.WakeAll();
  }
  void Reset() { set_ = false; }
  // False: the deadline came first.
  Task<bool> Wait(Instant deadline = kNever) {
    while (!set_) {
      const bool woken = co_await waiters_.Wait(deadline);
      if (!woken && !set_) co_return false;
    }
    co_return true;
  }

 private:
  WaitList waiters_;
  bool set_ = false;
};

// A condition: Wait, look again, Wait. NotifyAll wakes everyone who waits now.
class Condition {
 public:
  explicit Condition(Loop& loop) : waiters_(loop) {}
  auto Wait(Instant deadline = kNever) { return waiters_.Wait(deadline); }
  void NotifyAll() { waiters_.WakeAll(); }
  void NotifyOne() { waiters_.WakeOne(); }

 private:
  WaitList waiters_;
};

// Counted units with first-come order: a large request is not starved by small ones behind it.
class Semaphore {
 public:
  Semaphore(Loop& loop, uint64_t units) : loop_(loop), units_(units), available_(units) {}

  // Units that return themselves.
  class [[nodiscard]] Units {
   public:
    Units() = default;
    Units(Semaphore* semaphore, uint64_t count) : semaphore_(semaphore), count_(count) {}
    Units(Units&& other) noexcept
        : semaphore_(std::exchange(other.semaphore_, nullptr)),
          count_(std::exchange(other.count_, 0)) {}
    Units& operator=(Units&& other) noexcept {
      std::swap(semaphore_, other.semaphore_);
      std::swap(count_, other.count_);
      return *this;
    }
    ~Units() { Release(); }
    void Release() {
      if (semaphore_ != nullptr) std::exchange(semaphore_, nullptr)->Return(count_);
    }

   private:
    Semaphore* semaphore_ = nullptr;
    uint64_t count_ = 0;
  };

  // Nothing when the deadline came first. `count` must not exceed what the semaphore was made with.
  Task<std::optional<Units>> Acquire(uint64_t count, Instant deadline = kNever) {
    MORAINE_CHECK(count <= units_, "more units than there are");
    if (waiting_.empty() && available_ >= count) {
      available_ -= count;
      co_return Units(this, count);
    }
    const bool granted = co_await Turn(*this, count, deadline);
    if (!granted) co_return std::nullopt;
    co_return Units(this, count);
  }
  // Without waiting; nothing if others wait or too little is there.
  std::optional<Units> TryAcquire(uint64_t count) {
    if (!waiting_.empty() || available_ < count) return std::nullopt;
    available_ -= count;
    return Units(this, count);
  }
  uint64_t available() const { return available_; }

 private:
  // One place in the queue. Units are taken for it when its turn comes, before it resumes.
  class Turn : public Timer, public Waiter {
   public:
    Turn(Semaphore& semaphore, uint64_t count, Instant deadline)
        : semaphore_(semaphore), count_(count), deadline_(deadline) {}
    ~Turn() override {
      if (state_ == State::kGranted) {
        semaphore_.Return(count_);
      } else if (state_ == State::kWaiting && linked()) {
        Unlink();
        semaphore_.Grant();
      }
    }
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      coroutine = awaiting;
      semaphore_.waiting_.PushBack(*this);
      if (deadline_ != kNever) semaphore_.loop_.timers().Arm(*this, deadline_);
    }
    bool await_resume() { return std::exchange(state_, State::kResumed) == State::kGranted; }
    void Fire() override {
      state_ = State::kTimedOut;
      semaphore_.loop_.Ready(*this);
      semaphore_.Grant();
    }

   private:
    friend class Semaphore;
    enum class State { kWaiting, kGranted, kTimedOut, kResumed };
    Semaphore& semaphore_;
    const uint64_t count_;
    const Instant deadline_;
    State state_ = State::kWaiting;
  };

  void Return(uint64_t count) {
    available_ += count;
    Grant();
  }
  void Grant() {
    while (!waiting_.empty()) {
      auto& turn = static_cast<Turn&>(waiting_.front());
      if (available_ < turn.count_) return;
      available_ -= turn.count_;
      turn.state_ = Turn::State::kGranted;
      turn.Cancel();
      loop_.Ready(turn);
    }
  }

  Loop& loop_;
  const uint64_t units_;
  uint64_t available_;
  List<Waiter> waiting_;
};

// Mutual exclusion across awaits, in order of asking.
class AsyncMutex {
 public:
  explicit AsyncMutex(Loop& loop) : semaphore_(loop, 1) {}
  using Lock = Semaphore::Units;
  Task<std::optional<Lock>> Acquire(Instant deadline = kNever) {
    return semaphore_.Acquire(1, deadline);
  }
  bool locked() const { return semaphore_.available() == 0; }

 private:
  Semaphore semaphore_;
};

// A value set once and awaited by one or several coroutines (each gets a copy).
template <class T>
class OneShot {
 public:
  explicit OneShot(Loop& loop) : event_(loop) {}
  bool is_set() const { return value_.has_value(); }
  void Set(T value) {
    MORAINE_CHECK(!value_.has_value(), "a OneShot is set once");
    value_.emplace(std::move(value));
    event_.Set();
  }
  // Nothing when the deadline came first.
  Task<std::optional<T>> Wait(Instant deadline = kNever) {
    const bool set = co_await event_.Wait(deadline);
    if (!set) co_return std::nullopt;
    co_return value_;
  }
  T& value() { return *value_; }

 private:
  Event event_;
  std::optional<T> value_;
};

}  // namespace moraine
