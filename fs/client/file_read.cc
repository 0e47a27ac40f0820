// Reading of FileImpl: plan where each byte is, fetch what is in chunks in parallel, put it
// together.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "base/check.h"
#include "base/limits.h"
#include "fs/client/convert.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {
namespace {

constexpr uint64_t kReadPartBytes = 1 << 20;  // larger ranges of one chunk are read in parallel
constexpr Duration kRetryPause = std::chrono::milliseconds(10);

const std::shared_ptr<const Buffer>& Zeros() {
  static const auto* zeros = [] {
    Buffer buffer = Buffer::Allocate(kReadPartBytes);
    std::memset(buffer.data(), 0, buffer.size());
    return new std::shared_ptr<const Buffer>(std::move(buffer).Share());
  }();
  return *zeros;
}

}  // namespace

void ReadBytes::CopyTo(std::byte* out) const {
  for (const ConstBytes& piece : pieces) {
    std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
}

struct FileImpl::Segment {
  enum class Kind { kZeros, kMemory, kChunk } kind = Kind::kZeros;
  uint64_t length = 0;
  OwnedBytes memory;                  // kMemory, copied when planned
  const ChunkPlace* place = nullptr;  // kChunk; valid until the first suspension
  uint64_t chunk_offset = 0;
  uint64_t committed = 0;
};

struct FileImpl::Gather {
  explicit Gather(Loop& loop) : changed(loop) {}
  Condition changed;
  Instant deadline{};
  std::vector<OwnedBytes> parts;
  size_t waiting = 0;
  Status error;
};

// Chunks as the metaserver maps them, with holes between.
void FileImpl::PlanChunks(uint64_t offset, uint64_t length, std::vector<Segment>* plan) const {
  uint64_t at = offset;
  std::map<ChunkId, uint64_t> mapped_ends;  // each costs a walk over all extents
  const auto mapped_end = [&](ChunkId chunk) {
    const auto [known, fresh] = mapped_ends.try_emplace(chunk);
    if (fresh) known->second = extents_.MappedEnd(chunk);
    return known->second;
  };
  const auto hole = [&](uint64_t until) {
    if (until <= at) return;
    plan->emplace_back().length = until - at;
    at = until;
  };
  for (const Extent& extent : extents_.Find(offset, length)) {
    hole(extent.file_offset);
    const auto place = places_.find(extent.chunk);
    MORAINE_CHECK(place != places_.end(), "an extent without its chunk");
    Segment segment;
    segment.kind = Segment::Kind::kChunk;
    segment.length = extent.length;
    segment.place = &place->second;
    segment.chunk_offset = extent.chunk_offset;
    segment.committed = place->second.sealed ? place->second.length : mapped_end(extent.chunk);
    plan->push_back(std::move(segment));
    at = extent.file_offset + extent.length;
  }
  hole(offset + length);
}

// The part of a range that lies in an open tail chunk, ours or another's, else as mapped.
void FileImpl::PlanTail(uint64_t offset, uint64_t length, std::vector<Segment>* plan) const {
  uint64_t base = UINT64_MAX;
  uint64_t visible = 0;
  const ChunkPlace* place = nullptr;
  if (stream_ != nullptr && stream_->open_chunk()) {
    const auto open = *stream_->open_chunk();
    const auto known = places_.find(open.grant.chunk);
    if (known != places_.end()) {
      base = open.base;
      visible = open.committed;
      place = &known->second;
    }
  } else if (tail_) {
    base = tail_offset_;
    visible = tail_visible_;
    place = &*tail_;
  }
  const uint64_t end = offset + length;
  const uint64_t begin_tail = std::max(offset, base);
  const uint64_t end_tail = place == nullptr ? 0 : std::min(end, base + visible);
  if (place == nullptr || begin_tail >= end_tail) {
    PlanChunks(offset, length, plan);
    return;
  }
  if (offset < begin_tail) PlanChunks(offset, begin_tail - offset, plan);
  Segment segment;
  segment.kind = Segment::Kind::kChunk;
  segment.length = end_tail - begin_tail;
  segment.place = place;
  segment.chunk_offset = begin_tail - base;
  segment.committed = visible;
  plan->push_back(std::move(segment));
  if (end_tail < end) PlanChunks(end_tail, end - end_tail, plan);
}

std::vector<FileImpl::Segment> FileImpl::Plan(uint64_t offset, uint64_t length) const {
  std::vector<Segment> plan;
  const uint64_t end = offset + length;
  const auto memory = [&](const char* bytes, uint64_t size) {
    Buffer copy = Buffer::Allocate(size);
    std::memcpy(copy.data(), bytes, size);
    Segment segment;
    segment.kind = Segment::Kind::kMemory;
    segment.length = size;
    segment.memory.owner = std::move(copy).Share();
    segment.memory.bytes = segment.memory.owner->bytes();
    plan.push_back(std::move(segment));
  };
  if (inline_) {
    const uint64_t stop = std::min<uint64_t>(end, inline_->size());
    if (offset < stop) memory(inline_->data() + offset, stop - offset);
    const uint64_t rest = std::max(offset, stop);
    if (rest < end) PlanTail(rest, end - rest, &plan);
    return plan;
  }
  uint64_t at = offset;
  auto it = dirty_.ranges().upper_bound(offset);
  if (it != dirty_.ranges().begin()) --it;
  for (; it != dirty_.ranges().end() && it->first < end; ++it) {
    const uint64_t begin = std::max(at, it->first);
    const uint64_t stop = std::min<uint64_t>(end, it->first + it->second.size());
    if (begin >= stop) continue;
    if (at < begin) PlanTail(at, begin - at, &plan);
    memory(it->second.data() + (begin - it->first), stop - begin);
    at = stop;
  }
  if (at < end) PlanTail(at, end - at, &plan);
  return plan;
}

std::vector<FileImpl::Segment> FileImpl::SplitForReading(std::vector<Segment> plan) const {
  std::vector<Segment> split;
  for (Segment& segment : plan) {
    while (segment.kind != Segment::Kind::kMemory && segment.length > kReadPartBytes) {
      Segment part = segment;
      part.length = kReadPartBytes;
      segment.length -= kReadPartBytes;
      segment.chunk_offset += kReadPartBytes;
      split.push_back(std::move(part));
    }
    split.push_back(std::move(segment));
  }
  return split;
}

Task<void> FileImpl::ReadSegment(std::shared_ptr<Gather> gather, size_t index, Segment segment) {
  auto bytes = co_await core_.reader.Read(*segment.place, segment.chunk_offset, segment.length,
                                          segment.committed, gather->deadline);
  if (bytes.ok()) {
    gather->parts[index] = std::move(*bytes);
  } else if (gather->error.ok()) {
    gather->error = bytes.status();
  }
  --gather->waiting;
  gather->changed.NotifyAll();
}

Task<Result<ReadBytes>> FileImpl::ReadOnce(uint64_t offset, uint64_t length, Instant deadline) {
  std::vector<Segment> plan = SplitForReading(Plan(offset, length));
  auto gather = std::make_shared<Gather>(core_.loop);
  gather->deadline = deadline;
  gather->parts.resize(plan.size());
  size_t chunks = 0;
  size_t only = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    Segment& segment = plan[i];
    if (segment.kind == Segment::Kind::kMemory) gather->parts[i] = segment.memory;
    if (segment.kind == Segment::Kind::kZeros) {
      gather->parts[i] = {Zeros(), Zeros()->bytes().first(segment.length)};
    }
    if (segment.kind == Segment::Kind::kChunk) {
      ++chunks;
      only = i;
    }
  }
  gather->waiting = chunks;
  if (chunks == 1) {
    co_await ReadSegment(gather, only, plan[only]);
  } else if (chunks > 1) {
    // The places may change while this waits: each reader copies its own before it suspends.
    std::vector<ChunkPlace> places(plan.size());
    for (size_t i = 0; i < plan.size(); ++i) {
      if (plan[i].kind != Segment::Kind::kChunk) continue;
      places[i] = *plan[i].place;
      plan[i].place = &places[i];
      if (core_.tasks.Spawn(ReadSegment(gather, i, plan[i]))) continue;
      gather->error = Status(Code::kCanceled, "the client is stopping");
      --gather->waiting;
    }
    // Also when one has failed: they use this file.
    while (gather->waiting > 0) co_await gather->changed.Wait();
  }
  if (!gather->error.ok()) co_return gather->error;
  ReadBytes result;
  for (OwnedBytes& part : gather->parts) {
    result.size += part.bytes.size();
    result.pieces.push_back(part.bytes);
    result.owners.push_back(std::move(part.owner));
  }
  MORAINE_CHECK(result.size == length, "a read lost bytes");
  co_return result;
}

