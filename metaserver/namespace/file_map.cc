#include "metaserver/namespace/file_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"

namespace moraine::metaserver {
namespace {

struct ChunkChange {
  int64_t references = 0;
  uint64_t mapped_end = 0;
};
using ChunkChanges = std::map<ChunkId, ChunkChange>;

Result<Extent> FromCursor(const Cursor& cursor) {
  MORAINE_ASSIGN_OR_RETURN(const ExtentRecord record, ExtentRecord::Decode(cursor.value()));
  return Extent{NumberInKey(cursor.key(), sizeof(uint64_t)), record.length, record.chunk,
                record.chunk_offset};
}

uint64_t PlaceBytes(const ChunkRecord& chunk) {
  return limits::kPlaceWireBytes + chunk.policy.replicas * limits::kReplicaWireBytes;
}

// Takes note of pieces that have come or gone, if they are counted.
void AddLayout(InodeRecord& record, bool more, uint64_t bytes) {
  if (!record.layout_bytes.has_value()) return;
  uint64_t& now = *record.layout_bytes;
  now = more ? now + bytes : now - std::min(now, bytes);
}

void Store1(Transaction& transaction, InodeId inode, const Extent& extent) {
  transaction.Put(Family::kExtents, ExtentKey(inode, extent.file_offset),
                  ExtentRecord{extent.length, extent.chunk, extent.chunk_offset}.Encode());
}

void Erase1(Transaction& transaction, InodeId inode, const Extent& extent) {
  transaction.Delete(Family::kExtents, ExtentKey(inode, extent.file_offset));
}

// Takes `extents` out of [from, to) in the store and counts what that does to the chunks.
void Cut(Transaction& transaction, InodeId inode, InodeRecord& record,
         std::span<const Extent> extents, uint64_t from, uint64_t to, ChunkChanges& changes) {
  for (const Extent& extent : extents) {
    Erase1(transaction, inode, extent);
    --changes[extent.chunk].references;
    record.stored_bytes -= extent.length;
    AddLayout(record, false, limits::kExtentWireBytes);
  }
  for (const Extent& rest : CutRange(extents, from, to)) {
    Store1(transaction, inode, rest);
    ++changes[rest.chunk].references;
    record.stored_bytes += rest.length;
    AddLayout(record, true, limits::kExtentWireBytes);
  }
}

Status Apply(Transaction& transaction, InodeRecord& record, const ChunkChanges& changes) {
  for (const auto& [chunk, change] : changes) {
    if (change.references == 0 && change.mapped_end == 0) continue;
    MORAINE_ASSIGN_OR_RETURN(ChunkRecord found, GetChunk(transaction, chunk));
    const int64_t references = static_cast<int64_t>(found.references) + change.references;
    if (references < 0) {
      return Status(Code::kCorruption,
                    "chunk " + chunk.ToString() + " has fewer references than extents");
    }
    const bool had = found.references > 0;
    found.references = static_cast<uint64_t>(references);
    if (had != (references > 0)) AddLayout(record, !had, PlaceBytes(found));
    if (found.state != ChunkState::kSealed) {
      found.mapped = std::max(found.mapped, change.mapped_end);
    }
    MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, found));
    // An open chunk still gets bytes that will be mapped; its writer closes it.
    if (found.references > 0 || found.state == ChunkState::kOpen ||
        found.state == ChunkState::kFencing) {
      continue;
    }
    MORAINE_RETURN_IF_ERROR(BeginDelete(transaction, chunk));
    std::erase_if(record.attached,
                  [chunk = chunk](const AttachedChunk& a) { return a.chunk == chunk; });
  }
  return Status::Ok();
}

// Extends the extent that ends where this one begins, in the file and in the chunk.
Result<Extent> Joined(Transaction& transaction, InodeId inode, InodeRecord& record,
                      const Extent& extent, ChunkChanges& changes) {
  if (extent.file_offset == 0) return extent;
  Cursor cursor = transaction.ScanBack(Family::kExtents, InodeKey(inode),
                                       InodeKey(InodeId(extent.file_offset - 1)));
  MORAINE_RETURN_IF_ERROR(cursor.status());
  if (!cursor.Valid()) return extent;
  MORAINE_ASSIGN_OR_RETURN(const Extent before, FromCursor(cursor));
  if (before.end() != extent.file_offset || before.chunk != extent.chunk ||
      before.chunk_offset + before.length != extent.chunk_offset) {
    return extent;
  }
  --changes[extent.chunk].references;
  AddLayout(record, false, limits::kExtentWireBytes);
  return Extent{before.file_offset, before.length + extent.length, before.chunk,
                before.chunk_offset};
}

}  // namespace

std::vector<Extent> CutRange(std::span<const Extent> extents, uint64_t from, uint64_t to) {
  std::vector<Extent> rest;
  for (const Extent& extent : extents) {
    if (extent.end() <= from || extent.file_offset >= to) {
      rest.push_back(extent);
      continue;
    }
    if (extent.file_offset < from) {
      Extent head = extent;
      head.length = from - extent.file_offset;
      rest.push_back(head);
    }
    if (extent.end() > to) {
      Extent tail = extent;
      const uint64_t skipped = to - extent.file_offset;
      tail.file_offset += skipped;
      tail.chunk_offset += skipped;
      tail.length -= skipped;
      rest.push_back(tail);
    }
  }
  return rest;
}

