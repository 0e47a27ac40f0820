#include "fs/mount/cache_dropper.h"

#include <utility>

namespace moraine::fs::mount {

CacheDropper::CacheDropper(std::function<void(InodeId)> drop)
    : drop_(std::move(drop)), thread_([this] { ThreadMain(); }) {}

CacheDropper::~CacheDropper() { Join(); }

void CacheDropper::Drop(InodeId inode) {
  {
    MutexLock lock(mutex_);
    if (stopping_ || !waiting_.insert(inode).second) return;
    queue_.push_back(inode);
  }
  wake_.NotifyOne();
}

void CacheDropper::Join() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    queue_.clear();
    waiting_.clear();
  }
  wake_.NotifyOne();
  if (thread_.joinable()) thread_.join();
}

Task<void> CacheDropper::Stop(Loop& loop) {
  co_await loop.RunBlocking([this] { Join(); });
}

void CacheDropper::ThreadMain() {
  while (true) {
    InodeId inode;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(mutex_);
      if (stopping_) return;
      inode = queue_.front();
      queue_.pop_front();
      // Before the call: a change that comes during it has to be told again.
      waiting_.erase(inode);
    }
    drop_(inode);
  }
}

}  // namespace moraine::fs::mount
