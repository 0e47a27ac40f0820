#include "fs/chunkio/block_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"

namespace moraine::fs {
namespace {

constexpr uint64_t kBlock = limits::kBlockBytes;
static_assert(BlockCache::kWindowBytes % kBlock == 0);
static_assert(BlockCache::kReadBytesMax + 2 * BlockCache::kWindowBytes <= limits::kReadBytesMax);

constexpr uint64_t Down(uint64_t value, uint64_t unit) { return value / unit * unit; }
constexpr uint64_t Up(uint64_t value, uint64_t unit) { return Down(value + unit - 1, unit); }

}  // namespace

size_t BlockCache::KeyHash::operator()(const Key& key) const {
  return (key.chunk.value() * limits::kChunkBytesMax / kBlock + key.number) * 0x9e3779b97f4a7c15ULL;
}

BlockCache::BlockCache(uint64_t bytes_max, MetricRegistry& metrics)
    : blocks_max_(bytes_max / kBlock),
      hits_(metrics.GetCounter("moraine_client_cache_hits_total",
                               "Small reads that asked no chunkserver.")),
      misses_(metrics.GetCounter("moraine_client_cache_misses_total",
                                 "Small reads that had to ask a chunkserver.")),
      bytes_(metrics.GetGauge("moraine_client_cache_bytes", "Bytes of chunks kept in memory.")) {}

std::optional<OwnedBytes> BlockCache::Find(ChunkId chunk, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  // Only when all are here one of them counts as used.
  for (uint64_t number = offset / kBlock; number * kBlock < end; ++number) {
    const auto known = index_.find({chunk, number});
    if (known == index_.end() ||
        number * kBlock + known->second->size < std::min(end, (number + 1) * kBlock)) {
      misses_.Add();
      return std::nullopt;
    }
  }
  Buffer copy = Buffer::Allocate(length);
  for (uint64_t at = offset; at < end;) {
    const uint64_t number = at / kBlock;
    const auto block = index_.at({chunk, number});
    blocks_.splice(blocks_.begin(), blocks_, block);
    block->read = true;
    const uint64_t stop = std::min(end, (number + 1) * kBlock);
    std::memcpy(copy.data() + (at - offset), block->bytes.get() + at % kBlock, stop - at);
    at = stop;
  }
  hits_.Add();
  OwnedBytes found;
  found.owner = std::move(copy).Share();
  found.bytes = found.owner->bytes();
  return found;
}

BlockCache::Range BlockCache::RangeToRead(ChunkId chunk, uint64_t offset, uint64_t length,
                                          uint64_t readable) const {
  MORAINE_CHECK(length <= kReadBytesMax && offset + length <= readable);
  uint64_t begin = Down(offset, kBlock);
  uint64_t end = Up(offset + length, kBlock);
  const bool room = (blocks_.size() + 1) * kBlock + kWindowBytes <= blocks_max_ * kBlock;
  if (room) {
    begin = Down(offset, kWindowBytes);
    end = Up(end, kWindowBytes);
  } else if (begin > 0) {
    const auto before = index_.find({chunk, begin / kBlock - 1});
    const bool scan = before != index_.end() && before->second->read;
    if (scan) end = std::max(end, begin + kWindowBytes);
  }
  return {begin, std::min(end, readable) - begin};
}

void BlockCache::Insert(ChunkId chunk, uint64_t offset, ConstBytes bytes) {
  MORAINE_CHECK(offset % kBlock == 0);
  for (uint64_t number = offset / kBlock; !bytes.empty(); ++number) {
    const ConstBytes block = bytes.first(std::min<size_t>(bytes.size(), kBlock));
    InsertBlock({chunk, number}, block);
    bytes = bytes.subspan(block.size());
  }
  bytes_.Set(static_cast<int64_t>(blocks_.size() * kBlock));
}

void BlockCache::NoteRead(ChunkId chunk, uint64_t offset, uint64_t length) {
  for (uint64_t number = offset / kBlock; number * kBlock < offset + length; ++number) {
    const auto block = index_.find({chunk, number});
    if (block != index_.end()) block->second->read = true;
  }
}

void BlockCache::InsertBlock(Key key, ConstBytes bytes) {
  const auto known = index_.find(key);
  if (known != index_.end()) {
    blocks_.splice(blocks_.begin(), blocks_, known->second);
  } else if (blocks_.size() < blocks_max_) {
    blocks_.push_front({key, 0, false, std::make_unique_for_overwrite<std::byte[]>(kBlock)});
    index_[key] = blocks_.begin();
  } else {
    // The room of the one that was used least recently.
    index_.erase(blocks_.back().key);
    blocks_.splice(blocks_.begin(), blocks_, std::prev(blocks_.end()));
    blocks_.front().key = key;
    blocks_.front().read = false;
    index_[key] = blocks_.begin();
  }
  blocks_.front().size = bytes.size();
  std::memcpy(blocks_.front().bytes.get(), bytes.data(), bytes.size());
}

}  // namespace moraine::fs
