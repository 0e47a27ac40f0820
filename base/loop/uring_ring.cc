#include "base/loop/uring_ring.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

namespace moraine {
namespace {

// Marks completions that belong to no coroutine.
constexpr uint64_t kTagIgnored = 0;
constexpr uint64_t kTagWakeup = 1;

// Best first. Completions that run only when this thread asks for them save interrupts of its work;
// older kernels know fewer flags.
constexpr uint32_t kFlagSets[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    0,
};
constexpr uint32_t kCompletionsPerEntry = 4;

__kernel_timespec ToTimespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

}  // namespace

RingOp::~RingOp() {
  if (in_kernel_) ring_.CancelAndWait(*this);
}

void RingOp::Start(io_uring_sqe* sqe) {
  io_uring_sqe_set_data(sqe, this);
  in_kernel_ = true;
  ++ring_.in_kernel_;
  if (deadline_ != kNever) ring_.loop_.timers().Arm(*this, deadline_);
}

void RingOp::Fire() {
  if (!in_kernel_) return;
  timed_out_ = true;
  ring_.Cancel(*this);
}

Result<std::unique_ptr<UringRing>> UringRing::Create(Loop& loop, uint32_t entries) {
  std::unique_ptr<UringRing> ring(new UringRing(loop));
  int error = 0;
  for (const uint32_t flags : kFlagSets) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = entries * kCompletionsPerEntry;
    error = -io_uring_queue_init_params(entries, &ring->ring_, &params);
    if (error == 0) return ring;
    if (error != EINVAL) break;
  }
  ring->ring_.ring_fd = -1;
  const Status status = StatusFromErrno(error, "set up io_uring");
  return Status(Code::kNotSupported, status.message());
}

UringRing::~UringRing() {
  MORAINE_CHECK(in_kernel_ == 0, "operations are under way while their ring goes");
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

void UringRing::BindToThisThread() {
  if (thread_) {
    MORAINE_CHECK(*thread_ == std::this_thread::get_id(), "a loop runs on one thread for ever");
    return;
  }
  thread_ = std::this_thread::get_id();
  // io_uring_enable_rings(3), which Debian 12's liburing declares but does not export.
  const long enabled =
      syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  MORAINE_CHECK(enabled == 0, "enable the ring: " + std::string(std::strerror(errno)));
  io_uring_register_ring_fd(&ring_);  // cheaper calls; older kernels refuse, and nothing is lost
}

io_uring_sqe* UringRing::NextEntry() {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_)) return sqe;
    // Busy means that completions are in the way: take them in and try again.
    if (io_uring_submit(&ring_) < 0) Poll();
  }
  CheckFailed("NextEntry", __FILE__, __LINE__, "the kernel takes no more operations");
}

void UringRing::WatchWakeups(int fd) {
  wake_fd_ = fd;
  io_uring_sqe* sqe = NextEntry();
  io_uring_prep_poll_multishot(sqe, fd, POLLIN);
  io_uring_sqe_set_data64(sqe, kTagWakeup);
}

void UringRing::Cancel(RingOp& op) {
  io_uring_sqe* sqe = NextEntry();
  io_uring_prep_cancel(sqe, &op, 0);
  io_uring_sqe_set_data64(sqe, kTagIgnored);
}

void UringRing::CancelAndWait(RingOp& op) {
  BindToThisThread();
  Cancel(op);
  while (op.in_kernel_) Wait(std::nullopt);
}

bool UringRing::HasCompletions() const {
  constexpr uint32_t kWork = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
  return io_uring_cq_ready(&ring_) > 0 ||
         (std::atomic_ref<const uint32_t>(*ring_.sq.kflags).load(std::memory_order_relaxed) &
          kWork) != 0;
}

void UringRing::Poll() {
  if (HasPrepared() || HasCompletions()) io_uring_submit_and_get_events(&ring_);
  Reap();
}

void UringRing::Wait(std::optional<Duration> timeout) {
  io_uring_cqe* cqe = nullptr;
  __kernel_timespec limit{};
  if (timeout) limit = ToTimespec(std::max(*timeout, Duration::zero()));
  // Interrupted, timed out, busy: all the same, the caller comes back.
  io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, timeout ? &limit : nullptr, nullptr);
  Reap();
}

void UringRing::Reap() {
  io_uring_cqe* cqe = nullptr;
  uint32_t head = 0;
  uint32_t count = 0;
  bool watch_again = false;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    const uint64_t tag = cqe->user_data;
    if (tag == kTagIgnored) continue;
    if (tag == kTagWakeup) {
      if ((cqe->flags & IORING_CQE_F_MORE) == 0) watch_again = true;
      continue;
    }
    RingOp& op = *reinterpret_cast<RingOp*>(tag);
    MORAINE_CHECK(op.in_kernel_, "an operation ends once");
    op.in_kernel_ = false;
    op.result_ = cqe->res;
    op.completion_flags_ = cqe->flags;
    static_cast<Timer&>(op).Cancel();
    --in_kernel_;
    loop_.Ready(op);
  }
  io_uring_cq_advance(&ring_, count);
  if (watch_again) WatchWakeups(wake_fd_);
}

}  // namespace moraine
