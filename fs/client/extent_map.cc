#include "fs/client/extent_map.h"

#include <algorithm>

#include "base/check.h"

namespace moraine::fs {
namespace {

Extent Part(const Extent& extent, uint64_t begin, uint64_t end) {
  MORAINE_CHECK(begin >= extent.file_offset && end <= extent.file_offset + extent.length &&
                begin < end);
  return {begin, end - begin, extent.chunk, extent.chunk_offset + (begin - extent.file_offset)};
}

}  // namespace

ExtentMap::ExtentMap(const std::vector<Extent>& extents) {
  for (const Extent& extent : extents) extents_.emplace(extent.file_offset, extent);
}

void ExtentMap::Remove(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  auto it = extents_.upper_bound(offset);
  if (it != extents_.begin()) --it;
  while (it != extents_.end() && it->first < end) {
    const Extent extent = it->second;
    const uint64_t extent_end = extent.file_offset + extent.length;
    if (extent_end <= offset) {
      ++it;
      continue;
    }
    it = extents_.erase(it);
    if (extent.file_offset < offset) {
      extents_.emplace(extent.file_offset, Part(extent, extent.file_offset, offset));
    }
    if (extent_end > end) it = extents_.emplace(end, Part(extent, end, extent_end)).first;
  }
}

void ExtentMap::Overlay(const Extent& extent) {
  MORAINE_CHECK(extent.length > 0);
  Remove(extent.file_offset, extent.length);
  Extent merged = extent;
  // Joins a neighbour that it continues, so that sequential files stay one extent per chunk.
  const auto next = extents_.lower_bound(extent.file_offset);
  if (next != extents_.begin()) {
    const auto before = std::prev(next);
    const Extent& left = before->second;
    if (left.chunk == extent.chunk && left.file_offset + left.length == extent.file_offset &&
        left.chunk_offset + left.length == extent.chunk_offset) {
      merged = {left.file_offset, left.length + extent.length, left.chunk, left.chunk_offset};
      extents_.erase(before);
    }
  }
  extents_.emplace(merged.file_offset, merged);
}

std::vector<Extent> ExtentMap::Find(uint64_t offset, uint64_t length) const {
  std::vector<Extent> found;
  const uint64_t end = offset + length;
  auto it = extents_.upper_bound(offset);
  if (it != extents_.begin()) --it;
  for (; it != extents_.end() && it->first < end; ++it) {
    const Extent& extent = it->second;
    const uint64_t begin = std::max(offset, extent.file_offset);
    const uint64_t stop = std::min(end, extent.file_offset + extent.length);
    if (begin < stop) found.push_back(Part(extent, begin, stop));
  }
  return found;
}

std::vector<Extent> ExtentMap::All() const {
  std::vector<Extent> all;
  for (const auto& [offset, extent] : extents_) all.push_back(extent);
  return all;
}

uint64_t ExtentMap::MappedEnd(ChunkId chunk) const {
  uint64_t end = 0;
  for (const auto& [offset, extent] : extents_) {
    if (extent.chunk == chunk) end = std::max(end, extent.chunk_offset + extent.length);
  }
  return end;
}

}  // namespace moraine::fs
