#include "metaserver/recovery/caretaker.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "base/units.h"
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
      unknown_looked_(loop.Now()),
      tasks_(loop),
      repair_looks_(metrics.GetCounter("moraine_meta_repair_looks_total",
                                       "Looks at the queue of chunks to be repaired.")),
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
    deletions_after_[server] = ChunkId();
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
    // What cannot be repaired stays queued: that is not to be walked over at each wake.
    if (repairs_due_ || loop_.Now() - repairs_looked_ >= options_.tick) {
      repairs_due_ = false;
      repairs_looked_ = loop_.Now();
      const Status repairs = StartRepairs();
      if (!repairs.ok()) LogError("repair of chunks: {}", repairs.ToString());
    }
    const Status unknown = GiveUpUnknown();
    if (!unknown.ok()) LogError("replicas without a record: {}", unknown.ToString());
    StartDeletions();
    if (orphans_open_ && loop_.Now() - orphans_walked_ >= options_.orphans_walk) {
      walk_orphans_ = true;
    }
    if (!freeing_ && (walk_orphans_ || !orphans_noted_.empty())) {
      freeing_ = tasks_.Spawn(RunOrphans());
    }
    if (!closing_) co_await wake_.Wait(loop_.After(options_.tick));
    // What many changes leave behind is done together.
    if (!closing_) co_await loop_.Sleep(options_.gather);
  }
}

// ---- Repair

Status Caretaker::StartRepairs() {
  if (store_.counters().under_replicated_chunks == 0) return Status::Ok();
  if (copying_.size() >= static_cast<size_t>(options_.repair.copies_max)) return Status::Ok();
  repair_looks_.Add();
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
    repairs_due_ = true;
    copying_[copy.chunk] = {copy.sources.front(), copy.target};
    const ChunkId chunk = copy.chunk;
    if (!tasks_.Spawn(RunCopy(std::move(copy)))) copying_.erase(chunk);
  }
  return Status::Ok();
}

Task<void> Caretaker::RunCopy(PlannedCopy plan) {
  const ChunkId chunk = plan.chunk;
  const ServerId target = plan.target;
  const Status status = co_await CopyOne(std::move(plan));
  if (!status.ok()) {
    copies_failed_.Add();
    sealer_.NoteCopyFailed(chunk, target, status);
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "a copy of chunk {} failed: {}", chunk.value(),
                          status.ToString());
    // Not at once again: the reason is likely to be still there.
    if (!closing_) co_await loop_.Sleep(options_.tick);
  }
  copying_.erase(chunk);
  repairs_due_ = true;
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
  const Status copied =
      co_await calls_.Copy(plan.target, order, loop_.After(options_.copy_timeout));
  // A replica of the same length that is there already is as good as a copy.
  if (!copied.ok() && copied.code() != Code::kAlreadyExists) co_return copied;
  Ticket ticket = 0;
  MORAINE_FAULT_POINT("repair.copied");
  MORAINE_CO_RETURN_IF_ERROR(NoteCopied(plan.target, order, &ticket));
  MORAINE_FAULT_POINT("repair.noted");
  copied_.Add();
  copied_bytes_.Add(order.length);
  co_return co_await store_.Synced(ticket);
}

Status Caretaker::NoteCopied(ServerId target, const CopyOrder& order, Ticket* ticket) {
  const ChunkId chunk = order.chunk;
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value() || record->state != ChunkState::kSealed ||
      record->length != order.length) {
    // It was deleted meanwhile: so is what has just been made.
    if (record.has_value()) {
      MORAINE_RETURN_IF_ERROR(DropReplica(transaction, chunk, target));
    } else {
      QueueDeletion(transaction, target, chunk, order.epoch);
    }
    MORAINE_ASSIGN_OR_RETURN(*ticket, store_.Commit(transaction));
    committed_(transaction.effects());
    return Status::Ok();
  }
  // Surplus since the copy began: its deletion takes the copy. Or its server has died since, and
  // what was marked then is not looked at again; it tells of the copy when it is back.
  MORAINE_ASSIGN_OR_RETURN(const bool going, IsDeletionQueued(transaction, target, chunk));
  if (going || registry_.IsDead(target)) {
    *ticket = store_.written();
    return Status::Ok();
  }
  if (ReplicaRecord* replica = record->FindReplica(target)) {
    replica->state = ReplicaState::kGood;
  } else {
    record->replicas.push_back({target, ReplicaState::kGood, 0});
  }
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, *record));
  MORAINE_RETURN_IF_ERROR(DropSurplus(transaction, chunk, [this] { return registry_.Views(); }));
  MORAINE_ASSIGN_OR_RETURN(*ticket, store_.Commit(transaction));
  committed_(transaction.effects());
  return Status::Ok();
}

