#include "metaserver/recovery/sealer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fault_point.h"
#include "base/log.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/losses.h"

namespace moraine::metaserver {

using protocol::SealProcedure;
using protocol::SealRequest;

// One run of the procedure. Its coroutines keep it alive; after `over` they change nothing.
struct Sealer::Attempt {
  Attempt(Loop& loop, ChunkId chunk, const ChunkRecord& record)
      : chunk(chunk), record(record), procedure(chunk, ToProtocol(record)), changed(loop) {}
  const ChunkId chunk;
  const ChunkRecord record;
  SealProcedure procedure;
  Condition changed;
  bool over = false;
  Status full;           // what the last replica said whose disk is full
  bool silence = false;  // others did not answer

  void Failed(int replica, const Status& why) {
    if (why.code() == Code::kNoSpace) full = why;
    procedure.OnFailed(replica);
  }
  // Where the writer of a loose chunk meant its bytes to be, as its replicas were told.
  uint64_t file_offset = kUnknownOffset;

  ServerId server(int replica) const {
    return record.replicas[static_cast<size_t>(replica)].server;
  }
};

namespace {

// Counts a job that waits; also when its frame is destroyed meanwhile.
struct Pausing {
  explicit Pausing(size_t* count) : count(count) { ++*count; }
  ~Pausing() { --*count; }
  Pausing(const Pausing&) = delete;
  size_t* const count;
};

// The outcome is unknown, or may pass: worth asking again.
bool IsSilence(Code code) {
  return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kOverloaded;
}

}  // namespace

Sealer::Sealer(Loop& loop, Store& store, Registry& registry, ChunkserverCalls& calls,
               SealerOptions options, MetricRegistry& metrics, Committed committed)
    : loop_(loop),
      store_(store),
      registry_(registry),
      calls_(calls),
      options_(options),
      committed_(std::move(committed)),
      floor_changed_(loop),
      wake_(loop),
      tasks_(loop),
      sealed_(metrics.GetCounter("moraine_meta_chunks_sealed_total", "Chunks brought to SEALED.")),
      fenced_(metrics.GetCounter("moraine_meta_chunks_fenced_total",
                                 "Attempts to recover a chunk whose writer was gone.")),
      failed_(metrics.GetCounter("moraine_meta_seal_attempts_failed_total",
                                 "Attempts to seal a chunk that must be made again.")),
      time_(metrics.GetHistogram("moraine_meta_seal_seconds",
                                 "From the beginning of a seal to its record.")) {}

Status Sealer::Start() {
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(const auto queued, QueuedSeals(transaction, ChunkId(), SIZE_MAX));
  for (const ChunkId chunk : queued) {
    MORAINE_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, chunk));
    NoteUnsettled(record.inode, chunk);
  }
  MORAINE_ASSIGN_OR_RETURN(const auto below, ChunksBelowFloor(transaction));
  for (const auto& [inode, chunk] : below) NoteBelowFloor(inode, chunk);
  tasks_.Spawn(RunQueue());
  return Status::Ok();
}

void Sealer::Remove(ChunksByFile& chunks, InodeId inode, ChunkId chunk) {
  const auto found = chunks.find(inode);
  if (found == chunks.end()) return;
  found->second.erase(chunk);
  if (found->second.empty()) chunks.erase(found);
}

void Sealer::NoteAtFloor(InodeId inode, ChunkId chunk) {
  Remove(below_floor_, inode, chunk);
  full_for_.erase(chunk);
  floor_changed_.NotifyAll();
}

void Sealer::Close() {
  closing_ = true;
  tasks_.Close();
  wake_.Set();
  floor_changed_.NotifyAll();
}

Task<void> Sealer::Drain() { co_await tasks_.Drain(); }

Task<void> Sealer::RunQueue() {
  while (!closing_) {
    wake_.Reset();
    StartJobs();
    if (!closing_) co_await wake_.Wait(loop_.After(options_.tick));
  }
}

