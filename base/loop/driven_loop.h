// The loop of a library inside somebody else's process, for example a RocksDB tool: epoll and
// non-blocking sockets, no disk, and no thread in the way of a call. Waking another thread costs
// ten times what a call costs, so the thread that calls Block runs the loop itself until its own
// task has ended ("drives"), and on the way does what others need. See the keeper below for the
// rest.
//
//   Result<Attributes> got = loop->Block([&] { return client.Stat(path, deadline); });
//
// One thread at a time drives. Who calls Block meanwhile hands its task to the driver and sleeps; a
// driver that leaves wakes exactly one of those to drive on. The keeper is a thread that drives
// when nobody waits but there is work behind the scenes: heartbeats, appends that nobody waits for
// yet, timers, posted functions. It stays away from a loop that callers drive often (it looks every
// few `grace`), so that a call costs no wake-up.
//
// Thread rule: Block and Post from any thread; all else only from coroutines and functions that run
// on the loop. Whatever drives holds the loop alone; handing over orders memory between threads.
// Objects of the loop (streams, clients) are therefore made, used and destroyed inside Block.
// Not supported: fork() and then use in the child (exec is fine); Block from within the loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/loop/blocking_pool.h"
#include "base/loop/descriptor.h"
#include "base/loop/loop.h"
#include "base/loop/spin_credit.h"
#include "base/mutex.h"

namespace moraine {

namespace driven_internal {

template <class T>
struct ValueOf;
template <class T>
struct ValueOf<Task<T>> {
  using Type = T;
};

// One thread inside Block; stands on its stack.
class Call : public ListNode {
 public:
  // Runs the caller's task and ends with DrivenLoop::Finish.
  virtual Task<void> Run() = 0;

  // Guarded by the loop's mutex, except that the driver writes `done` of its own call.
  bool done = false;
  bool drives = false;  // the role was handed to it
  CondVar wake;

 protected:
  ~Call() = default;
};

// Something with a descriptor that epoll watches.
class Watched {
 public:
  virtual void OnReady(uint32_t epoll_events) = 0;

 protected:
  ~Watched() = default;
};

}  // namespace driven_internal

class DrivenLoop : public Loop {
 public:
  struct Options {
    int blocking_threads = 1;  // at most, for RunBlocking (name look-ups)
    Duration spin{30us};       // a driver polls this long before it sleeps, where that has paid off
    Duration grace{1ms};       // of quiet before the keeper takes over
    uint64_t seed = 0;         // of random(); 0: from the kernel's entropy
  };
  static Result<std::unique_ptr<DrivenLoop>> Create(Options options);
  static Result<std::unique_ptr<DrivenLoop>> Create() { return Create(Options()); }
  // Nobody may be inside Block. Drops what still runs; orderly users drain in a last Block before.
  ~DrivenLoop() override;

  // Runs the Task that `make` makes to its end and returns what it returns. `make` is called on the
  // loop and may refer to the caller's stack. Never ends before the task does: deadlines are the
  // task's own.
  template <class Make>
  auto Block(Make make) MORAINE_EXCLUDES(mutex_) {
    using Value = typename driven_internal::ValueOf<std::invoke_result_t<Make&>>::Type;
    CallOf<Make, Value> call(*this, make);
    BlockOn(call);
    if constexpr (!std::is_void_v<Value>) return std::move(*call.value);
  }

  Instant Now() const override;
  int64_t WallNanoseconds() const override;
  Random& random() override { return random_; }
  void Post(std::function<void()> work) override MORAINE_EXCLUDES(mutex_);
  Task<void> RunBlocking(std::function<void()> work) override;
  Task<Result<std::unique_ptr<Stream>>> Connect(Endpoint to, Instant deadline) override;
  Result<std::unique_ptr<Listener>> Listen(Endpoint at) override;
  // Aborts: a library has no business with the disks of its host.
  Disk& disk() override;

  // For the streams of this loop. Edge-triggered, both directions; the state at Watch is reported.
  void Watch(int fd, driven_internal::Watched& watched);
  void Unwatch(int fd);

 private:
  using Call = driven_internal::Call;

  template <class Make, class Value>
  class CallOf final : public Call {
   public:
    CallOf(DrivenLoop& loop, Make& make) : loop_(loop), make_(make) {}
    Task<void> Run() override {
      if constexpr (std::is_void_v<Value>) {
        co_await make_();
      } else {
        value.emplace(co_await make_());
      }
      loop_.Finish(*this);
    }
    std::conditional_t<std::is_void_v<Value>, std::nullopt_t, std::optional<Value>> value{
        std::nullopt};

   private:
    DrivenLoop& loop_;
    Make& make_;
  };

  // What the keeper is doing, for those who might have to wake it.
  enum class Keeper { kNone, kBusy, kSampling, kParked, kPolling };

  // What the keeper saw when it last looked.
  struct KeeperView {
    uint64_t drives = 0;
    int samples_of_one = 0;  // in a row, without a drive that ended in between
    int graces = 1;          // to sleep until the next look
  };

  explicit DrivenLoop(const Options& options);
  void BlockOn(Call& call) MORAINE_EXCLUDES(mutex_);
  void Finish(Call& call) MORAINE_EXCLUDES(mutex_);
  void Drive(Call& own) MORAINE_EXCLUDES(mutex_);
  void TakeInbox() MORAINE_EXCLUDES(mutex_);
  void WaitForEvents();
  bool Spin(Instant until);
  size_t PollEvents(std::optional<Duration> timeout);
  int EpollWait(void* events, int count, std::optional<Duration> timeout);

  // Gives up the role: to a waiting caller, or to nobody, and then sees to the keeper.
  void HandOver(bool by_caller) MORAINE_REQUIRES(mutex_);
  bool UrgentWork() const MORAINE_REQUIRES(mutex_);
  void WakeKeeper() MORAINE_REQUIRES(mutex_);
  void StartKeeper() MORAINE_REQUIRES(mutex_);
  void KeeperMain() MORAINE_EXCLUDES(mutex_);
  void KeeperRest(KeeperView* view) MORAINE_REQUIRES(mutex_);

  const Options options_;
  Descriptor epoll_;
  Descriptor wake_;
  std::unique_ptr<BlockingPool> pool_;

  // Owned by whoever drives.
  Random random_;
  size_t watched_ = 0;
  Call* own_call_ = nullptr;
  SpinCredit spin_;
  bool precise_sleep_ = true;

  // As in UringLoop: who posts and then sees `sleeping_` writes to the eventfd.
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> posted_{false};

  Mutex mutex_;
  bool driving_ MORAINE_GUARDED_BY(mutex_) = false;  // somebody has the role
  std::vector<std::function<void()>> inbox_ MORAINE_GUARDED_BY(mutex_);
  List<Call> waiting_ MORAINE_GUARDED_BY(mutex_);   // callers that sleep
  uint64_t drives_ MORAINE_GUARDED_BY(mutex_) = 0;  // by callers, ended
  // How the last driver left the loop.
  bool ready_left_ MORAINE_GUARDED_BY(mutex_) = false;
  Instant next_timer_ MORAINE_GUARDED_BY(mutex_) = kNever;

  Keeper keeper_ MORAINE_GUARDED_BY(mutex_) = Keeper::kNone;
  Instant keeper_sleeps_until_ MORAINE_GUARDED_BY(mutex_) = kNever;  // while it polls
  bool stopping_ MORAINE_GUARDED_BY(mutex_) = false;
  CondVar keeper_wake_;
  std::thread keeper_thread_;
};

}  // namespace moraine
