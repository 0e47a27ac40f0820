// One io_uring and the coroutines that wait for it.
//
// An operation (RingOp) lives in the frame of the coroutine that awaits it. Its destructor cancels
// what the kernel still holds and waits until the kernel has let go, so that no buffer of a dropped
// coroutine is ever written to. Normal work drains instead and never pays for that.
//
// Thread rule: Create on any thread; everything else on the thread that called BindToThisThread
// first (the kernel runs completions only there).
#pragma once

#include <liburing.h>

#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/loop/loop.h"

namespace moraine {

class UringRing;

class RingOp : public Waiter, private Timer {
 public:
  RingOp(UringRing& ring, Instant deadline) : ring_(ring), deadline_(deadline) {}
  ~RingOp() override;

  // What the kernel said: a count or -errno; -ETIMEDOUT when the deadline ended it.
  int result() const { return timed_out_ && result_ == -ECANCELED ? -ETIMEDOUT : result_; }
  uint32_t completion_flags() const { return completion_flags_; }

 protected:
  void Start(io_uring_sqe* sqe);
  UringRing& ring() { return ring_; }

 private:
  friend class UringRing;
  void Fire() override;

  UringRing& ring_;
  const Instant deadline_;
  int result_ = 0;
  uint32_t completion_flags_ = 0;
  bool in_kernel_ = false;
  bool timed_out_ = false;
};

class UringRing {
 public:
  // kNotSupported: the kernel refuses io_uring.
  static Result<std::unique_ptr<UringRing>> Create(Loop& loop, uint32_t entries);
  ~UringRing();
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;

  void BindToThisThread();
  // Resumes the awaiting coroutine with the operation's end; `prepare(io_uring_sqe*)` fills it in.
  //   const RingEnd end = co_await ring.Do([&](io_uring_sqe* sqe) { io_uring_prep_...(sqe, ...);
  //   });
  template <class Prepare>
  auto Do(Prepare prepare, Instant deadline = kNever);

  // An empty entry; hands what is prepared to the kernel when the ring is full.
  io_uring_sqe* NextEntry();
  // Reports each write to `fd` (an eventfd) by ending a Wait; needs no read.
  void WatchWakeups(int fd);
  // Asks the kernel to end `op`; it completes as usual, with -ECANCELED if the kernel could.
  void Cancel(RingOp& op);

  // Submits what is prepared and takes in completions that are there.
  void Poll();
  // The same, and sleeps until a completion comes or `timeout` (none: for ever) has passed.
  void Wait(std::optional<Duration> timeout);
  // Whether Poll would find something; costs no system call.
  bool HasCompletions() const;
  bool HasPrepared() const { return io_uring_sq_ready(&ring_) > 0; }
  size_t in_kernel() const { return in_kernel_; }

 private:
  friend class RingOp;
  explicit UringRing(Loop& loop) : loop_(loop) {}
  void CancelAndWait(RingOp& op);
  void Reap();

  Loop& loop_;
  io_uring ring_{};
  std::optional<std::thread::id> thread_;
  size_t in_kernel_ = 0;
  int wake_fd_ = -1;
};

struct RingEnd {
  int result;  // a count or -errno
  uint32_t flags;
};

template <class Prepare>
class RingAwaiter : public RingOp {
 public:
  RingAwaiter(UringRing& ring, Prepare prepare, Instant deadline)
      : RingOp(ring, deadline), prepare_(std::move(prepare)) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) {
    coroutine = awaiting;
    io_uring_sqe* sqe = ring().NextEntry();
    prepare_(sqe);
    Start(sqe);
  }
  RingEnd await_resume() const { return {result(), completion_flags()}; }

 private:
  Prepare prepare_;
};

template <class Prepare>
auto UringRing::Do(Prepare prepare, Instant deadline) {
  return RingAwaiter<Prepare>(*this, std::move(prepare), deadline);
}

}  // namespace moraine
