#include "chunkserver/store/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/fault_point.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kFillBytes = 1ULL << 20;
// What a record may cost besides its bytes: it may be alone in its frame.
constexpr uint64_t kAdmissionOverhead = 2 * kPageBytes;

}  // namespace

Task<Status> Journal::Create(Loop& loop, std::string path, uint64_t id, uint64_t region_bytes) {
  OpenOptions options;
  options.write = options.create = options.exclusive = options.direct = true;
  MORAINE_CO_ASSIGN_OR_RETURN(std::unique_ptr<File> file, co_await loop.disk().Open(path, options));
  // Real zeros, not a promise of zeros: a write into unwritten extents would commit the file
  // system's own journal each time.
  Buffer zeros = Buffer::Allocate(kFillBytes);
  std::memset(zeros.data(), 0, zeros.size());
  for (uint64_t at = 0; at < region_bytes; at += kFillBytes) {
    const ConstBytes piece = zeros.bytes().first(std::min(kFillBytes, region_bytes - at));
    MORAINE_CO_RETURN_IF_ERROR(
        co_await file->WriteAt(kJournalPrefixBytes + at, std::span(&piece, 1)));
  }
  Buffer page = Buffer::Allocate(kPageBytes);
  EncodeJournalHeader({id, region_bytes}, page.bytes());
  const ConstBytes header = page.bytes();
  MORAINE_CO_RETURN_IF_ERROR(co_await file->WriteAt(0, std::span(&header, 1)));
  co_return co_await file->Sync();
}

Journal::Journal(Loop& loop, std::unique_ptr<File> file, const JournalScan& scan,
                 MetricRegistry& metrics)
    : loop_(loop),
      file_(std::move(file)),
      header_(scan.header),
      next_sequence_(scan.next_sequence),
      committed_sequence_(scan.next_sequence - 1),
      head_position_(scan.next_position),
      durable_tail_(scan.live.empty() ? scan.next_sequence : scan.live.front().sequence),
      queued_(loop),
      space_(loop),
      tasks_(loop),
      commits_(metrics.GetCounter("moraine_journal_commits_total", "Writes to the journal.")),
      bytes_(metrics.GetCounter("moraine_journal_bytes_total", "Bytes written to the journal.")),
      records_per_commit_(metrics.GetHistogram("moraine_journal_records_per_commit",
                                               "Records that one write made durable.", {},
                                               Histogram::Unit::kCount)),
      commit_time_(metrics.GetHistogram("moraine_journal_commit_seconds",
                                        "Time of one write to the journal.")),
      used_(metrics.GetGauge("moraine_journal_used_bytes", "Bytes of the journal in use.")) {
  for (const FrameHeader& frame : scan.live) live_.push_back({frame.sequence, frame.position});
}

Journal::~Journal() = default;

void Journal::Start(std::function<uint64_t()> oldest_needed, std::function<void()> on_pressure,
                    std::function<void(const Status&)> on_failure,
                    std::function<Status()> may_wait) {
  oldest_needed_ = std::move(oldest_needed);
  on_pressure_ = std::move(on_pressure);
  on_failure_ = std::move(on_failure);
  may_wait_ = std::move(may_wait);
  tasks_.Spawn(RunWriter());
}

Task<void> Journal::Close() {
  closing_ = true;
  queued_.NotifyAll();
  space_.NotifyAll();
  tasks_.Close();
  co_await tasks_.Drain();
}

Journal::Admission::~Admission() {
  if (journal_ == nullptr) return;
  journal_->admitted_bytes_ -= bytes_;
  if (!journal_->admission_line_.empty()) journal_->space_.NotifyAll();
}

Status TooLate() {
  return {Code::kOverloaded, "the caller's time was over before its turn came; nothing was done"};
}

Task<Result<Journal::Admission>> Journal::Admit(uint64_t bytes, Instant deadline) {
  const uint64_t need = bytes + kAdmissionOverhead;
  if (!failure_.ok()) co_return failure_;
  if (admission_line_.empty() && used_bytes() + admitted_bytes_ + need <= admitted_limit()) {
    admitted_bytes_ += need;
    co_return Admission(this, need);
  }
  ListNode place;
  admission_line_.PushBack(place);
  while (&admission_line_.front() != &place ||
         used_bytes() + admitted_bytes_ + need > admitted_limit()) {
    if (!failure_.ok()) co_return failure_;
    if (closing_) co_return Status(Code::kCanceled, "the store is closing");
    MORAINE_CO_RETURN_IF_ERROR(may_wait_());
    on_pressure_();
    const bool woken = co_await space_.Wait(deadline);
    if (woken) continue;
    place.Unlink();
    space_.NotifyAll();  // for the next in line
    co_return TooLate();
  }
  place.Unlink();
  space_.NotifyAll();  // for the next in line
  admitted_bytes_ += need;
  co_return Admission(this, need);
}

