#include "fs/client/file_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "fs/client/convert.h"

namespace moraine::fs {

// Chunks from the metaserver for one of the file's two streams.
class FileImpl::Source final : public ChunkSource {
 public:
  Source(FileImpl& file, bool tail) : file_(file), tail_(tail) {}

  Task<Result<ChunkGrant>> NextChunk(std::optional<ChunkClose> previous, uint64_t offset,
                                     std::vector<ServerId> avoid, Instant deadline) override {
    idl::AllocateChunkRequest request;
    request.inode = ToWire(file_.inode());
    request.tail = tail_;
    request.tail_offset = tail_ ? static_cast<int64_t>(offset) : 0;
    if (previous) request.__set_previous(ToWire(*previous));
    for (ServerId server : avoid) request.avoid_servers.push_back(ToWire(server));
    request.token = ToWire(file_.token());
    auto answer =
        co_await file_.core_.link.Change(idl::kAllocateChunk, std::move(request), deadline);
    if (!answer.ok()) co_return answer.status();
    Result<ChunkGrant> grant = FromWire(answer->chunk, file_.inode());
    if (grant.ok()) grant->tail_offset = offset;
    co_return grant;
  }

  Task<Result<uint64_t>> AwaitSealed(ChunkId chunk, Instant deadline) override {
    idl::RecoverChunkRequest request;
    request.chunk = ToWire(chunk);
    auto answer = co_await file_.core_.link.Query(idl::kRecoverChunk, std::move(request), deadline);
    if (!answer.ok()) co_return answer.status();
    co_return static_cast<uint64_t>(answer->length);
  }

