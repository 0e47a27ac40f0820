#include "protocol/sim/metaserver.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace moraine::protocol::sim {

using Kind = Message::Kind;
using Phase = SealProcedure::Phase;

int Metaserver::MakeChunk(int writer, uint64_t file_start) {
  std::vector<int> servers;
  for (size_t i = 0; i < context_.servers.size(); ++i) {
    if (context_.servers[i].Answers()) servers.push_back(static_cast<int>(i));
  }
  context_.random.Shuffle(servers);
  int made = std::min(static_cast<int>(servers.size()), context_.knobs.policy.n);
  Result<MadePolicy> policy = context_.knobs.policy.ForMade(made);
  if (!policy.ok()) return -1;
  if (made < context_.knobs.policy.n) ++context_.stats.degraded;
  servers.resize(made);
  int index = static_cast<int>(context_.chunks.size());
  Chunk& chunk = context_.chunks.emplace_back();
  chunk.servers = servers;
  chunk.file_start = file_start;
  chunk.writer = writer;
  for (int i = 0; i < made; ++i) {
    chunk.replicas.emplace_back(ChunkId(static_cast<uint64_t>(index) + 1), Epoch(1));
  }
  Store(chunk, ChunkRecord{.state = ChunkState::kOpen,
                           .epoch = Epoch(1),
                           .policy = *policy,
                           .length = context_.knobs.capacity,
                           .good = {}});
  return index;
}

void Metaserver::Store(Chunk& chunk, const ChunkRecord& record) {
  chunk.record = record;
  chunk.history.push_back(record);
}

Metaserver::Attempt* Metaserver::Find(int id) {
  for (auto& attempt : attempts_) {
    if (attempt->id == id) return attempt.get();
  }
  return nullptr;
}

void Metaserver::Begin(int chunk_index, bool fence) {
  Chunk& chunk = context_.chunks[chunk_index];
  if (fence) {
    Result<ChunkRecord> fencing = BeginFencing(chunk.record);
    if (!fencing.ok()) return;
    Store(chunk, *fencing);
  }
  ChunkRecord start = chunk.record;
  if (context_.mutant == Mutant::kForgetClosedLength && fence) start.length = kCapacityMax;
  if (context_.mutant == Mutant::kRecoverOneFewer && fence && start.policy.f() > 1) {
    ++start.policy.w;  // f = made - w + 1
  }
  auto attempt = std::make_unique<Attempt>(
      Attempt{.id = next_attempt_++,
              .chunk = chunk_index,
              .procedure = SealProcedure(ChunkId(static_cast<uint64_t>(chunk_index) + 1), start)});
  context_.Trace(fmt::format("recovery {} of chunk {} at epoch {}", attempt->id, chunk_index,
                             start.epoch.value()));
  attempts_.push_back(std::move(attempt));
  Execute(*attempts_.back(), attempts_.back()->procedure.TakeRequests());
}

void Metaserver::Execute(Attempt& attempt, const std::vector<SealRequest>& requests) {
  for (const SealRequest& request : requests) {
    Message message{.chunk = attempt.chunk,
                    .replica = request.replica,
                    .attempt = attempt.id,
                    .source = request.source,
                    .epoch = attempt.procedure.epoch(),
                    .offset = request.from,
                    .length = request.length};
    switch (request.kind) {
      case SealRequest::Kind::kFence:
        message.kind = Kind::kFence;
        break;
      case SealRequest::Kind::kHold:
        message.kind = Kind::kHold;
        break;
      case SealRequest::Kind::kCopy:
        message.kind = Kind::kCopyFrom;
        break;
      case SealRequest::Kind::kRecord:
        message.kind = Kind::kRecord;
        break;
      case SealRequest::Kind::kSeal:
        message.kind = Kind::kSeal;
        break;
    }
    context_.Send(message);
    if (message.kind == Kind::kHold && context_.mutant == Mutant::kRecordBeforeHold) {
      message.kind = Kind::kHeld;
      context_.Send(message);
    }
  }
}

void Metaserver::Deliver(const Message& message) {
  if (message.kind == Kind::kClose) return OnClose(message);
  Attempt* attempt = Find(message.attempt);
  if (attempt == nullptr) return;
  SealProcedure& procedure = attempt->procedure;
  switch (message.kind) {
    case Kind::kFenceAnswer:
      procedure.OnFenceAnswer(
          message.replica,
          {.length = message.length, .synced = message.synced, .restarted = message.restarted});
      if (context_.mutant == Mutant::kImpatient && message.restarted && !context_.quiet) {
        procedure.OnPatienceOver();
      }
      break;
    case Kind::kHeld:
      procedure.OnHeld(message.replica);
      break;
    case Kind::kShort:
      procedure.OnShort(message.replica, message.length);
      break;
    case Kind::kCopied:
      procedure.OnCopied(message.replica);
      break;
    case Kind::kSealFailed:
      procedure.OnFailed(message.replica);
      break;
    case Kind::kRecord:
      OnRecord(*attempt);
      break;
    default:
      context_.Violated("a message for someone else");
  }
  Execute(*attempt, procedure.TakeRequests());
  Reap();
}

