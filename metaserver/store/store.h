// The metaserver's state: one RocksDB, one WriteBatch per operation, one group sync at a time.
//
// Owns the database and its directory lock. Confined to the loop's thread; only the WAL's sync runs
// in the blocking pool. Reads and Commit are microseconds.
//
// Durability: when Commit returns, the batch is in the write-ahead log and visible to readers, but
// a power cut may still take it, together with everything committed after it. `co_await
// Synced(ticket)` returns when it can no longer be lost. A ticket that nobody waits for is synced
// within `lazy_sync`.
//
// Errors: kCorruption and kIo from RocksDB. After the first failed write or sync the store is
// broken: every Commit and Synced gives that error, and the process must be restarted, since what
// a failed sync has left on the disk is unknown.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "metaserver/store/families.h"
#include "metaserver/store/records.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace moraine::metaserver {

class Transaction;

struct StoreOptions {
  std::string directory;
  bool must_exist = false;      // nothing is made where nothing is
  rocksdb::Env* env = nullptr;  // none: this machine's files
  uint64_t block_cache_bytes = 256ULL << 20;
  uint64_t write_buffer_bytes = 64ULL << 20;
  Duration lazy_sync = 100ms;
  MetricRegistry* metrics = nullptr;  // none: the process's own
};

// The position of a commit in the log; grows with each.
using Ticket = uint64_t;

class Store {
 public:
  // Opens or makes the database. A new one gets a random cluster id. Errors, each one line that
  // names the directory: kBusy (another process has it open), kWrongVersion (written by a newer
  // Moraine), kInvalidArgument (not a metaserver's directory), kNotFound (must_exist), kIo,
  // kCorruption (a part is missing). A directory that is refused is left as it was, but for
  // RocksDB's recovery of its log when only the content tells (kWrongVersion by the format, another
  // cluster). Blocks.
  static Result<std::unique_ptr<Store>> Open(Loop& loop, StoreOptions options);
  // Closes the database without a final sync; call Stop first for an orderly end.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const std::string& cluster() const { return cluster_; }
  const Counters& counters() const { return counters_; }

  // Ids never given out before, also over power cuts. They block for one disk sync in a million.
  Result<InodeId> NewInode();
  Result<ChunkId> NewChunk();
  Result<SessionId> NewSession();
  Result<ServerId> NewServer();

  // False for an id that was never given out: somebody knows more than this store.
  bool WasGiven(ChunkId chunk) const { return chunk.value() < chunks_.next; }

  // Writes what the transaction has collected. An empty transaction gets the last ticket.
  Result<Ticket> Commit(Transaction& transaction);
  Ticket written() const { return written_; }
  // Returns when everything up to `ticket` is on disk.
  Task<Status> Synced(Ticket ticket);
  // Why the store takes no more; Ok while it does.
  const Status& health() const { return health_; }

  // Syncs the rest and lets the background work end; nothing may be committed afterwards.
  Task<void> Stop();

  // For Transaction.
  rocksdb::DB& db() { return *db_; }
  rocksdb::ColumnFamilyHandle* handle(Family family) {
    return handles_[static_cast<size_t>(family)];
  }
  Loop& loop() { return loop_; }

 private:
  struct Block {
    uint64_t next = 0;
    uint64_t end = 0;
  };
  struct LazyTimer;

  Store(Loop& loop, StoreOptions options);
  Status CheckDirectory() const;
  Status OpenDatabase();
  Status LoadSystem();
  Status MakeNew();
  Status Reserve();
  Result<uint64_t> NextId(Block Store::* block);
  Status WriteSynced(std::string_view key, const std::string& value);
  void StartSync();
  Task<void> SyncOnce();
  void Break(Status status);

  // Constant after Open.
  Loop& loop_;
  const StoreOptions options_;
  std::unique_ptr<rocksdb::DB> db_;
  std::array<rocksdb::ColumnFamilyHandle*, kFamilyNames.size()> handles_{};
  std::string cluster_;
  Counter& syncs_;
  Histogram& sync_time_;
  Histogram& sync_batch_;

  Block inodes_;
  Block chunks_;
  Block sessions_;
  Block servers_;
  Counters counters_;
  Ticket written_ = 0;
  Ticket synced_ = 0;
  bool syncing_ = false;
  bool stopping_ = false;
  Status health_;
  Condition sync_ended_;
  TaskGroup background_;
  std::unique_ptr<LazyTimer> lazy_timer_;
};

// A rocksdb::Status as ours; `what` names what was done.
Status FromRocksdb(int code, const std::string& text, std::string_view what);

}  // namespace moraine::metaserver
