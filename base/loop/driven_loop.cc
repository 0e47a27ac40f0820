#include "base/loop/driven_loop.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/loop/driven_stream.h"

namespace moraine {
namespace {

constexpr int kEventsMax = 64;            // taken from epoll at once
constexpr int kSamplesBeforeParking = 8;  // of one and the same drive
constexpr int kGracesBetweenSamplesMax = 4;

thread_local const DrivenLoop* driven_here = nullptr;

timespec ToTimespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

int ToMillisecondsUp(std::optional<Duration> timeout) {
  if (!timeout) return -1;
  const auto up = std::chrono::ceil<std::chrono::milliseconds>(*timeout);
  return static_cast<int>(std::min<int64_t>(up.count(), 1 << 30));
}

}  // namespace

Result<std::unique_ptr<DrivenLoop>> DrivenLoop::Create(Options options) {
  std::unique_ptr<DrivenLoop> loop(new DrivenLoop(options));
  loop->epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  if (!loop->epoll_.valid()) return StatusFromErrno(errno, "make an epoll descriptor");
  loop->wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->wake_.valid()) return StatusFromErrno(errno, "make an eventfd");
  // Edge-triggered: each write is one event, and nobody has to read it.
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
  if (epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, loop->wake_.get(), &event) != 0) {
    return StatusFromErrno(errno, "watch an eventfd");
  }
  return loop;
}

DrivenLoop::DrivenLoop(const Options& options)
    : options_(options),
      pool_(std::make_unique<BlockingPool>(options.blocking_threads)),
      random_(options.seed != 0 ? options.seed : EntropySeed()),
      spin_(options.spin) {}

DrivenLoop::~DrivenLoop() {
  {
    MutexLock lock(mutex_);
    MORAINE_CHECK(waiting_.empty(), "a DrivenLoop goes while somebody is inside Block");
    stopping_ = true;
    WakeKeeper();
  }
  if (keeper_thread_.joinable()) keeper_thread_.join();
  DestroySpawned();
  pool_.reset();
}

void DrivenLoop::BlockOn(Call& call) {
  MORAINE_CHECK(driven_here != this, "Block inside the loop would wait for itself");
  MutexLock lock(mutex_);
  if (driving_) {
    inbox_.push_back([this, &call] { Spawn(call.Run()); });
    posted_.store(true, std::memory_order_seq_cst);
    waiting_.PushBack(call);
    if (sleeping_.load(std::memory_order_seq_cst)) eventfd_write(wake_.get(), 1);
    while (!call.done && !call.drives) call.wake.Wait(mutex_);
    if (call.done) return;
    lock.Unlock();
  } else {
    driving_ = true;
    lock.Unlock();
    Spawn(call.Run());
  }
  Drive(call);
  lock.Lock();
  HandOver(/*by_caller=*/true);
}

void DrivenLoop::Finish(Call& call) {
  if (&call == own_call_) {
    call.done = true;
    return;
  }
  MutexLock lock(mutex_);
  call.Unlink();
  call.done = true;
  call.wake.NotifyOne();  // the call is gone as soon as the lock is
}

void DrivenLoop::Drive(Call& own) {
  driven_here = this;
  own_call_ = &own;
  while (true) {
    TakeInbox();
    RunTimers();
    const bool more_ready = RunReady();
    if (own.done) break;
    if (more_ready) {
      PollEvents(Duration::zero());
    } else {
      WaitForEvents();
    }
  }
  own_call_ = nullptr;
  driven_here = nullptr;
}

void DrivenLoop::TakeInbox() {
  if (!posted_.load(std::memory_order_acquire)) return;
  std::vector<std::function<void()>> work;
  {
    MutexLock lock(mutex_);
    work.swap(inbox_);
    posted_.store(false, std::memory_order_seq_cst);
  }
  for (std::function<void()>& item : work) item();
}

void DrivenLoop::WaitForEvents() {
  const Instant start = Now();
  const Instant timer = timers().Earliest().value_or(kNever);
  if (timer <= start) return;
  if (spin_.IsWorthIt()) {
    const bool paid = Spin(std::min(timer, start + spin_.spin()));
    spin_.NoteSpin(paid);
    if (paid) return;
  }
  sleeping_.store(true, std::memory_order_seq_cst);
  if (posted_.load(std::memory_order_seq_cst)) {
    PollEvents(Duration::zero());
  } else {
    const bool some =
        PollEvents(timer == kNever ? std::nullopt : std::optional<Duration>(timer - Now())) > 0;
    if (some) spin_.NoteSleep(Now() - start);
  }
  sleeping_.store(false, std::memory_order_relaxed);
}

bool DrivenLoop::Spin(Instant until) {
  while (true) {
    if (PollEvents(Duration::zero()) > 0 || posted_.load(std::memory_order_relaxed)) return true;
    if (Now() >= until) return false;
  }
}

size_t DrivenLoop::PollEvents(std::optional<Duration> timeout) {
  epoll_event events[kEventsMax];
  if (timeout) timeout = std::max(*timeout, Duration::zero());
  const int count = EpollWait(events, kEventsMax, timeout);
  for (int i = 0; i < count; ++i) {
    // Marks and wakes only; no code that could destroy another watched object runs in between.
    auto* watched = static_cast<driven_internal::Watched*>(events[i].data.ptr);
    if (watched != nullptr) watched->OnReady(events[i].events);
  }
  return count > 0 ? static_cast<size_t>(count) : 0;
}