void Metaserver::OnClose(const Message& message) {
  Chunk& chunk = context_.chunks[message.chunk];
  Message answer = message;
  CloseRequest request{
      .epoch = message.epoch, .length = message.length, .holders = message.holders};
  if (context_.mutant == Mutant::kCloseAnyEpoch && chunk.record.state == ChunkState::kFencing) {
    request.epoch = chunk.record.epoch;
    chunk.record.state = ChunkState::kOpen;
  }
  Result<ChunkRecord> closed = CloseByWriter(chunk.record, request);
  answer.kind = Kind::kCloseRefused;
  if (!closed.ok()) {
    ++context_.stats.late_closes;
    return context_.Send(answer);
  }
  bool first = chunk.record.state == ChunkState::kOpen;
  if (first) {
    Store(chunk, *closed);
    ++context_.stats.closes;
    context_.Trace(fmt::format("chunk {} closed at {}", message.chunk, closed->length));
    Begin(message.chunk, /*fence=*/false);
  }
  if (chunk.next < 0 && message.writer == owner_) {
    int next = MakeChunk(message.writer, chunk.file_start + closed->length);
    context_.chunks[message.chunk].next = next;
  }
  answer.next = context_.chunks[message.chunk].next;
  if (answer.next >= 0) {
    answer.kind = Kind::kClosed;
  } else if (message.writer == owner_) {
    return;  // too few servers: the writer asks again
  }
  context_.Send(answer);
}

void Metaserver::OnRecord(Attempt& attempt) {
  if (attempt.procedure.phase() != Phase::kRecording) return;
  Chunk& chunk = context_.chunks[attempt.chunk];
  uint64_t length = attempt.procedure.length();
  if (context_.mutant == Mutant::kSealOneShort && length > 0) --length;
  Epoch epoch = attempt.procedure.epoch();
  if (context_.mutant == Mutant::kRecordSuperseded) {
    epoch = chunk.record.epoch;
    if (chunk.record.state == ChunkState::kClosed) chunk.record.state = ChunkState::kFencing;
  }
  if (context_.mutant == Mutant::kForgetClosedLength ||
      context_.mutant == Mutant::kRecordSuperseded || context_.mutant == Mutant::kSealOneShort ||
      context_.mutant == Mutant::kCloseAnyEpoch) {
    // The record's own assertions would stop these mutants before the oracle sees them.
    if (chunk.record.state == ChunkState::kSealed) return attempt.procedure.OnRecorded();
    CheckSeal(attempt, chunk, length);
    ChunkRecord any = chunk.record;
    any.state = ChunkState::kFencing;
    any.length = kCapacityMax;
    chunk.record = any;
  }
  bool again = chunk.record.state == ChunkState::kSealed;
  ChunkRecord before = chunk.record;
  Result<ChunkRecord> sealed = RecordSealed(chunk.record, epoch, length, attempt.procedure.good());
  if (!sealed.ok()) {
    ++context_.stats.overtaken;
    attempt.id = -1;
    return;
  }
  if (!again) {
    CheckSeal(attempt, chunk, length);
    Store(chunk, *sealed);
    ++context_.stats.seals;
    if (before.state == ChunkState::kClosed) {
      ++context_.stats.settled;
      context_.Send({.kind = Kind::kSettled,
                     .chunk = attempt.chunk,
                     .writer = chunk.writer,
                     .length = length,
                     .holders = sealed->good});
    }
    context_.Trace(fmt::format("chunk {} sealed at {} by {}", attempt.chunk, length, attempt.id));
  }
  attempt.procedure.OnRecorded();
}

