#include "chunkserver/store/store.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace moraine::chunkserver {
namespace {

// What one idle open replica costs in the journal when it is restated, with room to spare.
constexpr uint64_t kJournalBytesPerReplica = 2 * kPageBytes;
constexpr uint64_t kJournalShareForRestating = 4;  // one over
constexpr uint64_t kTombstonesPerReplica = 32;     // that take no more room there

Status Unknown(ChunkId chunk) {
  return {Code::kUnknownChunk, fmt::format("no replica of chunk {} here", chunk.value())};
}

// A fence may have said so, and a recovery may have counted on it.
bool IsEmpty(const ReplicaInfo& info) { return info.held == 0 && !(info.sealed && info.damaged); }

Status Closing() { return {Code::kCanceled, "the store is closing"}; }

}  // namespace

Store::Store(Loop& loop, StoreOptions options, MetricRegistry& metrics)
    : context_(std::make_unique<StoreContext>(loop, std::move(options), metrics)),
      loop_(loop),
      reader_(*context_),
      changed_over_(loop),
      calls_(loop),
      loops_(loop),
      wake_(loop),
      closing_(loop) {
  context_->on_pressure = [this] { wake_.Set(); };
  context_->on_changed = [this](ChunkId chunk) { NoteChanged(chunk); };
}

Store::~Store() {
  // Replicas that go with the index have nobody to tell.
  context_->on_pressure = [] {};
  context_->on_changed = [](ChunkId) {};
}

Result<std::shared_ptr<OpenReplica>> Store::FindOpen(ChunkId chunk) const {
  const auto found = index_.find(chunk);
  if (found == index_.end()) return Unknown(chunk);
  if (found->second.open == nullptr) {
    return {Code::kSealed,
            fmt::format("chunk {} is sealed at {}", chunk.value(), found->second.sealed.length)};
  }
  return found->second.open;
}

Status Store::CheckRoomForReplica() const {
  if (space_.free_bytes < context_->options.reserve_bytes) {
    return {Code::kNoSpace, fmt::format("{} are free, the reserve is {}: no new replicas",
                                        FormatBytes(space_.free_bytes),
                                        FormatBytes(context_->options.reserve_bytes))};
  }
  return CheckRoomInJournal();
}

// What must be restated, in replicas.
uint64_t Store::ReplicasInJournal() const {
  return open_count_ + tombstones_.size() / kTombstonesPerReplica;
}

// Room to restate one more.
Status Store::CheckRoomInJournal() const {
  const uint64_t open_max =
      context_->journal->region_bytes() / kJournalShareForRestating / kJournalBytesPerReplica;
  if (ReplicasInJournal() >= open_max) {
    return {Code::kOverloaded, fmt::format("{} replicas are open, the journal has room for {}",
                                           open_count_, open_max)};
  }
  return Status::Ok();
}

Task<Status> Store::WaitForChange(ChunkId chunk, Instant deadline) {
  while (changing_.contains(chunk)) {
    MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
    if (waits_ended_) co_return Closing();
    const bool woken = co_await changed_over_.Wait(deadline);
    if (!woken) co_return TooLate();
  }
  co_return Status::Ok();
}

void Store::EndWaits() {
  waits_ended_ = true;
  changed_over_.NotifyAll();
}

// Makes a replica, in the place of a tombstone if there is one.
std::shared_ptr<OpenReplica> Store::Create(const AppendCall& call) {
  ChunkHeader header;
  header.cluster = superblock_.cluster;
  header.chunk = call.chunk;
  header.incarnation = loop_.random().Next();
  header.epoch = call.epoch;
  header.origin = *call.create;
  auto replica = std::make_shared<OpenReplica>(*context_, std::move(header));
  replica->QueueCreation();
  const auto stone = tombstones_.find(call.chunk);
  if (stone != tombstones_.end()) {
    // After the creation: at every moment one of both keeps late writers out.
    context_->journal->Enqueue(
        {RecordKind::kDone, call.chunk, stone->second.incarnation, call.epoch, 0, {}});
    tombstones_.erase(stone);
  }
  index_[call.chunk].open = replica;
  gone_.erase(call.chunk);
  ++open_count_;
  UpdateGauges();
  return replica;
}

