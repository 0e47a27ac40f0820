// The loop of servers and of the mount: one thread, one io_uring for sockets, disks and wake-ups.
//
// Lifecycle: Create (any thread); Spawn what shall run; Run on the loop's thread until Stop. A
// process that ends in good order drains its task groups first and then calls Stop. Run drops the
// coroutines that are still there before it returns, so that they never outlive what they use;
// what they had in the kernel is canceled and waited for.
//
// Thread rule: as in loop.h; the thread of the first Run or RunUntil is the loop's thread. Post and
// Stop: any thread. The destructor may run elsewhere once Run has returned.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "base/loop/blocking_pool.h"
#include "base/loop/descriptor.h"
#include "base/loop/loop.h"
#include "base/loop/spin_credit.h"
#include "base/loop/uring_ring.h"
#include "base/mutex.h"

namespace moraine {

class UringLoop : public Loop {
 public:
  struct Options {
    uint32_t entries = 1024;  // of the submission queue; more operations than that may be under way
    int blocking_threads = 4;  // at most, for RunBlocking
    Duration spin{30us};       // polls this long before it sleeps, where that has paid off
    uint64_t seed = 0;         // of random(); 0: from the kernel's entropy
  };
  // kNotSupported: no io_uring here.
  static Result<std::unique_ptr<UringLoop>> Create(Options options);
  static Result<std::unique_ptr<UringLoop>> Create() { return Create(Options()); }
  ~UringLoop() override;

  // Runs until Stop, then drops every spawned coroutine.
  void Run() MORAINE_EXCLUDES(inbox_mutex_);
  // Runs until `done` holds; it is asked in each turn, so it is to be
  // cheap; what makes it true from another thread has to Post. Drops nothing.
  void RunUntil(const std::function<bool()>& done) MORAINE_EXCLUDES(inbox_mutex_);
  // Ends Run, or makes the next one return at once.
  void Stop();

  Instant Now() const override;
  int64_t WallNanoseconds() const override;
  Random& random() override { return random_; }
  void Post(std::function<void()> work) override MORAINE_EXCLUDES(inbox_mutex_);
  Task<void> RunBlocking(std::function<void()> work) override;
  Task<Result<std::unique_ptr<Stream>>> Connect(Endpoint to, Instant deadline) override;
  Result<std::unique_ptr<Listener>> Listen(Endpoint at) override;
  Disk& disk() override { return *disk_; }

  // Reads once from a descriptor that has no position: /dev/fuse, signalfd, a pipe. It must not be
  // closed while this is under way. 0: the end. Errors: kTimeout; kUnavailable (ENODEV: what was
  // behind it is gone, for example the FUSE mount); kNotFound (ENOENT: FUSE says, ask again); kIo.
  Task<Result<size_t>> ReadDescriptor(int fd, MutableBytes buffer, Instant deadline = kNever);
  // Until `fd` can be read, has ended or is broken. kTimeout.
  Task<Status> PollReadable(int fd, Instant deadline = kNever);

  UringRing& ring() { return *ring_; }

 private:
  explicit UringLoop(const Options& options);
  void RunInbox() MORAINE_EXCLUDES(inbox_mutex_);
  void SleepUntilWork(const std::function<bool()>& done);
  bool SpinForWork(Instant until);
  void Wake();

  const Options options_;
  std::unique_ptr<UringRing> ring_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<BlockingPool> pool_;
  Random random_;
  Descriptor wake_;
  SpinCredit spin_;
  bool watching_ = false;

  // Whoever posts or stops and then sees `sleeping_` writes to the eventfd; the loop sets
  // `sleeping_` and then looks at `posted_` and `stopping_`. So no wake-up is lost and few are paid
  // for.
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> posted_{false};
  std::atomic<bool> stopping_{false};
  Mutex inbox_mutex_;
  std::vector<std::function<void()>> inbox_ MORAINE_GUARDED_BY(inbox_mutex_);
};

}  // namespace moraine