void Sealer::StartJobs() {
  std::vector<ChunkId> due;
  const size_t room = options_.jobs_max - std::min(options_.jobs_max, AtWork());
  for (const auto& [inode, chunks] : unsettled_) {
    for (const ChunkId chunk : chunks) {
      if (due.size() == room) break;
      const auto resting = resting_.find(chunk);
      const bool rests = resting != resting_.end() && resting->second > loop_.Now();
      if (!rests && !jobs_.contains(chunk)) due.push_back(chunk);
    }
  }
  for (const ChunkId chunk : due) StartJob(chunk);
}

std::shared_ptr<Sealer::Job> Sealer::StartJob(ChunkId chunk) {
  std::shared_ptr<Job>& job = jobs_[chunk];
  if (job == nullptr) {
    job = std::make_shared<Job>(loop_);
    const std::shared_ptr<Job> started = job;
    if (!tasks_.Spawn(RunJob(chunk, started))) {
      jobs_.erase(chunk);
      started->result.Set(Status(Code::kCanceled, "the metaserver is stopping"));
    }
    return started;
  }
  return job;
}

Task<Result<uint64_t>> Sealer::Seal(ChunkId chunk, Instant deadline) {
  const std::shared_ptr<Job> job = StartJob(chunk);
  const auto result = co_await job->result.Wait(deadline);
  if (!result.has_value()) {
    co_return Status(Code::kTimeout, fmt::format("chunk {} is not sealed yet", chunk.value()));
  }
  co_return *result;
}

std::set<ChunkId> Sealer::Find(const ChunksByFile& chunks, InodeId inode) {
  const auto found = chunks.find(inode);
  return found == chunks.end() ? std::set<ChunkId>() : found->second;
}

bool Sealer::Contains(const ChunksByFile& chunks, InodeId inode, ChunkId chunk) {
  const auto found = chunks.find(inode);
  return found != chunks.end() && found->second.contains(chunk);
}

Task<Status> Sealer::SettleFile(InodeId inode, Instant deadline) {
  const std::set<ChunkId> unsettled = Find(unsettled_, inode);
  for (const ChunkId chunk : unsettled) StartJob(chunk);  // side by side
  for (const ChunkId chunk : unsettled) {
    if (!Contains(unsettled_, inode, chunk)) continue;
    const auto length = co_await Seal(chunk, deadline);
    if (!length.ok() && length.code() != Code::kUnknownChunk) co_return length.status();
  }
  for (const ChunkId chunk : Find(below_floor_, inode)) {
    MORAINE_CO_RETURN_IF_ERROR(co_await AwaitFloor(inode, chunk, deadline));
  }
  co_return Status::Ok();
}

Task<Status> Sealer::AwaitFloor(InodeId inode, ChunkId chunk, Instant deadline) {
  full_for_.erase(chunk);
  while (Contains(below_floor_, inode, chunk)) {
    std::string state;
    {
      Transaction transaction(store_);
      MORAINE_CO_ASSIGN_OR_RETURN(const auto record, FindChunk(transaction, chunk));
      if (!record.has_value() || !IsBelowFloor(*record)) {  // it changed before it was noted
        Remove(below_floor_, inode, chunk);
        co_return Status::Ok();
      }
      state = fmt::format("chunk {} is on {} disks, its policy wants at least {}", chunk.value(),
                          record->GoodReplicas(), MadePolicyOf(*record).floor);
      if (DisksAreFull(chunk, *record)) {
        co_return Status(Code::kNoSpace, state + ", and the others are full");
      }
    }
    if (closing_) co_return Status(Code::kCanceled, "the metaserver is stopping");
    // Servers that fill up do not wake anybody.
    (void)co_await floor_changed_.Wait(std::min(deadline, loop_.After(options_.retry_pause)));
    if (loop_.Now() >= deadline) co_return Status(Code::kTimeout, std::move(state));
  }
  co_return Status::Ok();
}