// Bytes on their way are not kept for readers: they are where they belong in a moment.
Task<Status> FileImpl::ReachUnsent(uint64_t end, Instant deadline) {
  while (stream_ != nullptr) {
    // A size may lie beyond what the stream was given: there is a hole, or a dirty range.
    const uint64_t wanted = std::min(end, stream_->taken());
    if (wanted <= stream_->start() || wanted <= stream_->committed()) break;
    // It may end and go while this waits.
    const std::shared_ptr<AppendStream> stream = stream_;
    const Status flushed = co_await stream->Flush(deadline);
    if (stream == stream_ && !flushed.ok()) co_return flushed;
  }
  NoteClosedChunks();
  if (const auto open = stream_ == nullptr ? std::nullopt : stream_->open_chunk()) {
    places_.insert({open->grant.chunk, ChunkPlace{open->grant.chunk, open->grant.epoch, false, 0,
                                                  open->grant.replicas, open->grant.policy}});
  }
  co_return Status();
}

// Before a read: what other clients have done.
Task<Status> FileImpl::Freshen(uint64_t end, Instant deadline) {
  if (leased) MORAINE_CO_RETURN_IF_ERROR(co_await core_.link.AwaitCertain(deadline));
  if (!leased && stale_) {
    auto lock = co_await reloading_.Acquire(deadline);
    if (!lock) co_return Status(Code::kTimeout, "the file is being loaded anew");
    if (!leased && stale_) {  // nobody else has loaded it meanwhile
      const uint64_t news = news_;
      MORAINE_CO_RETURN_IF_ERROR(co_await ReloadLayout(deadline));
      stale_ = news != news_;
    }
  }
  if (!leased && end > size_ && tail_) co_return co_await RefreshTail(deadline);
  // Whatever could not be stored in time is given up.
  co_return core_.stopping.is_set() ? error_ : Status();
}

