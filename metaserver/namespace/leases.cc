#include "metaserver/namespace/leases.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fault_point.h"
#include "base/limits.h"
#include "base/log.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/names.h"

namespace moraine::metaserver {
namespace {

void PutLease(Transaction& transaction, InodeId inode, const LeaseRecord& lease) {
  transaction.Put(Family::kLeases, HoldingKey(inode), lease.Encode());
  transaction.effects().durable = true;
}

void Detach(InodeRecord& record, ChunkId chunk) {
  std::erase_if(record.attached, [chunk](const AttachedChunk& a) { return a.chunk == chunk; });
}

bool IsWritten(ChunkState state) {
  return state == ChunkState::kOpen || state == ChunkState::kFencing;
}

// Extents take the place of an inline content, so the first must have all of it.
bool LosesInline(const InodeRecord& record, uint64_t offset, uint64_t length) {
  return !record.inline_data.empty() && (offset > 0 || length < record.inline_data.size());
}

// Lays a tail's bytes over the file and lets it go. Inline data must be covered whole, or it stays:
// then the writer died before it had rewritten it.
Status MapTail(Transaction& transaction, InodeId inode, InodeRecord& record, ChunkId chunk,
               uint64_t offset, uint64_t length) {
  Detach(record, chunk);
  if (length == 0 || LosesInline(record, offset, length) ||
      offset > limits::kFileBytesMax - length) {
    return BeginDelete(transaction, chunk);
  }
  record.inline_data.clear();
  const Extent extent{offset, length, chunk, 0};
  MORAINE_RETURN_IF_ERROR(MapExtents(transaction, inode, record, std::span(&extent, 1)));
  record.size = std::max(record.size, extent.end());
  return Status::Ok();
}

Status LetGo(Transaction& transaction, InodeRecord& record, ChunkId chunk,
             const ChunkRecord& found) {
  Detach(record, chunk);
  if (found.references > 0 || found.state == ChunkState::kDeleting) return Status::Ok();
  return BeginDelete(transaction, chunk);
}

Status CheckSession(const Transaction& transaction) {
  if (!transaction.session().IsNone()) return Status::Ok();
  return Status(Code::kSessionEnded, "writing needs a session");
}

// Whether the lease is the transaction's session's: kLeaseTaken otherwise, and what to do about it.
Status CheckHolder(Transaction& transaction, InodeId inode, const LeaseRecord& lease) {
  if (lease.state == LeaseState::kRecovering) {
    transaction.effects().recoveries.push_back(inode);
    return Status(
        Code::kLeaseTaken,
        fmt::format("inode {}: the chunks of its last writer are being sealed", inode.value()));
  }
  if (lease.session == transaction.session()) return Status::Ok();
  transaction.effects().recalls.emplace_back(lease.session, inode);
  return Status(Code::kLeaseTaken, fmt::format("inode {} is written by session {}", inode.value(),
                                               lease.session.value()));
}

Status CheckMayBeWritten(Transaction& transaction, InodeId inode, const InodeRecord& record,
                         Token token) {
  if (record.type != FileType::kRegular) {
    return Status(record.type == FileType::kDirectory ? Code::kIsDirectory : Code::kInvalidArgument,
                  fmt::format("inode {} is not a regular file", inode.value()));
  }
  return CheckGoverningToken(transaction, record, token);
}

}  // namespace

const AttachedChunk* FindAttached(const InodeRecord& record, ChunkId chunk) {
  const auto it = std::ranges::find(record.attached, chunk, &AttachedChunk::chunk);
  return it == record.attached.end() ? nullptr : &*it;
}

const AttachedChunk* FindAttached(const InodeRecord& record, AttachKind kind) {
  const auto it = std::ranges::find(record.attached, kind, &AttachedChunk::kind);
  return it == record.attached.end() ? nullptr : &*it;
}

Result<std::optional<LeaseRecord>> FindLease(Transaction& transaction, InodeId inode) {
  return transaction.Find<LeaseRecord>(Family::kLeases, HoldingKey(inode));
}

Result<bool> HoldsLease(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  return lease.has_value() && lease->state == LeaseState::kHeld &&
         lease->session == transaction.session();
}

Status AcquireLease(Transaction& transaction, InodeId inode) {
  MORAINE_RETURN_IF_ERROR(CheckSession(transaction));
  const SessionId session = transaction.session();
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (lease.has_value()) return CheckHolder(transaction, inode, *lease);
  PutLease(transaction, inode, LeaseRecord{session, LeaseState::kHeld});
  transaction.Put(Family::kLeases, HoldingOfSessionKey(session, inode), {});
  transaction.effects().granted.push_back(inode);
  return Status::Ok();
}

Status CheckNoOtherWriter(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  return lease.has_value() ? CheckHolder(transaction, inode, *lease) : Status::Ok();
}

Status AdmitWriter(Transaction& transaction, InodeId inode, const InodeRecord& record,
                   Token token) {
  MORAINE_RETURN_IF_ERROR(CheckMayBeWritten(transaction, inode, record, token));
  return AcquireLease(transaction, inode);
}

Status CheckWriter(Transaction& transaction, InodeId inode, const InodeRecord& record,
                   Token token) {
  MORAINE_RETURN_IF_ERROR(CheckMayBeWritten(transaction, inode, record, token));
  MORAINE_RETURN_IF_ERROR(CheckSession(transaction));
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (lease.has_value()) return CheckHolder(transaction, inode, *lease);
  if (!MORAINE_FAULT_STATUS("mutant.metaserver_grants_to_changes").ok()) {
    return AcquireLease(transaction, inode);
  }
  return Status(Code::kFenced, fmt::format("session {} has lost the lease of inode {}: open the "
                                           "file again",
                                           transaction.session().value(), inode.value()));
}

Status CheckNoTail(Transaction& transaction, InodeId inode, const InodeRecord& record) {
  const AttachedChunk* tail = FindAttached(record, AttachKind::kTail);
  if (tail == nullptr) return Status::Ok();
  transaction.effects().recoveries.push_back(inode);
  return Status(Code::kLeaseTaken, fmt::format("inode {}: its open tail {} must be sealed first",
                                               inode.value(), tail->chunk.value()));
}

Status ReleaseLease(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (!lease.has_value() || lease->state != LeaseState::kHeld) return Status::Ok();
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(inode));
  bool open = false;
  const std::vector<AttachedChunk> attached = record.attached;
  for (const AttachedChunk& a : attached) {
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, a.chunk));
    if (chunk.has_value() && IsWritten(chunk->state)) {
      open = true;
    } else if (chunk.has_value() && a.kind == AttachKind::kLoose) {
      MORAINE_RETURN_IF_ERROR(LetGo(transaction, record, a.chunk, *chunk));
    } else if (!chunk.has_value()) {
      Detach(record, a.chunk);
    } else {
      open = true;  // a sealed tail that is not mapped yet: FinishRecovery maps it
    }
  }
  if (record.attached != attached) transaction.PutInode(inode, record);
  transaction.Delete(Family::kLeases, HoldingOfSessionKey(lease->session, inode));
  if (!open) {
    transaction.Delete(Family::kLeases, HoldingKey(inode));
    return Status::Ok();
  }
  PutLease(transaction, inode, LeaseRecord{lease->session, LeaseState::kRecovering});
  transaction.effects().recoveries.push_back(inode);
  return Status::Ok();
}

