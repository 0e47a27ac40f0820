#include "metaserver/recovery/caretaker.h"

#include <algorithm>

#include "base/fault_point.h"
#include "base/log.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {

Caretaker::Caretaker(Loop& loop, Store& store, Registry& registry, ChunkserverCalls& calls,
                     Sealer& sealer, CaretakerOptions options, std::function<bool(InodeId)> is_open,
                     MetricRegistry& metrics, Sealer::Committed committed)
    : loop_(loop),
      store_(store),
      registry_(registry),
      calls_(calls),
      sealer_(sealer),
      options_(options),
      is_open_(std::move(is_open)),
      committed_(std::move(committed)),
      wake_(loop),
      tasks_(loop),
      copied_(metrics.GetCounter("moraine_meta_repairs_total", "Replicas made anew.")),
      copied_bytes_(
          metrics.GetCounter("moraine_meta_repair_bytes_total", "Bytes of replicas made anew.")),
      copies_failed_(metrics.GetCounter("moraine_meta_repairs_failed_total",
                                        "Copies that failed and are tried again.")),
      deleted_(metrics.GetCounter("moraine_meta_replicas_deleted_total", "Replicas deleted.")),
      freed_(metrics.GetCounter("moraine_meta_orphans_freed_total",
                                "Inodes freed after their last name and handle.")) {}

void Caretaker::Start() {
  // A death may have been declared without all of its replicas being marked.
  for (const ServerId server : registry_.All()) {
    if (registry_.IsDead(server)) StartMarking(server);
  }
  tasks_.Spawn(RunTicks());
}

void Caretaker::Close() {
  closing_ = true;
  tasks_.Close();
  wake_.Set();
}

Task<void> Caretaker::RunTicks() {
  while (!closing_) {
    wake_.Reset();
    WatchServers();
    for (const Status& status : {StartRepairs(), StartDeletions()}) {
      if (!status.ok()) LogError("care of chunks: {}", status.ToString());
    }
    if (!freeing_) freeing_ = tasks_.Spawn(RunOrphans());
    if (!closing_) co_await wake_.Wait(loop_.After(options_.tick));
  }
}

// ---- Repair

Status Caretaker::StartRepairs() {
  if (copying_.size() >= static_cast<size_t>(options_.repair.copies_max)) return Status::Ok();
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(const auto queued,
                           QueuedRepairs(transaction, options_.repairs_looked_at));
  if (queued.empty()) return Status::Ok();
  std::vector<RepairCandidate> candidates;
  for (const ChunkId chunk : queued) {
    if (copying_.contains(chunk) || sealer_.IsBusy(chunk)) continue;
    MORAINE_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, chunk));
    RepairCandidate candidate;
    candidate.chunk = chunk;
    candidate.wanted = static_cast<int>(record.policy.replicas);
    for (const ReplicaRecord& replica : record.replicas) {
      if (replica.state == ReplicaState::kGood) candidate.good.push_back(replica.server);
    }
    for (const ServerId server : registry_.All()) {
      MORAINE_ASSIGN_OR_RETURN(const bool going, IsDeletionQueued(transaction, server, chunk));
      if (going) candidate.unusable.push_back(server);
    }
    candidates.push_back(std::move(candidate));
  }
  std::map<ServerId, int> busy;
  for (const auto& [chunk, copy] : copying_) {
    ++busy[copy.source];
    ++busy[copy.target];
  }
  for (PlannedCopy& copy : PlanRepairs(candidates, registry_.Views(), std::move(busy),
                                       options_.repair, loop_.random())) {
    copying_[copy.chunk] = {copy.sources.front(), copy.target};
    const ChunkId chunk = copy.chunk;
    if (!tasks_.Spawn(RunCopy(std::move(copy)))) copying_.erase(chunk);
  }
  return Status::Ok();
}