void Metaserver::CheckSeal(const Attempt& attempt, Chunk& chunk, uint64_t length) {
  if (length > chunk.record.length) {
    return context_.Violated("sealed past the length at which the next chunk begins");
  }
  if (length < chunk.synced) return context_.Violated("a seal cuts synced bytes");
  if (length > chunk.written) return context_.Violated("sealed past what was written");
  if (attempt.procedure.last_resort()) {
    ++context_.stats.last_resorts;
    bool excused = attempt.over_budget || context_.Lost(chunk) > chunk.record.policy.FailuresMax();
    if (length < chunk.committed && !excused) {
      return context_.Violated("a last resort cuts committed bytes that others held");
    }
    // From here on those bytes are gone, and others may be written in their place.
    chunk.cut = true;
    uint64_t end = std::min<uint64_t>(seen_.size(), chunk.file_start + chunk.record.length);
    for (uint64_t i = chunk.file_start + length; i < end; ++i) seen_[i] = -1;
    return;
  }
  if (length < chunk.committed) context_.Violated("a seal cuts acknowledged bytes");
}

void Metaserver::TakeOver() {
  if (!taking_over_) ++context_.stats.takeovers;
  taking_over_ = true;
  owner_ = -1;
  for (size_t i = 0; i < context_.chunks.size(); ++i) Begin(static_cast<int>(i), /*fence=*/true);
}

bool Metaserver::TakeOverDone(uint64_t* file_length) {
  if (!taking_over_) return false;
  *file_length = 0;
  for (const Chunk& chunk : context_.chunks) {
    if (chunk.record.state != ChunkState::kSealed) return false;
    *file_length = chunk.file_start + chunk.record.length;
  }
  taking_over_ = false;
  return true;
}

// Whether so many replicas are lost or out of reach that acknowledged bytes may be lost.
bool Metaserver::OverBudget(const Chunk& chunk) const {
  int failed = 0;
  for (size_t i = 0; i < chunk.replicas.size(); ++i) {
    bool answers = context_.servers[chunk.servers[i]].Answers();
    if (!answers || chunk.replicas[i].restarted) ++failed;
  }
  return failed > chunk.record.policy.FailuresMax();
}

void Metaserver::Timer(Attempt& attempt) {
  SealProcedure& procedure = attempt.procedure;
  Chunk& chunk = context_.chunks[attempt.chunk];
  for (size_t i = 0; i < chunk.replicas.size(); ++i) {
    if (context_.ServerOf(chunk, i).dead && context_.random.OneIn(2)) {
      procedure.OnFailed(static_cast<int>(i));
    }
  }
  switch (context_.random.Uniform(4)) {
    case 0:
      // Once, as a clock strikes: what comes later must not need another stroke.
      if (!std::exchange(attempt.fence_deadline_over, true)) procedure.OnFenceDeadline();
      break;
    case 1:
      // Patience is long: it ends only when nobody who could answer is just slow.
      if (procedure.phase() == Phase::kFencing) {
        attempt.over_budget = OverBudget(chunk);
        if (!attempt.over_budget) break;
      }
      procedure.OnPatienceOver();
      break;
    default:
      Execute(attempt, procedure.Outstanding());
      break;
  }
  Execute(attempt, procedure.TakeRequests());
}

// Attempts that are over are dropped; what they left undone is begun again.
void Metaserver::Reap() {
  std::erase_if(attempts_, [this](const std::unique_ptr<Attempt>& attempt) {
    Phase phase = attempt->procedure.phase();
    if (phase == Phase::kFailed) ++context_.stats.failed_attempts;
    return attempt->id < 0 || phase == Phase::kSealed || phase == Phase::kFailed;
  });
}

void Metaserver::Adopt() {
  for (size_t i = 0; i < context_.chunks.size(); ++i) {
    const ChunkRecord& record = context_.chunks[i].record;
    if (record.state != ChunkState::kClosed && record.state != ChunkState::kFencing) continue;
    bool has_attempt = std::any_of(attempts_.begin(), attempts_.end(), [&](const auto& attempt) {
      return attempt->chunk == static_cast<int>(i) && attempt->procedure.epoch() == record.epoch;
    });
    if (has_attempt) continue;
    bool fence = record.state == ChunkState::kFencing || context_.random.OneIn(2);
    Begin(static_cast<int>(i), fence);
  }
}

void Metaserver::Tick() {
  if (!attempts_.empty() && !context_.random.OneIn(4)) {
    Timer(*context_.random.Pick(attempts_));
  } else {
    Adopt();
  }
  Reap();
}

void Metaserver::TickAll() {
  for (size_t i = 0; i < attempts_.size(); ++i) Timer(*attempts_[i]);
  Reap();
  Adopt();
}

std::string Metaserver::Unsealed() const {
  for (size_t i = 0; i < context_.chunks.size(); ++i) {
    const ChunkRecord& record = context_.chunks[i].record;
    if (record.state == ChunkState::kSealed) continue;
    return fmt::format("chunk {} is in state {} at epoch {}", i, static_cast<int>(record.state),
                       record.epoch.value());
  }
  return "";
}

}  // namespace moraine::protocol::sim