Task<Result<std::shared_ptr<OpenReplica>>> Store::FindOrCreate(const AppendCall& call, bool copy) {
  if (changing_.contains(call.chunk)) {
    MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(call.chunk, call.deadline));
  }
  auto found = FindOpen(call.chunk);
  if (found.ok() || found.code() != Code::kUnknownChunk) co_return found;
  const auto stone = tombstones_.find(call.chunk);
  // Recovery, which left the tombstone, may still bring the chunk here.
  if (stone != tombstones_.end() && (!copy || call.epoch < stone->second.epoch)) {
    co_return Status(Code::kFenced, fmt::format("chunk {} was fenced here before it was made",
                                                call.chunk.value()));
  }
  // Only a chunk's first bytes make a replica.
  if (!call.create || call.offset != 0) co_return found;
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  MORAINE_CO_RETURN_IF_ERROR(CheckRoomForReplica());
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckInTime(call.deadline));
  co_return Create(call);
}

Task<Result<AppendResult>> Store::AppendTo(AppendCall call, bool copy) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  if (call.bytes.size() > limits::kAppendBytesMax) {
    co_return Status(Code::kTooLarge,
                     "an append of more than " + FormatBytes(limits::kAppendBytesMax));
  }
  const Instant begin = loop_.Now();
  const bool sync = call.sync;
  auto replica = co_await FindOrCreate(call, copy);
  if (!replica.ok()) {
    const auto sealed = index_.find(call.chunk);
    if (replica.code() != Code::kSealed || sealed->second.sealed.damaged) {
      co_return replica.status();
    }
    co_return AppendToSealed(call, sealed->second.sealed, copy);
  }
  auto result = co_await (*replica)->Append(std::move(call), copy);
  (sync ? context_->metrics.sync_time : context_->metrics.append_time)
      .RecordTime(loop_.Now() - begin);
  co_return result;
}

// Nothing is added; but a resend of what it has is acknowledged, so that a sync which waits in a
// closed chunk can end (protocol/APPEND.md section 4).
Result<AppendResult> Store::AppendToSealed(const AppendCall& call, const SealedReplica& sealed,
                                           bool copy) const {
  MORAINE_RETURN_IF_ERROR(CheckPieces(call.offset, call.bytes.bytes(), call.checksums));
  auto rules =
      protocol::AppendReplica::Reopened(sealed.chunk, sealed.epoch, sealed.length, sealed.length);
  const uint64_t size = call.bytes.size();
  const auto verdict =
      copy ? rules.Copy(call.epoch, call.offset, size)
           : rules.Append({call.epoch, call.offset, size, call.sync, call.committed});
  if (!verdict.ok()) return verdict.status();
  return AppendResult{rules.held(), rules.synced()};
}

Task<Result<AppendResult>> Store::Append(AppendCall call) {
  return AppendTo(std::move(call), false);
}
Task<Result<AppendResult>> Store::AppendCopied(AppendCall call) {
  return AppendTo(std::move(call), true);
}

Task<Result<ReadResult>> Store::Read(ChunkId chunk, uint64_t offset, uint64_t length,
                                     uint64_t committed) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  if (length > limits::kReadBytesMax || offset > limits::kChunkBytesMax) {
    co_return Status(Code::kTooLarge, "a read of more than " + FormatBytes(limits::kReadBytesMax));
  }
  const Instant begin = loop_.Now();
  context_->metrics.reads.Add();
  const auto found = index_.find(chunk);
  if (found == index_.end()) co_return Unknown(chunk);
  const Entry entry = found->second;
  auto result = entry.open != nullptr ? co_await entry.open->Read(offset, length, committed)
                                      : co_await reader_.Read(entry.sealed, offset, length);
  if (result.ok()) {
    context_->metrics.read_bytes.Add(result->bytes.size());
    context_->metrics.read_time.RecordTime(loop_.Now() - begin);
    co_return result;
  }
  const auto now = index_.find(chunk);
  if (now == index_.end()) co_return Unknown(chunk);  // deleted meanwhile
  if (entry.open == nullptr && now->second.open == nullptr && result.code() == Code::kCorruption &&
      now->second.sealed.incarnation == entry.sealed.incarnation) {
    context_->metrics.checksum_failures.Add();
    if (!now->second.sealed.damaged) {
      LogError("chunk {}: replica is damaged: {}", chunk.value(), result.status().message());
      now->second.sealed.damaged = true;
      NoteChanged(chunk);
    }
    reader_.Forget(entry.sealed);
  }
  co_return result;
}

