// Mutex, MutexLock and CondVar over the standard ones, annotated so that clang proves at compile
// time (-Wthread-safety) that a field is only touched with its mutex held.
//
//   Mutex mutex_;
//   int waiting_ MORAINE_GUARDED_BY(mutex_) = 0;
//   void WakeLocked() MORAINE_REQUIRES(mutex_);
//
// House rule: no lock is held across I/O, a remote call or a callback. Code on a loop needs no
// lock at all; these are for what threads share.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#define MORAINE_CAPABILITY(name) __attribute__((capability(name)))
#define MORAINE_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define MORAINE_GUARDED_BY(mutex) __attribute__((guarded_by(mutex)))
#define MORAINE_POINTEE_GUARDED_BY(mutex) __attribute__((pt_guarded_by(mutex)))
#define MORAINE_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define MORAINE_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define MORAINE_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define MORAINE_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define MORAINE_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define MORAINE_NO_THREAD_SAFETY_ANALYSIS __attribute__((no_thread_safety_analysis))

namespace moraine {

class MORAINE_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() MORAINE_ACQUIRE() { mutex_.lock(); }
  void Unlock() MORAINE_RELEASE() { mutex_.unlock(); }
  bool TryLock() MORAINE_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds a mutex for its own lifetime. Unlock() may end the hold early, Lock() takes it again.
class MORAINE_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) MORAINE_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() MORAINE_RELEASE() {
    if (held_) mutex_.Unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Unlock() MORAINE_RELEASE() {
    mutex_.Unlock();
    held_ = false;
  }
  void Lock() MORAINE_ACQUIRE() {
    mutex_.Lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// Waits give the mutex back while they sleep. They may wake without cause, so call them in a loop
// over the condition. The timed waits return false when the time ran out.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex& mutex) MORAINE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline)
      MORAINE_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  bool WaitFor(Mutex& mutex, std::chrono::nanoseconds timeout) MORAINE_REQUIRES(mutex) {
    return WaitUntil(mutex, std::chrono::steady_clock::now() + timeout);
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace moraine