Result<std::vector<Extent>> ReadExtents(Transaction& transaction, InodeId inode, uint64_t from,
                                        uint64_t to) {
  std::vector<Extent> extents;
  if (from >= to) return extents;
  const std::string prefix = InodeKey(inode);
  uint64_t first = from;
  {
    Cursor before = transaction.ScanBack(Family::kExtents, prefix, InodeKey(InodeId(from)));
    MORAINE_RETURN_IF_ERROR(before.status());
    if (before.Valid()) {
      MORAINE_ASSIGN_OR_RETURN(const Extent extent, FromCursor(before));
      if (extent.end() > from) first = extent.file_offset;
    }
  }
  Cursor cursor = transaction.Scan(Family::kExtents, prefix, InodeKey(InodeId(first)));
  for (; cursor.Valid(); cursor.Next()) {
    MORAINE_ASSIGN_OR_RETURN(const Extent extent, FromCursor(cursor));
    if (extent.file_offset >= to) break;
    extents.push_back(extent);
  }
  MORAINE_RETURN_IF_ERROR(cursor.status());
  return extents;
}

Result<uint64_t> CountLayout(Transaction& transaction, InodeId inode) {
  MORAINE_ASSIGN_OR_RETURN(const auto extents,
                           ReadExtents(transaction, inode, 0, limits::kFileBytesMax));
  uint64_t bytes = extents.size() * limits::kExtentWireBytes;
  std::set<ChunkId> seen;
  for (const Extent& extent : extents) {
    if (!seen.insert(extent.chunk).second) continue;
    MORAINE_ASSIGN_OR_RETURN(const ChunkRecord chunk, GetChunk(transaction, extent.chunk));
    bytes += PlaceBytes(chunk);
  }
  return bytes;
}

Status CheckLayoutFits(InodeId inode, const InodeRecord& record) {
  if (record.layout_bytes.value_or(0) <= limits::kLayoutBytesMax) return Status::Ok();
  return Status(
      Code::kTooLarge,
      fmt::format("inode {} is cut into too many pieces; a copy of it has fewer", inode.value()));
}

Status MapExtents(Transaction& transaction, InodeId inode, InodeRecord& record,
                  std::span<const Extent> extents) {
  if (!record.layout_bytes.has_value()) {
    MORAINE_ASSIGN_OR_RETURN(record.layout_bytes, CountLayout(transaction, inode));
  }
  ChunkChanges changes;
  for (const Extent& extent : extents) {
    MORAINE_CHECK(extent.length > 0 && extent.end() <= limits::kFileBytesMax);
    MORAINE_ASSIGN_OR_RETURN(const auto under,
                             ReadExtents(transaction, inode, extent.file_offset, extent.end()));
    Cut(transaction, inode, record, under, extent.file_offset, extent.end(), changes);
    MORAINE_ASSIGN_OR_RETURN(const Extent joined,
                             Joined(transaction, inode, record, extent, changes));
    Store1(transaction, inode, joined);
    AddLayout(record, true, limits::kExtentWireBytes);
    record.stored_bytes += extent.length;
    ChunkChange& change = changes[extent.chunk];
    ++change.references;
    change.mapped_end = std::max(change.mapped_end, extent.chunk_offset + extent.length);
  }
  return Apply(transaction, record, changes);
}

Result<bool> UnmapRange(Transaction& transaction, InodeId inode, InodeRecord& record, uint64_t from,
                        uint64_t to, size_t extents_max) {
  MORAINE_ASSIGN_OR_RETURN(auto extents, ReadExtents(transaction, inode, from, to));
  const bool all = extents.size() <= extents_max;
  if (!all) {
    extents.erase(extents.begin(), extents.end() - static_cast<ptrdiff_t>(extents_max));
  }
  ChunkChanges changes;
  Cut(transaction, inode, record, extents, from, to, changes);
  MORAINE_RETURN_IF_ERROR(Apply(transaction, record, changes));
  return all;
}

Result<std::optional<uint64_t>> CutChunk(Transaction& transaction, InodeId inode,
                                         InodeRecord& record, ChunkId chunk, uint64_t length) {
  MORAINE_ASSIGN_OR_RETURN(const auto extents,
                           ReadExtents(transaction, inode, 0, limits::kFileBytesMax));
  ChunkChanges changes;
  std::optional<uint64_t> first;
  for (const Extent& extent : extents) {
    if (extent.chunk != chunk || extent.chunk_offset + extent.length <= length) continue;
    const uint64_t kept = extent.chunk_offset >= length ? 0 : length - extent.chunk_offset;
    const uint64_t from = extent.file_offset + kept;
    Cut(transaction, inode, record, std::span(&extent, 1), from, extent.end(), changes);
    if (!first.has_value()) first = from;
  }
  MORAINE_RETURN_IF_ERROR(Apply(transaction, record, changes));
  return first;
}

}  // namespace moraine::metaserver
