#include "fs/client/dirty_ranges.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace moraine::fs {
namespace {

// A range is extended in place up to this; longer ones are cheaper as neighbours.
constexpr size_t kRangeBytesMax = 1 << 20;

}  // namespace

void DirtyRanges::Write(uint64_t offset, ConstBytes bytes) {
  if (bytes.empty()) return;
  const auto* data = reinterpret_cast<const char*>(bytes.data());
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) {
    auto& [begin, range] = *std::prev(it);
    const uint64_t end = begin + range.size();
    if (offset + bytes.size() <= end) {  // wholly inside
      std::memcpy(range.data() + (offset - begin), data, bytes.size());
      return;
    }
    const bool free_behind = it == ranges_.end() || it->first >= offset + bytes.size();
    if (end == offset && free_behind && range.size() + bytes.size() <= kRangeBytesMax) {
      range.append(data, bytes.size());
      bytes_ += bytes.size();
      return;
    }
  }
  Remove(offset, bytes.size());
  ranges_.emplace(offset, std::string(data, bytes.size()));
  bytes_ += bytes.size();
}

void DirtyRanges::Remove(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) --it;
  while (it != ranges_.end() && it->first < end) {
    const uint64_t begin = it->first;
    const uint64_t stop = begin + it->second.size();
    if (stop <= offset) {
      ++it;
      continue;
    }
    std::string range = std::move(it->second);
    it = ranges_.erase(it);
    bytes_ -= range.size();
    if (stop > end) {
      it = ranges_.emplace(end, range.substr(end - begin)).first;
      bytes_ += stop - end;
    }
    if (begin < offset) {
      range.resize(offset - begin);
      bytes_ += range.size();
      ranges_.emplace(begin, std::move(range));
    }
  }
}

void DirtyRanges::Cut(uint64_t size) {
  const uint64_t end = this->end();
  if (end > size) Remove(size, end - size);
}

uint64_t DirtyRanges::end() const {
  if (ranges_.empty()) return 0;
  const auto& [begin, range] = *ranges_.rbegin();
  return begin + range.size();
}

bool DirtyRanges::Intersects(uint64_t offset, uint64_t length) const {
  auto it = ranges_.upper_bound(offset);
  if (it != ranges_.begin()) {
    const auto& [begin, range] = *std::prev(it);
    if (begin + range.size() > offset) return true;
  }
  return it != ranges_.end() && it->first < offset + length;
}

std::map<uint64_t, std::string> DirtyRanges::Take() {
  bytes_ = 0;
  return std::exchange(ranges_, {});
}

}  // namespace moraine::fs
