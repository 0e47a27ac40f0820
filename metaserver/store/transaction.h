// One operation on the store: reads that see its own writes, and the batch that it will commit.
//
// Dropping a transaction undoes it. Confined to the loop; nothing may be committed to the store by
// others between the first read and Commit, which holds by itself in code that does not await.
//
// Besides the batch it collects what the service has to do about the operation (Effects); those
// count even if the operation fails, since a refused open, for example, recalls a lease.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metaserver/store/families.h"
#include "metaserver/store/records.h"

namespace rocksdb {
class Iterator;
class WriteBatch;
class WriteBatchWithIndex;
}  // namespace rocksdb

namespace moraine::metaserver {

class Store;

struct Effects {
  std::vector<std::pair<SessionId, InodeId>> recalls;  // leases to ask back from their holders
  std::vector<InodeId> recoveries;  // files whose open chunks must be fenced and sealed
  std::vector<InodeId> changed;     // inodes whose cached state elsewhere is stale now
  std::vector<InodeId> orphans;     // inodes that have lost their last name
  std::vector<InodeId> opened;      // inodes that the session has open from now on
  std::vector<InodeId> granted;     // leases and directories that the session has from now on
  std::vector<std::pair<SessionId, InodeId>> lost;  // leases and directories taken from others
  // Chunks that wait for their seal from now on (closed, or being fenced), and that do no more.
  std::vector<std::pair<InodeId, ChunkId>> unsettled;
  std::vector<std::pair<InodeId, ChunkId>> settled;
  // Chunks that have been sealed on fewer disks than the policy's floor, and that are no more.
  std::vector<std::pair<InodeId, ChunkId>> below_floor;
  std::vector<std::pair<InodeId, ChunkId>> at_floor;
  std::vector<std::pair<ServerId, ChunkId>> deletions;  // replicas queued for deletion
  bool queued = false;                                  // chunks queued for sealing or repair
  bool durable = false;                                 // the answer must wait for the disk
};

// Walks the keys that begin with a prefix, in order. Sees the transaction as it was when the
// cursor was made. Must not outlive the transaction.
class Cursor {
 public:
  Cursor(Cursor&&) noexcept;
  ~Cursor();
  // False at the end, and on an error: ask status() after the loop.
  bool Valid() const;
  void Next();
  // Moves back by one key; false (and no longer valid) before the first of the prefix.
  void Previous();
  std::string_view key() const;  // whole, with the prefix
  std::string_view value() const;
  Status status() const;

 private:
  friend class Transaction;
  struct Bounds;
  explicit Cursor(std::unique_ptr<Bounds> bounds);

  std::unique_ptr<Bounds> bounds_;  // declared first: the iterator looks at them
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

class Transaction {
 public:
  explicit Transaction(Store& store, SessionId session = SessionId(), int64_t now_ns = 0);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  SessionId session() const { return session_; }
  int64_t now_ns() const { return now_ns_; }
  Store& store() { return store_; }
  Effects& effects() { return effects_; }

  Result<std::optional<std::string>> Get(Family family, std::string_view key);
  void Put(Family family, std::string_view key, std::string_view value);
  void Delete(Family family, std::string_view key);
  // At the first key that is not below `prefix + from`.
  Cursor Scan(Family family, std::string_view prefix, std::string_view from = {});
  // At the last key of the prefix that is not above `prefix + from`.
  Cursor ScanBack(Family family, std::string_view prefix, std::string_view from);

  // A record, or nothing if there is none.
  template <class Record>
  Result<std::optional<Record>> Find(Family family, std::string_view key) {
    MORAINE_ASSIGN_OR_RETURN(const auto bytes, Get(family, key));
    if (!bytes.has_value()) return std::optional<Record>();
    MORAINE_ASSIGN_OR_RETURN(Record record, Record::Decode(*bytes));
    return std::optional<Record>(std::move(record));
  }
  // kNotFound "no inode 7".
  Result<InodeRecord> Inode(InodeId inode);
  void PutInode(InodeId inode, const InodeRecord& record);

  // The change of the store's counters that this transaction makes.
  Counters& counters() { return counters_; }
  bool empty() const { return batch_ == nullptr; }
  rocksdb::WriteBatch* batch();  // for Store::Commit

 private:
  rocksdb::WriteBatchWithIndex& writable();
  Cursor NewCursor(Family family, std::string_view prefix);

  Store& store_;
  const SessionId session_;
  const int64_t now_ns_;
  std::unique_ptr<rocksdb::WriteBatchWithIndex> batch_;  // made by the first write
  Counters counters_;
  Effects effects_;
};

}  // namespace moraine::metaserver
