// The half of OpenReplica that moves bytes: to the journal, to the file, and back to readers.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/log.h"
#include "chunkserver/store/open_replica.h"

namespace moraine::chunkserver {
namespace {

// A STATE record carries at most this much; more is flushed first.
constexpr uint64_t kCarryBytesMax = 128ULL << 10;
// All that are written side by side together take at most a quarter of what is kept for them.
constexpr uint64_t CarryBytesMax(uint64_t region_bytes) {
  return std::min(kCarryBytesMax, region_bytes / 16 / kRestateWidth);
}
constexpr int kRestateAttempts = 3;
constexpr int kReadAttempts = 3;
static_assert(kCarryBytesMax + limits::kJournalAppendBytesMax + 2 * kRecordOverheadMax <
              FrameBytesMax(kJournalRegionBytesMin));

}  // namespace

Task<Status> OpenReplica::MakeDurable(uint64_t end) {
  while (rules_.synced() < end) {
    MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
    if (rules_.held() < end) {
      co_return Status(Code::kSealed,
                       fmt::format("chunk {} was cut at {}", chunk_.value(), rules_.held()));
    }
    if (file_syncs_ > 0) {
      co_await synced_changed_.Wait();
      continue;
    }
    if (journal_end_ < end) {
      const uint64_t held = rules_.held();
      if (held - journal_end_ > limits::kJournalAppendBytesMax || journal_end_ < pending_.begin()) {
        MORAINE_CO_RETURN_IF_ERROR(co_await SyncThroughFile());
        continue;
      }
      journal_frame_ = context_.journal->Enqueue(RecordOf(RecordKind::kAppend, journal_end_),
                                                 pending_.SliceOf(journal_end_, held).pieces);
      journal_end_ = held;
    }
    const uint64_t covered = journal_end_;
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await context_.journal->Committed(journal_frame_)));
    rules_.OnSynced(covered);
  }
  co_return Status::Ok();
}

// Large appends: whole blocks to the file, the rest into the STATE record that vouches for them.
Task<Status> OpenReplica::SyncThroughFile() {
  ++file_syncs_;
  std::optional<AsyncMutex::Lock> lock = co_await file_.Acquire();
  const Status writable = CheckWritable();
  if (!writable.ok()) {
    --file_syncs_;
    synced_changed_.NotifyAll();
    co_return writable;
  }
  const uint64_t target = rules_.held();
  const uint64_t file_end = std::max(pending_.full_end(), pending_.begin());
  // Taken now: a flush behind us may pass the end of this one.
  std::vector<std::byte> tail(target > file_end ? target - file_end : 0);
  pending_.CopyOut(file_end, tail);
  Status status = co_await WriteAndFlush(file_end);
  if (status.ok()) status = CheckWritable();
  if (status.ok() && !rules_.sealed()) {
    const uint64_t frame = context_.journal->Enqueue(RecordOf(RecordKind::kState, file_end), tail);
    journal_end_ = target;
    journal_frame_ = frame;
    status = context_.NoteWrite(co_await context_.journal->Committed(frame));
    if (status.ok()) {
      file_length_ = file_end;
      need_.Set(frame);
      rules_.OnSynced(target);
    }
  }
  --file_syncs_;
  synced_changed_.NotifyAll();
  co_return status;
}

Task<Status> OpenReplica::FlushTo(uint64_t end) {
  // A file that the journal does not know would pass for damage after a crash.
  MORAINE_CO_RETURN_IF_ERROR(co_await Created());
  std::optional<AsyncMutex::Lock> lock = co_await flush_.Acquire();
  while (pending_.begin() < std::min(end, pending_.full_end())) {
    MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
    const uint64_t from = pending_.begin();
    const uint64_t group_end = (from / kGroupBytes + 1) * kGroupBytes;
    const uint64_t to =
        std::min({end, pending_.full_end(), group_end, from + context_.options.flush_piece_bytes});
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await writer_.WriteBlocks(from, pending_.SliceOf(from, to))));
    pending_.DropBefore(to);
    CountDirty();
    context_.metrics.flush_bytes.Add(to - from);
    // Once sealed, the checksums are those of the cut: WriteSealedFile writes them, in its time.
    if (to == group_end && !rules_.sealed()) {
      MORAINE_CO_RETURN_IF_ERROR(
          context_.NoteWrite(co_await writer_.WriteChecksums(to / limits::kBlockBytes)));
    }
  }
  co_return Status::Ok();
}

