#include "metaserver/recovery/file_recovery.h"

#include <algorithm>
#include <set>

#include "base/fault_point.h"
#include "base/log.h"
#include "metaserver/namespace/leases.h"

namespace moraine::metaserver {

Status FileRecovery::Start() {
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(const auto recovering, FindRecovering(transaction));
  for (const InodeId inode : recovering) Begin(inode);
  if (!recovering.empty())
    LogInfo("recovering {} files of writers that had gone", recovering.size());
  return Status::Ok();
}

void FileRecovery::Begin(InodeId inode) { StartJob(inode); }

std::shared_ptr<FileRecovery::Job> FileRecovery::StartJob(InodeId inode) {
  std::shared_ptr<Job>& slot = jobs_[inode];
  if (slot != nullptr) return slot;
  slot = std::make_shared<Job>(loop_);
  const std::shared_ptr<Job> job = slot;
  if (!tasks_.Spawn(RunJob(inode, job))) {
    jobs_.erase(inode);
    job->Set(Status(Code::kCanceled, "the metaserver is stopping"));
  }
  return job;
}

Task<Status> FileRecovery::Recover(InodeId inode, Instant deadline) {
  const std::shared_ptr<Job> job = StartJob(inode);
  const auto result = co_await job->Wait(deadline);
  if (!result.has_value()) {
    co_return Status(Code::kTimeout, "inode " + inode.ToString() + " is still being recovered");
  }
  co_return *result;
}

Task<Status> FileRecovery::RecoverAll(std::vector<InodeId> inodes, Instant deadline) {
  const std::set<InodeId> unique(inodes.begin(), inodes.end());
  for (const InodeId inode : unique) StartJob(inode);
  for (const InodeId inode : unique) {
    MORAINE_CO_RETURN_IF_ERROR(co_await Recover(inode, deadline));
  }
  co_return Status::Ok();
}

Task<void> FileRecovery::RunJob(InodeId inode, std::shared_ptr<Job> job) {
  const Status status = co_await RunOnce(inode);
  if (!status.ok() && status.code() != Code::kCanceled) {
    LogWarning("inode {} cannot be recovered: {}", inode.value(), status.ToString());
  }
  jobs_.erase(inode);
  job->Set(status);
}

Task<Status> FileRecovery::RunOnce(InodeId inode) {
  std::vector<ChunkId> chunks;
  std::set<ChunkId> tried;
  {
    Transaction transaction(store_);
    MORAINE_CO_ASSIGN_OR_RETURN(chunks, ChunksToRecover(transaction, inode));
  }
  while (true) {
    Status unsealed;
    MORAINE_CO_RETURN_IF_ERROR(co_await SealAll(inode, chunks, &unsealed));
    tried.insert(chunks.begin(), chunks.end());
    // The last seal lets the lease go, so another may have written since and gone too. Whoever
    // takes the file from that one waits for this job.
    Transaction transaction(store_);
    MORAINE_CO_ASSIGN_OR_RETURN(chunks, ChunksToRecover(transaction, inode));
    // The sealer's queue goes on with what could not be sealed, but the file is not whole yet.
    const bool whole =
        std::ranges::none_of(chunks, [&](ChunkId chunk) { return tried.contains(chunk); });
    if (!unsealed.ok() && !whole) co_return unsealed;
    MORAINE_CO_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
    const bool left = lease.has_value() && lease->state == LeaseState::kRecovering;
    if (chunks.empty() || !whole || !left) co_return Status::Ok();
  }
}

// `unsealed`: why a chunk could not be sealed.
Task<Status> FileRecovery::SealAll(InodeId inode, std::vector<ChunkId> chunks, Status* unsealed) {
  // Side by side; each seals for as long as it takes.
  auto sealing = std::make_shared<Sealing>(loop_);
  for (const ChunkId chunk : chunks) sealing->group.Spawn(SealOne(chunk, sealing));
  co_await sealing->group.Drain();
  MORAINE_FAULT_POINT("recovery.before_finish");
  Transaction transaction(store_, SessionId(), loop_.WallNanoseconds());
  MORAINE_CO_RETURN_IF_ERROR(FinishRecovery(transaction, inode));
  MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, store_.Commit(transaction));
  MORAINE_CO_RETURN_IF_ERROR(co_await store_.Synced(ticket));
  MORAINE_FAULT_POINT("recovery.finished");
  committed_(transaction.effects());
  *unsealed = sealing->failure;
  co_return Status::Ok();
}

Task<void> FileRecovery::SealOne(ChunkId chunk, std::shared_ptr<Sealing> sealing) {
  const auto length = co_await sealer_.Seal(chunk, kNever);
  if (length.ok() || length.code() == Code::kUnknownChunk) co_return;
  sealing->failure = length.status();
  if (length.code() != Code::kCanceled) {
    LogWarning("chunk {} is not recovered: {}", chunk.value(), length.status().ToString());
  }
}

}  // namespace moraine::metaserver
