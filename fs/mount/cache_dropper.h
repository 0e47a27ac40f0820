// Tells the kernel to drop what it caches of inodes, from a thread of its own.
//
// The call may block: the kernel waits for pages that are locked while a read of them is under way,
// and that read may be waiting for the loop. So the loop must never make the call itself, and it
// has to go on serving until Stop has returned.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <unordered_set>

#include "base/ids.h"
#include "base/loop/loop.h"
#include "base/mutex.h"

namespace moraine::fs::mount {

class CacheDropper {
 public:
  // `drop` runs on the thread.
  explicit CacheDropper(std::function<void(InodeId)> drop);
  // Must be stopped, unless the kernel has let go of the mount.
  ~CacheDropper();

  // Any thread; never waits. An inode that is waiting already is not added again, so the queue is
  // bounded by the inodes the kernel knows.
  void Drop(InodeId inode) MORAINE_EXCLUDES(mutex_);
  // Forgets what waits and ends the thread, while the loop goes on.
  Task<void> Stop(Loop& loop);

 private:
  void ThreadMain() MORAINE_EXCLUDES(mutex_);
  void Join() MORAINE_EXCLUDES(mutex_);

  const std::function<void(InodeId)> drop_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<InodeId> queue_ MORAINE_GUARDED_BY(mutex_);
  std::unordered_set<InodeId> waiting_ MORAINE_GUARDED_BY(mutex_);
  bool stopping_ MORAINE_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace moraine::fs::mount
