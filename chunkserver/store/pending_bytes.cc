#include "chunkserver/store/pending_bytes.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kRunBytesMin = limits::kBlockBytes;
constexpr uint64_t kRunBytesMax = 256ULL << 10;
// Fewer whole blocks than this are cheaper to copy than to keep a network buffer alive for.
constexpr uint64_t kShareBytesMin = 32ULL << 10;

}  // namespace

// Runs grow as the replica does, so that a thousand idle ones cost a page each.
void PendingBytes::AddRun(uint64_t capacity) {
  auto buffer = std::make_shared<Buffer>(Buffer::Allocate(capacity));
  std::byte* data = buffer->data();
  runs_.push_back(Run{end_, 0, data, capacity, std::move(buffer)});
}

void PendingBytes::Append(ConstBytes bytes) {
  while (!bytes.empty()) {
    if (runs_.empty()) {
      AddRun(kRunBytesMin);
    } else if (runs_.back().size >= runs_.back().capacity) {
      AddRun(std::clamp(2 * runs_.back().capacity, kRunBytesMin, kRunBytesMax));
    }
    Run& run = runs_.back();
    const uint64_t size = std::min<uint64_t>(run.capacity - run.size, bytes.size());
    std::memcpy(run.data + run.size, bytes.data(), size);
    run.size += size;
    end_ += size;
    bytes = bytes.subspan(size);
  }
}

void PendingBytes::AppendShared(std::shared_ptr<const Buffer> owner, ConstBytes bytes) {
  const uint64_t head = std::min<uint64_t>(BlockCeil(end_) - end_, bytes.size());
  const uint64_t whole = BlockFloor(bytes.size() - head);
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data() + head) % kPageBytes == 0;
  if (whole < kShareBytesMin || !aligned) {
    Append(bytes);
    return;
  }
  Append(bytes.first(head));
  // The last run is full up to its last block: it takes no more, the shared bytes come next.
  if (!runs_.empty()) runs_.back().capacity = 0;
  runs_.push_back(
      Run{end_, whole, const_cast<std::byte*>(bytes.data() + head), 0, std::move(owner)});
  end_ += whole;
  Append(bytes.subspan(head + whole));
}

PendingBytes::Slice PendingBytes::SliceOf(uint64_t from, uint64_t to) const {
  MORAINE_CHECK(begin_ <= from && from <= to && to <= end_);
  Slice slice;
  auto run = std::upper_bound(runs_.begin(), runs_.end(), from,
                              [](uint64_t offset, const Run& r) { return offset < r.end(); });
  for (; run != runs_.end() && from < to; ++run) {
    const uint64_t end = std::min(to, run->end());
    slice.pieces.emplace_back(run->data + (from - run->begin), end - from);
    slice.owners.push_back(run->owner);
    from = end;
  }
  return slice;
}

ConstBytes PendingBytes::BlockAt(uint64_t offset) const {
  const Slice slice = SliceOf(offset, std::min(offset + limits::kBlockBytes, end_));
  MORAINE_CHECK(slice.pieces.size() == 1, "a block straddles two runs");
  return slice.pieces.front();
}

void PendingBytes::CopyOut(uint64_t from, MutableBytes to) const {
  std::byte* at = to.data();
  for (const ConstBytes& piece : SliceOf(from, from + to.size()).pieces) {
    std::memcpy(at, piece.data(), piece.size());
    at += piece.size();
  }
}

void PendingBytes::DropBefore(uint64_t offset) {
  MORAINE_CHECK(offset % limits::kBlockBytes == 0 && offset <= full_end());
  if (offset <= begin_) return;
  while (!runs_.empty() && runs_.front().end() <= offset) runs_.pop_front();
  if (!runs_.empty() && runs_.front().begin < offset) {
    Run& run = runs_.front();
    const uint64_t gone = offset - run.begin;
    run.begin += gone;
    run.data += gone;
    run.size -= gone;
    run.capacity -= std::min(run.capacity, gone);
  }
  begin_ = offset;
  ShrinkTail();
}

// Does not let a partial block hold a large run in memory.
void PendingBytes::ShrinkTail() {
  if (runs_.size() != 1 || runs_.front().size >= limits::kBlockBytes ||
      runs_.front().owner->size() <= kRunBytesMin) {
    return;
  }
  const Run old = std::move(runs_.front());
  runs_.clear();
  end_ = old.begin;
  Append(ConstBytes(old.data, old.size));
}

void PendingBytes::CutAt(uint64_t offset) {
  if (offset >= end_) return;
  MORAINE_CHECK(offset >= begin_);
  while (!runs_.empty() && runs_.back().begin >= offset) runs_.pop_back();
  if (!runs_.empty() && runs_.back().end() > offset) {
    Run& run = runs_.back();
    run.size = offset - run.begin;
    // A shared run is not ours to write into: its partial block moves to a run of our own.
    if (run.capacity == 0 && run.size % limits::kBlockBytes != 0) {
      const uint64_t block = BlockFloor(run.size);
      const std::vector<std::byte> tail(run.data + block, run.data + run.size);
      run.size = block;
      end_ = run.end();
      if (run.size == 0) runs_.pop_back();
      AddRun(kRunBytesMin);
      Append(tail);
    }
  }
  end_ = offset;
}

}  // namespace moraine::chunkserver
