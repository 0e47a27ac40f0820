#include "chunkserver/store/store_context.h"

#include <algorithm>

#include "base/log.h"

namespace moraine::chunkserver {

StoreMetrics::StoreMetrics(MetricRegistry& r)
    : registry(r),
      appends(r.GetCounter("moraine_appends_total", "Appends accepted.")),
      append_bytes(r.GetCounter("moraine_append_bytes_total", "Bytes of accepted appends.")),
      syncs(r.GetCounter("moraine_syncs_total", "Appends and calls that asked for durability.")),
      file_syncs(r.GetCounter("moraine_file_syncs_total", "Flushes of chunk files.")),
      flush_bytes(r.GetCounter("moraine_flush_bytes_total", "Bytes written to chunk files.")),
      checkpoints(r.GetCounter("moraine_checkpoints_total", "Replicas restated in the journal.")),
      reads(r.GetCounter("moraine_reads_total", "Calls that read a replica.")),
      read_bytes(r.GetCounter("moraine_read_bytes_total", "Bytes read from replicas.")),
      checksum_failures(r.GetCounter("moraine_checksum_failures_total",
                                     "Blocks that did not match their checksum.")),
      scrubbed_bytes(
          r.GetCounter("moraine_scrubbed_bytes_total", "Bytes verified in the background.")),
      dirty_bytes(r.GetGauge("moraine_dirty_bytes", "Whole blocks that are in memory only.")),
      open_replicas(r.GetGauge("moraine_open_replicas", "Replicas that are open.")),
      replicas(r.GetGauge("moraine_replicas", "Replicas that this server has, open and sealed.")),
      append_time(r.GetHistogram("moraine_append_seconds", "Time of appends without sync.")),
      sync_time(r.GetHistogram("moraine_append_sync_seconds", "Time of appends with sync.")),
      read_time(r.GetHistogram("moraine_read_seconds", "Time of calls that read a replica.")) {}

Status StoreContext::CheckWritable() const {
  if (quarantine.ok()) return Status::Ok();
  return {Code::kQuarantined, "the disk takes no more writes: " + quarantine.message()};
}

void StoreContext::Quarantine(const Status& why) {
  if (!quarantine.ok()) return;
  quarantine = why;
  LogError("store {}: {}; in quarantine, reads only", options.dir, why.ToString());
  room.NotifyAll();
  if (journal != nullptr) journal->Recheck();
}

Status StoreContext::CheckMayWait() const {
  MORAINE_RETURN_IF_ERROR(CheckWritable());
  if (disk_full) return {Code::kNoSpace, "the disk is full"};
  return Status::Ok();
}

Status StoreContext::NoteWrite(Status status) {
  switch (status.code()) {
    case Code::kOk:
      disk_full = false;
      break;
    case Code::kNoSpace:
      disk_full = true;
      room.NotifyAll();
      if (journal != nullptr) journal->Recheck();
      break;
    case Code::kCanceled:
    case Code::kOverloaded:
    case Code::kCorruption:
    case Code::kUnknownChunk:
    case Code::kQuarantined:
      break;
    default:
      Quarantine(status);
  }
  return status;
}

Status OutcomeOfSync(Status status) {
  if (status.code() != Code::kNoSpace) return status;
  return {Code::kIo, status.message()};
}

bool LosesBytes(const Status& status) {
  return status.code() == Code::kIo || status.code() == Code::kCorruption;
}

void StoreContext::AddDirty(int64_t bytes) {
  dirty_bytes = static_cast<uint64_t>(static_cast<int64_t>(dirty_bytes) + bytes);
  metrics.dirty_bytes.Set(static_cast<int64_t>(dirty_bytes));
  if (bytes < 0) {
    room.NotifyAll();
  } else if (bytes > 0 && DirtyPressure()) {
    on_pressure();
  }
}

Status StoreContext::CheckInTime(Instant deadline) const {
  return loop.Now() < deadline ? Status::Ok() : TooLate();
}

Task<Status> StoreContext::WaitForRoom(uint64_t bytes, Instant deadline) {
  while (dirty_bytes + bytes > options.dirty_bytes_max && dirty_bytes > 0) {
    MORAINE_CO_RETURN_IF_ERROR(CheckMayWait());
    ++waiting_for_room;
    on_pressure();
    const bool woken = co_await room.Wait(deadline);
    --waiting_for_room;
    if (!woken) co_return TooLate();
  }
  co_return Status::Ok();
}

}  // namespace moraine::chunkserver