 private:
  FileImpl& file_;
  const bool tail_;
};

FileImpl::FileImpl(ClientCore& core, Attributes attributes)
    : File(attributes.inode),
      core_(core),
      attributes_(std::move(attributes)),
      size_(attributes_.size),
      mtime_ns_(attributes_.mtime_ns),
      tail_source_(std::make_unique<Source>(*this, true)),
      loose_source_(std::make_unique<Source>(*this, false)),
      mutex_(core.loop) {}

FileImpl::~FileImpl() = default;

Attributes FileImpl::attributes() const {
  Attributes attributes = attributes_;
  attributes.size = size_;
  if (changed_) attributes.mtime_ns = attributes.ctime_ns = mtime_ns_;
  return attributes;
}

void FileImpl::MarkChanged() {
  changed_ = true;
  mtime_ns_ = core_.loop.WallNanoseconds();
  if (dirty_since_ == kNever) dirty_since_ = core_.loop.Now();
}

Status FileImpl::Keep(Status status) {
  // What may pass by itself is not kept: the bytes are still here and are sent again.
  if (!status.ok() && status.advice() != Advice::kRetry && error_.ok()) error_ = status;
  return status;
}

bool FileImpl::HasUnsaved() const {
  return inline_dirty_ || !dirty_.empty() || stream_ != nullptr || changed_ ||
         first_chunk_.has_value();
}

// ---- What the metaserver says

void FileImpl::AdoptAttributes(const Attributes& attributes) {
  if (attributes.version >= attributes_.version) attributes_ = attributes;
  if (!changed_ && stream_ == nullptr) {
    size_ = std::max(attributes_.size, tail_ ? tail_offset_ + tail_visible_ : 0);
    mtime_ns_ = attributes_.mtime_ns;
  }
}

Status FileImpl::Adopt(const idl::Attributes& attributes, const idl::Layout& layout) {
  Result<Attributes> own = FromWire(attributes);
  if (!own.ok()) return own.status();
  Result<Layout> places = FromWire(layout, inode_);
  if (!places.ok()) return places.status();
  AdoptOwned(*own, *places);
  return {};
}

void FileImpl::AdoptOwned(const Attributes& attributes, const Layout& layout) {
  extents_ = ExtentMap(layout.extents);
  places_ = layout.chunks;
  if (!inline_dirty_) inline_ = layout.inline_data;
  tail_.reset();
  const bool ours = layout.tail && IsOwnChunk(layout.tail->chunk);
  if (layout.tail && !ours) {
    tail_ = ChunkPlace{layout.tail->chunk,    layout.tail->epoch, false, 0,
                       layout.tail->replicas, layout.tail->policy};
    tail_offset_ = layout.tail->tail_offset;
    tail_visible_ = 0;
  }
  AdoptAttributes(attributes);
}

void FileImpl::AdoptFirstChunk(ChunkGrant grant) {
  if (tail_ && tail_->chunk == grant.chunk) tail_.reset();
  first_chunk_ = std::move(grant);
}

bool FileImpl::IsOwnChunk(ChunkId chunk) const {
  if (first_chunk_ && first_chunk_->chunk == chunk) return true;
  return stream_ != nullptr && stream_->owns(chunk);
}

Task<Status> FileImpl::RefreshTail(Instant deadline) {
  if (!tail_ || leased) co_return Status();
  while (true) {
    const ChunkPlace place = *tail_;
    auto visible = co_await core_.reader.VisibleLength(place, deadline);
    if (visible.ok() && !visible->sealed) {
      if (tail_ && tail_->chunk == place.chunk) {
        tail_visible_ = std::max(tail_visible_, visible->length);
        size_ = std::max(attributes_.size, tail_offset_ + tail_visible_);
      }
      co_return Status();
    }
    // Sealed meanwhile, or its writer is about to leave it: the metaserver knows what came next.
    if (!visible.ok() && visible.status().advice() != Advice::kRetry) co_return visible.status();
    constexpr Duration kPause = std::chrono::milliseconds(20);
    if (core_.loop.Now() + kPause >= deadline)
      co_return Status(Code::kTimeout, "the file's end is not known in time");
    if (!visible.ok()) co_await core_.loop.Sleep(kPause);
    idl::InodeRequest request;
    request.inode = ToWire(inode_);
    auto answer = co_await core_.link.Query(idl::kGetLayout, std::move(request), deadline);
    if (!answer.ok()) co_return answer.status();
    MORAINE_CO_RETURN_IF_ERROR(Adopt(answer->attributes, answer->layout));
    if (!tail_) co_return Status();
    if (tail_->chunk == place.chunk) co_await core_.loop.Sleep(kPause);
  }
}

Task<Status> FileImpl::Reload(Instant deadline) {
  idl::InodeRequest request;
  request.inode = ToWire(inode_);
  auto answer = co_await core_.link.Query(idl::kGetLayout, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  MORAINE_CO_RETURN_IF_ERROR(Adopt(answer->attributes, answer->layout));
  co_return co_await RefreshTail(deadline);
}

Task<Status> FileImpl::RefreshPlaces(Instant deadline) {
  idl::InodeRequest request;
  request.inode = ToWire(inode_);
  auto answer = co_await core_.link.Query(idl::kGetLayout, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  Result<Layout> layout = FromWire(answer->layout, inode_);
  if (!layout.ok()) co_return layout.status();
  for (auto& [chunk, place] : layout->chunks) {
    const auto known = places_.find(chunk);
    if (known != places_.end()) known->second = std::move(place);
  }
  co_return Status();
}

// ---- Writing

Task<Status> FileImpl::EnsureLease(Instant deadline) {
  constexpr Duration kPause = std::chrono::milliseconds(20);
  while (!leased) {
    idl::OpenRequest request;
    request.inode = ToWire(inode_);
    request.for_writing = true;
    request.token = ToWire(token());
    auto answer = co_await core_.link.Change(idl::kOpen, std::move(request), deadline);
    if (answer.ok()) {
      leased = true;
      MORAINE_CO_RETURN_IF_ERROR(Adopt(answer->attributes, answer->layout));
      break;
    }
    if (answer.code() != Code::kLeaseTaken && answer.code() != Code::kBusy)
      co_return answer.status();
    if (core_.loop.Now() + kPause >= deadline) co_return answer.status();
    co_await core_.loop.Sleep(kPause);
  }
  co_return Status();
}

bool FileImpl::CanBeInline(uint64_t end) const {
  return may_inline_ && end <= limits::kInlineBytesMax && size_ <= limits::kInlineBytesMax &&
         (inline_.has_value() || size_ == 0) && extents_.empty() && stream_ == nullptr && !tail_ &&
         dirty_.empty() && !first_chunk_;
}

Task<Status> FileImpl::Write(uint64_t offset, ConstBytes bytes) {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  if (offset + bytes.size() < offset || offset + bytes.size() > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge,
                     fmt::format("a file holds at most {} bytes", limits::kFileBytesMax));
  }
  MORAINE_CO_RETURN_IF_ERROR(error_);
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureLease(deadline));
  co_return Keep(co_await WriteLocked(offset, bytes));
}

Task<Result<uint64_t>> FileImpl::Append(ConstBytes bytes) {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureLease(deadline));
  const uint64_t offset = size_;
  if (offset + bytes.size() > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge,
                     fmt::format("a file holds at most {} bytes", limits::kFileBytesMax));
  }
  const Status status = Keep(co_await WriteLocked(offset, bytes));
  if (!status.ok()) co_return status;
  co_return offset;
}

