// The slow work on chunks and inodes: copies of chunks that have too few, deletions, orphans, and
// servers that have died. Plans are pure (chunks/repair_plan.h); this carries them out.
//
// All of its work is found in the store, so nothing is lost by a restart, and every step is durable
// before the next relies on it. In memory it only keeps marks of where there may be work: what is
// done leaves a tombstone in the store, and nobody should walk over those at each step. Bounded by
// the options. Confined to the loop. Shutdown: Close, Drain.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/chunks/repair_plan.h"
#include "metaserver/recovery/sealer.h"

namespace moraine::metaserver {

struct CaretakerOptions {
  Duration tick = std::chrono::milliseconds(500);
  RepairLimits repair = {.copies_max = 16, .per_server_max = 4};
  size_t repairs_looked_at = 1024;  // of the queue, at each tick
  Duration copy_timeout = std::chrono::seconds(60);
  Duration delete_timeout = std::chrono::seconds(5);
  size_t deletions_per_server = 64;                 // at each tick
  Duration gather = std::chrono::milliseconds(10);  // from a wake to the work
  size_t orphan_extents = 512;                      // in one transaction
  size_t orphans_at_once = 64;                      // in one transaction
  size_t orphans_noted = 1 << 16;                   // in memory; with more, the queue is walked
  Duration orphans_walk = std::chrono::seconds(2);  // how often, while some are still open
  Duration unknown_grace = std::chrono::hours(24);  // before a replica without a record is deleted
  Duration unknown_tick = std::chrono::minutes(1);
  size_t unknown_deletions = 512;  // at each of these ticks
  size_t marks = 512;              // replicas marked missing in one transaction
};

class Caretaker {
 public:
  // `is_open`: whether somebody has the inode open, or might.
  Caretaker(Loop& loop, Store& store, Registry& registry, ChunkserverCalls& calls, Sealer& sealer,
            CaretakerOptions options, std::function<bool(InodeId)> is_open, MetricRegistry& metrics,
            Sealer::Committed committed);

  void Start();
  // There may be something to copy.
  void Wake() { wake_.Set(); }
  void NoteDeletion(ServerId server, ChunkId chunk);
  // The inode has lost its last name.
  void NoteOrphan(InodeId inode);
  // Somebody has closed the inode, or everything that a session had open.
  void NoteClosed(InodeId inode);
  void NoteClosedAll();
  // A copy to this server is under way: what it reports of the chunk is not surplus.
  bool IsTarget(ChunkId chunk, ServerId server) const {
    const auto it = copying_.find(chunk);
    return it != copying_.end() && it->second.target == server;
  }

  void Close();
  Task<void> Drain() { co_await tasks_.Drain(); }
  size_t copies_under_way() const { return copying_.size(); }

 private:
  struct Copying {
    ServerId source;
    ServerId target;
  };

  Task<void> RunTicks();
  Status StartRepairs();
  Task<void> RunCopy(PlannedCopy plan);
  Task<Status> CopyOne(PlannedCopy plan);
  Status NoteCopied(ServerId target, const CopyOrder& order, Ticket* ticket);
  Status GiveUpUnknown();
  void StartDeletions();
  Task<void> RunDeletions(ServerId server);
  // Deletes in order, and passes over what the server has no room to delete now. Nothing is left up
  // to `after`, or at all.
  struct Deleted {
    ChunkId after;
    bool all = false;
  };
  Task<Deleted> DeleteQueued(ServerId server, ChunkId after);
  enum class Deletion { kDone, kPassedOver, kFailed };
  Task<Deletion> DeleteOne(ServerId server, QueuedDeletion deletion);
  Task<void> RunOrphans();
  Task<Status> WalkOrphans();
  Task<Status> FreeNoted();
  Task<Status> FreeOne(InodeId inode);
  Status CommitFreed(Transaction& transaction, size_t freed);
  void WatchServers();
  void StartMarking(ServerId server);
  Task<void> RunMarking(ServerId server);
  Result<size_t> MarkMissing(ServerId server, ChunkId* after);

  // Constant after construction.
  Loop& loop_;
  Store& store_;
  Registry& registry_;
  ChunkserverCalls& calls_;
  Sealer& sealer_;
  const CaretakerOptions options_;
  const std::function<bool(InodeId)> is_open_;
  const Sealer::Committed committed_;

  Event wake_;
  bool closing_ = false;
  bool freeing_ = false;
  std::set<InodeId> orphans_noted_;
  bool orphans_open_ = false;  // some were open when they were looked at
  bool walk_orphans_ = true;   // there may be others than those noted
  Instant orphans_walked_{};
  Instant unknown_looked_;
  // The last look at the queue of repairs found something to do, or a copy has ended since.
  bool repairs_due_ = true;
  Instant repairs_looked_{};
  std::map<ChunkId, Copying> copying_;
  std::map<ServerId, ChunkId> deletions_after_;  // nothing is queued up to there; none: at all
  std::set<ServerId> deleting_;
  std::set<ServerId> marking_;
  TaskGroup tasks_;
  Counter& repair_looks_;
  Counter& copied_;
  Counter& copied_bytes_;
  Counter& copies_failed_;
  Counter& deleted_;
  Counter& freed_;
};

}  // namespace moraine::metaserver