// Blocks below `end` and their checksums are durable on return, unless a seal came meanwhile.
Task<Status> OpenReplica::WriteAndFlush(uint64_t end) {
  MORAINE_CO_RETURN_IF_ERROR(co_await FlushTo(end));
  {
    std::optional<AsyncMutex::Lock> lock = co_await flush_.Acquire();
    if (rules_.sealed()) co_return Status::Ok();
    const uint64_t blocks = std::min(end / limits::kBlockBytes, writer_.blocks());
    MORAINE_CO_RETURN_IF_ERROR(context_.NoteWrite(co_await writer_.WriteChecksums(blocks)));
  }
  const Status status = context_.NoteWrite(co_await writer_.Flush());
  // What the failed flush covered may be gone from the page cache; only a restart can tell.
  if (LosesBytes(status)) MarkDamaged("a flush of its file failed");
  co_return status;
}

Task<Status> OpenReplica::FlushBehind() {
  if (flushing_behind_) co_return Status::Ok();
  flushing_behind_ = true;
  Status status;
  while (status.ok() && !retired_ && !finalized_) {
    const uint64_t enough =
        context_.DirtyPressure() ? limits::kBlockBytes : context_.options.pending_flush_bytes;
    if (flushable_bytes() < enough) break;
    status = co_await FlushTo(pending_.full_end());
  }
  flushing_behind_ = false;
  co_return status;
}

// One attempt to flush and restate; false when too much was journaled meanwhile.
Task<bool> OpenReplica::TryRestate(bool last) {
  if (last) ++file_syncs_;  // journals nothing meanwhile
  const uint64_t file_end = std::max(pending_.full_end(), pending_.begin());
  std::vector<std::byte> tail;
  if (last && journal_end_ > file_end) {
    tail.resize(journal_end_ - file_end);
    pending_.CopyOut(file_end, tail);
  }
  Status status = file_end > file_length_ ? co_await WriteAndFlush(file_end) : Status::Ok();
  bool done = !status.ok() || !CheckWritable().ok() || rules_.sealed();
  if (!done) {
    const uint64_t carry = journal_end_ > file_end ? journal_end_ - file_end : 0;
    if (!last && carry > 0 && carry <= CarryBytesMax(context_.journal->region_bytes()) &&
        pending_.begin() <= file_end) {
      tail.resize(carry);
      pending_.CopyOut(file_end, tail);
    }
    if (tail.size() == carry) {
      const uint64_t frame =
          context_.journal->Enqueue(RecordOf(RecordKind::kState, file_end), tail);
      journal_end_ = std::max(journal_end_, file_end);
      journal_frame_ = frame;
      const uint64_t covered = std::max(file_end, rules_.synced());
      status = context_.NoteWrite(co_await context_.journal->Committed(frame));
      if (status.ok()) {
        file_length_ = file_end;
        need_.Set(frame);
        rules_.OnSynced(covered);
        context_.metrics.checkpoints.Add();
      }
      done = true;
    }
  }
  if (last) {
    --file_syncs_;
    synced_changed_.NotifyAll();
  }
  co_return done;
}

// Its bytes count no more; what must not hold the journal's tail back is only that it is here.
Task<Status> OpenReplica::RestateDamaged() {
  MORAINE_CO_RETURN_IF_ERROR(context_.CheckWritable());
  const uint64_t frame = context_.journal->Enqueue(RecordOf(RecordKind::kDamaged, 0));
  const Status status = context_.NoteWrite(co_await context_.journal->Committed(frame));
  if (status.ok()) need_.Set(frame);
  co_return status;
}