Result<ReplicaInfo> Store::Stat(ChunkId chunk) const {
  const auto found = index_.find(chunk);
  if (found == index_.end()) return Unknown(chunk);
  return found->second.Info();
}

auto Store::AddTombstone(ChunkId chunk, uint64_t incarnation, Epoch epoch)
    -> std::map<ChunkId, Tombstone>::iterator {
  return tombstones_
      .emplace(std::piecewise_construct, std::forward_as_tuple(chunk),
               std::forward_as_tuple(context_->needs, incarnation, epoch))
      .first;
}

Task<Result<ReplicaInfo>> Store::FenceUnknown(ChunkId chunk, Epoch epoch) {
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  auto found = tombstones_.find(chunk);
  if (found == tombstones_.end()) {
    MORAINE_CO_RETURN_IF_ERROR(CheckRoomInJournal());
    found = AddTombstone(chunk, loop_.random().Next(), epoch);
  } else if (epoch < found->second.epoch) {
    co_return Status(Code::kFenced,
                     fmt::format("epoch {} of chunk {} is over", epoch.value(), chunk.value()));
  }
  found->second.epoch = epoch;
  const uint64_t frame = context_->journal->Enqueue(
      {RecordKind::kTombstone, chunk, found->second.incarnation, epoch, 0, {}});
  if (found->second.need.sequence() == 0) found->second.need.Set(frame);
  MORAINE_CO_RETURN_IF_ERROR(context_->NoteWrite(co_await context_->journal->Committed(frame)));
  co_return Unknown(chunk);
}

Task<Result<ReplicaInfo>> Store::Fence(ChunkId chunk, Epoch epoch, Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  std::optional<Journal::Admission> admission;
  while (true) {
    MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(chunk, deadline));
    // It may have been made while this waited for room.
    auto replica = FindOpen(chunk);
    if (replica.ok()) {
      admission.reset();
      co_return co_await (*replica)->Fence(epoch, deadline);
    }
    if (replica.code() != Code::kUnknownChunk) co_return replica.status();
    MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
    MORAINE_CO_RETURN_IF_ERROR(context_->CheckInTime(deadline));
    if (admission) co_return co_await FenceUnknown(chunk, epoch);
    auto admitted = co_await context_->journal->Admit(0, deadline);
    if (!admitted.ok()) co_return context_->NoteWrite(admitted.status());
    admission.emplace(std::move(*admitted));
  }
}

Task<Result<ReplicaInfo>> Store::Hold(ChunkId chunk, Epoch epoch, uint64_t length,
                                      Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  auto replica = FindOpen(chunk);
  if (replica.ok()) co_return co_await (*replica)->Hold(epoch, length, deadline);
  if (replica.code() != Code::kSealed) co_return replica.status();
  const SealedReplica& sealed = index_.at(chunk).sealed;
  if (sealed.length != length || sealed.damaged) co_return replica.status();
  co_return sealed.Info();
}

Task<Result<ReplicaInfo>> Store::Seal(ChunkId chunk, Epoch epoch, uint64_t length,
                                      Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  auto replica = FindOpen(chunk);
  if (!replica.ok()) {
    if (replica.code() != Code::kSealed) co_return replica.status();
    const SealedReplica& sealed = index_.at(chunk).sealed;
    if (sealed.length != length) co_return replica.status();
    co_return sealed.Info();
  }
  auto info = co_await (*replica)->Seal(epoch, length, deadline);
  if (info.ok()) {
    NoteChanged(chunk);
    SpawnFinalize(*replica);
  }
  co_return info;
}

void Store::SpawnFinalize(std::shared_ptr<OpenReplica> replica) {
  context_->background.Spawn([](Store* store, std::shared_ptr<OpenReplica> sealed) -> Task<void> {
    const Status status = co_await store->FinalizeAndIndex(sealed);
    if (!status.ok() && status.code() != Code::kUnknownChunk) {
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {}: its file is not complete yet: {}",
                            sealed->header().chunk.value(), status.ToString());
    }
  }(this, std::move(replica)));
}