Task<Result<ReadBytes>> FileImpl::Read(uint64_t offset, uint64_t length) {
  const Instant deadline = core_.link.Deadline();
  while (true) {
    MORAINE_CO_RETURN_IF_ERROR(co_await Freshen(offset + length, deadline));
    if (offset >= size_ || length == 0) co_return ReadBytes();
    const uint64_t present = std::min(length, size_ - offset);
    const uint64_t news = news_;
    MORAINE_CO_RETURN_IF_ERROR(co_await ReachUnsent(offset + present, deadline));
    // What was unsaved may have been given up, with the lease, while this waited for it.
    if (news != news_ || offset + present > size_) continue;
    Result<ReadBytes> bytes = co_await ReadOnce(offset, present, deadline);
    if (bytes.ok()) co_return bytes;
    // Replicas move (repair, roll, seal): ask where they are now and read again.
    const Code code = bytes.code();
    const bool moved = code == Code::kUnknownChunk || code == Code::kUnavailable ||
                       code == Code::kNotCommitted || code == Code::kCorruption ||
                       code == Code::kIo;
    if (!moved || core_.loop.Now() + kRetryPause >= deadline) co_return bytes;
    co_await core_.loop.Sleep(kRetryPause);
    if (leased) {
      MORAINE_CO_RETURN_IF_ERROR(co_await RefreshPlaces(deadline));
    } else {
      NoteStale();
    }
  }
}

Task<Result<std::vector<ReadBytes>>> FileImpl::ReadRanges(std::vector<Range> ranges) {
  struct All {
    explicit All(Loop& loop) : changed(loop) {}
    Condition changed;
    std::vector<ReadBytes> results;
    size_t waiting = 0;
    Status error;
  };
  auto all = std::make_shared<All>(core_.loop);
  all->results.resize(ranges.size());
  all->waiting = ranges.size();
  const auto one = [](FileImpl* file, std::shared_ptr<All> shared, size_t index,
                      Range range) -> Task<void> {
    Result<ReadBytes> bytes = co_await file->Read(range.offset, range.length);
    if (bytes.ok()) {
      shared->results[index] = std::move(*bytes);
    } else if (shared->error.ok()) {
      shared->error = bytes.status();
    }
    --shared->waiting;
    shared->changed.NotifyAll();
  };
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (core_.tasks.Spawn(one(this, all, i, ranges[i]))) continue;
    all->error = Status(Code::kCanceled, "the client is stopping");
    --all->waiting;
  }
  // Also when one has failed: they use this file.
  while (all->waiting > 0) co_await all->changed.Wait();
  if (!all->error.ok()) co_return all->error;
  co_return std::move(all->results);
}

}  // namespace moraine::fs
