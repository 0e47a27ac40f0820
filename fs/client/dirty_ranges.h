// Bytes written in the middle of a file and not yet stored: ordered ranges that do not overlap.
// Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/loop/net.h"

namespace moraine::fs {

class DirtyRanges {
 public:
  // More than these are stored without being asked: each becomes at least one extent of a commit,
  // and what one commit may carry has a bound.
  static constexpr size_t kRangesMax = 1 << 14;

  // Later writes win.
  void Write(uint64_t offset, ConstBytes bytes);
  // Drops everything from `size` on.
  void Cut(uint64_t size);
  bool empty() const { return ranges_.empty(); }
  uint64_t bytes() const { return bytes_; }
  uint64_t end() const;
  bool Intersects(uint64_t offset, uint64_t length) const;
  // By offset. The strings do not move while the ranges are not changed.
  const std::map<uint64_t, std::string>& ranges() const { return ranges_; }
  std::map<uint64_t, std::string> Take();

 private:
  void Remove(uint64_t offset, uint64_t length);
  std::map<uint64_t, std::string> ranges_;
  uint64_t bytes_ = 0;
};

}  // namespace moraine::fs
