// What this library needs of a client of the cluster, and the way from RocksDB's threads onto the
// client's loop. The real one is ClientCluster (client_cluster.h); tests have one in memory.
//
// Thread rule: Block from any thread but the loop's; everything that returns a Task, on the loop.
// The contracts of the calls are those of fs/client/client.h.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/loop/loop.h"
#include "base/mutex.h"
#include "fs/client/client.h"

namespace moraine::rocksfs {

class Cluster {
 public:
  virtual ~Cluster() = default;

  virtual Loop& loop() = 0;

  // Runs the task that `make` makes, on the loop, and waits for its end. Its result must be a
  // Status or a Result. kCanceled, without running anything, after Refuse().
  template <class Make>
  auto Block(Make make) {
    using Value = typename TaskValue<std::invoke_result_t<Make&>>::type;
    std::optional<Value> value;
    if (!refusing_.load(std::memory_order_acquire)) {
      Drive([this, &make, &value] { return Store(make, value); });
    }
    if (!value.has_value()) {
      value.emplace(Status(Code::kCanceled, "the connection to the cluster is closed"));
    }
    return *std::move(value);
  }
  // Gives an opening for reading back with the next Block, without waiting for the answer. Nobody
  // is woken for it; only many at once are sent by themselves.
  void CloseLater(std::shared_ptr<fs::File> file) MORAINE_EXCLUDES(closing_mutex_);
  // From now on Block refuses everything.
  void Refuse() { refusing_.store(true, std::memory_order_release); }

  virtual Task<Result<fs::Attributes>> Resolve(std::string path) = 0;
  virtual Task<Result<fs::Attributes>> Lookup(InodeId parent, std::string name) = 0;
  virtual Task<Result<fs::Created>> Create(InodeId parent, std::string name, fs::NewEntry entry,
                                           bool open) = 0;
  virtual Task<Status> RemoveFile(InodeId parent, std::string name) = 0;
  virtual Task<Status> RemoveDirectory(InodeId parent, std::string name) = 0;
  virtual Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent,
                              std::string new_name) = 0;
  virtual Task<Result<fs::Attributes>> Link(InodeId inode, InodeId new_parent,
                                            std::string new_name) = 0;
  virtual Task<Result<fs::DirectoryPage>> ReadDirectory(InodeId inode, std::string after,
                                                        int limit) = 0;  // with attributes
  virtual Task<Status> SyncNames(InodeId directory) = 0;
  virtual Task<Result<fs::FileSystemSpace>> Space() = 0;
  virtual Task<Result<std::shared_ptr<fs::File>>> Open(InodeId inode,
                                                       fs::Client::OpenMode mode) = 0;
  virtual Task<Result<std::shared_ptr<fs::File>>> OpenOwned(fs::Attributes attributes,
                                                            fs::Layout layout) = 0;
  virtual Task<Status> RegisterOpen(InodeId inode) = 0;
  virtual Task<Status> Close(std::shared_ptr<fs::File> file) = 0;
  virtual Task<Result<fs::OwnedDirectory>> AcquireDirectory(InodeId inode, std::string owner) = 0;
  virtual Task<Status> ReleaseDirectory(InodeId inode) = 0;
  // The token that this client holds for a directory now; none when it has lost it.
  virtual Token TokenOf(InodeId directory) const = 0;
  // Called on the loop when another has taken a directory that was owned here; none: all are gone.
  // At most once, before anything is owned.
  virtual void OnDisowned(std::function<void(InodeId)> callback) = 0;
  // Whether what is remembered of owned directories may still answer. Any thread.
  virtual bool SessionIsCertain() const = 0;
  // Flushes and closes what is open and ends the session.
  virtual Task<Status> Stop() = 0;
  // Calls to the metaserver so far; on the loop.
  virtual uint64_t metadata_calls() const = 0;

 protected:
  // Runs what `work` makes on the loop and returns after its end.
  virtual void Drive(std::function<Task<void>()> work) = 0;

 private:
  template <class T>
  struct TaskValue;
  template <class T>
  struct TaskValue<Task<T>> {
    using type = T;
  };
  // Both references live in Block, which waits.
  template <class Make, class Value>
  Task<void> Store(Make& make, std::optional<Value>& value) {
    StartCloses();
    value.emplace(co_await make());
  }
  // On the loop.
  void StartCloses() MORAINE_EXCLUDES(closing_mutex_);

  std::atomic<bool> refusing_{false};
  std::atomic<bool> any_closing_{false};
  Mutex closing_mutex_;
  std::vector<std::shared_ptr<fs::File>> closing_ MORAINE_GUARDED_BY(closing_mutex_);
};

}  // namespace moraine::rocksfs
