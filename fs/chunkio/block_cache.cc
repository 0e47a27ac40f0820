#include "fs/chunkio/block_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace moraine::fs {

BlockCache::BlockCache(uint64_t bytes_max, MetricRegistry& metrics)
    : bytes_max_(bytes_max),
      hits_(metrics.GetCounter("moraine_client_cache_hits_total",
                               "Small reads of sealed chunks that were answered from memory.")),
      misses_(metrics.GetCounter("moraine_client_cache_misses_total",
                                 "Small reads of sealed chunks that asked a chunkserver.")),
      gauge_(metrics.GetGauge("moraine_client_cache_bytes",
                              "Content of sealed chunks kept in memory.")) {}

size_t BlockCache::Hash::operator()(const Key& key) const {
  // A chunk has at most 2,048 units: the sum is different for each.
  return std::hash<ChunkId>()(ChunkId(key.chunk.value() << 11 | key.unit));
}

std::optional<BlockCache::Range> BlockCache::Cover(uint64_t offset, uint64_t length,
                                                   uint64_t sealed_length) const {
  if (length > kUnitBytes || bytes_max_ < 2 * kUnitBytes) return std::nullopt;
  const uint64_t end = offset + length;
  if (length == 0 || end > sealed_length) return std::nullopt;
  return Range{offset / kUnitBytes * kUnitBytes,
               std::min((end + kUnitBytes - 1) / kUnitBytes * kUnitBytes, sealed_length)};
}

const OwnedBytes* BlockCache::Touch(const Key& key) {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return &it->second->bytes;
}

std::optional<OwnedBytes> BlockCache::Find(ChunkId chunk, uint64_t offset, uint64_t length) {
  const uint64_t unit = offset / kUnitBytes;
  const uint64_t within = offset % kUnitBytes;
  const OwnedBytes* first = Touch({chunk, unit});
  const bool one = within + length <= kUnitBytes;
  const OwnedBytes* second = one || first == nullptr ? nullptr : Touch({chunk, unit + 1});
  if (first == nullptr || (!one && second == nullptr)) {
    misses_.Add();
    return std::nullopt;
  }
  hits_.Add();
  if (one) return OwnedBytes{first->owner, first->bytes.subspan(within, length)};
  Buffer both = Buffer::Allocate(length);
  const ConstBytes head = first->bytes.subspan(within);
  std::memcpy(both.data(), head.data(), head.size());
  const ConstBytes tail = second->bytes.first(length - head.size());
  std::memcpy(both.data() + head.size(), tail.data(), tail.size());
  OwnedBytes bytes;
  bytes.owner = std::move(both).Share();
  bytes.bytes = bytes.owner->bytes();
  return bytes;
}

void BlockCache::Insert(ChunkId chunk, const Range& range, const OwnedBytes& bytes) {
  MORAINE_CHECK(bytes.bytes.size() == range.end - range.begin && range.begin % kUnitBytes == 0);
  for (uint64_t at = range.begin; at < range.end; at += kUnitBytes) {
    const Key key{chunk, at / kUnitBytes};
    if (Touch(key) != nullptr) continue;  // somebody else asked for it at the same time
    const ConstBytes part =
        bytes.bytes.subspan(at - range.begin, std::min(kUnitBytes, range.end - at));
    // Its own memory, so that what is counted is what is held.
    Buffer copy = Buffer::Allocate(part.size());
    std::memcpy(copy.data(), part.data(), part.size());
    OwnedBytes owned;
    owned.owner = std::move(copy).Share();
    owned.bytes = owned.owner->bytes();
    entries_.push_front({key, std::move(owned)});
    by_key_.emplace(key, entries_.begin());
    bytes_ += part.size();
  }
  while (bytes_ > bytes_max_) {
    bytes_ -= entries_.back().bytes.bytes.size();
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  gauge_.Set(static_cast<int64_t>(bytes_));
}

}  // namespace moraine::fs
