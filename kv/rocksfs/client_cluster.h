// The Cluster over fs::Client: a session with a metaserver on a DrivenLoop, so that a call runs on
// the calling thread.
//
// After a fork() the child must not use it: every call there gives kCanceled.
#pragma once

#include <sys/types.h>

#include <memory>

#include "base/loop/driven_loop.h"
#include "base/metrics.h"
#include "kv/rocksfs/cluster.h"
#include "kv/rocksfs/uri.h"

namespace moraine::rocksfs {

class ClientCluster final : public Cluster {
 public:
  // Begins a session. Errors: those of fs::Client::Start, within the URI's timeout.
  static Result<std::unique_ptr<ClientCluster>> Connect(const Uri& uri);
  // After Stop, with nobody inside Block.
  ~ClientCluster() override;

  Loop& loop() override { return *loop_; }

  Task<Result<fs::Attributes>> Resolve(std::string path) override;
  Task<Result<fs::Attributes>> Lookup(InodeId parent, std::string name) override;
  Task<Result<fs::Created>> Create(InodeId parent, std::string name, fs::NewEntry entry,
                                   bool open) override;
  Task<Status> RemoveFile(InodeId parent, std::string name) override;
  Task<Status> RemoveDirectory(InodeId parent, std::string name) override;
  Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent,
                      std::string new_name) override;
  Task<Result<fs::Attributes>> Link(InodeId inode, InodeId new_parent,
                                    std::string new_name) override;
  Task<Result<fs::DirectoryPage>> ReadDirectory(InodeId inode, std::string after,
                                                int limit) override;
  Task<Status> SyncNames(InodeId directory) override;
  Task<Result<fs::FileSystemSpace>> Space() override;
  Task<Result<std::shared_ptr<fs::File>>> Open(InodeId inode, fs::Client::OpenMode mode) override;
  Task<Result<std::shared_ptr<fs::File>>> OpenOwned(fs::Attributes attributes,
                                                    fs::Layout layout) override;
  Task<Status> RegisterOpen(InodeId inode) override;
  Task<Status> Close(std::shared_ptr<fs::File> file) override;
  Task<Result<fs::OwnedDirectory>> AcquireDirectory(InodeId inode, std::string owner) override;
  Task<Status> ReleaseDirectory(InodeId inode) override;
  Token TokenOf(InodeId directory) const override;
  void OnDisowned(std::function<void(InodeId)> callback) override;
  bool SessionIsCertain() const override { return client_->SessionIsCertain(); }
  Task<Status> Stop() override;
  uint64_t metadata_calls() const override;

 protected:
  void Drive(std::function<Task<void>()> work) override;

 private:
  ClientCluster(std::unique_ptr<DrivenLoop> loop, const Uri& uri);

  const pid_t process_;
  MetricRegistry metrics_;
  std::unique_ptr<DrivenLoop> loop_;
  std::unique_ptr<fs::Client> client_;  // made, used and destroyed on the loop
};

}  // namespace moraine::rocksfs
