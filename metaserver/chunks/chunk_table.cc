#include "metaserver/chunks/chunk_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/encoding.h"

namespace moraine::metaserver {
namespace {

bool IsOpenState(ChunkState state) {
  return state == ChunkState::kOpen || state == ChunkState::kClosed ||
         state == ChunkState::kFencing;
}

Counters Share(const ChunkRecord& record) {
  Counters share;
  if (record.state == ChunkState::kDeleting) {
    share.deleting_chunks = 1;
    return share;
  }
  share.chunks = 1;
  if (IsOpenState(record.state)) {
    share.open_chunks = 1;
    return share;
  }
  const int64_t good = static_cast<int64_t>(record.GoodReplicas());
  if (record.length > 0 && good < record.policy.replicas) share.under_replicated_chunks = 1;
  if (record.length > 0 && good == 0) share.lost_chunks = 1;
  share.user_bytes = static_cast<int64_t>(record.length);
  share.stored_bytes = static_cast<int64_t>(record.length) * good;
  return share;
}

void Subtract(Counters& from, const Counters& share) {
  from.chunks -= share.chunks;
  from.open_chunks -= share.open_chunks;
  from.deleting_chunks -= share.deleting_chunks;
  from.under_replicated_chunks -= share.under_replicated_chunks;
  from.lost_chunks -= share.lost_chunks;
  from.user_bytes -= share.user_bytes;
  from.stored_bytes -= share.stored_bytes;
}

// The queue entries that a record must have; at most one of each kind.
std::optional<std::string> RepairEntry(ChunkId chunk, const ChunkRecord& record) {
  if (record.state != ChunkState::kSealed || record.length == 0) return std::nullopt;
  const size_t good = record.GoodReplicas();
  if (good >= record.policy.replicas) return std::nullopt;
  return RepairKey(static_cast<uint8_t>(good), chunk);
}

std::optional<std::string> SealEntry(ChunkId chunk, const ChunkRecord& record) {
  if (record.state != ChunkState::kClosed && record.state != ChunkState::kFencing) {
    return std::nullopt;
  }
  return SettleKey(chunk);
}

void MoveQueueEntry(Transaction& transaction, const std::optional<std::string>& before,
                    const std::optional<std::string>& after) {
  if (before == after) return;
  if (before.has_value()) transaction.Delete(Family::kQueues, *before);
  if (after.has_value()) {
    transaction.Put(Family::kQueues, *after, {});
    transaction.effects().queued = true;
  }
}

void MoveSealEntry(Transaction& transaction, ChunkId chunk, InodeId inode,
                   const std::optional<std::string>& before,
                   const std::optional<std::string>& after) {
  MoveQueueEntry(transaction, before, after);
  if (before.has_value() == after.has_value()) return;
  auto& effect =
      after.has_value() ? transaction.effects().unsettled : transaction.effects().settled;
  effect.emplace_back(inode, chunk);
}

// Who waits for a sync needs the moment of the seal; good replicas that are lost later take nothing
// back that was acknowledged.
void NoteFloor(Transaction& transaction, ChunkId chunk, const std::optional<ChunkRecord>& before,
               const ChunkRecord& record) {
  const bool was_below = before.has_value() && IsBelowFloor(*before);
  const bool was_sealed = before.has_value() && before->state == ChunkState::kSealed;
  const bool is_below = IsBelowFloor(record);
  if (is_below && !was_sealed) transaction.effects().below_floor.emplace_back(record.inode, chunk);
  if (was_below && !is_below) transaction.effects().at_floor.emplace_back(record.inode, chunk);
}

Result<std::vector<ChunkId>> ScanChunks(Transaction& transaction, Family family,
                                        std::string_view prefix, std::string_view from,
                                        size_t offset, size_t limit) {
  std::vector<ChunkId> chunks;
  Cursor cursor = transaction.Scan(family, prefix, from);
  for (; cursor.Valid() && chunks.size() < limit; cursor.Next()) {
    chunks.push_back(ChunkId(NumberInKey(cursor.key(), offset)));
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return chunks;
}

void EraseChunk(Transaction& transaction, ChunkId chunk, const ChunkRecord& record) {
  transaction.Delete(Family::kChunks, ChunkKey(chunk));
  for (const ReplicaRecord& replica : record.replicas) {
    transaction.Delete(Family::kChunksByServer, ServerChunkKey(replica.server, chunk));
  }
  MoveQueueEntry(transaction, RepairEntry(chunk, record), std::nullopt);
  MoveSealEntry(transaction, chunk, record.inode, SealEntry(chunk, record), std::nullopt);
  Subtract(transaction.counters(), Share(record));
}

}  // namespace

Result<std::optional<ChunkRecord>> FindChunk(Transaction& transaction, ChunkId chunk) {
  return transaction.Find<ChunkRecord>(Family::kChunks, ChunkKey(chunk));
}

Result<ChunkRecord> GetChunk(Transaction& transaction, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value()) {
    return Status(Code::kUnknownChunk, fmt::format("no chunk {}", chunk.value()));
  }
  return std::move(*record);
}

Status PutChunk(Transaction& transaction, ChunkId chunk, const ChunkRecord& record) {
  MORAINE_ASSIGN_OR_RETURN(const auto before, FindChunk(transaction, chunk));
  if (before.has_value()) Subtract(transaction.counters(), Share(*before));
  transaction.counters() += Share(record);
  if (before.has_value()) {
    for (const ReplicaRecord& replica : before->replicas) {
      if (record.FindReplica(replica.server) == nullptr) {
        transaction.Delete(Family::kChunksByServer, ServerChunkKey(replica.server, chunk));
      }
    }
  }
  for (const ReplicaRecord& replica : record.replicas) {
    if (!before.has_value() || before->FindReplica(replica.server) == nullptr) {
      transaction.Put(Family::kChunksByServer, ServerChunkKey(replica.server, chunk), {});
    }
  }
  const auto old_repair = before.has_value() ? RepairEntry(chunk, *before) : std::nullopt;
  const auto old_seal = before.has_value() ? SealEntry(chunk, *before) : std::nullopt;
  MoveQueueEntry(transaction, old_repair, RepairEntry(chunk, record));
  MoveSealEntry(transaction, chunk, record.inode, old_seal, SealEntry(chunk, record));
  NoteFloor(transaction, chunk, before, record);
  transaction.Put(Family::kChunks, ChunkKey(chunk), record.Encode());
  transaction.effects().durable = true;
  return Status::Ok();
}

Status AddReferences(Transaction& transaction, ChunkId chunk, int64_t delta, bool keep) {
  if (delta == 0) return Status::Ok();
  MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, chunk));
  if (delta < 0 && record.references < static_cast<uint64_t>(-delta)) {
    return Status(Code::kCorruption, fmt::format("chunk {} has {} references, {} are to be dropped",
                                                 chunk.value(), record.references, -delta));
  }
  record.references += static_cast<uint64_t>(delta);
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, record));
  if (record.references == 0 && !keep) return BeginDelete(transaction, chunk);
  return Status::Ok();
}