Task<Status> FileImpl::WriteLocked(uint64_t offset, ConstBytes bytes) {
  if (bytes.empty()) co_return Status();
  const uint64_t end = offset + bytes.size();
  if (CanBeInline(end)) {
    if (!inline_) inline_.emplace();
    if (inline_->size() < end) inline_->resize(end);
    std::memcpy(inline_->data() + offset, bytes.data(), bytes.size());
    inline_dirty_ = true;
    size_ = std::max(size_, end);
    MarkChanged();
    co_return Status();
  }
  if (inline_ && !inline_->empty()) MORAINE_CO_RETURN_IF_ERROR(co_await LeaveInline());
  if (offset < size_) {
    const size_t part = std::min<uint64_t>(bytes.size(), size_ - offset);
    dirty_.Write(offset, bytes.first(part));
    MarkChanged();
    if (dirty_.bytes() > core_.options.dirty_bytes_max) {
      MORAINE_CO_RETURN_IF_ERROR(co_await Store(false, false));
    }
    offset += part;
    bytes = bytes.subspan(part);
  }
  if (!bytes.empty()) MORAINE_CO_RETURN_IF_ERROR(co_await AppendLocked(offset, bytes));
  co_return Status();
}

// The small file has grown: its content becomes the beginning of a stream.
Task<Status> FileImpl::LeaveInline() {
  const std::string content = *std::exchange(inline_, std::nullopt);
  inline_dirty_ = false;
  const uint64_t size = std::exchange(size_, 0);
  const Status status = co_await AppendLocked(0, std::as_bytes(std::span(content)));
  size_ = std::max(size_, size);
  co_return status;
}

Task<Status> FileImpl::AppendLocked(uint64_t offset, ConstBytes bytes) {
  MORAINE_CHECK(offset >= size_);
  if (stream_ != nullptr && stream_->taken() != offset) {
    MORAINE_CO_RETURN_IF_ERROR(co_await Store(false, true));  // a hole begins a new stream
  }
  if (tail_) {
    // The lease is ours, so its writer has left: the chunk is being sealed.
    MORAINE_CO_RETURN_IF_ERROR(co_await Reload(core_.link.Deadline()));
    if (tail_) co_return Status(Code::kBusy, "the file's last chunk is not sealed yet");
  }
  if (stream_ == nullptr) {
    std::optional<ChunkGrant> first;
    if (first_chunk_ && first_chunk_->tail_offset == offset)
      first = std::exchange(first_chunk_, std::nullopt);
    stream_ = std::make_unique<AppendStream>(core_.loop, core_.channels, *tail_source_, core_.io,
                                             offset, std::move(first));
  }
  const Status status = co_await stream_->Append(bytes);
  size_ = std::max(size_, stream_->taken());
  MarkChanged();
  co_return status;
}

void FileImpl::Push() {
  if (stream_ != nullptr) stream_->Push();
}

// Chunks that the stream has left are the metaserver's now; reads find them like any other.
void FileImpl::NoteClosedChunks() {
  if (stream_ == nullptr) return;
  for (AppendStream::ClosedChunk& closed : stream_->TakeClosed()) {
    if (closed.length == 0) continue;
    extents_.Overlay({closed.base, closed.length, closed.grant.chunk, 0});
    places_[closed.grant.chunk] =
        ChunkPlace{closed.grant.chunk, closed.grant.epoch,    true,
                   closed.length,      closed.grant.replicas, closed.grant.policy};
  }
}

