#include "kv/rocksfs/gathering_writer.h"

#include <algorithm>
#include <cstring>

namespace moraine::rocksfs {

GatheringWriter::GatheringWriter(Cluster& cluster, InodeId directory,
                                 std::shared_ptr<fs::File> file, GatherOptions options)
    : cluster_(cluster),
      inode_(file->inode()),
      directory_(directory),
      options_(options),
      order_(cluster.loop()),
      hurry_(cluster.loop()),
      file_(std::move(file)) {
  growing_->bytes = file_->size();
  Touch();
}

void GatheringWriter::Touch() {
  growing_->mtime_ns.store(cluster_.loop().WallNanoseconds(), std::memory_order_relaxed);
}

// ---- RocksDB's threads

Status GatheringWriter::CheckAppendable() const {
  if (!error_.ok()) return error_;
  if (closed_) return Status(Code::kBadHandle, "append to a closed file");
  return Status::Ok();
}

Status GatheringWriter::Appendable() const {
  MutexLock lock(mutex_);
  return CheckAppendable();
}

Status GatheringWriter::Append(ConstBytes bytes) {
  if (bytes.size() >= options_.piece_bytes) {
    return cluster_.Block([this, bytes] { return AppendDirectly(bytes); });
  }
  Gathered gathered;
  bool slow_down = false;
  {
    MutexLock lock(mutex_);
    MORAINE_RETURN_IF_ERROR(CheckAppendable());
    gathered = Gather(bytes);
    slow_down = waiting_bytes_ > options_.waiting_bytes_max;
  }
  After(gathered);
  if (slow_down) return cluster_.Block([this] { return Drain(); });
  return Status::Ok();
}

Status GatheringWriter::TryAppend(ConstBytes bytes) {
  Gathered gathered;
  {
    MutexLock lock(mutex_);
    MORAINE_RETURN_IF_ERROR(CheckAppendable());
    if (waiting_bytes_ + bytes.size() > options_.waiting_bytes_max) {
      return Status(Code::kOverloaded, "too much waits to be sent");
    }
    while (!bytes.empty()) {
      const ConstBytes part = bytes.first(std::min<size_t>(bytes.size(), options_.piece_bytes));
      bytes = bytes.subspan(part.size());
      const Gathered now = Gather(part);
      gathered.start = gathered.start || now.start;
      gathered.hurry = gathered.hurry || now.hurry;
    }
  }
  After(gathered);
  return Status::Ok();
}

GatheringWriter::Gathered GatheringWriter::Gather(ConstBytes bytes) {
  Gathered gathered;
  gathered.start = !std::exchange(rounds_on_, true);
  if (pieces_.empty() || pieces_.back().used + bytes.size() > pieces_.back().buffer.size()) {
    gathered.hurry = !pieces_.empty();
    pieces_.push_back({Buffer::Allocate(options_.piece_bytes), 0});
  }
  Piece& piece = pieces_.back();
  if (!bytes.empty()) std::memcpy(piece.buffer.data() + piece.used, bytes.data(), bytes.size());
  piece.used += bytes.size();
  waiting_bytes_ += bytes.size();
  growing_->bytes.store(size() + bytes.size(), std::memory_order_relaxed);
  return gathered;
}

void GatheringWriter::After(Gathered gathered) {
  if (gathered.start) {
    StartRounds();
  } else if (gathered.hurry) {
    cluster_.loop().Post([self = shared_from_this()] { self->hurry_.Set(); });
  }
}

void GatheringWriter::StartRounds() {
  cluster_.loop().Post(
      [self = shared_from_this()] { self->cluster_.loop().Spawn(SendInRounds(self)); });
}

void GatheringWriter::Push() {
  if (!AnythingWaits()) return;
  // Something waits, so the rounds are on: whoever gathered started them.
  cluster_.loop().Post([self = shared_from_this()] { self->hurry_.Set(); });
}

Status GatheringWriter::WriteAt(uint64_t offset, ConstBytes bytes) {
  if (offset == size()) return Append(bytes);
  if (offset > size()) return Status(Code::kInvalidArgument, "a write behind the end of the file");
  return cluster_.Block([this, offset, bytes] { return WriteAtTask(offset, bytes); });
}

Status GatheringWriter::Sync() {
  return cluster_.Block([this] { return SyncTask(); });
}

Status GatheringWriter::Truncate(uint64_t size) {
  return cluster_.Block([this, size] { return TruncateTask(size); });
}

Status GatheringWriter::Close() {
  return cluster_.Block([this] { return CloseTask(); });
}

void GatheringWriter::set_owned(const std::weak_ptr<OwnedNames>& owned) {
  bool failed = false;
  {
    MutexLock lock(mutex_);
    owned_ = owned;
    failed = !error_.ok();
  }
  const std::shared_ptr<OwnedNames> names = owned.lock();
  if (failed && names != nullptr) names->Forget();
}

std::deque<GatheringWriter::Piece> GatheringWriter::TakePieces() {
  MutexLock lock(mutex_);
  return std::exchange(pieces_, {});
}

void GatheringWriter::Taken(uint64_t bytes) {
  MutexLock lock(mutex_);
  waiting_bytes_ -= std::min(bytes, waiting_bytes_);
}

Status GatheringWriter::Fail(Status status) {
  std::shared_ptr<OwnedNames> owned;
  {
    MutexLock lock(mutex_);
    if (error_.ok()) error_ = status;
    pieces_.clear();
    waiting_bytes_ = 0;
    owned = owned_.lock();
  }
  // Whatever the error: how long the file is now is known to the metaserver alone.
  if (owned != nullptr) owned->Forget();
  return status;
}

Status GatheringWriter::error() const {
  MutexLock lock(mutex_);
  return error_;
}

bool GatheringWriter::AnythingWaits() const {
  MutexLock lock(mutex_);
  return !pieces_.empty();
}

bool GatheringWriter::EndRounds(bool rested) {
  MutexLock lock(mutex_);
  const bool over = closed_ || !error_.ok() || rested;
  if (!over || !pieces_.empty()) return false;
  rounds_on_ = false;
  return true;
}

// ---- On the loop

void GatheringWriter::Start() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(rounds_on_, true)) return;
  }
  cluster_.loop().Spawn(SendInRounds(shared_from_this()));
}

