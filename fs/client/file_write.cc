// Writing of FileImpl: into the inode record, the dirty ranges or the stream. What becomes of it is
// in file_store.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/limits.h"
#include "fs/client/convert.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {

bool FileImpl::CanBeInline(uint64_t end) const {
  return may_inline_ && end <= limits::kInlineBytesMax && size_ <= limits::kInlineBytesMax &&
         (inline_.has_value() || size_ == 0) && extents_.empty() && stream_ == nullptr && !tail_ &&
         dirty_.empty() && !first_chunk_;
}

Task<Status> FileImpl::BeginChange(Instant deadline) {
  MORAINE_CO_RETURN_IF_ERROR(error_);
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureLease(deadline));
  co_return error_;  // what was written before may turn out to be lost with the lease
}

Task<Status> FileImpl::Write(uint64_t offset, ConstBytes bytes) {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  if (offset + bytes.size() < offset || offset + bytes.size() > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge,
                     fmt::format("a file holds at most {} bytes", limits::kFileBytesMax));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await BeginChange(deadline));
  co_return Keep(co_await WriteLocked(offset, bytes));
}

Task<Result<uint64_t>> FileImpl::Append(ConstBytes bytes) {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(co_await BeginChange(deadline));
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
    inline_->resize(std::max(size_, end));
    std::memcpy(inline_->data() + offset, bytes.data(), bytes.size());
    inline_dirty_ = true;
    size_ = std::max(size_, end);
    MarkChanged();
    co_return Status();
  }
  if (inline_ && !inline_->empty()) MORAINE_CO_RETURN_IF_ERROR(co_await LeaveInline());
  inline_.reset();
  if (offset < size_) {
    const size_t part = std::min<uint64_t>(bytes.size(), size_ - offset);
    // Before they are taken: what cannot be stored must not grow for ever.
    if (dirty_.bytes() + part > core_.options.dirty_bytes_max ||
        dirty_.ranges().size() >= DirtyRanges::kRangesMax) {
      MORAINE_CO_RETURN_IF_ERROR(co_await Store(false, Ending::kNothing));
    }
    dirty_.Write(offset, bytes.first(part));
    MarkChanged();
    offset += part;
    bytes = bytes.subspan(part);
  }
  if (!bytes.empty()) MORAINE_CO_RETURN_IF_ERROR(co_await AppendLocked(offset, bytes));
  co_return Status();
}

// The small file has grown: its content becomes the beginning of a stream. All of it, zeros up to
// the size included: the metaserver lets go of an inline content only for a chunk that covers it.
Task<Status> FileImpl::LeaveInline() {
  std::string content = *inline_;
  const uint64_t size = std::exchange(size_, 0);
  content.resize(std::max(content.size(), std::min(size, limits::kInlineBytesMax)));
  const Status status = co_await AppendLocked(0, std::as_bytes(std::span(content)));
  size_ = std::max(size_, size);
  if (!status.ok()) co_return status;  // nothing was taken: the content stays here
  inline_.reset();
  inline_dirty_ = false;
  replaces_record_ = attributes_.size > 0;
  if (replaces_record_) co_return co_await SyncOverRecord(core_.link.Deadline());
  co_return Status();
}

// Before anything follows, because a full chunk is mapped without asking here.
Task<Status> FileImpl::SyncOverRecord(Instant deadline) {
  MORAINE_CO_RETURN_IF_ERROR(co_await stream_->Sync(deadline));
  replaces_record_ = false;
  co_return Status();
}

Task<Status> FileImpl::AppendLocked(uint64_t offset, ConstBytes bytes) {
  MORAINE_CHECK(offset >= size_);
  // A hole begins a new stream. One that has ended without the metaserver having said so ends
  // again. A chunk that was granted for another place is given back: the file has one tail.
  const bool elsewhere = stream_ != nullptr ? stream_->finished() || stream_->taken() != offset
                                            : first_chunk_ && first_chunk_->tail_offset != offset;
  if (elsewhere) MORAINE_CO_RETURN_IF_ERROR(co_await Store(false, Ending::kStream));
  if (replaces_record_) MORAINE_CO_RETURN_IF_ERROR(co_await SyncOverRecord(core_.link.Deadline()));
  if (tail_) {
    // Granted behind a stream that had been given up: where the file ends is known when that is
    // sealed, at the latest when the lease has been given back.
    MORAINE_CO_RETURN_IF_ERROR(co_await Reload(core_.link.Deadline()));
    MORAINE_CO_RETURN_IF_ERROR(error_);
    if (tail_) co_return Status(Code::kBusy, "the file's last chunk is not sealed yet");
  }
  if (stream_ == nullptr) {
    tail_source_->Begin(losses_);
    stream_ = std::make_shared<AppendStream>(core_.loop, core_.channels, *tail_source_, core_.io,
                                             offset, std::exchange(first_chunk_, std::nullopt));
  }
  const std::shared_ptr<AppendStream> stream = stream_;
  const Status status = co_await stream->Append(bytes, core_.link.Deadline());
  size_ = std::max(size_, stream->taken());
  MarkChanged();
  co_return status;
}

void FileImpl::Push() {
  if (stream_ != nullptr) stream_->Push();
}

Task<Status> FileImpl::Truncate(uint64_t size) { return Resize(size, /*may_shorten=*/true); }

Task<Status> FileImpl::Extend(uint64_t size) { return Resize(size, /*may_shorten=*/false); }

Task<Status> FileImpl::Resize(uint64_t size, bool may_shorten) {
  const Instant deadline = core_.link.Deadline();
  if (size > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge,
                     fmt::format("a file holds at most {} bytes", limits::kFileBytesMax));
  }
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(co_await BeginChange(deadline));
  if (tail_) MORAINE_CO_RETURN_IF_ERROR(co_await Reload(deadline));
  // Only with the lease is the size known.
  if (!may_shorten && size <= size_) co_return Status();
  bool anew = false;
  if (HasUnsaved()) {
    Status stored = Keep(co_await Store(false, Ending::kStream));
    // This may be the one way to make room: what is cut off need not be stored before.
    anew = stored.code() == Code::kNoSpace && size == 0;
    if (anew) stored = co_await StartAnew(deadline);
    if (!stored.ok()) co_return stored;
  }
  idl::SetAttributesRequest request;
  request.inode = ToWire(inode_);
  request.__set_size(static_cast<int64_t>(size));
  request.token = ToWire(token());
  request.__set_losses(static_cast<int32_t>(losses_));
  NoteUnsyncedBytes();
  auto answer = co_await core_.link.Change(idl::kSetAttributes, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  Result<Attributes> attributes = FromWire(answer->attributes);
  if (!attributes.ok()) co_return attributes.status();
  if (anew) error_ = Status();
  // As the metaserver does it: a small content grows with the size, as long as it stays small.
  const bool stays_small = size >= size_ && size <= limits::kInlineBytesMax;
  if (inline_ && !inline_->empty() && stays_small) inline_->resize(size);
  AdoptAttributes(*attributes);
  size_ = attributes_.size;
  co_return Status();
}

}  // namespace moraine::fs