// Writes the dirty ranges into chunks of their own; gives where they are now.
Task<Result<std::vector<Extent>>> FileImpl::StoreDirty(bool sync) {
  std::vector<Extent> extents;
  if (dirty_.empty()) co_return extents;
  if (loose_ == nullptr) {
    loose_ = std::make_unique<AppendStream>(core_.loop, core_.channels, *loose_source_, core_.io, 0,
                                            std::nullopt);
  }
  struct Placed {
    uint64_t file_offset;
    uint64_t stream_offset;
    uint64_t length;
  };
  std::vector<Placed> placed;
  for (const auto& [offset, range] : dirty_.ranges()) {
    placed.push_back({offset, loose_->taken(), range.size()});
    MORAINE_CO_RETURN_IF_ERROR(co_await loose_->Append(std::as_bytes(std::span(range))));
  }
  const Status stored = sync ? co_await loose_->Sync() : co_await loose_->Flush();
  if (!stored.ok()) co_return stored;
  std::vector<AppendStream::ClosedChunk> chunks = loose_->TakeClosed();
  if (const auto open = loose_->open_chunk()) {
    chunks.push_back({open->grant, open->base, open->committed});
  }
  for (const Placed& range : placed) {
    uint64_t done = 0;
    for (const AppendStream::ClosedChunk& chunk : chunks) {
      const uint64_t begin = std::max(range.stream_offset + done, chunk.base);
      const uint64_t end = std::min(range.stream_offset + range.length, chunk.base + chunk.length);
      if (begin >= end) continue;
      extents.push_back({range.file_offset + (begin - range.stream_offset), end - begin,
                         chunk.grant.chunk, begin - chunk.base});
      places_[chunk.grant.chunk] =
          ChunkPlace{chunk.grant.chunk, chunk.grant.epoch,    false,
                     chunk.length,      chunk.grant.replicas, chunk.grant.policy};
      done = end - range.stream_offset;
    }
    MORAINE_CHECK(done == range.length, "a stored range has no place");
  }
  co_return extents;
}

Task<Status> FileImpl::EndStream(std::optional<ChunkClose>* close, bool sync) {
  if (stream_ == nullptr) co_return Status();
  if (sync) MORAINE_CO_RETURN_IF_ERROR(co_await stream_->Sync());
  auto finished = co_await stream_->Finish();
  if (!finished.ok()) co_return finished.status();
  *close = *finished;
  co_return Status();
}

Task<Status> FileImpl::Store(bool sync, bool finish) {
  const Instant deadline = core_.link.Deadline();
  // Ranges in the stream's part lie over it: the stream's chunk must be mapped first.
  const bool overlaps = stream_ != nullptr && !dirty_.empty() && dirty_.end() > stream_->start();
  idl::CommitRequest commit;
  std::optional<ChunkClose> close;
  if (finish || overlaps) {
    MORAINE_CO_RETURN_IF_ERROR(co_await EndStream(&close, sync));
    finish = true;
  } else if (stream_ != nullptr) {
    MORAINE_CO_RETURN_IF_ERROR(sync ? co_await stream_->Sync() : co_await stream_->Flush());
  }
  if (finish && !close && first_chunk_) {
    close = ChunkClose{first_chunk_->chunk, first_chunk_->epoch, 0, {}};
  }
  Result<std::vector<Extent>> extents = co_await StoreDirty(sync);
  if (!extents.ok()) co_return extents.status();
  for (const Extent& extent : *extents) commit.extents.push_back(ToWire(extent));
  if (close) commit.seals.push_back(ToWire(*close));
  if (inline_dirty_) commit.__set_inline_data(*inline_);
  const bool only_stream = extents->empty() && !close && !inline_dirty_;
  if (only_stream && (stream_ != nullptr || !changed_)) {
    NoteClosedChunks();
    co_return Status();
  }
  commit.inode = ToWire(inode_);
  commit.sync = sync;
  commit.token = ToWire(token());
  if (stream_ == nullptr || finish) commit.__set_size(static_cast<int64_t>(size_));
  if (changed_) commit.__set_mtime_ns(mtime_ns_);
  auto answer = co_await core_.link.Change(idl::kCommit, std::move(commit), deadline);
  if (!answer.ok()) co_return answer.status();
  Result<Attributes> attributes = FromWire(answer->attributes);
  if (!attributes.ok()) co_return attributes.status();

  NoteClosedChunks();
  if (close && close->length > 0 && stream_ != nullptr) {
    const auto open = stream_->open_chunk();
    MORAINE_CHECK(open && open->grant.chunk == close->chunk);
    extents_.Overlay({open->base, close->length, close->chunk, 0});
    places_[close->chunk] = ChunkPlace{close->chunk,  close->epoch,         true,
                                       close->length, open->grant.replicas, open->grant.policy};
  }
  for (const Extent& extent : *extents) extents_.Overlay(extent);
  dirty_.Take();
  inline_dirty_ = false;
  if (finish) {
    first_chunk_.reset();
    if (stream_ != nullptr) {
      std::unique_ptr<AppendStream> ended = std::move(stream_);
      ended->Abandon();
      co_await ended->Drain();
    }
  }
  if (stream_ == nullptr) {
    changed_ = false;
    dirty_since_ = kNever;
  }
  AdoptAttributes(*attributes);
  co_return Status();
}

