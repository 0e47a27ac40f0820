// Blocks of chunks that were read and checked, so that reading them again asks nobody.
//
// What a reader may see of a chunk never changes (APPEND.md) and no chunk number is given twice: an
// entry is true for ever, and goes only for want of room, the least recently used first. As the
// page cache would be on a local disk, it is for small reads; large ones pass by.
//
// While there is room, a read that misses brings the window around it: a cache of W bytes costs
// W / kWindowBytes such reads at most. When it is full only a scan gets more than it asks for: a
// read whose preceding block was read, not only brought along.
//
// Confined to one loop.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "base/metrics.h"
#include "fs/chunkio/chunk.h"

namespace moraine::fs {

class BlockCache {
 public:
  static constexpr uint64_t kWindowBytes = 32 << 10;
  static constexpr uint64_t kReadBytesMax = 64 << 10;  // larger reads pass by

  // Keeps `bytes_max` bytes of blocks at most; 0: nothing.
  BlockCache(uint64_t bytes_max, MetricRegistry& metrics);

  // Whether a read of `length` bytes is to be looked for here.
  bool Serves(uint64_t length) const { return blocks_max_ > 0 && length <= kReadBytesMax; }

  // A copy of [offset, offset + length) of the chunk, if all of it is here.
  std::optional<OwnedBytes> Find(ChunkId chunk, uint64_t offset, uint64_t length);

  // What to ask a chunkserver for instead of [offset, offset + length), when `readable` bytes of
  // the chunk may be read: whole blocks, the last one up to there; kReadBytesMax + 2 * kWindowBytes
  // at most.
  struct Range {
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  Range RangeToRead(ChunkId chunk, uint64_t offset, uint64_t length, uint64_t readable) const;

  // Keeps what such a range brought.
  void Insert(ChunkId chunk, uint64_t offset, ConstBytes bytes);
  // Somebody wanted these of them; Find notes that by itself.
  void NoteRead(ChunkId chunk, uint64_t offset, uint64_t length);

  uint64_t blocks() const { return blocks_.size(); }

 private:
  struct Key {
    ChunkId chunk;
    uint64_t number = 0;  // of the block within the chunk
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Block {
    Key key;
    size_t size = 0;    // less than a whole block: no more was readable
    bool read = false;  // not only brought along
    std::unique_ptr<std::byte[]> bytes;
  };
  void InsertBlock(Key key, ConstBytes bytes);

  const uint64_t blocks_max_;
  Counter& hits_;
  Counter& misses_;
  Gauge& bytes_;
  std::list<Block> blocks_;  // the most recently used first
  std::unordered_map<Key, std::list<Block>::iterator, KeyHash> index_;
};

}  // namespace moraine::fs