Task<Status> OpenReplica::Checkpoint() {
  std::optional<AsyncMutex::Lock> lock = co_await file_.Acquire();
  if (damaged_ && !retired_) co_return co_await RestateDamaged();
  MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
  if (rules_.sealed()) co_return Status::Ok();  // Finalize is the way to let go of the journal
  for (int attempt = 1; attempt <= kRestateAttempts; ++attempt) {
    const bool done = co_await TryRestate(/*last=*/attempt == kRestateAttempts);
    if (done) break;
  }
  co_return CheckWritable();
}

// JOURNAL.md rule 4: all of it can be done again, so one flush at the end is enough.
Task<Status> OpenReplica::WriteSealedFile() {
  const uint64_t length = rules_.held();
  const uint64_t full = BlockFloor(length);
  {
    std::optional<AsyncMutex::Lock> lock = co_await flush_.Acquire();
    if (pending_.begin() <= full) {
      pending_.CutAt(full);
    } else {
      pending_ = PendingBytes(full);
    }
    CountDirty();
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await FlushTo(full));
  if (!seal_block_.empty()) {
    Buffer block = Buffer::Allocate(limits::kBlockBytes);
    std::memset(block.data(), 0, block.size());
    std::copy(seal_block_.begin(), seal_block_.end(), block.data());
    PendingBytes::Slice slice;
    slice.pieces.push_back(block.bytes());
    MORAINE_CO_RETURN_IF_ERROR(co_await writer_.WriteBlocks(full, std::move(slice)));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.WriteChecksums(BlocksOf(length)));
  ChunkHeader header = writer_.header();
  header.sealed = true;
  header.sealed_length = length;
  header.epoch = rules_.epoch();
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.WriteHeader(header));
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.Truncate(ChunkFileBytes(length)));
  MORAINE_FAULT_POINT("chunk.before_final_sync");
  co_return co_await writer_.Flush();
}

Task<Status> OpenReplica::Finalize() {
  std::optional<AsyncMutex::Lock> lock = co_await file_.Acquire();
  if (finalized_ || !rules_.sealed()) co_return Status::Ok();
  // A file that shows a cut which the journal then does not know would pass for damage.
  if (seal_frame_ != 0) {
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await context_.journal->Committed(seal_frame_)));
  }
  MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
  const Status status = context_.NoteWrite(co_await WriteSealedFile());
  if (!status.ok()) {
    // Not when the disk went into quarantine for another's error meanwhile.
    if (LosesBytes(status)) MarkDamaged("its file could not be completed");
    co_return status;
  }
  if (retired_) co_return CheckWritable();
  context_.journal->Enqueue(RecordOf(RecordKind::kDone, 0));
  need_.Clear();
  finalized_ = true;
  co_return Status::Ok();
}

Task<Status> OpenReplica::SyncAll() {
  if (rules_.sealed()) co_return co_await Finalize();
  MORAINE_CO_RETURN_IF_ERROR(co_await Created());
  if (rules_.synced() == rules_.held()) co_return Status::Ok();
  MORAINE_CO_ASSIGN_OR_RETURN(auto admission,
                              co_await context_.journal->Admit(limits::kJournalAppendBytesMax));
  co_return co_await MakeDurable(rules_.held());
}

Task<void> OpenReplica::Quiesce() {
  std::optional<AsyncMutex::Lock> file_lock = co_await file_.Acquire();
  std::optional<AsyncMutex::Lock> flush_lock = co_await flush_.Acquire();
}