Status EraseLease(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  if (lease.has_value()) EraseLease(transaction, inode, lease->session);
  return Status::Ok();
}

void EraseLease(Transaction& transaction, InodeId inode, SessionId holder) {
  transaction.Delete(Family::kLeases, HoldingOfSessionKey(holder, inode));
  transaction.Delete(Family::kLeases, HoldingKey(inode));
}

Status CloseAttached(Transaction& transaction, InodeId inode, InodeRecord& record,
                     const ClosedChunk& closed) {
  MORAINE_ASSIGN_OR_RETURN(const auto found, FindChunk(transaction, closed.chunk));
  if (!found.has_value() || found->inode != inode) {
    // An empty one that was closed before is gone, or going.
    if (!found.has_value() && closed.length == 0) return Status::Ok();
    return Status(Code::kFenced,
                  fmt::format("chunk {} is not inode {}'s", closed.chunk.value(), inode.value()));
  }
  const AttachedChunk* attached = FindAttached(record, closed.chunk);
  const bool going = found->state == ChunkState::kDeleting && attached == nullptr;
  if (going && closed.length == 0 && found->writer == transaction.session()) return Status::Ok();
  const AttachedChunk place = attached == nullptr ? AttachedChunk() : *attached;
  ChunkRecord chunk = *found;
  if (closed.length == 0 && chunk.state == ChunkState::kOpen && chunk.epoch == closed.epoch &&
      chunk.references == 0) {
    Detach(record, closed.chunk);
    return BeginDelete(transaction, closed.chunk);
  }
  const bool was_open = chunk.state == ChunkState::kOpen;
  MORAINE_RETURN_IF_ERROR(
      CloseChunk(chunk, transaction.session(), closed.epoch, closed.length, closed.holders));
  if (!was_open) return Status::Ok();
  if (attached == nullptr) {
    return Status(Code::kInternal, fmt::format("chunk {} is open but not attached to inode {}",
                                               closed.chunk.value(), inode.value()));
  }
  if (chunk.mapped > chunk.length) {
    return Status(Code::kInvalidArgument,
                  fmt::format("chunk {} closed at {}, but mapped up to {}", closed.chunk.value(),
                              chunk.length, chunk.mapped));
  }
  if (place.kind == AttachKind::kTail && LosesInline(record, place.tail_offset, chunk.length)) {
    return Status(
        Code::kInvalidArgument,
        fmt::format("chunk {} closed at {} has not all of the {} bytes of the inline "
                    "content of inode {}",
                    closed.chunk.value(), chunk.length, record.inline_data.size(), inode.value()));
  }
  if (place.kind == AttachKind::kTail) chunk.file_offset = place.tail_offset;
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, closed.chunk, chunk));
  if (place.kind != AttachKind::kTail) return Status::Ok();
  return MapTail(transaction, inode, record, closed.chunk, place.tail_offset, closed.length);
}

