#include "fs/client/file_impl.h"

#include <algorithm>

#include "base/limits.h"
#include "base/log.h"
#include "fs/client/convert.h"

namespace moraine::fs {

FileImpl::FileImpl(ClientCore& core, Attributes attributes)
    : File(attributes.inode),
      core_(core),
      attributes_(std::move(attributes)),
      size_(attributes_.size),
      mtime_ns_(attributes_.mtime_ns),
      losses_(attributes_.losses),
      tail_source_(std::make_unique<FileSource>(core, inode_, true)),
      loose_source_(std::make_unique<FileSource>(core, inode_, false)),
      mutex_(core.loop),
      reloading_(core.loop) {}

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
  // What may pass is not kept: the bytes are still here and are sent again.
  const bool may_pass = status.advice() == Advice::kRetry || status.code() == Code::kNoSpace;
  if (!status.ok() && !may_pass && error_.ok()) error_ = status;
  return status;
}

Status FileImpl::LostBytes() {
  return Status(
      Code::kIo,
      "bytes that were not synced are gone with their servers; close the file and open it "
      "again");
}

// With a layout that knows of them.
void FileImpl::TakeLosses(uint32_t losses) {
  if (losses <= losses_) return;  // of an answer that was overtaken
  if (HasUnsaved() || bytes_change_ > synced_changes_) Keep(LostBytes()).Ignore();
  losses_ = losses;
}

bool FileImpl::HasUnsaved() const {
  return inline_dirty_ || !dirty_.empty() || stream_ != nullptr || changed_ ||
         first_chunk_.has_value();
}

// ---- What the metaserver says

void FileImpl::AdoptAttributes(const Attributes& attributes) {
  if (attributes.version >= attributes_.version) attributes_ = attributes;
  // The layout here is that of a writer, which nobody changes: what it says is not true any more.
  if (leased && attributes.losses > losses_) Keep(LostBytes()).Ignore();
  if (changed_ || stream_ != nullptr) return;
  const uint64_t before = size_;
  size_ = std::max(attributes_.size, tail_ ? tail_offset_ + tail_visible_ : 0);
  mtime_ns_ = attributes_.mtime_ns;
  if (size_ >= before) return;
  // What was cut off does not come back when the file grows again.
  extents_.Remove(size_, limits::kFileBytesMax - size_);
  if (inline_ && inline_->size() > size_) inline_->resize(size_);
}

void FileImpl::NoteStaleIfOlder(const Attributes& attributes, uint64_t own_changes) {
  const uint64_t known = std::max(attributes_.version, own_version_);
  const bool has_new_tail =
      attributes.open_tail && !tail_ && !HasOwnTail() && attributes.version >= attributes_.version;
  if (attributes.version > known + own_changes || has_new_tail) {
    NoteStale();
  } else if (own_changes > 0 && attributes.version > known) {
    own_version_ = attributes.version;  // nobody else came between
  }
}

void FileImpl::NoteRestart() {
  NoteStale();
  if (leased || stream_ != nullptr) return;
  attributes_.version = 0;
  own_version_ = 0;
}

Status FileImpl::Adopt(const idl::Attributes& attributes, const idl::Layout& layout) {
  Result<Attributes> own = FromWire(attributes);
  if (!own.ok()) return own.status();
  Result<Layout> places = FromWire(layout, inode_);
  if (!places.ok()) return places.status();
  AdoptOwned(*own, *places);
  return {};
}

// An answer to a question that was asked without the lease says nothing once this client has it:
// what it has stored meanwhile may be missing there.
Status FileImpl::AdoptUnlessLeased(const idl::Attributes& attributes, const idl::Layout& layout) {
  return leased ? Status() : Adopt(attributes, layout);
}

void FileImpl::AdoptOwned(const Attributes& attributes, const Layout& layout) {
  // A layout that was overtaken by what this client did since says nothing. Of chunks that the
  // stream has left the attributes' version does not tell.
  if (stream_ != nullptr || attributes.version < attributes_.version) {
    AdoptAttributes(attributes);
    return;
  }
  // Changed by somebody else (own changes do not come this way), which the metaserver may not have
  // told: it was restarted, or has told nobody yet.
  const bool foreign = attributes_.version != 0 && attributes.version > attributes_.version;
  if (foreign) core_.TellStale(inode_);
  own_version_ = 0;
  TakeLosses(attributes.losses);
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
  // A layout that does not know it is younger: the chunk was taken back.
  if (!tail_ || tail_->chunk != grant.chunk) return;
  tail_.reset();
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
    if (!tail_ || leased) co_return Status();
    // Another reader has learned meanwhile that the file goes on elsewhere.
    if (tail_->chunk != place.chunk) continue;
    if (visible.ok() && !visible->sealed) {
      tail_visible_ = std::max(tail_visible_, visible->length);
      size_ = std::max(attributes_.size, tail_offset_ + tail_visible_);
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
    MORAINE_CO_RETURN_IF_ERROR(AdoptUnlessLeased(answer->attributes, answer->layout));
    if (!tail_ || leased) co_return Status();
    if (tail_->chunk == place.chunk) co_await core_.loop.Sleep(kPause);
  }
}

