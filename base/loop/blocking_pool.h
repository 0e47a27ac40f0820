// A few threads for calls that block (name look-ups, listing directories, truncation).
//
// Threads start when there is work and none is idle, up to a bound; more work waits in order.
// Submit: any thread. The destructor runs what was submitted, then joins.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/loop/loop.h"
#include "base/mutex.h"

namespace moraine {

class BlockingPool {
 public:
  explicit BlockingPool(int threads_max);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  void Submit(std::function<void()> work) MORAINE_EXCLUDES(mutex_);
  // Loop::RunBlocking for a loop whose Post works from the pool's threads. When the coroutine is
  // dropped while `work` runs, its destruction waits for the end of `work`, whose captures may
  // stand in the coroutine.
  Task<void> Run(Loop& loop, std::function<void()> work);

 private:
  void ThreadMain() MORAINE_EXCLUDES(mutex_);

  const size_t threads_max_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ MORAINE_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ MORAINE_GUARDED_BY(mutex_);
  size_t idle_ MORAINE_GUARDED_BY(mutex_) = 0;
  bool stopping_ MORAINE_GUARDED_BY(mutex_) = false;
};

}  // namespace moraine
