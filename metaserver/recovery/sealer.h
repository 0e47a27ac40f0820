// Brings chunks to SEALED: settles what a living writer has closed, fences and seals what a writer
// has left open. Drives protocol::SealProcedure with calls to chunkservers; see APPEND.md section
// 6.
//
// One job per chunk at a time, whoever asks; a job goes on, with growing pauses between attempts,
// until the chunk is sealed or deleted, since nobody else will do it. Callers wait with a deadline
// of their own. Every state is in the store, so a restart begins the jobs again (Wake).
//
// After SEALED is durable the replicas are told; those that turn out to hold every byte become good
// replicas, those that lack some are brought up, and what is then still missing is the repairer's.
//
// Confined to the loop. Shutdown: Close, then Drain.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "metaserver/cluster/registry.h"
#include "metaserver/recovery/chunkserver_calls.h"
#include "metaserver/store/store.h"
#include "protocol/seal.h"

namespace moraine::metaserver {

struct SealerOptions {
  Duration call_timeout = std::chrono::seconds(2);
  Duration copy_timeout = std::chrono::seconds(30);
  Duration call_pause = std::chrono::milliseconds(100);  // before a silent server is asked again
  Duration fence_deadline = std::chrono::milliseconds(700);  // enough answers decide from then on
  Duration patience = std::chrono::seconds(3);               // then silent ones count as dead
  Duration retry_pause = std::chrono::milliseconds(200);     // between attempts, doubled up to:
  Duration retry_pause_max = std::chrono::seconds(3);
  Duration tick = std::chrono::seconds(1);
  size_t jobs_max = 256;  // at work at a time, of those started by Wake; the pausing do not count
};

class Sealer {
 public:
  // `done` is told of every transaction that the sealer has committed, to act on its effects.
  using Committed = std::function<void(const Effects&)>;
  Sealer(Loop& loop, Store& store, Registry& registry, ChunkserverCalls& calls,
         SealerOptions options, MetricRegistry& metrics, Committed committed);

  // Reads the queue of closed and fencing chunks once, and looks after it from now on.
  Status Start();
  // Something may have been queued.
  void Wake() { wake_.Set(); }

  // Fences (if it is still open) and seals; waits for the end, which is the sealed length.
  // kTimeout: it goes on by itself. kNoSpace: so it does, but the disks of too many replicas are
  // full. kUnknownChunk: there is no such chunk any more.
  Task<Result<uint64_t>> Seal(ChunkId chunk, Instant deadline);
  // What transactions have done to the queue (Effects), so that nobody has to read it for one file.
  void NoteUnsettled(InodeId inode, ChunkId chunk) { unsettled_[inode].insert(chunk); }
  void NoteSettled(InodeId inode, ChunkId chunk) {
    Remove(unsettled_, inode, chunk);
    resting_.erase(chunk);
  }
  void NoteBelowFloor(InodeId inode, ChunkId chunk) { below_floor_[inode].insert(chunk); }
  void NoteAtFloor(InodeId inode, ChunkId chunk);
  void NoteCopyFailed(ChunkId chunk, ServerId target, const Status& why);
  // Waits until every chunk of the file that is queued now is sealed, on as many disks as its
  // policy's floor says, or gone. Costs two look-ups when there is none. kTimeout: it goes on by
  // itself.
  Task<Status> SettleFile(InodeId inode, Instant deadline);
  // Of a chunk that is sealed: waits until repair has brought it to its policy's floor. kTimeout,
  // kNoSpace: repair goes on by itself, and cannot now for want of room.
  Task<Status> AwaitFloor(InodeId inode, ChunkId chunk, Instant deadline);
  // The replica of a sealed chunk is still open on its server: tells it.
  void Remind(ChunkId chunk, ServerId server);
  // A job or its aftermath is under way, so that missing copies may still come by themselves.
  bool IsBusy(ChunkId chunk) const { return jobs_.contains(chunk) || telling_.contains(chunk); }

  void Close();
  Task<void> Drain();

 private:
  struct Job {
    explicit Job(Loop& loop) : result(loop) {}
    OneShot<Result<uint64_t>> result;
  };
  struct Attempt;
  using ChunksByFile = std::map<InodeId, std::set<ChunkId>>;

  bool DisksAreFull(ChunkId chunk, const ChunkRecord& record) const;
  static void Remove(ChunksByFile& chunks, InodeId inode, ChunkId chunk);
  static std::set<ChunkId> Find(const ChunksByFile& chunks, InodeId inode);
  static bool Contains(const ChunksByFile& chunks, InodeId inode, ChunkId chunk);
  std::shared_ptr<Job> StartJob(ChunkId chunk);
  Task<void> RunQueue();
  void StartJobs();
  Task<void> RunJob(ChunkId chunk, std::shared_ptr<Job> job);
  // The sealed length, or nothing if it must be tried again.
  Task<Result<std::optional<uint64_t>>> TryOnce(ChunkId chunk, bool first);
  // Makes the record FENCING (unless it is CLOSED and `settle`), durably.
  Task<Result<ChunkRecord>> Begin(ChunkId chunk, bool settle);
  Task<Status> Drive(std::shared_ptr<Attempt> attempt);
  Task<void> Ask(std::shared_ptr<Attempt> attempt, protocol::SealRequest request);
  Task<void> AskFence(std::shared_ptr<Attempt> attempt, protocol::SealRequest request);
  Task<void> AskHold(std::shared_ptr<Attempt> attempt, protocol::SealRequest request);
  Task<void> AskCopy(std::shared_ptr<Attempt> attempt, protocol::SealRequest request);
  Task<bool> Again(std::shared_ptr<Attempt> attempt, Code code);
  Task<Status> Record(std::shared_ptr<Attempt> attempt);
  Task<void> Tell(ChunkId chunk, ServerId server, Epoch epoch, uint64_t length);
  Task<Status> TellOnce(ChunkId chunk, ServerId server, Epoch epoch, uint64_t length);
  Status NoteGood(ChunkId chunk, ServerId server, uint64_t length);
  CopyOrder OrderFor(ChunkId chunk, const ChunkRecord& record, uint64_t length) const;

  // Constant after construction.
  Loop& loop_;
  Store& store_;
  Registry& registry_;
  ChunkserverCalls& calls_;
  const SealerOptions options_;
  const Committed committed_;

  size_t AtWork() const { return jobs_.size() - pausing_; }

  std::map<ChunkId, std::shared_ptr<Job>> jobs_;
  size_t pausing_ = 0;                  // of them, between two attempts
  std::map<ChunkId, Instant> resting_;  // not to be tried by the queue before then
  std::map<ChunkId, int> telling_;
  ChunksByFile unsettled_;  // the queue; all of the store's
  // Sealed below the floor, and not there since; after a restart all that are below it, since
  // nobody knows then what they had.
  ChunksByFile below_floor_;
  // Of those: servers that have no room for a copy, though some is free.
  std::map<ChunkId, std::set<ServerId>> full_for_;
  Condition floor_changed_;
  Event wake_;
  bool closing_ = false;
  TaskGroup tasks_;
  Counter& sealed_;
  Counter& fenced_;
  Counter& failed_;
  Histogram& time_;
};

}  // namespace moraine::metaserver