// ---- Deletion

void Caretaker::NoteDeletion(ServerId server, ChunkId chunk) {
  const ChunkId before(chunk.value() - 1);
  const auto [mark, fresh] = deletions_after_.try_emplace(server, before);
  if (!fresh) mark->second = std::min(mark->second, before);
  wake_.Set();
}

Status Caretaker::GiveUpUnknown() {
  if (loop_.Now() - unknown_looked_ < options_.unknown_tick) return Status::Ok();
  unknown_looked_ = loop_.Now();
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(
      const auto deleted,
      DeleteUnknown(transaction, loop_.WallNanoseconds() - options_.unknown_grace.count(),
                    options_.unknown_deletions));
  MORAINE_RETURN_IF_ERROR(store_.Commit(transaction).status());
  committed_(transaction.effects());
  for (const auto& [server, chunk] : deleted) {
    LogWarning("no record has named chunk {} for {}: its replica on server {} is DELETED",
               chunk.value(), FormatDuration(options_.unknown_grace), server.value());
  }
  return Status::Ok();
}

void Caretaker::StartDeletions() {
  for (const auto& [server, after] : deletions_after_) {
    if (!registry_.IsAlive(server) || !deleting_.insert(server).second) continue;
    if (!tasks_.Spawn(RunDeletions(server))) deleting_.erase(server);
  }
}

Task<void> Caretaker::RunDeletions(ServerId server) {
  // What is queued from now on sets a mark of its own. What was queued since this was spawned has
  // only moved the one that is taken here.
  const auto mark = deletions_after_.extract(server);
  MORAINE_CHECK(!mark.empty(), "only this takes marks");
  const Deleted deleted = co_await DeleteQueued(server, mark.mapped());
  if (!deleted.all) NoteDeletion(server, deleted.after.Next());
  deleting_.erase(server);
}

Task<Caretaker::Deletion> Caretaker::DeleteOne(ServerId server, QueuedDeletion deletion) {
  const Status status = co_await calls_.Delete(server, deletion.chunk, deletion.epoch,
                                               loop_.After(options_.delete_timeout));
  if (status.code() == Code::kFenced) {
    LogWarning("server {} keeps its replica of chunk {}: {}", server.value(),
               deletion.chunk.value(), status.ToString());
  } else if (!status.ok() && status.code() != Code::kUnknownChunk) {
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "deleting from server {}: {}", server.value(),
                          status.ToString());
    const bool no_room = status.code() == Code::kNoSpace || status.code() == Code::kOverloaded;
    co_return no_room ? Deletion::kPassedOver : Deletion::kFailed;
  }
  MORAINE_FAULT_POINT("deletion.done_by_server");
  Transaction transaction(store_);
  Status done = FinishDeletion(transaction, server, deletion.chunk);
  if (done.ok()) done = store_.Commit(transaction).status();
  if (!done.ok()) {
    LogError("deleting from server {}: {}", server.value(), done.ToString());
    co_return Deletion::kFailed;
  }
  committed_(transaction.effects());
  deleted_.Add();
  co_return Deletion::kDone;
}

Task<Caretaker::Deleted> Caretaker::DeleteQueued(ServerId server, ChunkId after) {
  Deleted deleted{after};
  bool passed_over = false;  // then `deleted` stays before the first of those
  while (!closing_) {
    std::vector<QueuedDeletion> queued;
    {
      Transaction transaction(store_);
      auto found = QueuedDeletions(transaction, server, after, options_.deletions_per_server);
      if (!found.ok()) {
        LogError("reading the deletions of server {}: {}", server.value(),
                 found.status().ToString());
        co_return deleted;
      }
      queued = std::move(*found);
    }
    // What the entries follow from (an unlink, a rename, a commit) may be in the log only: a power
    // cut would bring the file back, without its replicas.
    const Status durable = co_await store_.Synced(store_.written());
    if (!durable.ok()) {
      LogError("deleting from server {}: {}", server.value(), durable.ToString());
      co_return deleted;
    }
    bool failed = false;
    bool pause = false;
    for (const QueuedDeletion& deletion : queued) {
      if (closing_) co_return deleted;
      const Deletion outcome = co_await DeleteOne(server, deletion);
      failed = outcome == Deletion::kFailed;
      if (failed) break;
      after = deletion.chunk;
      if (outcome == Deletion::kPassedOver) passed_over = pause = true;
      if (!passed_over) deleted.after = after;
    }
    const bool end = failed || queued.size() < options_.deletions_per_server;
    deleted.all = end && !failed && !passed_over;
    pause = pause || (end && !deleted.all);
    if (pause && !closing_) co_await loop_.Sleep(options_.tick);
    if (end) co_return deleted;
  }
  co_return deleted;
}