// Whether it is only for want of room that no repair can reach the floor now.
bool Sealer::DisksAreFull(ChunkId chunk, const ChunkRecord& record) const {
  const auto refused = full_for_.find(chunk);
  const auto has_refused = [&](ServerId server) {
    return refused != full_for_.end() && refused->second.contains(server);
  };
  size_t reachable = record.GoodReplicas();
  size_t full = 0;
  for (const ServerView& server : registry_.Views()) {
    const ReplicaRecord* replica = record.FindReplica(server.id);
    if (replica != nullptr && replica->state == ReplicaState::kGood) continue;
    const bool is_full = server.full || (server.placeable && has_refused(server.id));
    full += is_full ? 1 : 0;
    reachable += server.placeable && !is_full ? 1 : 0;
  }
  const auto floor = static_cast<size_t>(MadePolicyOf(record).floor);
  return reachable < floor && reachable + full >= floor;
}

void Sealer::NoteCopyFailed(ChunkId chunk, ServerId target, const Status& why) {
  if (why.code() != Code::kNoSpace) return;
  Transaction transaction(store_);
  const auto record = FindChunk(transaction, chunk);
  if (!record.ok() || !record->has_value() || !IsBelowFloor(**record)) return;
  full_for_[chunk].insert(target);
  floor_changed_.NotifyAll();
}

Task<void> Sealer::RunJob(ChunkId chunk, std::shared_ptr<Job> job) {
  Duration pause = options_.retry_pause;
  bool first = true;
  const Instant begun = loop_.Now();
  while (true) {
    auto outcome = co_await TryOnce(chunk, first);
    first = false;
    if (!outcome.ok() || outcome->has_value()) {
      jobs_.erase(chunk);
      resting_.erase(chunk);
      // Each attempt is a durable epoch, also on the disks that are full.
      if (outcome.code() == Code::kNoSpace) resting_[chunk] = loop_.After(options_.retry_pause_max);
      if (outcome.ok()) {
        sealed_.Add();
        time_.RecordTime(loop_.Now() - begun);
        job->result.Set(**outcome);
      } else {
        job->result.Set(outcome.status());
      }
      co_return;
    }
    failed_.Add();
    if (closing_) {
      jobs_.erase(chunk);
      job->result.Set(Status(Code::kCanceled, "the metaserver is stopping"));
      co_return;
    }
    {
      const Pausing pausing(&pausing_);
      co_await loop_.Sleep(pause);
    }
    pause = std::min(pause * 2, options_.retry_pause_max);
  }
}

Task<Result<ChunkRecord>> Sealer::Begin(ChunkId chunk, bool settle) {
  Transaction transaction(store_);
  MORAINE_CO_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, chunk));
  if (record.state == ChunkState::kSealed || record.state == ChunkState::kDeleting ||
      (record.state == ChunkState::kClosed && settle)) {
    // A close may not be on disk yet, and everything that follows relies on it.
    MORAINE_CO_RETURN_IF_ERROR(co_await store_.Synced(store_.written()));
    co_return record;
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const protocol::ChunkRecord fencing,
                              protocol::BeginFencing(ToProtocol(record)));
  TakeFromProtocol(fencing, record);
  MORAINE_CO_RETURN_IF_ERROR(PutChunk(transaction, chunk, record));
  MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, store_.Commit(transaction));
  committed_(transaction.effects());
  MORAINE_CO_RETURN_IF_ERROR(co_await store_.Synced(ticket));
  MORAINE_FAULT_POINT("seal.fencing_recorded");
  fenced_.Add();
  co_return record;
}

Task<Result<std::optional<uint64_t>>> Sealer::TryOnce(ChunkId chunk, bool first) {
  MORAINE_CO_ASSIGN_OR_RETURN(const ChunkRecord record, co_await Begin(chunk, first));
  if (record.state == ChunkState::kSealed) co_return std::optional<uint64_t>(record.length);
  if (record.state == ChunkState::kDeleting) {
    co_return Status(Code::kUnknownChunk, fmt::format("chunk {} is being deleted", chunk.value()));
  }
  auto attempt = std::make_shared<Attempt>(loop_, chunk, record);
  const Status status = co_await Drive(attempt);
  attempt->over = true;
  attempt->changed.NotifyAll();
  if (status.ok()) co_return std::optional<uint64_t>(attempt->procedure.length());
  // Another recovery, a deletion, or a full or broken store: the next round finds out.
  if (!store_.health().ok()) co_return store_.health();
  MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {} cannot be sealed yet: {}", chunk.value(),
                        status.ToString());
  // Only the room of other data helps here: who waits should know, and the queue tries again.
  if (status.code() == Code::kNoSpace) co_return status;
  co_return std::optional<uint64_t>();
}

