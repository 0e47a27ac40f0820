// A file's extents: an ordered list without overlaps; gaps are holes. New extents lie over old
// ones, which are cut; a chunk that loses its last extent is deleted.
//
// The arithmetic is pure (CutRange); the rest applies it inside a transaction and keeps the inode's
// stored_bytes and the chunks' reference counts. Extents are never merged across chunks, but one
// that continues its predecessor in file and chunk extends it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

struct Extent {
  uint64_t file_offset = 0;
  uint64_t length = 0;
  ChunkId chunk;
  uint64_t chunk_offset = 0;

  uint64_t end() const { return file_offset + length; }
  bool operator==(const Extent&) const = default;
};

// What is left of `extents` outside [from, to).
std::vector<Extent> CutRange(std::span<const Extent> extents, uint64_t from, uint64_t to);

// The extents that touch [from, to), in order.
Result<std::vector<Extent>> ReadExtents(Transaction& transaction, InodeId inode, uint64_t from,
                                        uint64_t to);

// What the file's extents and the places of their chunks take in an answer, at most: what
// record.layout_bytes says, counted anew.
Result<uint64_t> CountLayout(Transaction& transaction, InodeId inode);
// kTooLarge: the file is cut into more pieces than an answer can name (limits::kLayoutBytesMax).
Status CheckLayoutFits(InodeId inode, const InodeRecord& record);

// Lays `extents` over the file, in the given order. The caller has checked them. Changes
// record.stored_bytes and layout_bytes and, when a chunk dies, record.attached; does not write the
// record.
Status MapExtents(Transaction& transaction, InodeId inode, InodeRecord& record,
                  std::span<const Extent> extents);
// Makes [from, to) a hole. At most `extents_max` extents are touched, from the end of the range
// downwards; the result says whether the whole range is done.
Result<bool> UnmapRange(Transaction& transaction, InodeId inode, InodeRecord& record, uint64_t from,
                        uint64_t to, size_t extents_max = SIZE_MAX);
// Cuts every extent of the file that names bytes of the chunk past `length`. Gives the lowest file
// offset that was cut, or none.
Result<std::optional<uint64_t>> CutChunk(Transaction& transaction, InodeId inode,
                                         InodeRecord& record, ChunkId chunk, uint64_t length);

}  // namespace moraine::metaserver
