// One file that RocksDB appends to. Small records are gathered in memory and go to the client's
// append stream in pieces; so an Append of a WAL record costs a copy under this file's own mutex
// and never enters the loop.
//
// What is gathered goes out when a piece is full, `delay` after it came at the latest, and at once
// for Push, Sync, Truncate and Close. A bound on what waits makes Append block while the cluster is
// slower than the writer. Appends of a piece or more go to the stream directly, behind what is
// gathered.
//
// A failure of the stream (which has tried other servers before) is kept and returned by every
// later call: bytes after a hole are worth nothing. kFenced also makes the owned directory's
// memory forgotten.
//
// The file is closed and opened again around a change of the directory's ownership (DetachAndHold),
// because bytes written under the old token are refused then.
//
// Thread rule: one thread appends (RocksDB's rule); Sync, Push and size() from any thread at the
// same time. What returns a Task, on the loop.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/loop/sync.h"
#include "base/mutex.h"
#include "kv/rocksfs/cluster.h"
#include "kv/rocksfs/owned_names.h"

namespace moraine::rocksfs {

struct GatherOptions {
  uint64_t piece_bytes = 64 << 10;
  uint64_t waiting_bytes_max = 1 << 20;
  Duration delay = std::chrono::milliseconds(1);
  int idle_rounds = 16;  // of `delay`, after which the file's timer rests until the next Append
};

class GatheringWriter : public std::enable_shared_from_this<GatheringWriter> {
 public:
  // `file` is open for writing; this owns one opening of it. Made on the loop.
  GatheringWriter(Cluster& cluster, InodeId directory, std::shared_ptr<fs::File> file,
                  GatherOptions options);
  GatheringWriter(const GatheringWriter&) = delete;
  GatheringWriter& operator=(const GatheringWriter&) = delete;

  InodeId inode() const { return inode_; }
  InodeId directory() const { return directory_; }
  uint64_t size() const { return growing_->bytes.load(std::memory_order_relaxed); }
  const std::shared_ptr<GrowingSize>& growing() const { return growing_; }

  // ---- RocksDB's threads
  // Taken over on return, not yet held by any server.
  Status Append(ConstBytes bytes) MORAINE_EXCLUDES(mutex_);
  // The same without ever waiting: kOverloaded, and nothing is taken, when too much waits already.
  Status TryAppend(ConstBytes bytes) MORAINE_EXCLUDES(mutex_);
  // Replaces bytes that are there; from `size()` on it is an append.
  Status WriteAt(uint64_t offset, ConstBytes bytes) MORAINE_EXCLUDES(mutex_);
  // Starts to send what is gathered; waits for nothing.
  void Push() MORAINE_EXCLUDES(mutex_);
  // On return all is on the disks that the file's policy asks for.
  Status Sync();
  Status Truncate(uint64_t size);
  // Sends, closes; further calls are refused. The first error of the file is returned.
  Status Close();
  // Forgets the owned directory's memory when a write fails: bytes that were counted are not there.
  void set_owned(const std::weak_ptr<OwnedNames>& owned) MORAINE_EXCLUDES(mutex_);

  // ---- On the loop
  // Starts the timer ahead of the first Append, which would have to wake a thread for it.
  void Start() MORAINE_EXCLUDES(mutex_);
  // What was gathered before this call is in the client's stream, and so seen by its readers.
  Task<Status> Drain();
  // Sends, syncs and closes the file. While the result lives nothing is sent; the next piece after
  // it opens the file again.
  struct Held {
    std::shared_ptr<GatheringWriter> writer;
    AsyncMutex::Lock order;
  };
  Task<Held> DetachAndHold();

 private:
  struct Piece {
    Buffer buffer;
    size_t used = 0;
  };

  Task<Status> AppendDirectly(ConstBytes bytes);
  Task<Status> WriteAtTask(uint64_t offset, ConstBytes bytes);
  Task<Status> SyncTask();
  Task<Status> TruncateTask(uint64_t size);
  Task<Status> CloseTask();
  Task<AsyncMutex::Lock> Order();
  // The two below need the order lock.
  Task<Status> DrainOrdered();
  Task<Status> EnsureOpen();
  // Sends what is gathered each `delay` while something comes. Holds itself alive.
  static Task<void> SendInRounds(std::shared_ptr<GatheringWriter> self);

  // What is to be done, without the mutex, after a record was gathered.
  struct Gathered {
    bool start = false;  // the rounds
    bool hurry = false;  // a piece is full
  };
  Gathered Gather(ConstBytes bytes) MORAINE_REQUIRES(mutex_);
  void After(Gathered gathered) MORAINE_EXCLUDES(mutex_);
  Status CheckAppendable() const MORAINE_REQUIRES(mutex_);
  Status Appendable() const MORAINE_EXCLUDES(mutex_);
  void StartRounds();  // posts; called without the mutex
  std::deque<Piece> TakePieces() MORAINE_EXCLUDES(mutex_);
  void Taken(uint64_t bytes) MORAINE_EXCLUDES(mutex_);
  Status Fail(Status status) MORAINE_EXCLUDES(mutex_);
  Status error() const MORAINE_EXCLUDES(mutex_);
  bool AnythingWaits() const MORAINE_EXCLUDES(mutex_);
  // Whether the rounds end now: nothing waits and nothing may come unseen.
  bool EndRounds(bool rested) MORAINE_EXCLUDES(mutex_);
  void Touch();

  Cluster& cluster_;
  const InodeId inode_;
  const InodeId directory_;
  const GatherOptions options_;
  const std::shared_ptr<GrowingSize> growing_ = std::make_shared<GrowingSize>();

  // On the loop.
  AsyncMutex order_;                // who touches the stream
  Event hurry_;                     // ends the wait of a round
  std::shared_ptr<fs::File> file_;  // none while detached and after Close
  bool unsynced_ = false;

  mutable Mutex mutex_;
  std::deque<Piece> pieces_ MORAINE_GUARDED_BY(mutex_);  // the last one is being filled
  uint64_t waiting_bytes_ MORAINE_GUARDED_BY(mutex_) = 0;
  bool rounds_on_ MORAINE_GUARDED_BY(mutex_) = false;
  bool closed_ MORAINE_GUARDED_BY(mutex_) = false;
  Status error_ MORAINE_GUARDED_BY(mutex_);
  std::weak_ptr<OwnedNames> owned_ MORAINE_GUARDED_BY(mutex_);
};

}  // namespace moraine::rocksfs