Task<void> Caretaker::RunCopy(PlannedCopy plan) {
  const ChunkId chunk = plan.chunk;
  const Status status = co_await CopyOne(std::move(plan));
  if (!status.ok()) {
    copies_failed_.Add();
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "a copy of chunk {} failed: {}", chunk.value(),
                          status.ToString());
    // Not at once again: the reason is likely to be still there.
    if (!closing_) co_await loop_.Sleep(options_.tick);
  }
  copying_.erase(chunk);
  wake_.Set();
}

Task<Status> Caretaker::CopyOne(PlannedCopy plan) {
  CopyOrder order;
  {
    Transaction transaction(store_);
    MORAINE_CO_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, plan.chunk));
    if (record.state != ChunkState::kSealed) co_return Status::Ok();
    order.chunk = plan.chunk;
    order.epoch = record.epoch;
    order.length = record.length;
    order.sources = plan.sources;
    order.whole = true;
    order.inode = record.inode;
    order.file_offset = record.file_offset == kUnknownOffset ? 0 : record.file_offset;
    order.policy = record.policy;
    order.made = record.made;
  }
  const uint64_t length = order.length;
  const Status copied =
      co_await calls_.Copy(plan.target, std::move(order), loop_.After(options_.copy_timeout));
  // A replica of the same length that is there already is as good as a copy.
  if (!copied.ok() && copied.code() != Code::kAlreadyExists) co_return copied;
  Ticket ticket = 0;
  MORAINE_FAULT_POINT("repair.copied");
  MORAINE_CO_RETURN_IF_ERROR(NoteCopied(plan.chunk, plan.target, length, &ticket));
  MORAINE_FAULT_POINT("repair.noted");
  copied_.Add();
  copied_bytes_.Add(length);
  co_return co_await store_.Synced(ticket);
}

Status Caretaker::NoteCopied(ChunkId chunk, ServerId target, uint64_t length, Ticket* ticket) {
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value() || record->state != ChunkState::kSealed || record->length != length) {
    // It was deleted meanwhile: so is what has just been made.
    if (record.has_value()) MORAINE_RETURN_IF_ERROR(DropReplica(transaction, chunk, target));
    MORAINE_ASSIGN_OR_RETURN(*ticket, store_.Commit(transaction));
    return Status::Ok();
  }
  if (ReplicaRecord* replica = record->FindReplica(target)) {
    replica->state = ReplicaState::kGood;
  } else {
    record->replicas.push_back({target, ReplicaState::kGood, 0});
  }
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, *record));
  MORAINE_RETURN_IF_ERROR(DropSurplus(transaction, chunk));
  MORAINE_ASSIGN_OR_RETURN(*ticket, store_.Commit(transaction));
  return Status::Ok();
}

// ---- Deletion

Status Caretaker::StartDeletions() {
  for (const ServerId server : registry_.All()) {
    if (!registry_.IsAlive(server) || deleting_.contains(server)) continue;
    Transaction transaction(store_);
    MORAINE_ASSIGN_OR_RETURN(const auto queued, QueuedDeletions(transaction, server, ChunkId(), 1));
    if (queued.empty()) continue;
    deleting_.insert(server);
    if (!tasks_.Spawn(RunDeletions(server))) deleting_.erase(server);
  }
  return Status::Ok();
}

Task<void> Caretaker::RunDeletions(ServerId server) {
  std::vector<QueuedDeletion> queued;
  {
    Transaction transaction(store_);
    auto found = QueuedDeletions(transaction, server, ChunkId(), options_.deletions_per_server);
    if (found.ok()) queued = std::move(*found);
  }
  for (const QueuedDeletion& deletion : queued) {
    if (closing_) break;
    const Status status = co_await calls_.Delete(server, deletion.chunk, deletion.epoch,
                                                 loop_.After(options_.delete_timeout));
    if (status.code() == Code::kFenced) {
      LogWarning("server {} keeps its replica of chunk {}: {}", server.value(),
                 deletion.chunk.value(), status.ToString());
    } else if (!status.ok() && status.code() != Code::kUnknownChunk) {
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "deleting from server {}: {}", server.value(),
                            status.ToString());
      break;  // tried again at a later tick
    }
    MORAINE_FAULT_POINT("deletion.done_by_server");
    Transaction transaction(store_);
    Status done = FinishDeletion(transaction, server, deletion.chunk);
    if (done.ok()) done = store_.Commit(transaction).status();
    if (!done.ok()) {
      LogError("deleting from server {}: {}", server.value(), done.ToString());
      break;
    }
    deleted_.Add();
  }
  deleting_.erase(server);
  if (queued.size() == options_.deletions_per_server) wake_.Set();
}