Task<Status> FileImpl::Flush() {
  auto lock = co_await mutex_.Acquire(core_.link.Deadline());
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  co_return Keep(co_await Store(false, false));
}

Task<Status> FileImpl::Sync() {
  auto lock = co_await mutex_.Acquire(core_.link.Deadline());
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  co_return Keep(co_await Store(true, false));
}

Task<Status> FileImpl::Settle(bool sync) {
  auto lock = co_await mutex_.Acquire(core_.link.Deadline());
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  if (!error_.ok()) co_return error_;
  if (!leased && !HasUnsaved()) co_return Status();
  const Status status = co_await Store(sync, true);
  if (status.ok() && loose_ != nullptr) {
    auto close = co_await loose_->Finish();
    if (close.ok() && *close) {
      idl::CommitRequest commit;
      commit.inode = ToWire(inode_);
      commit.seals.push_back(ToWire(**close));
      commit.token = ToWire(token());
      auto answer =
          co_await core_.link.Change(idl::kCommit, std::move(commit), core_.link.Deadline());
      if (!answer.ok()) co_return Keep(answer.status());
      const auto place = places_.find((*close)->chunk);
      if (place != places_.end()) {
        place->second.sealed = true;
        place->second.length = (*close)->length;
      }
    }
    std::unique_ptr<AppendStream> ended = std::move(loose_);
    ended->Abandon();
    co_await ended->Drain();
  }
  co_return Keep(status);
}

Task<Status> FileImpl::GiveBack() {
  const Status status = co_await Settle(false);
  for (auto* stream : {&stream_, &loose_}) {
    if (*stream == nullptr) continue;
    std::unique_ptr<AppendStream> lost = std::move(*stream);
    lost->Abandon();
    co_await lost->Drain();
  }
  if (leased) {
    leased = false;
    idl::CloseRequest request;
    request.inode = ToWire(inode_);
    request.release_lease = true;
    auto answer =
        co_await core_.link.Change(idl::kClose, std::move(request), core_.link.Deadline());
    if (!answer.ok() && status.ok()) co_return answer.status();
  }
  co_return status;
}

void FileImpl::OnSessionLost() {
  if (leased && HasUnsaved() && error_.ok()) {
    error_ = Status(Code::kSessionEnded, "the session ended before these writes were stored");
  }
  leased = false;
}

Task<Status> FileImpl::Truncate(uint64_t size) {
  const Instant deadline = core_.link.Deadline();
  if (size > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge,
                     fmt::format("a file holds at most {} bytes", limits::kFileBytesMax));
  }
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureLease(deadline));
  if (HasUnsaved()) MORAINE_CO_RETURN_IF_ERROR(Keep(co_await Store(false, true)));
  if (tail_) MORAINE_CO_RETURN_IF_ERROR(co_await Reload(deadline));
  idl::SetAttributesRequest request;
  request.inode = ToWire(inode_);
  request.__set_size(static_cast<int64_t>(size));
  request.token = ToWire(token());
  auto answer = co_await core_.link.Change(idl::kSetAttributes, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  Result<Attributes> attributes = FromWire(answer->attributes);
  if (!attributes.ok()) co_return attributes.status();
  if (size < size_) extents_.Remove(size, size_ - size);
  if (inline_) inline_->resize(std::min<uint64_t>(inline_->size(), size));
  // A small file that grows by a hole has no chunk for it: its content stays inline below the size.
  AdoptAttributes(*attributes);
  size_ = attributes_.size;
  co_return Status();
}

}  // namespace moraine::fs