Task<void> GatheringWriter::SendInRounds(std::shared_ptr<GatheringWriter> self) {
  int idle_rounds = 0;
  while (!self->EndRounds(idle_rounds >= self->options_.idle_rounds)) {
    co_await self->hurry_.Wait(self->cluster_.loop().After(self->options_.delay));
    self->hurry_.Reset();
    if (!self->AnythingWaits()) {
      ++idle_rounds;
      continue;
    }
    idle_rounds = 0;
    (co_await self->Drain()).Ignore();  // kept in error_
  }
}

Task<AsyncMutex::Lock> GatheringWriter::Order() {
  std::optional<AsyncMutex::Lock> lock = co_await order_.Acquire();
  co_return std::move(*lock);  // without a deadline there always is one
}

Task<Status> GatheringWriter::EnsureOpen() {
  if (file_ != nullptr) co_return Status::Ok();
  Result<std::shared_ptr<fs::File>> file =
      co_await cluster_.Open(inode_, fs::Client::OpenMode::kWrite);
  if (!file.ok()) co_return Fail(file.status());
  file_ = *std::move(file);
  co_return Status::Ok();
}

Task<Status> GatheringWriter::DrainOrdered() {
  MORAINE_CO_RETURN_IF_ERROR(error());
  std::deque<Piece> pieces = TakePieces();
  if (pieces.empty()) co_return Status::Ok();
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureOpen());
  for (const Piece& piece : pieces) {
    unsynced_ = true;
    const Result<uint64_t> offset =
        co_await file_->Append(ConstBytes(piece.buffer.data(), piece.used));
    if (!offset.ok()) co_return Fail(offset.status());
    Taken(piece.used);
  }
  file_->Push();
  Touch();
  co_return Status::Ok();
}