// ---- Orphans

Task<void> Caretaker::RunOrphans() {
  const Status status = co_await FreeOrphans();
  if (!status.ok()) LogError("freeing inodes: {}", status.ToString());
  freeing_ = false;
}

Task<Status> Caretaker::FreeOrphans() {
  std::string from;
  while (!closing_) {
    InodeId inode;
    {
      Transaction transaction(store_);
      Cursor cursor = transaction.Scan(Family::kOrphans, {}, from);
      while (cursor.Valid() && is_open_(InodeId(NumberInKey(cursor.key(), 0)))) cursor.Next();
      MORAINE_CO_RETURN_IF_ERROR(cursor.status());
      if (!cursor.Valid()) co_return Status::Ok();
      from = cursor.key();
      inode = InodeId(NumberInKey(cursor.key(), 0));
    }
    Transaction transaction(store_, SessionId(), loop_.WallNanoseconds());
    MORAINE_CO_ASSIGN_OR_RETURN(const bool done,
                                FreeOrphan(transaction, inode, options_.orphan_extents));
    MORAINE_CO_RETURN_IF_ERROR(store_.Commit(transaction).status());
    MORAINE_FAULT_POINT("orphan.part_freed");
    if (done) freed_.Add();
    committed_(transaction.effects());
    co_await loop_.Yield();
  }
  co_return Status::Ok();
}

// ---- Dead servers

void Caretaker::WatchServers() {
  for (const ServerId server : registry_.Overdue()) {
    Transaction transaction(store_);
    Status status = registry_.DeclareDead(transaction, server);
    if (status.ok()) status = store_.Commit(transaction).status();
    if (!status.ok()) {
      LogError("declaring server {} dead: {}", server.value(), status.ToString());
      continue;
    }
    MORAINE_FAULT_POINT("server.declared_dead");
    registry_.DeclaredDead(server);
    StartMarking(server);
  }
}

void Caretaker::StartMarking(ServerId server) {
  if (marking_.insert(server).second && !tasks_.Spawn(RunMarking(server))) marking_.erase(server);
}

Task<void> Caretaker::RunMarking(ServerId server) {
  ChunkId after;
  size_t marked = 0;
  while (!closing_ && registry_.IsDead(server)) {
    const auto seen = MarkMissing(server, &after);
    if (!seen.ok())
      LogError("marking replicas of server {}: {}", server.value(), seen.status().ToString());
    if (!seen.ok() || *seen == 0) break;
    marked += *seen;
    wake_.Set();
    co_await loop_.Yield();
  }
  marking_.erase(server);
  if (marked > 0) LogInfo("{} replicas were on dead server {}", marked, server.value());
}

Result<size_t> Caretaker::MarkMissing(ServerId server, ChunkId* after) {
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(const auto chunks,
                           ChunksOfServer(transaction, server, *after, options_.marks));
  for (const ChunkId chunk : chunks) {
    *after = chunk;
    MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, chunk));
    ReplicaRecord* replica = record.FindReplica(server);
    // An unsealed chunk is the sealer's business, which asks the server itself.
    if (record.state != ChunkState::kSealed || replica == nullptr ||
        replica->state == ReplicaState::kMissing) {
      continue;
    }
    replica->state = ReplicaState::kMissing;
    MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, record));
  }
  MORAINE_RETURN_IF_ERROR(store_.Commit(transaction).status());
  MORAINE_FAULT_POINT("server.replicas_marked");
  return chunks.size();
}

}  // namespace moraine::metaserver