// ---- Orphans

void Caretaker::NoteOrphan(InodeId inode) {
  if (orphans_noted_.size() < options_.orphans_noted) {
    orphans_noted_.insert(inode);
  } else {
    walk_orphans_ = true;
  }
  wake_.Set();
}

void Caretaker::NoteClosed(InodeId inode) {
  if (orphans_open_) NoteOrphan(inode);
}

void Caretaker::NoteClosedAll() {
  walk_orphans_ = walk_orphans_ || orphans_open_;
  wake_.Set();
}

Task<void> Caretaker::RunOrphans() {
  Status status = std::exchange(walk_orphans_, false) ? co_await WalkOrphans() : Status::Ok();
  if (status.ok()) status = co_await FreeNoted();
  if (!status.ok()) {
    LogError("freeing inodes: {}", status.ToString());
    // For those that were noted together with a damaged one.
    walk_orphans_ = walk_orphans_ || store_.health().ok();
  }
  freeing_ = false;
}

Task<Status> Caretaker::WalkOrphans() {
  orphans_open_ = false;
  orphans_walked_ = loop_.Now();
  std::string from;
  while (!closing_) {
    InodeId inode;
    {
      Transaction transaction(store_);
      Cursor cursor = transaction.Scan(Family::kOrphans, {}, from);
      for (; cursor.Valid() && is_open_(InodeId(NumberInKey(cursor.key(), 0))); cursor.Next()) {
        orphans_open_ = true;
      }
      MORAINE_CO_RETURN_IF_ERROR(cursor.status());
      if (!cursor.Valid()) co_return Status::Ok();
      inode = InodeId(NumberInKey(cursor.key(), 0));
      from = InodeKey(inode.Next());
    }
    const Status freed = co_await FreeOne(inode);
    if (!store_.health().ok()) co_return freed;
    if (!freed.ok()) {
      MORAINE_LOG_SOMETIMES(LogLevel::kError, "inode {} cannot be freed: {}", inode.value(),
                            freed.ToString());
    }
  }
  co_return Status::Ok();
}

Task<Status> Caretaker::FreeNoted() {
  const size_t extents_of_each =
      std::max<size_t>(1, options_.orphan_extents / std::max<size_t>(1, options_.orphans_at_once));
  while (!closing_ && !orphans_noted_.empty()) {
    Transaction transaction(store_, SessionId(), loop_.WallNanoseconds());
    size_t freed = 0;
    InodeId large;  // has more extents than one transaction takes
    while (!orphans_noted_.empty() && freed < options_.orphans_at_once && large.IsNone()) {
      const InodeId inode = *orphans_noted_.begin();
      orphans_noted_.erase(orphans_noted_.begin());
      MORAINE_CO_ASSIGN_OR_RETURN(const auto orphan,
                                  transaction.Get(Family::kOrphans, InodeKey(inode)));
      if (!orphan.has_value()) continue;
      if (is_open_(inode)) {
        orphans_open_ = true;  // noted again when it is closed
        continue;
      }
      MORAINE_CO_ASSIGN_OR_RETURN(const bool done, FreeOrphan(transaction, inode, extents_of_each));
      if (done) {
        ++freed;
      } else {
        large = inode;
      }
    }
    MORAINE_CO_RETURN_IF_ERROR(CommitFreed(transaction, freed));
    if (!large.IsNone()) MORAINE_CO_RETURN_IF_ERROR(co_await FreeOne(large));
    co_await loop_.Yield();
  }
  co_return Status::Ok();
}

Status Caretaker::CommitFreed(Transaction& transaction, size_t freed) {
  if (transaction.empty()) return Status::Ok();
  MORAINE_RETURN_IF_ERROR(store_.Commit(transaction).status());
  MORAINE_FAULT_POINT("orphan.part_freed");
  freed_.Add(freed);
  committed_(transaction.effects());
  return Status::Ok();
}

// In as many transactions as its extents need.
Task<Status> Caretaker::FreeOne(InodeId inode) {
  bool done = false;
  while (!done && !closing_) {
    Transaction transaction(store_, SessionId(), loop_.WallNanoseconds());
    MORAINE_CO_ASSIGN_OR_RETURN(done, FreeOrphan(transaction, inode, options_.orphan_extents));
    MORAINE_CO_RETURN_IF_ERROR(CommitFreed(transaction, done ? 1 : 0));
    co_await loop_.Yield();
  }
  co_return Status::Ok();
}

// ---- Dead servers

void Caretaker::WatchServers() {
  for (const ServerId server : registry_.Overdue(options_.tick)) {
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
