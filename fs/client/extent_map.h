// The extents of one file in memory: ordered, not overlapping, gaps are holes. Pure.
#pragma once

#include <map>
#include <vector>

#include "fs/client/types.h"

namespace moraine::fs {

class ExtentMap {
 public:
  ExtentMap() = default;
  explicit ExtentMap(const std::vector<Extent>& extents);

  // Lays `extent` over what is there.
  void Overlay(const Extent& extent);
  // Removes [offset, offset + length).
  void Remove(uint64_t offset, uint64_t length);
  void Clear() { extents_.clear(); }
  // The parts of extents inside [offset, offset + length), in order.
  std::vector<Extent> Find(uint64_t offset, uint64_t length) const;
  std::vector<Extent> All() const;
  bool empty() const { return extents_.empty(); }
  // The highest chunk offset that any extent maps, per chunk: those bytes are known committed.
  uint64_t MappedEnd(ChunkId chunk) const;

 private:
  std::map<uint64_t, Extent> extents_;  // by file offset
};

}  // namespace moraine::fs
