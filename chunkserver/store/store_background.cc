// What the store does by itself: makes room in memory and in the journal, completes sealed files,
// empties the trash, scrubs.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/loop/run_bounded.h"
#include "chunkserver/store/store.h"

namespace moraine::chunkserver {
namespace {

constexpr Duration kTick = std::chrono::seconds(1);
constexpr uint64_t kScrubPieceBytes = 1_MiB;

}  // namespace

void Store::RefreshSpace() {
  const auto space = loop_.disk().Space(context_->options.dir);
  if (space.ok()) space_ = *space;
}

Task<void> Store::RunKeeper() {
  Instant next_tick = loop_.After(kTick);
  while (!closing_.is_set()) {
    co_await wake_.Wait(next_tick);
    wake_.Reset();
    if (closing_.is_set() || context_->quarantined()) {
      if (closing_.is_set()) co_return;
      next_tick = loop_.After(kTick);
      continue;
    }
    if (context_->DirtyPressure()) co_await RelieveMemory();
    if (context_->journal->UnderPressure()) co_await RelieveJournal();
    if (loop_.Now() < next_tick) continue;
    RefreshSpace();
    co_await RetryFinalizing();
    co_await EmptyTrash();
    DropTombstones();
    TellIdle();
    next_tick = loop_.After(kTick);
  }
}

// Writes whole blocks of the replicas that have the most of them.
Task<void> Store::RelieveMemory() {
  std::vector<std::pair<uint64_t, std::shared_ptr<OpenReplica>>> most;
  for (const auto& [chunk, entry] : index_) {
    if (entry.open == nullptr || entry.open->flushable_bytes() == 0) continue;
    most.emplace_back(entry.open->flushable_bytes(), entry.open);
  }
  std::sort(most.begin(), most.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Job> jobs;
  for (auto& [bytes, replica] : most) {
    jobs.push_back([replica]() -> Task<void> {
      const Status status = co_await replica->FlushBehind();
      if (status.code() == Code::kNoSpace) {
        MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "{}", status.ToString());
      }
    });
  }
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
}

// Restates whoever needs a frame outside the newest quarter of the journal, oldest first
// (JOURNAL.md rule 5).
Task<void> Store::RelieveJournal() {
  Journal& journal = *context_->journal;
  const uint64_t cutoff = journal.SequenceOfNewest(journal.region_bytes() / 4);
  std::vector<std::pair<uint64_t, std::shared_ptr<OpenReplica>>> oldest;
  for (const auto& [chunk, entry] : index_) {
    if (entry.open == nullptr) continue;
    const uint64_t needed = entry.open->need().sequence();
    if (needed != 0 && needed < cutoff) oldest.emplace_back(needed, entry.open);
  }
  std::sort(oldest.begin(), oldest.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Job> jobs;
  for (auto& [needed, replica] : oldest) {
    jobs.push_back([this, replica]() -> Task<void> {
      const bool finalize = replica->sealed() && !replica->damaged();
      const Status status =
          finalize ? co_await FinalizeAndIndex(replica) : co_await replica->Checkpoint();
      if (!status.ok() && status.code() != Code::kUnknownChunk) {
        MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {}: cannot leave the journal: {}",
                              replica->header().chunk.value(), status.ToString());
      }
    });
  }
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
  co_await RestateTombstones(cutoff);
  journal.PublishTail();
}

Task<void> Store::RestateTombstones(uint64_t cutoff) {
  Journal& journal = *context_->journal;
  std::vector<std::pair<ChunkId, uint64_t>> restated;
  uint64_t last = 0;
  for (auto& [chunk, stone] : tombstones_) {
    if (stone.need.sequence() >= cutoff) continue;
    last = journal.Enqueue({RecordKind::kTombstone, chunk, stone.incarnation, stone.epoch, 0, {}});
    restated.emplace_back(chunk, last);
  }
  if (restated.empty()) co_return;
  const Status status = co_await journal.Committed(last);
  if (!status.ok()) co_return;
  for (const auto& [chunk, frame] : restated) {
    const auto stone = tombstones_.find(chunk);
    if (stone != tombstones_.end() && stone->second.need.sequence() < frame) {
      stone->second.need.Set(frame);
    }
  }
}

void Store::DropTombstones() {
  for (auto stone = tombstones_.begin(); stone != tombstones_.end();) {
    // While the file of a deleted replica has its name, the record must stay.
    if (stone->second.until > loop_.Now() || changing_.contains(stone->first)) {
      ++stone;
      continue;
    }
    context_->journal->Enqueue(
        {RecordKind::kDone, stone->first, stone->second.incarnation, stone->second.epoch, 0, {}});
    stone = tombstones_.erase(stone);
  }
}

// Who seals a chunk tells its servers, but not for ever: the answer to the report tells them again.
void Store::TellIdle() {
  const Duration period = context_->options.idle_report;
  // All chunks are looked at: not at each tick.
  if (open_count_ == 0 || loop_.Now() - idle_looked_ < period / 4) return;
  idle_looked_ = loop_.Now();
  for (const auto& [chunk, entry] : index_) {
    OpenReplica* open = entry.open.get();
    if (open == nullptr || open->sealed() || open->damaged()) continue;
    if (loop_.Now() - open->idle_since() < period) continue;
    open->NoteTold();
    NoteChanged(chunk);
  }
}

Task<void> Store::RetryFinalizing() {
  std::vector<std::shared_ptr<OpenReplica>> sealed;
  for (const auto& [chunk, entry] : index_) {
    if (entry.open != nullptr && entry.open->sealed() && !entry.open->damaged()) {
      sealed.push_back(entry.open);
    }
  }
  for (const auto& replica : sealed) {
    const Status status = co_await FinalizeAndIndex(replica);
    if (status.code() == Code::kNoSpace) break;  // the others wait for room too
  }
}

// When space runs out, nothing waits for its grace time to pass.
Task<void> Store::EmptyTrash() {
  const bool tight = space_.free_bytes < context_->options.reserve_bytes;
  std::vector<std::string> due;
  for (const auto& [name, at] : trash_) {
    if (tight || at <= loop_.Now()) due.push_back(name);
  }
  for (const std::string& name : due) {
    const Status status = co_await loop_.disk().Remove(context_->PathOf(name));
    if (!status.ok() && status.code() != Code::kNotFound) {
      context_->NoteWrite(status).Ignore();
      co_return;
    }
    trash_.erase(name);
  }
  if (!due.empty()) RefreshSpace();
}

Task<Status> Store::ScrubReplica(SealedReplica replica) {
  const uint64_t rate = context_->options.scrub_bytes_per_second;
  // Reads bear a header that is damaged; the next start would find it, perhaps as the last one.
  MORAINE_CO_RETURN_IF_ERROR(co_await reader_.VerifyHeader(replica));
  for (uint64_t at = 0; at < replica.length; at += kScrubPieceBytes) {
    const Instant begin = loop_.Now();
    const Status status = co_await reader_.Verify(replica, at, kScrubPieceBytes);
    if (!status.ok()) co_return status;
    context_->metrics.scrubbed_bytes.Add(std::min(kScrubPieceBytes, replica.length - at));
    if (rate == 0) continue;
    const auto share = std::chrono::nanoseconds(std::chrono::seconds(1)) * kScrubPieceBytes / rate;
    const bool closing = co_await closing_.Wait(begin + share);
    if (closing) co_return Status(Code::kCanceled, "the store is closing");
  }
  co_return Status::Ok();
}

Task<void> Store::ScrubOnce() {
  ChunkId last;
  while (!closing_.is_set()) {
    auto next = index_.upper_bound(last);
    while (next != index_.end() && (next->second.open != nullptr || next->second.sealed.damaged))
      ++next;
    if (next == index_.end()) co_return;
    last = next->first;
    const SealedReplica replica = next->second.sealed;
    const Status status = co_await ScrubReplica(replica);
    const auto now = index_.find(last);
    const bool same = now != index_.end() && now->second.open == nullptr &&
                      now->second.sealed.incarnation == replica.incarnation;
    if (status.ok() || !same) continue;
    if (!LosesBytes(status)) {
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {}: not scrubbed: {}", last.value(),
                            status.ToString());
      continue;
    }
    LogError("chunk {}: the scrubber found its replica damaged: {}", last.value(),
             status.message());
    context_->metrics.checksum_failures.Add();
    now->second.sealed.damaged = true;
    reader_.Forget(replica);
    NoteChanged(last);
  }
}

Task<void> Store::RunScrubber() {
  if (context_->options.scrub_bytes_per_second == 0) co_return;
  while (true) {
    const bool closing = co_await closing_.Wait(loop_.After(context_->options.scrub_pause));
    if (closing) co_return;
    co_await ScrubOnce();
  }
}

}  // namespace moraine::chunkserver
