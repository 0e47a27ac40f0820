// What was read of sealed chunks, kept for the next reader. Sealed bytes never change, so nothing
// here is ever invalid: entries go only because newer ones need their room (least recently used
// first).
//
// The unit is kUnitBytes of a chunk, aligned: a small read fetches the whole unit around it, which
// costs hardly more than a block and answers its neighbours. For hosts without the kernel's page
// cache between them and the chunkservers (kv/rocksfs); a mount has that and needs none of this.
//
// Confined to one loop.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/buffer.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "fs/chunkio/chunk.h"

namespace moraine::fs {

class BlockCache {
 public:
  static constexpr uint64_t kUnitBytes = 32 << 10;

  // At most `bytes_max` of content; 0: nothing is kept.
  BlockCache(uint64_t bytes_max, MetricRegistry& metrics);

  // A part of a chunk in whole units, but for the end of the chunk.
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  // What to fetch in order to answer [offset, offset + length) of a sealed chunk of `sealed_length`
  // bytes; nothing for reads that do not go through the cache: those above a unit, whose readers
  // gather for themselves and would drive out everything else.
  std::optional<Range> Cover(uint64_t offset, uint64_t length, uint64_t sealed_length) const;

  // The bytes, if all of them are here. Within what Cover takes.
  std::optional<OwnedBytes> Find(ChunkId chunk, uint64_t offset, uint64_t length);
  // `bytes` is what a Cover names, from its begin.
  void Insert(ChunkId chunk, const Range& range, const OwnedBytes& bytes);

  uint64_t bytes() const { return bytes_; }

 private:
  struct Key {
    ChunkId chunk;
    uint64_t unit = 0;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    Key key;
    OwnedBytes bytes;
  };
  using Entries = std::list<Entry>;  // the most recently used first

  // Moves it to the front.
  const OwnedBytes* Touch(const Key& key);

  const uint64_t bytes_max_;
  Counter& hits_;
  Counter& misses_;
  Gauge& gauge_;
  uint64_t bytes_ = 0;
  Entries entries_;
  std::unordered_map<Key, Entries::iterator, Hash> by_key_;
};

}  // namespace moraine::fs
