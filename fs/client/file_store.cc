// Storing of FileImpl: flush, sync, the end of streams, the end of the lease.
#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "fs/client/convert.h"
#include "fs/client/file_impl.h"

namespace moraine::fs {
namespace {

constexpr Duration kBusyPause = std::chrono::milliseconds(20);

}  // namespace

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

// Whether a dirty range lies over bytes that are stored, and may be on disk.
bool FileImpl::DirtyOverStored() const {
  return std::ranges::any_of(dirty_.ranges(), [this](const auto& range) {
    const uint64_t end = range.first + range.second.size();
    const bool over_stream = stream_ != nullptr && end > stream_->start();
    return over_stream || !extents_.Find(range.first, range.second.size()).empty();
  });
}

// Writes the dirty ranges into chunks of their own; gives where they are now. The commit takes the
// old bytes away, and they may have been synced: the new ones are on disk by then.
Task<Result<std::vector<Extent>>> FileImpl::StoreDirty(bool sync, Instant deadline) {
  std::vector<Extent> extents;
  if (dirty_.empty()) {
    // What was stored earlier, without a sync, is still in the open chunk.
    if (sync && leased && loose_ != nullptr && !loose_->finished()) {
      MORAINE_CO_RETURN_IF_ERROR(co_await loose_->Sync(deadline));
    }
    co_return extents;
  }
  if (loose_ != nullptr && loose_->finished()) {  // by a commit that failed
    auto close = co_await loose_->Finish(deadline);
    if (!close.ok()) co_return close.status();
    if (*close) unclosed_.push_back(std::move(**close));
    co_await LetGo(std::exchange(loose_, nullptr));
  }
  if (loose_ == nullptr) {
    loose_source_->Begin(losses_);
    loose_ = std::make_shared<AppendStream>(core_.loop, core_.channels, *loose_source_, core_.io, 0,
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
    // No more at once than a window: what is not taken in time is taken as a whole the next time.
    ConstBytes rest = std::as_bytes(std::span(range));
    while (!rest.empty()) {
      const ConstBytes part = rest.first(std::min<uint64_t>(rest.size(), core_.io.window_bytes));
      MORAINE_CO_RETURN_IF_ERROR(co_await loose_->Append(part, deadline));
      rest = rest.subspan(part.size());
    }
  }
  const bool to_disk = sync || DirtyOverStored();
  const Status stored =
      to_disk ? co_await loose_->Sync(deadline) : co_await loose_->Flush(deadline);
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

Task<Result<std::optional<ChunkClose>>> FileImpl::EndStream(AppendStream& stream, bool sync,
                                                            Instant deadline) {
  // One that has ended before takes no sync any more: its chunk is synced by SyncRecord.
  const bool unsynced = !sync || stream.finished();
  if (!unsynced) MORAINE_CO_RETURN_IF_ERROR(co_await stream.Sync(deadline));
  if (unsynced) NoteUnsyncedBytes();
  co_return co_await stream.Finish(deadline);
}

// Ends what is to end and says how the chunks are closed; for Store.
Task<Result<FileImpl::Ended>> FileImpl::EndStreams(bool sync, Ending ending, Instant deadline) {
  Ended ended;
  if (stream_ != nullptr && ending != Ending::kNothing) {
    const bool to_disk = sync || replaces_record_;
    MORAINE_CO_ASSIGN_OR_RETURN(ended.tail, co_await EndStream(*stream_, to_disk, deadline));
  } else if (stream_ != nullptr) {
    MORAINE_CO_RETURN_IF_ERROR(sync ? co_await stream_->Sync(deadline)
                                    : co_await stream_->Flush(deadline));
  }
  if (ending != Ending::kNothing && !ended.tail && first_chunk_) {
    ended.tail = ChunkClose{first_chunk_->chunk, first_chunk_->epoch, 0, {}};
  }
  MORAINE_CO_ASSIGN_OR_RETURN(ended.extents, co_await StoreDirty(sync, deadline));
  if (loose_ != nullptr && ending == Ending::kAll) {
    MORAINE_CO_ASSIGN_OR_RETURN(ended.loose, co_await EndStream(*loose_, sync, deadline));
  }
  co_return ended;
}

Task<Status> FileImpl::Store(bool sync, Ending ending, Instant deadline) {
  // Ranges in the stream's part lie over it: the stream's chunk must be mapped first.
  const bool overlaps = stream_ != nullptr && !dirty_.empty() && dirty_.end() > stream_->start();
  const bool must_end = overlaps || (stream_ != nullptr && stream_->finished());
  if (must_end && ending == Ending::kNothing) ending = Ending::kStream;
  // Of a commit that failed: its chunk takes no sync any more and must be closed.
  if (loose_ != nullptr && loose_->finished()) ending = Ending::kAll;
  const bool ends = ending != Ending::kNothing;
  MORAINE_CO_ASSIGN_OR_RETURN(const Ended ended, co_await EndStreams(sync, ending, deadline));
  const bool nothing_new =
      ended.extents.empty() && !ended.tail && !ended.loose && unclosed_.empty() && !inline_dirty_;
  if (nothing_new && (stream_ == nullptr ? !changed_ : !ends)) {
    NoteClosedChunks();
    if (ending == Ending::kAll && loose_ != nullptr) co_await LetGo(std::exchange(loose_, nullptr));
    co_return Status();
  }
  idl::CommitRequest commit;
  commit.inode = ToWire(inode_);
  commit.sync = sync;
  commit.token = ToWire(token());
  commit.__set_losses(static_cast<int32_t>(losses_));
  for (const Extent& extent : ended.extents) commit.extents.push_back(ToWire(extent));
  for (const ChunkClose& close : unclosed_) commit.seals.push_back(ToWire(close));
  if (ended.tail) commit.seals.push_back(ToWire(*ended.tail));
  if (ended.loose) commit.seals.push_back(ToWire(*ended.loose));
  if (inline_dirty_) commit.__set_inline_data(*inline_);
  if (changed_) {
    commit.__set_mtime_ns(mtime_ns_);
    if (stream_ == nullptr || ends) commit.__set_size(static_cast<int64_t>(size_));
  }
  if (!sync) NoteUnsyncedBytes();
  // There is one log: what is told with "sync" takes everything before it along. Chunks are apart.
  const bool all_in_log = sync && inline_dirty_ && commit.seals.empty() && commit.extents.empty();
  const uint64_t told = changes_;
  auto answer = co_await core_.link.Change(idl::kCommit, commit, deadline);
  // A chunk of it is being fenced, to be settled: soon it is sealed.
  while (answer.code() == Code::kBusy && core_.loop.Now() + kBusyPause < deadline) {
    co_await core_.loop.Sleep(kBusyPause);
    if (!leased) co_return Status(Code::kSessionEnded, "the session ended before the commit");
    answer = co_await core_.link.Change(idl::kCommit, commit, deadline);
  }
  if (!answer.ok()) co_return answer.status();
  Result<Attributes> attributes = FromWire(answer->attributes);
  if (!attributes.ok()) co_return attributes.status();

  if (all_in_log) synced_changes_ = told;
  OnStored(ended);
  if (ends) {
    first_chunk_.reset();
    replaces_record_ = false;
    if (stream_ != nullptr) co_await LetGo(std::exchange(stream_, nullptr));
  }
  if (ending == Ending::kAll && loose_ != nullptr) co_await LetGo(std::exchange(loose_, nullptr));
  if (stream_ == nullptr) {
    changed_ = false;
    dirty_since_ = kNever;
  }
  AdoptAttributes(*attributes);
  co_return Status();
}

// The metaserver has taken what Store told it.
void FileImpl::OnStored(const Ended& ended) {
  NoteClosedChunks();
  if (ended.tail && ended.tail->length > 0 && stream_ != nullptr) {
    const ChunkClose& tail = *ended.tail;
    const auto open = stream_->open_chunk();
    MORAINE_CHECK(open && open->grant.chunk == tail.chunk);
    extents_.Overlay({open->base, tail.length, tail.chunk, 0});
    places_[tail.chunk] = ChunkPlace{tail.chunk,  tail.epoch,           true,
                                     tail.length, open->grant.replicas, open->grant.policy};
  }
  for (const Extent& extent : ended.extents) extents_.Overlay(extent);
  if (ended.loose) unclosed_.push_back(*ended.loose);
  for (const ChunkClose& close : unclosed_) {
    const auto place = places_.find(close.chunk);
    if (place == places_.end()) continue;
    place->second.sealed = true;
    place->second.length = close.length;
  }
  unclosed_.clear();
  dirty_.Take();
  inline_dirty_ = false;
}

Task<void> FileImpl::LetGo(std::shared_ptr<AppendStream> stream) {
  stream->Abandon();
  const auto drain = [](std::shared_ptr<FileImpl> file,
                        std::shared_ptr<AppendStream> gone) -> Task<void> {
    co_await gone->Drain();  // a server that is silent holds it for a while; nobody else
    file = nullptr;          // it has the stream's source
  };
  if (!core_.tasks.Spawn(drain(shared_from_this(), stream))) co_await stream->Drain();
}

Task<Status> FileImpl::Flush() {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  co_return Keep(co_await Store(false, Ending::kNothing, deadline));
}

Task<Status> FileImpl::Sync() {
  const Instant deadline = core_.link.Deadline();
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  MORAINE_CO_RETURN_IF_ERROR(error_);
  MORAINE_CO_RETURN_IF_ERROR(Keep(co_await Store(true, Ending::kNothing, deadline)));
  co_return Keep(co_await SyncRecord(deadline));
}

// Until what the metaserver knows of the file is on its disk, and its closed chunks are on theirs.
// A stream that only grows needs no such call.
Task<Status> FileImpl::SyncRecord(Instant deadline) {
  const uint64_t target = changes_;
  if (synced_changes_ == target) co_return Status();
  const uint32_t losses = losses_;
  idl::InodeRequest request;
  request.inode = ToWire(inode_);
  auto answer = co_await core_.link.Query(idl::kSyncMetadata, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  if (answer->__isset.attributes) {
    MORAINE_CO_ASSIGN_OR_RETURN(const Attributes now, FromWire(answer->attributes));
    // Attributes alone would run ahead of the layout, also where a lease is believed in that
    // another has taken.
    if (now.version > attributes_.version) NoteStale();
    if (leased && now.losses > losses_) Keep(LostBytes()).Ignore();
    MORAINE_CO_RETURN_IF_ERROR(error_);
    // Also when nothing was written here: a sync is for all that was done to the file before.
    if (now.losses > losses) co_return LostBytes();
  }
  synced_changes_ = target;
  co_return Status();
}

Task<Status> FileImpl::Settle(bool sync) {
  auto lock = co_await mutex_.Acquire(core_.link.Deadline());
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  co_return co_await SettleLocked(sync);
}

Task<Status> FileImpl::SettleLocked(bool sync) {
  MORAINE_CO_RETURN_IF_ERROR(error_);
  if (!leased && !HasUnsaved()) co_return Status();
  co_return Keep(co_await Store(sync, Ending::kAll));
}

Task<Status> FileImpl::EndLocked() {
  const Status status = co_await SettleLocked(false);
  if (!status.ok()) co_await DropUnsaved(status);
  if (loose_ != nullptr) co_await LetGo(std::exchange(loose_, nullptr));  // of a lost session
  co_return status;
}

Task<Status> FileImpl::End(Instant deadline) {
  // Writers end by their own deadlines, and stand before this one.
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  co_return co_await EndLocked();
}

Task<Status> FileImpl::GiveBack(Instant deadline) {
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  const Status status = co_await EndLocked();
  const Status released = co_await ReleaseLease();
  co_return status.ok() ? released : status;
}

Task<Status> FileImpl::ReleaseLease() {
  leased = false;
  idl::CloseRequest request;
  request.files.resize(1);
  request.files[0].inode = ToWire(inode_);
  request.files[0].release_lease = true;
  auto answer = co_await core_.link.Change(idl::kClose, std::move(request), core_.link.Deadline());
  co_return answer.status();
}

Task<void> FileImpl::GiveUp(Status why) {
  auto lock = co_await mutex_.Acquire();  // every call of the file ends now
  co_await DropUnsaved(std::move(why));
}

Task<void> FileImpl::DropUnsaved(Status why) {
  // Writes that were taken over are lost here: whatever the advice, every later call says so.
  const bool lost = inline_dirty_ || !dirty_.empty() || stream_ != nullptr || loose_ != nullptr ||
                    !unclosed_.empty() || changed_;
  if (lost && error_.ok()) error_ = why.Prefixed("writes were given up");
  const auto stream = std::exchange(stream_, nullptr);
  const auto loose = std::exchange(loose_, nullptr);
  dirty_.Take();
  if (std::exchange(inline_dirty_, false)) inline_.reset();
  first_chunk_.reset();
  replaces_record_ = false;
  unclosed_.clear();
  changed_ = false;
  dirty_since_ = kNever;
  NoteStale();
  AdoptAttributes(attributes_);
  if (lost) core_.TellStale(inode_);
  // Last, since it may wait: whoever reads meanwhile must know of all that.
  for (const auto& gone : {stream, loose}) {
    if (gone != nullptr) co_await LetGo(gone);
  }
}

// Drops what is not stored and takes the lease again, as if the file had been closed and opened.
// error() says so until the file is known to be cut.
Task<Status> FileImpl::StartAnew(Instant deadline) {
  co_await DropUnsaved(Status(Code::kNoSpace, "the file was to be emptied on full disks"));
  MORAINE_CO_RETURN_IF_ERROR(co_await ReleaseLease());
  co_return co_await EnsureLease(deadline);
}

void FileImpl::OnLeaseLost() {
  if (leased && HasUnsaved() && error_.ok()) {
    error_ = Status(Code::kSessionEnded, "the file's lease ended before these writes were stored");
  }
  if (!std::exchange(leased, false)) return;
  NoteStale();
  core_.TellStale(inode_);
}

}  // namespace moraine::fs
