#include "base/loop/uring_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <cerrno>
#include <utility>

#include "base/loop/uring_disk.h"
#include "base/loop/uring_stream.h"

namespace moraine {

Result<std::unique_ptr<UringLoop>> UringLoop::Create(Options options) {
  std::unique_ptr<UringLoop> loop(new UringLoop(options));
  MORAINE_ASSIGN_OR_RETURN(loop->ring_, UringRing::Create(*loop, options.entries));
  loop->wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->wake_.valid()) return StatusFromErrno(errno, "make an eventfd");
  loop->disk_ = MakeUringDisk(*loop);
  return loop;
}

UringLoop::UringLoop(const Options& options)
    : options_(options),
      pool_(std::make_unique<BlockingPool>(options.blocking_threads)),
      random_(options.seed != 0 ? options.seed : EntropySeed()),
      spin_(options.spin) {}

UringLoop::~UringLoop() {
  DestroySpawned();
  pool_.reset();
}

void UringLoop::Run() {
  RunUntil([this] { return stopping_.load(std::memory_order_seq_cst); });
  stopping_.store(false, std::memory_order_relaxed);
  DestroySpawned();
}

void UringLoop::RunUntil(const std::function<bool()>& done) {
  ring_->BindToThisThread();
  if (!std::exchange(watching_, true)) ring_->WatchWakeups(wake_.get());
  while (true) {
    RunInbox();
    RunTimers();
    const bool more_ready = RunReady();
    if (done()) return;
    if (more_ready) {
      ring_->Poll();
    } else {
      SleepUntilWork(done);
    }
  }
}

void UringLoop::SleepUntilWork(const std::function<bool()>& done) {
  const std::optional<Instant> timer = timers().Earliest();
  const Instant now = Now();
  if (ring_->HasCompletions() || (timer && *timer <= now)) {
    ring_->Poll();
    return;
  }
  if (spin_.IsWorthIt()) {
    const Instant spin_until = now + spin_.spin();
    const bool paid = SpinForWork(timer ? std::min(*timer, spin_until) : spin_until);
    spin_.NoteSpin(paid);
    if (paid) return;
  }
  sleeping_.store(true, std::memory_order_seq_cst);
  if (posted_.load(std::memory_order_seq_cst) || done()) {
    ring_->Poll();
  } else {
    ring_->Wait(timer ? std::optional<Duration>(*timer - Now()) : std::nullopt);
    if (HasReady()) spin_.NoteSleep(Now() - now);
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

bool UringLoop::SpinForWork(Instant until) {
  ring_->Poll();
  while (true) {
    if (HasReady() || posted_.load(std::memory_order_relaxed)) return true;
    if (Now() >= until) return false;
    ring_->Poll();
  }
}

void UringLoop::Wake() {
  if (sleeping_.load(std::memory_order_seq_cst)) eventfd_write(wake_.get(), 1);
}

void UringLoop::Stop() {
  stopping_.store(true, std::memory_order_seq_cst);
  Wake();
}

void UringLoop::Post(std::function<void()> work) {
  {
    MutexLock lock(inbox_mutex_);
    inbox_.push_back(std::move(work));
    if (posted_.exchange(true, std::memory_order_seq_cst)) return;
  }
  Wake();
}

void UringLoop::RunInbox() {
  if (!posted_.load(std::memory_order_acquire)) return;
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(inbox_mutex_);
    work.swap(inbox_);
    posted_.store(false, std::memory_order_seq_cst);
  }
  for (std::function<void()>& item : work) item();
}

Instant UringLoop::Now() const { return RealNow(); }

int64_t UringLoop::WallNanoseconds() const { return RealWallNanoseconds(); }

Task<void> UringLoop::RunBlocking(std::function<void()> work) {
  return pool_->Run(*this, std::move(work));
}

Task<Result<std::unique_ptr<Stream>>> UringLoop::Connect(Endpoint to, Instant deadline) {
  return ConnectUringStream(*this, std::move(to), deadline);
}

Result<std::unique_ptr<Listener>> UringLoop::Listen(Endpoint at) { return ListenUring(*this, at); }

Task<Result<size_t>> UringLoop::ReadDescriptor(int fd, MutableBytes buffer, Instant deadline) {
  while (true) {
    const RingEnd end = co_await ring_->Do(
        [&](io_uring_sqe* sqe) {
          io_uring_prep_read(sqe, fd, buffer.data(), static_cast<unsigned>(buffer.size()), -1);
        },
        deadline);
    if (end.result >= 0) co_return static_cast<size_t>(end.result);
    switch (-end.result) {
      case EINTR:
        break;
      case EAGAIN:  // a non-blocking descriptor
        MORAINE_CO_RETURN_IF_ERROR(co_await PollReadable(fd, deadline));
        break;
      case ENODEV:
        co_return Status(Code::kUnavailable, "read from a descriptor: the other side is gone");
      default:
        co_return StatusFromErrno(-end.result, "read from a descriptor");
    }
  }
}

Task<Status> UringLoop::PollReadable(int fd, Instant deadline) {
  const RingEnd end = co_await ring_->Do(
      [&](io_uring_sqe* sqe) { io_uring_prep_poll_add(sqe, fd, POLLIN); }, deadline);
  if (end.result < 0) co_return StatusFromErrno(-end.result, "wait for a descriptor");
  co_return Status::Ok();
}

}  // namespace moraine
