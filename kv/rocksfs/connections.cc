#include "kv/rocksfs/connections.h"

#include <unistd.h>

#include <cstdlib>
#include <map>
#include <vector>

#include "kv/rocksfs/client_cluster.h"

namespace moraine::rocksfs {
namespace {

constexpr Duration kExitStopMax = std::chrono::seconds(2);  // for all connections together

class Connections {
 public:
  std::shared_ptr<Volume> Find(const std::string& key) MORAINE_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto it = by_key_.find(key);
    return it == by_key_.end() ? nullptr : it->second.lock();
  }

  // The volume of this key: the given one, unless another thread was faster.
  std::shared_ptr<Volume> Add(const std::string& key, std::shared_ptr<Volume> volume)
      MORAINE_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (!watching_exit_) {
      watching_exit_ = true;
      process_ = getpid();
      std::atexit(&CloseAtExit);
    }
    std::weak_ptr<Volume>& known = by_key_[key];
    if (std::shared_ptr<Volume> other = known.lock()) return other;
    known = volume;
    return volume;
  }

  bool exiting() const MORAINE_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return exiting_;
  }

 private:
  static void CloseAtExit();

  void CloseAll() MORAINE_EXCLUDES(mutex_) {
    std::vector<std::shared_ptr<Volume>> open;
    {
      MutexLock lock(mutex_);
      if (getpid() != process_) return;  // a child that was forked and not replaced
      exiting_ = true;
      for (const auto& [key, weak] : by_key_) {
        if (std::shared_ptr<Volume> volume = weak.lock()) open.push_back(std::move(volume));
      }
      // Held for ever: other threads may still be inside, and destructors of static objects follow.
      kept_ = open;
    }
    const auto deadline = std::chrono::steady_clock::now() + kExitStopMax;
    for (const std::shared_ptr<Volume>& volume : open) {
      const Duration left = deadline - std::chrono::steady_clock::now();
      volume->Stop(std::max(left, Duration::zero()));
    }
  }

  mutable Mutex mutex_;
  std::map<std::string, std::weak_ptr<Volume>> by_key_ MORAINE_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Volume>> kept_ MORAINE_GUARDED_BY(mutex_);
  pid_t process_ MORAINE_GUARDED_BY(mutex_) = 0;
  bool watching_exit_ MORAINE_GUARDED_BY(mutex_) = false;
  bool exiting_ MORAINE_GUARDED_BY(mutex_) = false;
};

// Never destroyed: it is used by destructors of static objects.
Connections& All() {
  static auto* all = new Connections();
  return *all;
}

void Connections::CloseAtExit() { All().CloseAll(); }

}  // namespace

Result<std::shared_ptr<Volume>> Connect(const Uri& uri) {
  const std::string key = uri.ConnectionKey();
  if (All().exiting()) return Status(Code::kCanceled, "the process ends");
  if (std::shared_ptr<Volume> volume = All().Find(key)) return volume;
  MORAINE_ASSIGN_OR_RETURN(std::unique_ptr<ClientCluster> cluster, ClientCluster::Connect(uri));
  VolumeOptions options;
  options.timeout = uri.timeout;
  options.read_ahead_bytes = uri.read_ahead_bytes;
  options.has_cache = uri.cache_bytes > 0;
  options.owner = uri.name;
  return All().Add(key, std::make_shared<Volume>(std::move(cluster), std::move(options)));
}

}  // namespace moraine::rocksfs
