// For tests: a cluster in memory. One MemoryServer holds the names, bytes and tokens; each
// MemoryCluster is one client of it with a loop of its own, as a process would be. Faults are
// injected at the server.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/loop/driven_loop.h"
#include "base/loop/sync.h"
#include "base/mutex.h"
#include "kv/rocksfs/cluster.h"

namespace moraine::rocksfs {

class MemoryServer {
 public:
  struct Inode {
    fs::Attributes attributes;
    std::string bytes;
    size_t synced_bytes = 0;
    std::string policy;
    bool expect_stream = false;
    InodeId directory;                     // where it was made: whose token rules it
    std::map<std::string, InodeId> names;  // of a directory
    Token token;                           // of a directory
    bool owned = false;                    // a directory
  };

  MemoryServer();

  // The next `count` calls of `operation` ("create", "append", "sync", ...) give `status`; with
  // `after` they do their work first, as when an answer is lost.
  void Fail(const std::string& operation, Status status, int count = 1, bool after = false)
      MORAINE_EXCLUDES(mutex_);
  int calls(const std::string& operation) const MORAINE_EXCLUDES(mutex_);
  // Without reads and writes of bytes.
  std::map<std::string, int> metadata_calls_by_operation() const MORAINE_EXCLUDES(mutex_);
  int metadata_calls() const MORAINE_EXCLUDES(mutex_);
  // A copy of what is at a path; kNotFound.
  Result<Inode> Find(const std::string& path) const MORAINE_EXCLUDES(mutex_);
  // Names in one answer of ReadDirectory.
  void SetPageEntries(size_t entries) MORAINE_EXCLUDES(mutex_);

 private:
  friend class MemoryCluster;
  friend class MemoryFile;

  // Counts the call and gives the fault that is due.
  struct Fault {
    Status status;
    bool after = false;
  };
  Fault Enter(const std::string& operation) MORAINE_REQUIRES(mutex_);
  Inode* Get(InodeId id) MORAINE_REQUIRES(mutex_);
  Result<InodeId> Walk(const std::string& path) const MORAINE_REQUIRES(mutex_);
  // Whether a change in the directory may be made with `token` (none: by somebody who is no owner).
  Status CheckToken(InodeId directory, Token token) MORAINE_REQUIRES(mutex_);
  Result<InodeId> Add(InodeId parent, const std::string& name, const fs::NewEntry& entry)
      MORAINE_REQUIRES(mutex_);
  Result<fs::Created> Create(Token token, InodeId parent, const std::string& name,
                             const fs::NewEntry& entry) MORAINE_EXCLUDES(mutex_);
  Status Remove(Token token, InodeId parent, const std::string& name, bool directory)
      MORAINE_EXCLUDES(mutex_);
  Status Rename(Token token, InodeId parent, const std::string& name, Token new_token,
                InodeId new_parent, const std::string& new_name) MORAINE_EXCLUDES(mutex_);
  Result<fs::Attributes> Link(Token token, InodeId inode, InodeId parent, const std::string& name)
      MORAINE_EXCLUDES(mutex_);
  Result<fs::OwnedDirectory> Acquire(InodeId inode) MORAINE_EXCLUDES(mutex_);
  Status Release(Token token, InodeId inode) MORAINE_EXCLUDES(mutex_);
  void Unlink(InodeId inode) MORAINE_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::map<InodeId, Inode> inodes_ MORAINE_GUARDED_BY(mutex_);
  uint64_t next_inode_ MORAINE_GUARDED_BY(mutex_) = kRootInode.value() + 1;
  size_t page_entries_ MORAINE_GUARDED_BY(mutex_) = 1000;
  std::map<std::string, int> calls_ MORAINE_GUARDED_BY(mutex_);
  struct Planned {
    Fault fault;
    int count = 0;
  };
  std::map<std::string, Planned> faults_ MORAINE_GUARDED_BY(mutex_);
};

class MemoryCluster final : public Cluster {
 public:
  explicit MemoryCluster(std::shared_ptr<MemoryServer> server);
  ~MemoryCluster() override;

  Loop& loop() override { return *loop_; }

  // While shut, appends of this client wait. Any thread.
  void SetGate(bool open);
  // As when the metaserver has told this client that its tokens are another's. Any thread.
  void LoseTokens();
  int open_files() const { return open_files_.load(); }

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
  void OnDisowned(std::function<void(InodeId)> callback) override {
    disowned_ = std::move(callback);
  }
  bool SessionIsCertain() const override { return certain_; }
  // What a client does when another has taken the directory, and while it is cut off.
  void Disown(InodeId directory) { disowned_(directory); }
  void SetCertain(bool certain) { certain_ = certain; }
  Task<Status> Stop() override;
  uint64_t metadata_calls() const override;

 protected:
  void Drive(std::function<Task<void>()> work) override;

 private:
  friend class MemoryFile;
  const std::shared_ptr<MemoryServer> server_;
  std::unique_ptr<DrivenLoop> loop_;
  std::unique_ptr<Event> gate_;
  std::map<InodeId, Token> tokens_;
  std::function<void(InodeId)> disowned_;
  std::atomic<bool> certain_{true};
  std::atomic<int> open_files_{0};
};

}  // namespace moraine::rocksfs
