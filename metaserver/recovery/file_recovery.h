// Recovers files whose writer has gone: has every open chunk fenced and sealed, after which the
// file is whole (namespace/leases.h, FinishRecovery) and its lease is free. Of a file whose writer
// lives only the tail, for which it has asked (CheckNoTail).
//
// One recovery of a file at a time, whoever asks. Confined to the loop. Shutdown: Close, then
// Drain.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "metaserver/recovery/sealer.h"

namespace moraine::metaserver {

class FileRecovery {
 public:
  FileRecovery(Loop& loop, Store& store, Sealer& sealer, Sealer::Committed committed)
      : loop_(loop),
        store_(store),
        sealer_(sealer),
        committed_(std::move(committed)),
        tasks_(loop) {}

  // Begins again what was under way when the process stopped.
  Status Start();
  void Begin(InodeId inode);
  // Waits until the file has no open chunks that need a recovery. kTimeout, kNoSpace (the disks of
  // too many replicas are full): it goes on.
  Task<Status> Recover(InodeId inode, Instant deadline);
  Task<Status> RecoverAll(std::vector<InodeId> inodes, Instant deadline);

  void Close() { tasks_.Close(); }
  Task<void> Drain() { co_await tasks_.Drain(); }
  size_t running() const { return jobs_.size(); }

 private:
  using Job = OneShot<Status>;
  std::shared_ptr<Job> StartJob(InodeId inode);
  Task<void> RunJob(InodeId inode, std::shared_ptr<Job> job);
  Task<Status> RunOnce(InodeId inode);
  // What the chunks of one recovery share; kept by each of them.
  struct Sealing {
    explicit Sealing(Loop& loop) : group(loop) {}
    TaskGroup group;
    Status failure;  // the last
  };
  Task<Status> SealAll(InodeId inode, std::vector<ChunkId> chunks, Status* unsealed);
  Task<void> SealOne(ChunkId chunk, std::shared_ptr<Sealing> sealing);

  Loop& loop_;
  Store& store_;
  Sealer& sealer_;
  const Sealer::Committed committed_;
  std::map<InodeId, std::shared_ptr<Job>> jobs_;
  TaskGroup tasks_;
};

}  // namespace moraine::metaserver