Task<Status> GatheringWriter::Drain() {
  const AsyncMutex::Lock order = co_await Order();
  co_return co_await DrainOrdered();
}

Task<Status> GatheringWriter::AppendDirectly(ConstBytes bytes) {
  const AsyncMutex::Lock order = co_await Order();
  MORAINE_CO_RETURN_IF_ERROR(Appendable());
  MORAINE_CO_RETURN_IF_ERROR(co_await DrainOrdered());
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureOpen());
  unsynced_ = true;
  const Result<uint64_t> offset = co_await file_->Append(bytes);
  if (!offset.ok()) co_return Fail(offset.status());
  growing_->bytes.store(size() + bytes.size(), std::memory_order_relaxed);
  file_->Push();
  Touch();
  co_return Status::Ok();
}

Task<Status> GatheringWriter::WriteAtTask(uint64_t offset, ConstBytes bytes) {
  const AsyncMutex::Lock order = co_await Order();
  MORAINE_CO_RETURN_IF_ERROR(Appendable());
  MORAINE_CO_RETURN_IF_ERROR(co_await DrainOrdered());
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureOpen());
  unsynced_ = true;
  const Status written = co_await file_->Write(offset, bytes);
  if (!written.ok()) co_return Fail(written);
  growing_->bytes.store(std::max(size(), offset + bytes.size()), std::memory_order_relaxed);
  Touch();
  co_return Status::Ok();
}

Task<Status> GatheringWriter::SyncTask() {
  const AsyncMutex::Lock order = co_await Order();
  MORAINE_CO_RETURN_IF_ERROR(co_await DrainOrdered());
  // A detached file was synced then. A file without new bytes is synced all the same: RocksDB asks
  // for that when it ingests files that somebody else has written.
  if (file_ == nullptr) co_return Status::Ok();
  const Status synced = co_await file_->Sync();
  if (!synced.ok()) co_return Fail(synced);
  unsynced_ = false;
  co_return Status::Ok();
}

Task<Status> GatheringWriter::TruncateTask(uint64_t new_size) {
  const AsyncMutex::Lock order = co_await Order();
  MORAINE_CO_RETURN_IF_ERROR(Appendable());
  MORAINE_CO_RETURN_IF_ERROR(co_await DrainOrdered());
  if (new_size == size()) co_return Status::Ok();
  MORAINE_CO_RETURN_IF_ERROR(co_await EnsureOpen());
  unsynced_ = true;
  const Status truncated = co_await file_->Truncate(new_size);
  if (!truncated.ok()) co_return Fail(truncated);
  growing_->bytes.store(new_size, std::memory_order_relaxed);
  Touch();
  co_return Status::Ok();
}

Task<Status> GatheringWriter::CloseTask() {
  const AsyncMutex::Lock order = co_await Order();
  {
    // Before the last drain: a record that came behind it would open the file again.
    MutexLock lock(mutex_);
    closed_ = true;
  }
  Status result = co_await DrainOrdered();
  hurry_.Set();
  if (file_ == nullptr) co_return result;
  const Status closed = co_await cluster_.Close(std::exchange(file_, nullptr));
  if (!closed.ok()) Fail(closed).Ignore();
  co_return result.ok() ? closed : result;
}

Task<GatheringWriter::Held> GatheringWriter::DetachAndHold() {
  Held held{shared_from_this(), co_await Order()};
  Status status = co_await DrainOrdered();
  if (file_ == nullptr) co_return std::move(held);
  if (status.ok() && unsynced_) {
    status = co_await file_->Sync();
    if (status.ok()) unsynced_ = false;
  }
  const Status closed = co_await cluster_.Close(std::exchange(file_, nullptr));
  if (status.ok()) status = closed;
  if (!status.ok()) Fail(status).Ignore();
  co_return std::move(held);
}

}  // namespace moraine::rocksfs