OpenReplica::ReadPlan OpenReplica::PlanRead(uint64_t offset, uint64_t length,
                                            uint64_t visible) const {
  ReadPlan plan;
  plan.begin = BlockFloor(offset);
  plan.end = std::min(visible, BlockCeil(offset + length));
  plan.cuts = cuts_;
  // Blocks from here on are not taken from the file or from pending bytes, which may be longer.
  const uint64_t whole_end = rules_.sealed() ? BlockFloor(rules_.held()) : UINT64_MAX;
  plan.file_end =
      std::clamp(std::min(pending_.begin(), whole_end), plan.begin, BlockCeil(plan.end));
  plan.memory_end =
      std::clamp(std::min(plan.end, whole_end), plan.file_end, std::max(plan.file_end, plan.end));
  for (uint64_t at = plan.begin; at < plan.file_end; at += limits::kBlockBytes) {
    plan.checksums.push_back(writer_.checksum(at / limits::kBlockBytes));
  }
  return plan;
}

void OpenReplica::FillFromMemory(const ReadPlan& plan, ReadResult& result) const {
  const MutableBytes out = result.bytes.bytes();
  if (plan.memory_end > plan.file_end) {
    pending_.CopyOut(plan.file_end,
                     out.subspan(plan.file_end - plan.begin, plan.memory_end - plan.file_end));
  }
  if (plan.end > plan.memory_end && plan.end > plan.file_end) {
    std::memcpy(out.data() + (plan.memory_end - plan.begin), seal_block_.data(),
                plan.end - plan.memory_end);
  }
}

Task<Status> OpenReplica::FillFromFile(const ReadPlan& plan, ReadResult& result) {
  if (plan.file_end == plan.begin) co_return Status::Ok();
  const MutableBytes out = result.bytes.bytes().first(plan.file_end - plan.begin);
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.ReadBlocks(plan.begin, out));
  for (size_t i = 0; i < plan.checksums.size(); ++i) {
    const ConstBytes block = out.subspan(i * limits::kBlockBytes, limits::kBlockBytes);
    if (BlockChecksum(block) == plan.checksums[i]) continue;
    co_return Status(Code::kCorruption,
                     fmt::format("block at {} of chunk {} does not match its checksum",
                                 plan.begin + i * limits::kBlockBytes, chunk_.value()));
  }
  co_return Status::Ok();
}

Task<Result<ReadResult>> OpenReplica::Read(uint64_t offset, uint64_t length, uint64_t committed) {
  Status status;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    ReadResult result;
    result.sealed = rules_.sealed();
    result.visible = result.sealed
                         ? rules_.held()
                         : std::min(rules_.held(), std::max(rules_.readable(), committed));
    result.offset = BlockFloor(offset);
    if (offset >= result.visible || length == 0) {
      if (result.sealed || length == 0) co_return result;
      co_return Status(Code::kNotCommitted, fmt::format("chunk {} is committed up to {}",
                                                        chunk_.value(), result.visible));
    }
    const ReadPlan plan = PlanRead(offset, length, result.visible);
    result.bytes = Buffer::Allocate(BlockCeil(plan.end) - plan.begin);
    FillFromMemory(plan, result);
    status = co_await FillFromFile(plan, result);
    if (status.ok()) {
      result.bytes.Shrink(plan.end - plan.begin);
      for (uint64_t at = plan.begin; at < plan.end; at += limits::kBlockBytes) {
        const uint64_t size = std::min(limits::kBlockBytes, plan.end - at);
        const bool known = at < plan.file_end && size == limits::kBlockBytes;
        result.checksums.push_back(
            known ? plan.checksums[(at - plan.begin) / limits::kBlockBytes]
                  : BlockChecksum(result.bytes.bytes().subspan(at - plan.begin, size)));
      }
      co_return result;
    }
    // A seal may have rewritten the last block while it was read.
    if (status.code() != Code::kCorruption || plan.cuts == cuts_) break;
  }
  if (status.code() == Code::kCorruption) {
    context_.metrics.checksum_failures.Add();
    MarkDamaged(status.message());
  }
  co_return status;
}

bool OpenReplica::BlockMatches(uint64_t offset, ConstBytes block) const {
  return BlockChecksum(block) == writer_.checksum(offset / limits::kBlockBytes);
}

}  // namespace moraine::chunkserver