std::optional<Journal::Admission> Journal::TryAdmitDeletion(uint64_t kept_bytes) {
  const uint64_t kept = std::max(kept_bytes, region_bytes() / 8);
  if (!failure_.ok() || closing_) return std::nullopt;
  if (used_bytes() + admitted_bytes_ + kAdmissionOverhead + kept > region_bytes()) {
    return std::nullopt;
  }
  admitted_bytes_ += kAdmissionOverhead;
  return Admission(this, kAdmissionOverhead);
}

std::shared_ptr<Journal::Frame> Journal::OpenFrame() {
  auto frame = std::make_shared<Frame>(loop_, next_sequence_++, FrameBytesMax(region_bytes()));
  queue_.push_back(frame);
  queued_.NotifyAll();
  return frame;
}

uint64_t Journal::Enqueue(const JournalRecord& record, std::span<const ConstBytes> bytes) {
  if (queue_.empty()) OpenFrame();
  if (!queue_.back()->builder.Add(record, bytes)) {
    const bool fits = OpenFrame()->builder.Add(record, bytes);
    MORAINE_CHECK(fits, "a journal record is larger than a frame");
  }
  return queue_.back()->sequence;
}

Task<Status> Journal::Committed(uint64_t sequence) {
  if (sequence <= committed_sequence_) co_return Status::Ok();
  if (!failure_.ok()) co_return failure_;
  std::shared_ptr<Frame> frame;
  if (writing_ != nullptr && writing_->sequence == sequence) frame = writing_;
  for (const auto& queued : queue_) {
    if (queued->sequence == sequence) frame = queued;
  }
  MORAINE_CHECK(frame != nullptr, "a journal frame that was never opened");
  co_await frame->done.Wait();
  if (sequence <= committed_sequence_) co_return Status::Ok();
  co_return failure_;
}

uint64_t Journal::used_bytes() const {
  return live_.empty() ? 0 : head_position_ - live_.front().position;
}

uint64_t Journal::SequenceOfNewest(uint64_t bytes) const {
  for (const LiveFrame& frame : live_) {
    if (frame.position + bytes >= head_position_) return frame.sequence;
  }
  return next_sequence_;
}

void Journal::PublishTail() {
  if (!queue_.empty() || writing_ != nullptr || !failure_.ok() || closing_) return;
  if (live_.empty() || oldest_needed_() <= durable_tail_) return;
  OpenFrame();
}

Task<void> Journal::RunWriter() {
  while (true) {
    if (queue_.empty()) {
      if (closing_) co_return;
      co_await queued_.Wait();
      continue;
    }
    writing_ = std::move(queue_.front());
    queue_.pop_front();
    const Status status = failure_.ok() ? co_await WriteFrame(*writing_) : failure_;
    if (!status.ok() && failure_.ok()) Fail(status);
    writing_->done.Set();
    writing_ = nullptr;
    space_.NotifyAll();
    if (failure_.ok() && UnderPressure()) on_pressure_();
  }
}

Task<Status> Journal::WriteFrame(Frame& frame) {
  const uint64_t region = header_.region_bytes;
  const uint64_t bytes = frame.builder.frame_bytes();
  uint64_t position = head_position_;
  if (position % region + bytes > region) position = (position / region + 1) * region;
  // JOURNAL.md rule 5 keeps room; were it broken, needed frames must still not be overwritten.
  if (!live_.empty() && position + bytes - live_.front().position > region) {
    co_return Status(Code::kNoSpace, "the journal is full of records that are still needed");
  }
  const uint64_t tail = std::min(oldest_needed_(), frame.sequence);
  MORAINE_CHECK(tail >= durable_tail_ || live_.empty(), "the journal's tail went back");
  const ConstBytes piece = frame.builder.Finish(header_.id, frame.sequence, position, tail);
  const Instant begin = loop_.Now();
  MORAINE_CO_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("journal.write"));
  const Status status =
      co_await file_->WriteAt(kJournalPrefixBytes + position % region, std::span(&piece, 1));
  if (!status.ok()) co_return status;
  live_.push_back({frame.sequence, position});
  head_position_ = position + bytes;
  committed_sequence_ = frame.sequence;
  durable_tail_ = tail;
  while (live_.front().sequence < tail) live_.pop_front();
  commits_.Add();
  bytes_.Add(bytes);
  records_per_commit_.Record(frame.builder.records());
  commit_time_.RecordTime(loop_.Now() - begin);
  used_.Set(static_cast<int64_t>(used_bytes()));
  MORAINE_FAULT_POINT("journal.written");
  co_return Status::Ok();
}

void Journal::Fail(Status why) {
  failure_ = Status(Code::kIo, "journal: " + why.message());
  on_failure_(failure_);
}

}  // namespace moraine::chunkserver
