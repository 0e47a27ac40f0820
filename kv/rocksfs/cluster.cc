#include "kv/rocksfs/cluster.h"

#include "base/log.h"

namespace moraine::rocksfs {
namespace {

constexpr size_t kClosesAtOnce = 64;  // that wait for a Block to take them along

Task<void> CloseFile(Cluster* cluster, std::shared_ptr<fs::File> file) {
  const Status closed = co_await cluster->Close(std::move(file));
  if (!closed.ok()) LogDebug("closing a file that was read: {}", closed.ToString());
}

}  // namespace

void Cluster::CloseLater(std::shared_ptr<fs::File> file) {
  if (refusing_.load(std::memory_order_acquire)) return;
  bool many = false;
  {
    MutexLock lock(closing_mutex_);
    closing_.push_back(std::move(file));
    many = closing_.size() == kClosesAtOnce;
  }
  any_closing_.store(true, std::memory_order_release);
  if (many) loop().Post([this] { StartCloses(); });
}

void Cluster::StartCloses() {
  if (!any_closing_.exchange(false, std::memory_order_acq_rel)) return;
  std::vector<std::shared_ptr<fs::File>> files;
  {
    MutexLock lock(closing_mutex_);
    files.swap(closing_);
  }
  for (std::shared_ptr<fs::File>& file : files) loop().Spawn(CloseFile(this, std::move(file)));
}

}  // namespace moraine::rocksfs
