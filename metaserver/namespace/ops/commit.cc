#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/losses.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/truncate.h"

namespace moraine::metaserver {
namespace {

// A writer may map bytes of chunks that were made for this file, and only bytes that they can have.
Status CheckExtent(Transaction& transaction, InodeId inode, const InodeRecord& record,
                   const Extent& extent) {
  if (extent.length == 0 || extent.length > limits::kChunkBytesMax ||
      extent.chunk_offset > limits::kChunkBytesMax || extent.file_offset > limits::kFileBytesMax ||
      extent.end() > limits::kFileBytesMax) {
    return Status(Code::kTooLarge,
                  fmt::format("an extent of {} bytes at {}", extent.length, extent.file_offset));
  }
  MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, extent.chunk));
  if (!chunk.has_value() || chunk->inode != inode || chunk->state == ChunkState::kDeleting ||
      (chunk->references == 0 && FindAttached(record, extent.chunk) == nullptr)) {
    return Status(Code::kInvalidArgument, fmt::format("chunk {} is not inode {}'s to map",
                                                      extent.chunk.value(), inode.value()));
  }
  if (chunk->state == ChunkState::kFencing) {
    // The lease is the caller's: nobody has taken the chunk over, it could not be settled at once.
    return Status(Code::kBusy, fmt::format("chunk {} is being sealed", extent.chunk.value()));
  }
  if (extent.chunk_offset + extent.length > chunk->length) {
    return Status(Code::kInvalidArgument,
                  fmt::format("chunk {} has {} bytes, the extent ends at {}", extent.chunk.value(),
                              chunk->length, extent.chunk_offset + extent.length));
  }
  return Status::Ok();
}

// An inline content goes when extents come, so they must have all of it.
Status CheckCoversInline(const InodeRecord& record, const std::vector<Extent>& extents) {
  const uint64_t bytes = record.inline_data.size();
  uint64_t covered = 0;
  std::vector<Extent> sorted = extents;
  std::ranges::sort(sorted, {}, &Extent::file_offset);
  for (const Extent& extent : sorted) {
    if (extent.file_offset > covered) break;
    covered = std::max(covered, extent.end());
  }
  if (covered >= bytes) return Status::Ok();
  return Status(
      Code::kInvalidArgument,
      fmt::format("the extents cover {} of {} bytes of the inline content", covered, bytes));
}

Status CommitExtents(Transaction& transaction, const CommitArgs& args, InodeRecord& record) {
  if (args.extents.empty()) return Status::Ok();
  for (const Extent& extent : args.extents) {
    MORAINE_RETURN_IF_ERROR(CheckExtent(transaction, args.inode, record, extent));
  }
  if (!record.inline_data.empty()) {
    MORAINE_RETURN_IF_ERROR(CheckCoversInline(record, args.extents));
    record.inline_data.clear();
  }
  const uint64_t before = record.layout_bytes.value_or(0);
  MORAINE_RETURN_IF_ERROR(MapExtents(transaction, args.inode, record, args.extents));
  // Fewer pieces than before are always welcome.
  if (record.layout_bytes.value_or(0) > before) {
    MORAINE_RETURN_IF_ERROR(CheckLayoutFits(args.inode, record));
  }
  for (const Extent& extent : args.extents) record.size = std::max(record.size, extent.end());
  return Status::Ok();
}

Status CommitInline(Transaction& transaction, const CommitArgs& args, InodeRecord& record) {
  if (!args.inline_data.has_value()) return Status::Ok();
  if (args.inline_data->size() > limits::kInlineBytesMax) {
    return Status(Code::kTooLarge, fmt::format("an inline content of {} bytes, allowed are {}",
                                               args.inline_data->size(), limits::kInlineBytesMax));
  }
  if (!args.extents.empty()) {
    return Status(Code::kInvalidArgument, "a file is inline or in chunks, not both");
  }
  MORAINE_RETURN_IF_ERROR(CheckNoTail(transaction, args.inode, record));
  MORAINE_RETURN_IF_ERROR(
      UnmapRange(transaction, args.inode, record, 0, limits::kFileBytesMax).status());
  record.inline_data = *args.inline_data;
  record.size = record.inline_data.size();
  return Status::Ok();
}

// Closed loose chunks that have found their place need not be kept for the writer any more; those
// that were closed here and found none never will.
Status LetGoOfClosed(Transaction& transaction, const CommitArgs& args, InodeRecord& record) {
  const std::vector<AttachedChunk> attached = record.attached;
  for (const AttachedChunk& a : attached) {
    if (a.kind != AttachKind::kLoose) continue;
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, a.chunk));
    if (chunk.has_value() &&
        (chunk->state == ChunkState::kOpen || chunk->state == ChunkState::kFencing)) {
      continue;
    }
    const bool mapped = !chunk.has_value() || chunk->references > 0;
    const bool closed_here =
        std::ranges::find(args.seals, a.chunk, &ClosedChunk::chunk) != args.seals.end();
    if (!mapped && !closed_here) continue;
    std::erase(record.attached, a);
    if (!mapped) MORAINE_RETURN_IF_ERROR(BeginDelete(transaction, a.chunk));
  }
  return Status::Ok();
}

}  // namespace

Result<InodeView> Commit(Transaction& transaction, const CommitArgs& args) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  MORAINE_RETURN_IF_ERROR(CheckWriter(transaction, args.inode, record, args.token));
  MORAINE_RETURN_IF_ERROR(CheckKnowsLosses(args.inode, record, args.losses));
  // A tail brings its bytes with its close; a loose chunk only ends, its bytes come as extents.
  bool data = !args.extents.empty() || args.inline_data.has_value() || args.size.has_value();
  const std::vector<AttachedChunk> attached = record.attached;
  for (const ClosedChunk& closed : args.seals) {
    data = data || IsTail(record, closed.chunk);
    MORAINE_RETURN_IF_ERROR(CloseAttached(transaction, args.inode, record, closed));
  }
  MORAINE_RETURN_IF_ERROR(CommitExtents(transaction, args, record));
  MORAINE_RETURN_IF_ERROR(CommitInline(transaction, args, record));
  if (args.size.has_value() && *args.size != record.size) {
    if (*args.size > limits::kFileBytesMax) {
      return Status(Code::kTooLarge, fmt::format("a size of {} bytes", *args.size));
    }
    // With an open tail the size only says where committed bytes end; it never cuts.
    if (FindAttached(record, AttachKind::kTail) == nullptr) {
      MORAINE_RETURN_IF_ERROR(Truncate(transaction, args.inode, record, *args.size));
    } else {
      record.size = std::max(record.size, *args.size);
    }
  }
  MORAINE_RETURN_IF_ERROR(LetGoOfClosed(transaction, args, record));
  if (data || args.mtime_ns.has_value()) {
    Touch(transaction, record, data);
    if (args.mtime_ns.has_value()) record.mtime_ns = *args.mtime_ns;
    transaction.PutInode(args.inode, record);
    transaction.effects().changed.push_back(args.inode);
  } else if (record.attached != attached) {
    transaction.PutInode(args.inode, record);
  }
  if (args.sync) transaction.effects().durable = true;
  return GetInode(transaction, args.inode);
}

}  // namespace moraine::metaserver