// The replica's file shows the seal; from then on only the index knows it.
Task<Status> Store::FinalizeAndIndex(std::shared_ptr<OpenReplica> replica) {
  MORAINE_CO_RETURN_IF_ERROR(co_await replica->Finalize());
  const ChunkHeader& header = replica->header();
  const auto found = index_.find(header.chunk);
  if (found == index_.end() || found->second.open != replica) co_return Status::Ok();
  found->second.sealed = {header.chunk,         header.incarnation,  header.epoch,
                          header.sealed_length, header.origin.inode, header.origin.file_offset,
                          replica->damaged()};
  found->second.open = nullptr;
  --open_count_;
  UpdateGauges();
  co_return Status::Ok();
}

void Store::Erase(ChunkId chunk) {
  const auto found = index_.find(chunk);
  if (found == index_.end()) return;
  if (found->second.open != nullptr) {
    found->second.open->Retire();
    --open_count_;
  } else {
    reader_.Forget(found->second.sealed);
  }
  index_.erase(found);
  UpdateGauges();
}

// A full disk keeps the journal from being relieved, and then only deletions help.
Task<Result<Journal::Admission>> Store::AdmitDeletion(Instant deadline) {
  Journal& journal = *context_->journal;
  auto admitted = co_await journal.Admit(0, deadline);
  if (admitted.code() == Code::kNoSpace) {
    auto slice = journal.TryAdmitDeletion(ReplicasInJournal() * kJournalBytesPerReplica);
    if (slice) co_return std::move(*slice);
  }
  if (!admitted.ok()) co_return context_->NoteWrite(admitted.status());
  co_return admitted;
}

Task<Status> Store::Delete(ChunkId chunk, Epoch epoch, Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Closing();
  MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(chunk, deadline));
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  // What the journal knows anyway frees room there by going: it never waits for room.
  Journal::Admission admission;
  if (!tombstones_.contains(chunk) && FindOpen(chunk).code() == Code::kSealed) {
    MORAINE_CO_ASSIGN_OR_RETURN(admission, co_await AdmitDeletion(deadline));
    // Another deletion, or a copy, may have begun while this waited for room.
    MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(chunk, deadline));
    MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  }
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckInTime(deadline));
  const auto stone = tombstones_.find(chunk);
  const auto found = index_.find(chunk);
  if (found == index_.end() && stone == tombstones_.end()) co_return Status::Ok();
  const Epoch known = found != index_.end() ? found->second.Info().epoch : stone->second.epoch;
  if (known > epoch) {
    co_return Status(Code::kFenced, fmt::format("the replica of chunk {} is of epoch {}",
                                                chunk.value(), known.value()));
  }
  // A writer whose first bytes are still on their way must not be acknowledged after the deletion
  // either: the chunk would come back, and its file has gone on without it.
  const Instant until = loop_.After(context_->options.tombstone_grace);
  if (found != index_.end()) {
    const uint64_t incarnation = found->second.incarnation();
    const std::shared_ptr<OpenReplica> open = found->second.open;
    const bool empty = IsEmpty(found->second.Info());
    if (empty && open == nullptr) MORAINE_CO_RETURN_IF_ERROR(CheckRoomInJournal());
    const RecordKind kind = empty ? RecordKind::kTombstone : RecordKind::kDelete;
    const uint64_t frame = context_->journal->Enqueue({kind, chunk, incarnation, epoch, 0, {}});
    Erase(chunk);
    NoteGone(chunk);
    if (empty) {
      Tombstone& left = AddTombstone(chunk, incarnation, epoch)->second;
      left.need.Set(frame);
      left.until = until;
    }
    SpawnDiscard(chunk, incarnation, open, ChunkPath(chunk), frame);
    co_return context_->NoteWrite(co_await context_->journal->Committed(frame));
  }
  stone->second.epoch = epoch;
  stone->second.until = std::min(stone->second.until, until);
  co_return Status::Ok();
}

void Store::SpawnDiscard(ChunkId chunk, uint64_t incarnation, std::shared_ptr<OpenReplica> open,
                         std::string path, uint64_t frame) {
  auto need = std::make_shared<JournalNeeds::Need>(context_->needs);
  const uint64_t older = open != nullptr ? open->need().sequence() : 0;
  need->Set(older != 0 ? std::min(older, frame) : frame);
  changing_.insert(chunk);
  context_->background.Spawn(
      Discard(chunk, incarnation, std::move(open), std::move(path), std::move(need), frame));
}