Task<Status> FileImpl::Reload(Instant deadline) {
  MORAINE_CO_RETURN_IF_ERROR(co_await ReloadLayout(deadline));
  co_return co_await RefreshTail(deadline);
}

Task<Status> FileImpl::ReloadLayout(Instant deadline) {
  const bool by_writer = leased;
  idl::InodeRequest request;
  request.inode = ToWire(inode_);
  auto answer = co_await core_.link.Query(idl::kGetLayout, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  co_return by_writer ? Adopt(answer->attributes, answer->layout)
                      : AdoptUnlessLeased(answer->attributes, answer->layout);
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

// ---- The write lease. All that take it or give it back hold mutex_ meanwhile: an answer that says
// "granted" is never overtaken by a call that gives back.

Task<Status> FileImpl::EnsureLease(Instant deadline) {
  if (leased) co_return Status();
  // Of a session that was lost: its chunks are the metaserver's.
  if (loose_ != nullptr) co_await LetGo(std::exchange(loose_, nullptr));
  MORAINE_CO_RETURN_IF_ERROR(co_await AskToOpen(true, deadline));
  if (!tail_) co_return Status();
  // The lease was this client's before: an open tail is of a stream that it has dropped, or of a
  // grant whose answer was lost. Given back, it is sealed like that of any writer who has left.
  MORAINE_CO_RETURN_IF_ERROR(co_await ReleaseLease());
  MORAINE_CO_RETURN_IF_ERROR(co_await AskToOpen(true, deadline));
  first_chunk_.reset();  // in the late answer to a create: it is gone
  co_return Status();
}

Task<Status> FileImpl::OpenAt(bool writing, Instant deadline) {
  if (leased) MORAINE_CO_RETURN_IF_ERROR(co_await ConfirmLease(deadline));
  if (leased) co_return Status();  // we write it: nobody knows better
  // What was unsaved when the lease was lost is lost too, which error() says: others' bytes are
  // not hidden behind it.
  const auto is_dead = [this] { return !leased && !error_.ok() && HasUnsaved(); };
  if (!writing && !is_dead()) co_return co_await AskToOpen(false, deadline);
  auto lock = co_await mutex_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "the file is busy");
  if (is_dead()) co_await DropUnsaved(error_);
  co_return writing ? co_await EnsureLease(deadline) : co_await AskToOpen(false, deadline);
}

Task<Status> FileImpl::AskToOpen(bool writing, Instant deadline) {
  constexpr Duration kPause = std::chrono::milliseconds(20);
  idl::OpenRequest request;
  request.inode = ToWire(inode_);
  request.for_writing = writing;
  request.token = ToWire(token());
  while (true) {
    const uint64_t news = news_;
    auto answer = co_await core_.link.Change(idl::kOpen, request, deadline);
    if (answer.ok()) {
      registered = true;
      const Status adopted = writing ? AdoptLease(answer->attributes, answer->layout)
                                     : AdoptUnlessLeased(answer->attributes, answer->layout);
      if (adopted.ok() && news == news_) stale_ = false;
      co_return adopted;
    }
    const bool wait = answer.code() == Code::kLeaseTaken || answer.code() == Code::kBusy;
    if (!wait || core_.loop.Now() + kPause >= deadline) co_return answer.status();
    co_await core_.loop.Sleep(kPause);
  }
}

Status FileImpl::AdoptLease(const idl::Attributes& attributes, const idl::Layout& layout) {
  // Others may have written and closed without a sync: the next sync is for their bytes too.
  NoteUnsynced();
  const Status status = Adopt(attributes, layout);
  leased = registered = true;
  ++grants_;
  return status;
}

Task<Status> FileImpl::ConfirmLease(Instant deadline) {
  MORAINE_CO_RETURN_IF_ERROR(co_await core_.link.AwaitCertain(deadline));
  if (!leased) co_return Status();
  const uint64_t grant = grants_;
  idl::OpenRequest request;
  request.inode = ToWire(inode_);
  auto answer = co_await core_.link.Change(idl::kOpen, std::move(request), deadline);
  const bool ended = answer.code() == Code::kSessionEnded;  // and with it the lease
  if (!answer.ok() && !ended) co_return answer.status();
  if (!leased || grants_ != grant) co_return Status();  // given back meanwhile
  if (!ended && answer->leased) {
    MORAINE_CO_ASSIGN_OR_RETURN(const Attributes now, FromWire(answer->attributes));
    AdoptAttributes(now);
  } else {
    OnLeaseLost();
  }
  co_return Status();
}

}  // namespace moraine::fs