Task<Status> Sealer::Drive(std::shared_ptr<Attempt> attempt) {
  SealProcedure& procedure = attempt->procedure;
  const Instant fence_deadline = loop_.After(options_.fence_deadline);
  Instant patience = loop_.After(options_.patience);
  bool fence_over = false;
  auto phase = procedure.phase();
  while (true) {
    for (const SealRequest& request : procedure.TakeRequests()) {
      if (request.kind == SealRequest::Kind::kRecord) {
        MORAINE_CO_RETURN_IF_ERROR(co_await Record(attempt));
        procedure.OnRecorded();
      } else if (request.kind == SealRequest::Kind::kSeal) {
        tasks_.Spawn(Tell(attempt->chunk, attempt->server(request.replica), procedure.epoch(),
                          request.length));
      } else if (!tasks_.Spawn(Ask(attempt, request))) {
        co_return Status(Code::kCanceled, "the metaserver is stopping");
      }
    }
    if (procedure.phase() == SealProcedure::Phase::kFailed) {
      // The silent ones may come back with room.
      if (!attempt->full.ok() && !attempt->silence) co_return attempt->full;
      co_return Status(Code::kTooFewServers, "too few replicas answer");
    }
    if (procedure.phase() == SealProcedure::Phase::kRecording) continue;
    if (procedure.phase() == SealProcedure::Phase::kSealed) {
      for (const SealRequest& request : procedure.TakeRequests()) {
        tasks_.Spawn(Tell(attempt->chunk, attempt->server(request.replica), procedure.epoch(),
                          request.length));
      }
      co_return Status::Ok();
    }
    if (procedure.phase() != phase) {
      phase = procedure.phase();
      patience = loop_.After(options_.patience);
    }
    if (closing_) co_return Status(Code::kCanceled, "the metaserver is stopping");
    co_await attempt->changed.Wait(fence_over ? patience : std::min(fence_deadline, patience));
    if (!fence_over && loop_.Now() >= fence_deadline) {
      fence_over = true;
      procedure.OnFenceDeadline();
    }
    if (loop_.Now() >= patience && procedure.phase() == phase) {
      attempt->silence = true;
      procedure.OnPatienceOver();
    }
  }
}

Task<void> Sealer::Ask(std::shared_ptr<Attempt> attempt, SealRequest request) {
  switch (request.kind) {
    case SealRequest::Kind::kFence:
      co_await AskFence(attempt, request);
      break;
    case SealRequest::Kind::kHold:
      co_await AskHold(attempt, request);
      break;
    case SealRequest::Kind::kCopy:
      co_await AskCopy(attempt, request);
      break;
    case SealRequest::Kind::kRecord:
    case SealRequest::Kind::kSeal:
      MORAINE_CHECK(false, "records and seals are not asked");
  }
  attempt->changed.NotifyAll();
}

// After an answer that means nothing: waits a little, and says whether to ask again.
Task<bool> Sealer::Again(std::shared_ptr<Attempt> attempt, Code code) {
  if (attempt->over || closing_ || !IsSilence(code)) co_return false;
  co_await loop_.Sleep(options_.call_pause);
  co_return !attempt->over && !closing_;
}

Task<void> Sealer::AskFence(std::shared_ptr<Attempt> attempt, SealRequest request) {
  const ServerId server = attempt->server(request.replica);
  while (true) {
    const auto answer = co_await calls_.Fence(server, attempt->chunk, attempt->record.epoch,
                                              loop_.After(options_.call_timeout));
    if (attempt->over) co_return;
    if (answer.ok() && !answer->damaged) {
      if (answer->held > 0) attempt->file_offset = answer->file_offset;
      attempt->procedure.OnFenceAnswer(request.replica,
                                       {answer->held, answer->synced, answer->restarted});
      co_return;
    }
    if (answer.code() == Code::kUnknownChunk) {
      // It never got an append, or lost what it had in memory by a restart. Its disk is the one
      // that it had when the chunk was made, since another disk is another server; so nothing that
      // was synced can be gone, and this is the answer of an empty replica.
      const ServerRecord* record = registry_.Find(server);
      const uint64_t made_by =
          attempt->record.replicas[static_cast<size_t>(request.replica)].start_id;
      const bool restarted = record == nullptr || record->start_id != made_by;
      attempt->procedure.OnFenceAnswer(request.replica, {0, 0, restarted});
      co_return;
    }
    const Code code = answer.ok() ? Code::kCorruption : answer.code();
    const bool again = co_await Again(attempt, code);
    if (again) continue;
    if (!attempt->over && !IsSilence(code)) attempt->Failed(request.replica, answer.status());
    co_return;
  }
}