Status BeginDelete(Transaction& transaction, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, chunk));
  if (record.state == ChunkState::kDeleting) return Status::Ok();
  record.state = ChunkState::kDeleting;
  record.epoch = record.epoch.Next();
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, record));
  if (record.replicas.empty()) EraseChunk(transaction, chunk, record);
  for (const ReplicaRecord& replica : record.replicas) {
    QueueDeletion(transaction, replica.server, chunk, record.epoch);
  }
  return Status::Ok();
}

Status DropReplica(Transaction& transaction, ChunkId chunk, ServerId server) {
  MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, chunk));
  std::erase_if(record.replicas,
                [server](const ReplicaRecord& replica) { return replica.server == server; });
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, record));
  QueueDeletion(transaction, server, chunk, record.epoch);
  return Status::Ok();
}

Status DropSurplus(Transaction& transaction, ChunkId chunk, const ServersNow& servers) {
  MORAINE_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, chunk));
  if (record.state != ChunkState::kSealed || record.GoodReplicas() < record.policy.replicas) {
    return Status::Ok();
  }
  if (record.GoodReplicas() == record.replicas.size() &&
      record.replicas.size() == record.policy.replicas) {
    return Status::Ok();
  }
  std::vector<ServerId> good;
  for (const ReplicaRecord& replica : record.replicas) {
    if (replica.state == ReplicaState::kGood) good.push_back(replica.server);
  }
  const std::vector<ServerId> kept = ChooseKept(servers(), good, record.policy.replicas);
  for (const ReplicaRecord& replica : record.replicas) {
    if (std::ranges::find(kept, replica.server) == kept.end()) {
      MORAINE_RETURN_IF_ERROR(DropReplica(transaction, chunk, replica.server));
    }
  }
  return Status::Ok();
}

Status FinishDeletion(Transaction& transaction, ServerId server, ChunkId chunk) {
  transaction.Delete(Family::kQueues, DeletionKey(server, chunk));
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value() || record->state != ChunkState::kDeleting) return Status::Ok();
  std::erase_if(record->replicas,
                [server](const ReplicaRecord& replica) { return replica.server == server; });
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, *record));
  if (record->replicas.empty()) EraseChunk(transaction, chunk, *record);
  return Status::Ok();
}