Result<std::vector<ChunkId>> ChunksToRecover(Transaction& transaction, InodeId inode) {
  std::vector<ChunkId> chunks;
  MORAINE_ASSIGN_OR_RETURN(const auto record,
                           transaction.Find<InodeRecord>(Family::kInodes, InodeKey(inode)));
  if (!record.has_value()) return chunks;
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  const bool held = lease.has_value() && lease->state == LeaseState::kHeld;
  for (const AttachedChunk& a : record->attached) {
    if (held && a.kind == AttachKind::kLoose) continue;
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, a.chunk));
    if (chunk.has_value() && IsWritten(chunk->state)) chunks.push_back(a.chunk);
  }
  return chunks;
}

Status FinishRecovery(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(auto inode_record,
                           transaction.Find<InodeRecord>(Family::kInodes, InodeKey(inode)));
  if (!inode_record.has_value()) return EraseLease(transaction, inode);
  InodeRecord& record = *inode_record;
  bool tail_open = false;
  bool loose_open = false;
  const std::vector<AttachedChunk> before = record.attached;
  for (const AttachedChunk& a : before) {
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, a.chunk));
    if (!chunk.has_value() || chunk->state == ChunkState::kDeleting) {
      Detach(record, a.chunk);
    } else if (IsWritten(chunk->state)) {
      (a.kind == AttachKind::kLoose ? loose_open : tail_open) = true;
    }
  }
  const AttachedChunk* found = FindAttached(record, AttachKind::kTail);
  if (!tail_open && found != nullptr) {
    const AttachedChunk tail = *found;
    MORAINE_ASSIGN_OR_RETURN(const ChunkRecord chunk, GetChunk(transaction, tail.chunk));
    MORAINE_RETURN_IF_ERROR(
        MapTail(transaction, inode, record, tail.chunk, tail.tail_offset, chunk.length));
  }
  MORAINE_ASSIGN_OR_RETURN(const auto lease, FindLease(transaction, inode));
  const bool held = lease.has_value() && lease->state == LeaseState::kHeld;
  if (!held && !loose_open) {
    const std::vector<AttachedChunk> rest = record.attached;
    for (const AttachedChunk& a : rest) {
      if (a.kind != AttachKind::kLoose) continue;
      MORAINE_ASSIGN_OR_RETURN(const ChunkRecord chunk, GetChunk(transaction, a.chunk));
      MORAINE_RETURN_IF_ERROR(LetGo(transaction, record, a.chunk, chunk));
    }
  }
  if (record.attached != before) {
    // Bytes of tails appear in the file here; those of loose chunks came with their extents.
    const bool data = std::ranges::any_of(before, [&record](const AttachedChunk& a) {
      return a.kind != AttachKind::kLoose && FindAttached(record, a.chunk) == nullptr;
    });
    if (data) {
      Touch(transaction, record, true);
      transaction.effects().changed.push_back(inode);
    }
    transaction.PutInode(inode, record);
    transaction.effects().durable = true;
  }
  if (!held && !tail_open && !loose_open) return EraseLease(transaction, inode);
  return Status::Ok();
}

Status DropUnused(Transaction& transaction, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(const auto found, FindChunk(transaction, chunk));
  if (!found.has_value() || found->state != ChunkState::kSealed || found->references > 0) {
    return Status::Ok();
  }
  MORAINE_ASSIGN_OR_RETURN(const auto inode,
                           transaction.Find<InodeRecord>(Family::kInodes, InodeKey(found->inode)));
  if (inode.has_value() && FindAttached(*inode, chunk) != nullptr) return Status::Ok();
  return BeginDelete(transaction, chunk);
}

Result<std::vector<InodeId>> FindRecovering(Transaction& transaction) {
  std::vector<InodeId> inodes;
  Cursor cursor = transaction.Scan(Family::kLeases, kHoldingPrefix);
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const LeaseRecord lease, LeaseRecord::Decode(cursor.value()));
    if (lease.state == LeaseState::kRecovering) {
      inodes.push_back(InodeId(NumberInKey(cursor.key(), kHoldingPrefix.size())));
    }
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return inodes;
}

Result<std::vector<InodeId>> LeasesOfSession(Transaction& transaction, SessionId session) {
  std::vector<InodeId> inodes;
  const std::string prefix = HoldingsOfSessionPrefix(session);
  Cursor cursor = transaction.Scan(Family::kLeases, prefix);
  for (; cursor.Valid(); cursor.Next()) {
    inodes.push_back(InodeId(NumberInKey(cursor.key(), prefix.size())));
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return inodes;
}

}  // namespace moraine::metaserver
