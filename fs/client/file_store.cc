// Storing of FileImpl: flush, sync, the end of streams, the end of the lease.
#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "fs/client/convert.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {

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

}  // namespace moraine::fs