Task<void> Sealer::AskHold(std::shared_ptr<Attempt> attempt, SealRequest request) {
  const ServerId server = attempt->server(request.replica);
  while (true) {
    const Status status = co_await calls_.Hold(server, attempt->chunk, attempt->record.epoch,
                                               request.length, loop_.After(options_.call_timeout));
    if (attempt->over) co_return;
    // There is nothing to hold of an empty chunk.
    if (status.ok() || (status.code() == Code::kUnknownChunk && request.length == 0)) {
      attempt->procedure.OnHeld(request.replica);
      co_return;
    }
    if (status.code() == Code::kWrongOffset) {
      const auto stat =
          co_await calls_.Stat(server, attempt->chunk, loop_.After(options_.call_timeout));
      if (attempt->over) co_return;
      if (stat.ok()) {
        attempt->procedure.OnShort(request.replica, std::min(stat->held, request.length));
        co_return;
      }
    }
    const bool again = co_await Again(attempt, status.code());
    if (again) continue;
    if (!attempt->over && !IsSilence(status.code())) attempt->Failed(request.replica, status);
    co_return;
  }
}

CopyOrder Sealer::OrderFor(ChunkId chunk, const ChunkRecord& record, uint64_t length) const {
  CopyOrder order;
  order.chunk = chunk;
  order.epoch = record.epoch;
  order.length = length;
  order.inode = record.inode;
  order.file_offset = record.file_offset == kUnknownOffset ? 0 : record.file_offset;
  order.policy = record.policy;
  order.made = record.made;
  return order;
}

Task<void> Sealer::AskCopy(std::shared_ptr<Attempt> attempt, SealRequest request) {
  CopyOrder order = OrderFor(attempt->chunk, attempt->record, request.length);
  // As the writer told the source: the next recovery may hear it from this replica.
  if (attempt->record.file_offset == kUnknownOffset && attempt->file_offset != kUnknownOffset) {
    order.file_offset = attempt->file_offset;
  }
  order.sources = {attempt->server(request.source)};
  const Status status = co_await calls_.Copy(attempt->server(request.replica), std::move(order),
                                             loop_.After(options_.copy_timeout));
  if (attempt->over) co_return;
  if (status.ok()) {
    attempt->procedure.OnCopied(request.replica);
  } else {
    attempt->Failed(request.replica, status);
  }
}

