#include "metaserver/namespace/losses.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/limits.h"
#include "base/log.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/file_map.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/names.h"

namespace moraine::metaserver {
namespace {

// The file ends at `offset`, and so does its stream: chunks that go on behind it are dropped.
Status EndAt(Transaction& transaction, InodeId inode, InodeRecord& record, uint64_t offset) {
  MORAINE_RETURN_IF_ERROR(
      UnmapRange(transaction, inode, record, offset, limits::kFileBytesMax).status());
  record.size = std::min(record.size, offset);
  const std::vector<AttachedChunk> attached = record.attached;
  for (const AttachedChunk& a : attached) {
    if (a.kind == AttachKind::kLoose) continue;
    std::erase(record.attached, a);
    MORAINE_ASSIGN_OR_RETURN(const auto chunk, FindChunk(transaction, a.chunk));
    if (chunk.has_value()) MORAINE_RETURN_IF_ERROR(BeginDelete(transaction, a.chunk));
  }
  return Status::Ok();
}

}  // namespace

Status TakeLoss(Transaction& transaction, ChunkId id, const ChunkRecord& chunk, bool of_stream) {
  MORAINE_ASSIGN_OR_RETURN(auto found,
                           transaction.Find<InodeRecord>(Family::kInodes, InodeKey(chunk.inode)));
  if (!found.has_value()) return Status::Ok();
  InodeRecord& record = *found;
  MORAINE_ASSIGN_OR_RETURN(const auto lost_from,
                           CutChunk(transaction, chunk.inode, record, id, chunk.length));
  if (!lost_from.has_value()) return Status::Ok();  // they had been written over, or cut off
  LogWarning("chunk {} of inode {}: bytes above {} were never synced and are gone", id.value(),
             chunk.inode.value(), chunk.length);
  if (of_stream) {
    MORAINE_RETURN_IF_ERROR(EndAt(transaction, chunk.inode, record, *lost_from));
  }
  if (!record.layout_bytes.has_value()) {
    MORAINE_ASSIGN_OR_RETURN(record.layout_bytes, CountLayout(transaction, chunk.inode));
  }
  ++record.losses;
  Touch(transaction, record, true);
  transaction.PutInode(chunk.inode, record);
  transaction.effects().changed.push_back(chunk.inode);
  return Status::Ok();
}

Status CheckKnowsLosses(InodeId inode, const InodeRecord& record, std::optional<uint32_t> known) {
  if (!known.has_value() || *known == record.losses) return Status::Ok();
  return Status(Code::kIo,
                fmt::format("bytes of inode {} that were not synced are gone with their servers; "
                            "close it and open it again",
                            inode.value()));
}

}  // namespace moraine::metaserver