Status NoteUnknown(Transaction& transaction, ServerId server, ChunkId chunk, Epoch epoch) {
  const std::string key = UnknownKey(server, chunk);
  MORAINE_ASSIGN_OR_RETURN(const auto known, transaction.Get(Family::kQueues, key));
  if (known.has_value()) return Status::Ok();
  std::string value;
  moraine::Writer writer(&value);
  writer.Id(epoch);
  writer.Signed(transaction.now_ns());
  transaction.Put(Family::kQueues, key, value);
  return Status::Ok();
}

Status ForgetUnknown(Transaction& transaction, ServerId server, ChunkId chunk) {
  const std::string key = UnknownKey(server, chunk);
  MORAINE_ASSIGN_OR_RETURN(const auto known, transaction.Get(Family::kQueues, key));
  if (known.has_value()) transaction.Delete(Family::kQueues, key);
  return Status::Ok();
}

Result<std::vector<std::pair<ServerId, ChunkId>>> DeleteUnknown(Transaction& transaction,
                                                                int64_t reported_before_ns,
                                                                size_t count_max) {
  struct Found {
    ServerId server;
    ChunkId chunk;
    Epoch epoch;
  };
  std::vector<Found> found;
  Cursor cursor = transaction.Scan(Family::kQueues, kUnknownPrefix);
  for (; cursor.Valid() && found.size() < count_max; cursor.Next()) {
    Reader reader(cursor.value());
    const Epoch epoch = reader.Id<Epoch>();
    const int64_t reported_ns = reader.Signed();
    MORAINE_RETURN_IF_ERROR(reader.Finish("unknown replica"));
    if (reported_ns >= reported_before_ns) continue;
    found.push_back({ServerId(NumberInKey(cursor.key(), kUnknownPrefix.size())),
                     ChunkId(NumberInKey(cursor.key(), kUnknownPrefix.size() + sizeof(uint64_t))),
                     epoch});
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  std::vector<std::pair<ServerId, ChunkId>> deleted;
  for (const Found& replica : found) {
    transaction.Delete(Family::kQueues, UnknownKey(replica.server, replica.chunk));
    QueueDeletion(transaction, replica.server, replica.chunk, replica.epoch);
    deleted.emplace_back(replica.server, replica.chunk);
  }
  return deleted;
}

Result<std::vector<QueuedDeletion>> QueuedDeletions(Transaction& transaction, ServerId server,
                                                    ChunkId after, size_t limit) {
  std::vector<QueuedDeletion> deletions;
  const std::string prefix = DeletionPrefix(server);
  Cursor cursor = transaction.Scan(Family::kQueues, prefix, ChunkKey(after.Next()));
  for (; cursor.Valid() && deletions.size() < limit; cursor.Next()) {
    Reader reader(cursor.value());
    const Epoch epoch = reader.Id<Epoch>();
    MORAINE_RETURN_IF_ERROR(reader.Finish("deletion queue entry"));
    deletions.push_back({ChunkId(NumberInKey(cursor.key(), prefix.size())), epoch});
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return deletions;
}

void QueueDeletion(Transaction& transaction, ServerId server, ChunkId chunk, Epoch epoch) {
  std::string value;
  moraine::Writer(&value).Id(epoch);
  transaction.Put(Family::kQueues, DeletionKey(server, chunk), value);
  transaction.effects().deletions.emplace_back(server, chunk);
}

Result<bool> IsDeletionQueued(Transaction& transaction, ServerId server, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(const auto entry,
                           transaction.Get(Family::kQueues, DeletionKey(server, chunk)));
  return entry.has_value();
}

Result<std::vector<ChunkId>> QueuedRepairs(Transaction& transaction, size_t limit) {
  // Those without any good copy stand first, and nothing can be done for them.
  return ScanChunks(transaction, Family::kQueues, kRepairPrefix, std::string(1, '\x01'),
                    kRepairPrefix.size() + 1, limit);
}

Result<std::vector<std::pair<InodeId, ChunkId>>> ChunksBelowFloor(Transaction& transaction) {
  MORAINE_ASSIGN_OR_RETURN(const auto queued,
                           ScanChunks(transaction, Family::kQueues, kRepairPrefix, {},
                                      kRepairPrefix.size() + 1, SIZE_MAX));
  std::vector<std::pair<InodeId, ChunkId>> below;
  for (const ChunkId chunk : queued) {
    MORAINE_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, chunk));
    if (IsBelowFloor(record)) below.emplace_back(record.inode, chunk);
  }
  return below;
}

Result<std::vector<ChunkId>> QueuedSeals(Transaction& transaction, ChunkId after, size_t limit) {
  return ScanChunks(transaction, Family::kQueues, kSettlePrefix, ChunkKey(after.Next()),
                    kSettlePrefix.size(), limit);
}

