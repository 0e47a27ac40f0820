// The end of an open replica that is not in its file: bytes [begin, end), begin a block boundary.
//
// Small appends are copied behind each other; whole blocks of a large one are kept where the
// network put them, at an address that O_DIRECT can write from. Blocks never straddle two pieces of
// memory. Confined to one loop.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/loop/net.h"
#include "chunkserver/store/chunk_file.h"

namespace moraine::chunkserver {

class PendingBytes {
 public:
  explicit PendingBytes(uint64_t begin = 0) : begin_(begin), end_(begin) {}

  // Copies.
  void Append(ConstBytes bytes);
  // Keeps whole blocks in place where they are enough to pay, and copies the rest. `bytes` lie in
  // `*owner`, at an address that has the remainder of end() within a page.
  void AppendShared(std::shared_ptr<const Buffer> owner, ConstBytes bytes);

  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  uint64_t full_end() const { return BlockFloor(end_); }

  // The bytes of the block at `offset`, which is pending: 4 KiB, or fewer for the last one.
  ConstBytes BlockAt(uint64_t offset) const;
  // Pieces that make up [from, to), and what keeps them alive.
  struct Slice {
    std::vector<ConstBytes> pieces;
    std::vector<std::shared_ptr<const Buffer>> owners;
  };
  Slice SliceOf(uint64_t from, uint64_t to) const;
  void CopyOut(uint64_t from, MutableBytes to) const;

  // Forgets what is below `offset`, a block boundary not above full_end().
  void DropBefore(uint64_t offset);
  // Forgets what is at and above `offset`.
  void CutAt(uint64_t offset);

 private:
  struct Run {
    uint64_t begin;
    uint64_t size;
    std::byte* data;  // of `begin`; writable only when `capacity` > 0
    uint64_t capacity;
    std::shared_ptr<const Buffer> owner;
    uint64_t end() const { return begin + size; }
  };
  void AddRun(uint64_t capacity);
  void ShrinkTail();

  std::deque<Run> runs_;
  uint64_t begin_;
  uint64_t end_;
};

}  // namespace moraine::chunkserver
