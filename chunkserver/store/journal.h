// The writer of the journal (JOURNAL.md): many records, one write.
//
// Owns the journal's file. Records are queued by Enqueue without waiting, in the order of the
// calls; one write is in flight and everything queued meanwhile goes into the next. A record is
// durable when Committed of its sequence returns Ok. The first failed write fails everything from
// then on: nothing is ever tried again.
//
// Confined to one loop. Close (which writes what is queued) before destruction, except for a killed
// process, whose coroutines are gone.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "chunkserver/store/journal_format.h"
#include "chunkserver/store/journal_scan.h"

namespace moraine::chunkserver {

// The answer to a caller whose deadline passed while it waited at the door.
Status TooLate();

class Journal {
 public:
  // Makes the file, full of zeros, and flushes it; the caller syncs the directory. Costs one write
  // of the whole size. Errors: kAlreadyExists, kNoSpace, kIo.
  static Task<Status> Create(Loop& loop, std::string path, uint64_t id, uint64_t region_bytes);

  // Goes on behind what `scan` found.
  Journal(Loop& loop, std::unique_ptr<File> file, const JournalScan& scan, MetricRegistry& metrics);
  ~Journal();

  // `oldest_needed` gives the sequence of the oldest frame that somebody needs, or next_sequence().
  // `on_pressure` is called when space runs short; it may be called often. `on_failure` is called
  // once, by the first write that fails. `may_wait` says why nobody should wait for space, if so.
  void Start(std::function<uint64_t()> oldest_needed, std::function<void()> on_pressure,
             std::function<void(const Status&)> on_failure, std::function<Status()> may_wait);
  Task<void> Close();

  // Room for `bytes` in records, held until it is dropped (after the commit). Waits in the order of
  // asking while the journal is too full. Errors: those of an earlier failed write, of may_wait;
  // kOverloaded: not before the deadline.
  class [[nodiscard]] Admission {
   public:
    Admission() = default;
    Admission(Journal* journal, uint64_t bytes) : journal_(journal), bytes_(bytes) {}
    Admission(Admission&& other) noexcept
        : journal_(std::exchange(other.journal_, nullptr)),
          bytes_(std::exchange(other.bytes_, 0)) {}
    Admission& operator=(Admission&& other) noexcept {
      std::swap(journal_, other.journal_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Admission();

   private:
    Journal* journal_ = nullptr;
    uint64_t bytes_ = 0;
  };
  Task<Result<Admission>> Admit(uint64_t bytes, Instant deadline = kNever);
  // Room for the record of a deletion, out of the last quarter, for when Admit refuses because the
  // disk is full: nothing else makes room there. An eighth stays, and at least `kept_bytes`, which
  // restating may need. Nothing: not now.
  std::optional<Admission> TryAdmitDeletion(uint64_t kept_bytes);
  // Those who wait ask `may_wait` again.
  void Recheck() { space_.NotifyAll(); }

  // Queues a record and returns the sequence of its frame. `bytes` are copied.
  uint64_t Enqueue(const JournalRecord& record, std::span<const ConstBytes> bytes = {});
  uint64_t Enqueue(const JournalRecord& record, ConstBytes bytes) {
    return Enqueue(record, std::span<const ConstBytes>(&bytes, 1));
  }
  // Ok: the frame `sequence` is on the disk.
  Task<Status> Committed(uint64_t sequence);

  // Queues an empty frame, if nothing is queued and it would free space.
  void PublishTail();

  uint64_t next_sequence() const { return next_sequence_; }
  uint64_t committed_sequence() const { return committed_sequence_; }
  uint64_t region_bytes() const { return header_.region_bytes; }
  uint64_t used_bytes() const;
  // The first frame of the newest `bytes`; whoever needs an older one holds the tail back.
  uint64_t SequenceOfNewest(uint64_t bytes) const;
  bool UnderPressure() const {
    return used_bytes() > region_bytes() / 2 || !admission_line_.empty();
  }
  const Status& failure() const { return failure_; }

 private:
  struct Frame {
    Frame(Loop& loop, uint64_t sequence, uint64_t bytes_max)
        : sequence(sequence), builder(bytes_max), done(loop) {}
    uint64_t sequence;
    FrameBuilder builder;
    Event done;
  };
  struct LiveFrame {
    uint64_t sequence;
    uint64_t position;
  };

  Task<void> RunWriter();
  Task<Status> WriteFrame(Frame& frame);
  void Fail(Status why);
  std::shared_ptr<Frame> OpenFrame();
  uint64_t admitted_limit() const { return region_bytes() / 4 * 3; }

  // Constant after construction.
  Loop& loop_;
  const std::unique_ptr<File> file_;
  const JournalHeader header_;
  std::function<uint64_t()> oldest_needed_;
  std::function<void()> on_pressure_;
  std::function<void(const Status&)> on_failure_;
  std::function<Status()> may_wait_;

  std::deque<std::shared_ptr<Frame>> queue_;  // the last one still takes records
  std::shared_ptr<Frame> writing_;
  uint64_t next_sequence_;       // of the next frame to be opened
  uint64_t committed_sequence_;  // all frames up to here are durable
  uint64_t head_position_;       // where the next frame may begin
  uint64_t durable_tail_;        // as the newest durable frame says
  std::deque<LiveFrame> live_;   // durable frames from durable_tail_ on
  uint64_t admitted_bytes_ = 0;
  Condition queued_;
  Condition space_;
  List<ListNode> admission_line_;
  Status failure_;
  bool closing_ = false;
  TaskGroup tasks_;

  Counter& commits_;
  Counter& bytes_;
  Histogram& records_per_commit_;
  Histogram& commit_time_;
  Gauge& used_;
};

}  // namespace moraine::chunkserver
