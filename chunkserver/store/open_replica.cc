#include "chunkserver/store/open_replica.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"

namespace moraine::chunkserver {

Status CheckPieces(uint64_t offset, ConstBytes bytes, std::span<const uint64_t> checksums) {
  if (bytes.empty()) return Status::Ok();
  if (checksums.size() != BlocksOf(offset + bytes.size()) - offset / limits::kBlockBytes) {
    return {Code::kInvalidArgument,
            fmt::format("{} checksums for {} bytes at {}", checksums.size(), bytes.size(), offset)};
  }
  size_t index = 0;
  while (!bytes.empty()) {
    const uint64_t room = limits::kBlockBytes - offset % limits::kBlockBytes;
    const ConstBytes piece = bytes.first(std::min<uint64_t>(room, bytes.size()));
    if (BlockChecksum(piece) != checksums[index]) {
      return {Code::kCorruption,
              fmt::format("the bytes at {} do not match their checksum", offset)};
    }
    ++index;
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return Status::Ok();
}

OpenReplica::OpenReplica(StoreContext& context, ChunkHeader header)
    : context_(context),
      chunk_(header.chunk),
      rules_(header.chunk, header.epoch),
      writer_(context, header, ChunkPath(header.chunk)),
      need_(context.needs),
      idle_since_(context.loop.Now()),
      synced_changed_(context.loop),
      turns_(context.loop, 1),
      file_(context.loop),
      flush_(context.loop) {}

OpenReplica::OpenReplica(StoreContext& context, ChunkHeader header, Found found)
    : OpenReplica(context, std::move(header)) {
  rules_ = found.rules;
  damaged_ = found.damaged;
  seal_block_ = std::move(found.seal_block);
  file_length_ = found.file_length;
  pending_ = PendingBytes(found.flushed);
  for (uint64_t block = 0; block < found.checksums.size(); ++block) {
    writer_.SetChecksum(block, found.checksums[block]);
  }
  writer_.SetCleanBlocks(found.file_length / limits::kBlockBytes);
  if (found.file != nullptr) writer_.Adopt(std::move(found.file), /*name_durable=*/false);
  pending_.Append(found.tail);
  CountDirty();
  AppendCall nothing;
  NoteBlocks(found.flushed, nothing);
  if (rules_.sealed() && !seal_block_.empty() && !damaged_) {
    writer_.SetChecksum(writer_.blocks(), BlockChecksum(seal_block_));
  }
  journal_end_ = rules_.synced();
  if (found.first_frame != 0) need_.Set(found.first_frame);
}

OpenReplica::~OpenReplica() { context_.AddDirty(-static_cast<int64_t>(counted_)); }

// Counts what a flush could write now. What none ever will must not make others wait: the bytes of
// a damaged or retired replica, and a last block that is not whole.
void OpenReplica::CountDirty() {
  const uint64_t now = damaged_ || retired_ ? 0 : flushable_bytes();
  const auto change = static_cast<int64_t>(now) - static_cast<int64_t>(counted_);
  counted_ = now;
  if (change != 0) context_.AddDirty(change);
}

Status OpenReplica::CheckWritable() const {
  if (retired_)
    return {Code::kUnknownChunk, fmt::format("chunk {} was deleted here", chunk_.value())};
  if (damaged_)
    return {Code::kCorruption, fmt::format("the replica of chunk {} is damaged", chunk_.value())};
  return context_.CheckWritable();
}

Task<Result<Semaphore::Units>> OpenReplica::TakeTurn(Instant deadline) {
  std::optional<Semaphore::Units> turn = turns_.TryAcquire(1);
  if (!turn) turn = co_await turns_.Acquire(1, deadline);
  if (!turn) co_return TooLate();
  MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
  co_return std::move(*turn);
}

JournalRecord OpenReplica::RecordOf(RecordKind kind, uint64_t number) const {
  return {kind,           chunk_, writer_.header().incarnation,
          rules_.epoch(), number, writer_.header().origin};
}

void OpenReplica::QueueCreation() {
  creation_frame_ = context_.journal->Enqueue(RecordOf(RecordKind::kState, 0));
  need_.Set(creation_frame_);
}

Task<Status> OpenReplica::Created() {
  if (creation_frame_ == 0) co_return Status::Ok();
  const Status status = co_await context_.journal->Committed(creation_frame_);
  if (!status.ok()) co_return context_.NoteWrite(status);
  creation_frame_ = 0;
  co_return Status::Ok();
}

// The checksums of the blocks that are whole now. A block that came as one piece has the one that
// was verified on arrival; one made of several appends is hashed here.
void OpenReplica::NoteBlocks(uint64_t from, const AppendCall& call) {
  for (uint64_t block = writer_.blocks(); block < pending_.full_end() / limits::kBlockBytes;
       ++block) {
    const uint64_t begin = block * limits::kBlockBytes;
    const bool whole = !call.checksums.empty() && begin >= from;
    writer_.SetChecksum(block, whole ? call.checksums[block - from / limits::kBlockBytes]
                                     : BlockChecksum(pending_.BlockAt(begin)));
  }
}

void OpenReplica::TakeBytes(AppendCall& call) {
  auto owner = std::make_shared<Buffer>(std::move(call.bytes));
  const ConstBytes bytes = owner->bytes();
  pending_.AppendShared(std::move(owner), bytes);
  CountDirty();
  NoteBlocks(call.offset, call);
  const bool counts = rules_.OnWritten(call.epoch, pending_.end());
  MORAINE_CHECK(counts, "nothing can come between, the turn is ours");
}

Task<Result<AppendResult>> OpenReplica::Append(AppendCall call, bool copy) {
  MORAINE_CO_RETURN_IF_ERROR(CheckPieces(call.offset, call.bytes.bytes(), call.checksums));
  const uint64_t size = call.bytes.size();
  const uint64_t end = call.offset + size;
  MORAINE_CO_ASSIGN_OR_RETURN(Semaphore::Units turn, co_await TakeTurn(call.deadline));
  MORAINE_CO_RETURN_IF_ERROR(co_await context_.WaitForRoom(size, call.deadline));
  Journal::Admission admission;
  if (call.sync) {
    const uint64_t gap = rules_.held() + size - journal_end_;
    const uint64_t bytes = std::min(gap, limits::kJournalAppendBytesMax) + limits::kBlockBytes;
    MORAINE_CO_ASSIGN_OR_RETURN(admission, co_await context_.journal->Admit(bytes, call.deadline));
  }
  MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
  MORAINE_CO_RETURN_IF_ERROR(context_.CheckInTime(call.deadline));
  const auto verdict =
      copy ? rules_.Copy(call.epoch, call.offset, size)
           : rules_.Append({call.epoch, call.offset, size, call.sync, call.committed});
  if (!verdict.ok()) co_return verdict.status();
  idle_since_ = context_.loop.Now();
  if (*verdict == protocol::AppendVerdict::kWrite) {
    TakeBytes(call);
    context_.metrics.appends.Add();
    context_.metrics.append_bytes.Add(size);
    if (!flushing_behind_ && flushable_bytes() >= context_.options.pending_flush_bytes) {
      context_.background.Spawn([](std::shared_ptr<OpenReplica> self) -> Task<void> {
        (co_await self->FlushBehind()).Ignore();  // noted there; a sync will meet it again
      }(shared_from_this()));
    }
  }
  turn.Release();
  MORAINE_CO_RETURN_IF_ERROR(co_await Created());
  if (call.sync) {
    context_.metrics.syncs.Add();
    // Zero bytes with sync: what is held now.
    MORAINE_CO_RETURN_IF_ERROR(co_await MakeDurable(size == 0 ? rules_.held() : end));
  }
  // A fence or a seal may have come while this waited: its writer must not count it then.
  if (call.epoch != rules_.epoch()) {
    co_return Status(Code::kFenced, fmt::format("chunk {} was fenced meanwhile", chunk_.value()));
  }
  co_return AppendResult{rules_.held(), rules_.synced()};
}

Task<Result<ReplicaInfo>> OpenReplica::Fence(Epoch epoch, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(Semaphore::Units turn, co_await TakeTurn(deadline));
  MORAINE_CO_ASSIGN_OR_RETURN(auto admission, co_await context_.journal->Admit(0, deadline));
  MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
  MORAINE_CO_RETURN_IF_ERROR(context_.CheckInTime(deadline));
  const auto answer = rules_.Fence(epoch);
  if (!answer.ok()) co_return answer.status();
  // Also when it is known already: the record of the first call may be on its way only.
  const uint64_t frame = context_.journal->Enqueue(RecordOf(RecordKind::kFence, 0));
  turn.Release();
  MORAINE_CO_RETURN_IF_ERROR(context_.NoteWrite(co_await context_.journal->Committed(frame)));
  co_return Info();
}

Task<Result<ReplicaInfo>> OpenReplica::Hold(Epoch epoch, uint64_t length, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(Semaphore::Units turn, co_await TakeTurn(deadline));
  MORAINE_CO_RETURN_IF_ERROR(rules_.Hold(epoch, length));
  if (!rules_.sealed()) {
    MORAINE_CO_ASSIGN_OR_RETURN(
        auto admission, co_await context_.journal->Admit(limits::kJournalAppendBytesMax, deadline));
    turn.Release();
    MORAINE_CO_RETURN_IF_ERROR(co_await MakeDurable(rules_.held()));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await Created());
  co_return Info();
}

// The bytes of the block that a seal at `length` cuts; empty when it cuts none.
Task<Result<std::vector<std::byte>>> OpenReplica::BlockCutBy(uint64_t length) {
  const uint64_t begin = BlockFloor(length);
  std::vector<std::byte> bytes(length - begin);
  if (bytes.empty()) co_return bytes;
  if (begin >= pending_.begin()) {
    pending_.CopyOut(begin, bytes);
    co_return bytes;
  }
  Buffer block = Buffer::Allocate(limits::kBlockBytes);
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.ReadBlocks(begin, block.bytes()));
  if (!BlockMatches(begin, block.bytes())) {
    MarkDamaged("a block does not match its checksum at the seal");
    co_return Status(Code::kCorruption, "the block that the seal cuts is damaged");
  }
  std::copy_n(block.data(), bytes.size(), bytes.data());
  co_return bytes;
}

Task<Result<ReplicaInfo>> OpenReplica::Seal(Epoch epoch, uint64_t length, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(Semaphore::Units turn, co_await TakeTurn(deadline));
  protocol::AppendReplica after = rules_;
  MORAINE_CO_RETURN_IF_ERROR(after.Seal(epoch, length));
  if (!rules_.sealed()) {
    MORAINE_CO_ASSIGN_OR_RETURN(
        auto admission, co_await context_.journal->Admit(limits::kJournalAppendBytesMax, deadline));
    MORAINE_CO_RETURN_IF_ERROR(co_await MakeDurable(length));
    MORAINE_CO_ASSIGN_OR_RETURN(seal_block_, co_await BlockCutBy(length));
    MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
    MORAINE_CO_RETURN_IF_ERROR(context_.CheckInTime(deadline));
    // From here on without waiting: later calls of this chunk see it sealed.
    MORAINE_CO_RETURN_IF_ERROR(rules_.Seal(epoch, length));
    ++cuts_;
    writer_.CutChecksums(length / limits::kBlockBytes);
    if (!seal_block_.empty()) writer_.SetChecksum(writer_.blocks(), BlockChecksum(seal_block_));
    seal_frame_ = context_.journal->Enqueue(RecordOf(RecordKind::kSeal, length), seal_block_);
    turn.Release();
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await context_.journal->Committed(seal_frame_)));
  } else if (seal_frame_ != 0) {
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await context_.journal->Committed(seal_frame_)));
  }
  rules_.OnSynced(length);
  co_return Info();
}

void OpenReplica::MarkDamaged(std::string_view why) {
  if (damaged_) return;
  damaged_ = true;
  CountDirty();
  LogError("chunk {}: replica is damaged: {}", chunk_.value(), why);
  context_.on_changed(chunk_);
  synced_changed_.NotifyAll();
}

ReplicaInfo OpenReplica::Info() const {
  ReplicaInfo info;
  info.chunk = chunk_;
  info.epoch = rules_.epoch();
  info.sealed = rules_.sealed();
  info.held = rules_.held();
  info.synced = rules_.synced();
  info.committed = rules_.readable();
  info.restarted = rules_.restarted();
  info.damaged = damaged_;
  info.inode = writer_.header().origin.inode;
  info.file_offset = writer_.header().origin.file_offset;
  return info;
}

}  // namespace moraine::chunkserver