int DrivenLoop::EpollWait(void* events, int count, std::optional<Duration> timeout) {
  auto* list = static_cast<epoll_event*>(events);
  const bool rounds = timeout && *timeout % 1ms != Duration::zero();
  if (rounds && precise_sleep_) {
    const timespec limit = ToTimespec(*timeout);
    const int found = epoll_pwait2(epoll_.get(), list, count, &limit, nullptr);
    if (found >= 0 || errno == EINTR) return found;
    precise_sleep_ = false;  // an older kernel, or a sandbox that does not know the call
  }
  return epoll_wait(epoll_.get(), list, count, ToMillisecondsUp(timeout));
}

bool DrivenLoop::UrgentWork() const { return ready_left_ || !inbox_.empty(); }

void DrivenLoop::HandOver(bool by_caller) {
  if (by_caller) ++drives_;
  ready_left_ = HasReady();
  next_timer_ = timers().Earliest().value_or(kNever);
  if (Call* next = waiting_.PopFront()) {
    next->drives = true;
    next->wake.NotifyOne();
    return;
  }
  driving_ = false;
  const bool work = UrgentWork() || next_timer_ != kNever || watched_ > 0;
  if (keeper_ == Keeper::kNone) {
    if (work) StartKeeper();
    return;
  }
  if (UrgentWork() || (keeper_ == Keeper::kParked && work) ||
      (keeper_ == Keeper::kPolling && next_timer_ < keeper_sleeps_until_)) {
    WakeKeeper();
  }
}

void DrivenLoop::WakeKeeper() {
  if (keeper_ == Keeper::kPolling) {
    eventfd_write(wake_.get(), 1);
  } else if (keeper_ == Keeper::kSampling || keeper_ == Keeper::kParked) {
    keeper_wake_.NotifyOne();
  }
}

void DrivenLoop::StartKeeper() {
  if (stopping_) return;
  keeper_ = Keeper::kBusy;
  // The host's signals are for the host's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  keeper_thread_ = std::thread([this] { KeeperMain(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void DrivenLoop::KeeperMain() {
  KeeperView view;
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (driving_ || (!UrgentWork() && view.drives != drives_)) {
      KeeperRest(&view);
      continue;
    }
    view.graces = 1;
    const Instant now = Now();
    if (!UrgentWork() && next_timer_ > now) {
      // Watches the loop's epoll from outside: a caller may begin to drive at any time.
      keeper_ = Keeper::kPolling;
      keeper_sleeps_until_ = next_timer_;
      std::optional<Duration> timeout;
      if (next_timer_ != kNever) timeout = next_timer_ - now;
      lock.Unlock();
      pollfd watched{.fd = epoll_.get(), .events = POLLIN, .revents = 0};
      const timespec limit = ToTimespec(timeout.value_or(Duration::zero()));
      ppoll(&watched, 1, timeout ? &limit : nullptr, nullptr);
      lock.Lock();
      keeper_ = Keeper::kBusy;
      if (stopping_ || driving_) continue;
    }
    driving_ = true;
    lock.Unlock();
    driven_here = this;
    PollEvents(Duration::zero());
    TakeInbox();
    RunTimers();
    RunReady();
    driven_here = nullptr;
    lock.Lock();
    HandOver(/*by_caller=*/false);
  }
}

// Callers drive, or did a moment ago. Looking now and then costs less than being woken by each of
// them; only a drive that lasts is slept through.
void DrivenLoop::KeeperRest(KeeperView* view) {
  const bool same_drive = view->drives == drives_;
  view->drives = drives_;
  view->samples_of_one = same_drive ? view->samples_of_one + 1 : 0;
  view->graces = same_drive ? 1 : std::min(view->graces * 2, kGracesBetweenSamplesMax);
  if (driving_ && view->samples_of_one >= kSamplesBeforeParking) {
    keeper_ = Keeper::kParked;
    keeper_wake_.Wait(mutex_);
  } else {
    keeper_ = Keeper::kSampling;
    keeper_wake_.WaitFor(mutex_, options_.grace * view->graces);
  }
  keeper_ = Keeper::kBusy;
}

void DrivenLoop::Post(std::function<void()> work) {
  MutexLock lock(mutex_);
  inbox_.push_back(std::move(work));
  posted_.store(true, std::memory_order_seq_cst);
  if (driving_) {
    if (sleeping_.load(std::memory_order_seq_cst)) eventfd_write(wake_.get(), 1);
  } else if (keeper_ == Keeper::kNone) {
    StartKeeper();
  } else {
    WakeKeeper();
  }
}

Instant DrivenLoop::Now() const { return RealNow(); }

int64_t DrivenLoop::WallNanoseconds() const { return RealWallNanoseconds(); }

Task<void> DrivenLoop::RunBlocking(std::function<void()> work) {
  return pool_->Run(*this, std::move(work));
}

Task<Result<std::unique_ptr<Stream>>> DrivenLoop::Connect(Endpoint to, Instant deadline) {
  return ConnectDrivenStream(*this, std::move(to), deadline);
}

Result<std::unique_ptr<Listener>> DrivenLoop::Listen(Endpoint at) {
  return ListenDriven(*this, at);
}

Disk& DrivenLoop::disk() {
  CheckFailed("disk()", __FILE__, __LINE__, "a DrivenLoop has no disk; only a UringLoop has");
}

void DrivenLoop::Watch(int fd, driven_internal::Watched& watched) {
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = &watched}};
  const int error = epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
  MORAINE_CHECK(error == 0, std::string("watch a socket: ") + std::strerror(error));
  ++watched_;
}

// Closing alone would not do: a child between fork and exec may still hold the socket open.
void DrivenLoop::Unwatch(int fd) {
  epoll_event unused{};
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);
  --watched_;
}

}  // namespace moraine