Task<Status> Sealer::Record(std::shared_ptr<Attempt> attempt) {
  const SealProcedure& procedure = attempt->procedure;
  MORAINE_FAULT_POINT("seal.before_record");
  Transaction transaction(store_, SessionId(), loop_.WallNanoseconds());
  MORAINE_CO_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(transaction, attempt->chunk));
  if (record.state == ChunkState::kSealed) {
    co_return record.length == procedure.length()
        ? Status::Ok()
        : Status(Code::kSealed, "the chunk was sealed at another length");
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const protocol::ChunkRecord sealed,
                              protocol::RecordSealed(ToProtocol(record), procedure.epoch(),
                                                     procedure.length(), procedure.good()));
  TakeFromProtocol(sealed, record);
  // Its server has died since it promised. What is marked at a death are sealed chunks.
  for (ReplicaRecord& replica : record.replicas) {
    if (registry_.IsDead(replica.server)) replica.state = ReplicaState::kMissing;
  }
  // Mapped chunks of streams have their place; what the replicas say of others is a hint.
  const bool of_stream = record.file_offset != kUnknownOffset;
  if (!of_stream) record.file_offset = attempt->file_offset;
  const bool cut = record.mapped > record.length;
  record.mapped = 0;
  MORAINE_CO_RETURN_IF_ERROR(PutChunk(transaction, attempt->chunk, record));
  if (cut) MORAINE_CO_RETURN_IF_ERROR(TakeLoss(transaction, attempt->chunk, record, of_stream));
  MORAINE_CO_RETURN_IF_ERROR(FinishRecovery(transaction, record.inode));
  MORAINE_CO_RETURN_IF_ERROR(DropUnused(transaction, attempt->chunk));
  MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, store_.Commit(transaction));
  MORAINE_CO_RETURN_IF_ERROR(co_await store_.Synced(ticket));
  MORAINE_FAULT_POINT("seal.recorded");
  if (procedure.last_resort()) {
    LogWarning(
        "chunk {}: its servers restarted while it was written; unsynced bytes above {} may "
        "be gone",
        attempt->chunk.value(), record.length);
  }
  committed_(transaction.effects());
  co_return Status::Ok();
}

// ---- Telling the replicas

void Sealer::Remind(ChunkId chunk, ServerId server) {
  if (IsBusy(chunk)) return;
  Transaction transaction(store_);
  const auto record = FindChunk(transaction, chunk);
  if (!record.ok() || !record->has_value() || (*record)->state != ChunkState::kSealed) return;
  tasks_.Spawn(Tell(chunk, server, (*record)->epoch, (*record)->length));
}

Task<void> Sealer::Tell(ChunkId chunk, ServerId server, Epoch epoch, uint64_t length) {
  ++telling_[chunk];
  Status status;
  const Instant patience = loop_.After(options_.patience);
  while (true) {
    status = co_await TellOnce(chunk, server, epoch, length);
    if (!IsSilence(status.code()) || loop_.Now() >= patience || closing_) break;
    co_await loop_.Sleep(options_.call_pause);
  }
  if (status.ok()) status = NoteGood(chunk, server, length);
  if (!status.ok()) {
    LogInfo("chunk {}: its replica on server {} is not sealed: {}", chunk.value(), server.value(),
            status.ToString());
  }
  if (--telling_[chunk] == 0) telling_.erase(chunk);
  // What is still missing can be repaired now.
  Effects effects;
  effects.queued = true;
  committed_(effects);
}

Task<Status> Sealer::TellOnce(ChunkId chunk, ServerId server, Epoch epoch, uint64_t length) {
  Status status =
      co_await calls_.Seal(server, chunk, epoch, length, loop_.After(options_.call_timeout));
  if (status.code() != Code::kWrongOffset) co_return status;
  CopyOrder order;
  {
    Transaction transaction(store_);
    MORAINE_CO_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(transaction, chunk));
    order = OrderFor(chunk, record, length);
    for (const ReplicaRecord& replica : record.replicas) {
      if (replica.state == ReplicaState::kGood) order.sources.push_back(replica.server);
    }
  }
  MORAINE_CO_RETURN_IF_ERROR(
      co_await calls_.Copy(server, std::move(order), loop_.After(options_.copy_timeout)));
  co_return co_await calls_.Seal(server, chunk, epoch, length, loop_.After(options_.call_timeout));
}

Status Sealer::NoteGood(ChunkId chunk, ServerId server, uint64_t length) {
  Transaction transaction(store_);
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value() || record->state != ChunkState::kSealed || record->length != length) {
    return Status::Ok();
  }
  ReplicaRecord* replica = record->FindReplica(server);
  if (replica == nullptr || replica->state == ReplicaState::kGood) return Status::Ok();
  replica->state = ReplicaState::kGood;
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, chunk, *record));
  MORAINE_RETURN_IF_ERROR(DropSurplus(transaction, chunk, [this] { return registry_.Views(); }));
  MORAINE_FAULT_POINT("seal.before_noting_good");
  MORAINE_RETURN_IF_ERROR(store_.Commit(transaction).status());
  committed_(transaction.effects());
  return Status::Ok();
}

}  // namespace moraine::metaserver