// Moves the file of a deleted replica to the trash, and then lets the journal forget it.
Task<void> Store::Discard(ChunkId chunk, uint64_t incarnation, std::shared_ptr<OpenReplica> open,
                          std::string path, std::shared_ptr<JournalNeeds::Need> need,
                          uint64_t frame) {
  if (open != nullptr) co_await open->Quiesce();
  // Not before the record is durable: a restart would otherwise miss a file it still believes in.
  Status status = context_->NoteWrite(co_await context_->journal->Committed(frame));
  while (status.ok()) {
    const std::string name = fmt::format("trash/{:016x}.{:016x}", chunk.value(), incarnation);
    status = context_->NoteWrite(co_await MoveToTrash(path, name));
    if (status.ok()) {
      const auto stone = tombstones_.find(chunk);
      if (stone == tombstones_.end() || stone->second.incarnation != incarnation) {
        context_->journal->Enqueue({RecordKind::kDone, chunk, incarnation, Epoch(), 0, {}});
      }
      need->Clear();
      changing_.erase(chunk);
      break;
    }
    if (!context_->CheckWritable().ok()) break;
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {}: its file cannot be thrown away yet: {}",
                          chunk.value(), status.ToString());
    const bool closing = co_await closing_.Wait(loop_.After(context_->options.retry_delay));
    if (!closing) status = Status::Ok();
  }
  // While the file has its name, the DELETE record must stay (a restart moves the file then), and
  // nothing may take the file's place.
  if (need->sequence() != 0) undiscarded_.push_back(std::move(need));
  changed_over_.NotifyAll();
}

Task<Status> Store::MoveToTrash(std::string path, std::string name) {
  const Status status =
      co_await loop_.disk().Rename(context_->PathOf(path), context_->PathOf(name));
  // Not found: it never had a file, or an earlier attempt came as far as here.
  if (!status.ok() && status.code() != Code::kNotFound) co_return status;
  if (status.ok()) trash_[name] = loop_.After(context_->options.trash_grace);
  co_return OutcomeOfSync(
      co_await loop_.disk().SyncDirectory(context_->PathOf(path.substr(0, path.rfind('/')))));
}

void Store::UpdateGauges() {
  context_->metrics.open_replicas.Set(static_cast<int64_t>(open_count_));
  context_->metrics.replicas.Set(static_cast<int64_t>(index_.size()));
}

std::vector<ReplicaInfo> Store::List(ChunkId after, size_t count_max) const {
  std::vector<ReplicaInfo> list;
  auto entry = index_.upper_bound(after);
  auto stone = tombstones_.upper_bound(after);
  while (list.size() < count_max && (entry != index_.end() || stone != tombstones_.end())) {
    const bool take_entry =
        stone == tombstones_.end() || (entry != index_.end() && entry->first < stone->first);
    if (take_entry) {
      list.push_back(entry++->second.Info());
    } else {
      ReplicaInfo info;
      info.chunk = stone->first;
      info.epoch = stone->second.epoch;
      if (stone->second.until == kNever) list.push_back(info);
      ++stone;
    }
  }
  return list;
}

StoreStatus Store::GetStatus() const {
  StoreStatus status;
  status.total_bytes = space_.total_bytes;
  status.free_bytes = space_.free_bytes;
  status.replicas = index_.size();
  status.open_replicas = open_count_;
  status.quarantined = context_->quarantined();
  status.journal_bytes = context_->journal->region_bytes();
  status.journal_used_bytes = context_->journal->used_bytes();
  return status;
}

Store::Changes Store::TakeChanges(size_t count_max) {
  Changes changes;
  while (!changed_.empty() && changes.changed.size() < count_max) {
    const ChunkId chunk = *changed_.begin();
    changed_.erase(changed_.begin());
    const auto found = index_.find(chunk);
    if (found != index_.end()) changes.changed.push_back(found->second.Info());
  }
  while (!gone_.empty() && changes.gone.size() < count_max) {
    changes.gone.push_back(*gone_.begin());
    gone_.erase(gone_.begin());
  }
  return changes;
}

void Store::ReturnChanges(const Changes& changes) {
  for (const ReplicaInfo& info : changes.changed) changed_.insert(info.chunk);
  for (const ChunkId chunk : changes.gone) {
    if (!index_.contains(chunk)) gone_.insert(chunk);
  }
}

}  // namespace moraine::chunkserver