Result<std::vector<ChunkId>> ChunksOfServer(Transaction& transaction, ServerId server,
                                            ChunkId after, size_t limit) {
  const std::string prefix = InodeKey(InodeId(server.value()));
  return ScanChunks(transaction, Family::kChunksByServer, prefix, ChunkKey(after.Next()),
                    prefix.size(), limit);
}

protocol::MadePolicy MadePolicyOf(const ChunkRecord& record) {
  const protocol::Policy policy{.n = static_cast<int>(record.policy.replicas),
                                .w = static_cast<int>(record.policy.quorum),
                                .floor = static_cast<int>(record.policy.floor)};
  const auto made = policy.ForMade(static_cast<int>(record.made));
  MORAINE_CHECK(made.ok(), "a stored chunk keeps to its policy");
  return *made;
}

bool IsBelowFloor(const ChunkRecord& record) {
  return record.state == ChunkState::kSealed && record.length > 0 &&
         record.GoodReplicas() < static_cast<size_t>(MadePolicyOf(record).floor);
}

protocol::ChunkRecord ToProtocol(const ChunkRecord& record) {
  protocol::ChunkRecord out;
  switch (record.state) {
    case ChunkState::kOpen:
      out.state = protocol::ChunkState::kOpen;
      break;
    case ChunkState::kClosed:
      out.state = protocol::ChunkState::kClosed;
      break;
    case ChunkState::kFencing:
      out.state = protocol::ChunkState::kFencing;
      break;
    case ChunkState::kSealed:
      out.state = protocol::ChunkState::kSealed;
      break;
    case ChunkState::kDeleting:
      out.state = protocol::ChunkState::kDeleting;
      break;
  }
  out.epoch = record.epoch;
  out.policy = MadePolicyOf(record);
  out.length = record.length;
  if (record.state == ChunkState::kClosed) {
    for (size_t i = 0; i < record.replicas.size(); ++i) {
      if (record.replicas[i].state == ReplicaState::kGood) out.good.Add(static_cast<int>(i));
    }
  }
  return out;
}

void TakeFromProtocol(const protocol::ChunkRecord& from, ChunkRecord& record) {
  record.epoch = from.epoch;
  record.length = from.length;
  const bool decided =
      from.state == protocol::ChunkState::kClosed || from.state == protocol::ChunkState::kSealed;
  switch (from.state) {
    case protocol::ChunkState::kOpen:
      record.state = ChunkState::kOpen;
      break;
    case protocol::ChunkState::kClosed:
      record.state = ChunkState::kClosed;
      break;
    case protocol::ChunkState::kFencing:
      record.state = ChunkState::kFencing;
      break;
    case protocol::ChunkState::kSealed:
      record.state = ChunkState::kSealed;
      break;
    case protocol::ChunkState::kDeleting:
      record.state = ChunkState::kDeleting;
      break;
  }
  for (size_t i = 0; i < record.replicas.size(); ++i) {
    ReplicaRecord& replica = record.replicas[i];
    if (decided && from.good.Has(static_cast<int>(i))) {
      replica.state = ReplicaState::kGood;
    } else if (decided && replica.state != ReplicaState::kMissing) {
      replica.state = ReplicaState::kLagging;
    }
    if (record.state == ChunkState::kSealed) replica.start_id = 0;
  }
}

Status CloseChunk(ChunkRecord& record, SessionId session, Epoch epoch, uint64_t length,
                  std::span<const ServerId> holders) {
  // A higher epoch is a fence for everybody else: a former writer who comes back under another
  // session is told so.
  const bool settled_by_fence = record.epoch > epoch && record.writer == session;
  if (record.state == ChunkState::kSealed) {
    // Settled meanwhile, if need be under a higher epoch: a repeat of the same close.
    const bool same = record.epoch == epoch || settled_by_fence;
    if (record.length == length && same) return Status::Ok();
    if (record.epoch != epoch) {
      return Status(Code::kFenced, fmt::format("the chunk was sealed at {} under epoch {}, not {}",
                                               record.length, record.epoch.value(), epoch.value()));
    }
    return Status(Code::kSealed,
                  fmt::format("the chunk is sealed at {}, not at {}", record.length, length));
  }
  if (record.state == ChunkState::kFencing && record.length == length && settled_by_fence) {
    return Status(Code::kBusy, "the chunk was closed, and is being fenced to be settled");
  }
  protocol::CloseRequest request{.epoch = epoch, .length = length, .holders = {}};
  for (const ServerId holder : holders) {
    for (size_t i = 0; i < record.replicas.size(); ++i) {
      if (record.replicas[i].server == holder) request.holders.Add(static_cast<int>(i));
    }
  }
  MORAINE_ASSIGN_OR_RETURN(const protocol::ChunkRecord closed,
                           protocol::CloseByWriter(ToProtocol(record), request));
  TakeFromProtocol(closed, record);
  return Status::Ok();
}

}  // namespace moraine::metaserver
