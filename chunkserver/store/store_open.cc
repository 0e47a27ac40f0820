// How a store is made, opened and closed.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/loop/run_bounded.h"
#include "base/units.h"
#include "chunkserver/store/recovery.h"
#include "chunkserver/store/store.h"

namespace moraine::chunkserver {
namespace {

constexpr std::string_view kIncoming = "incoming";
constexpr std::string_view kTrash = "trash";

Task<Status> MakeDirectoryIfMissing(Loop& loop, std::string path) {
  const Status status = co_await loop.disk().MakeDirectory(path);
  co_return status.code() == Code::kAlreadyExists ? Status::Ok() : status;
}

std::string ParentOf(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

std::string NewIncarnation(Random& random) {
  return fmt::format("{:016x}{:016x}", random.Next(), random.Next());
}

}  // namespace

// What recovery has found, by chunk.
struct Store::Recovery {
  std::unique_ptr<File> journal_file;
  JournalScan scan;
  std::map<ChunkId, ReplayedReplica> replayed;
  std::map<ChunkId, FoundFile> files;
  std::vector<std::shared_ptr<OpenReplica>> restate;
  std::vector<std::shared_ptr<OpenReplica>> finalize;
  struct Discarded {
    ReplayedReplica replica;
    bool has_file;
  };
  std::vector<Discarded> discard;
  std::vector<ReplayedReplica> forget;
  Status failure;
};

Task<Result<std::unique_ptr<Store>>> Store::Open(Loop& loop, StoreOptions options,
                                                 MetricRegistry& metrics) {
  std::unique_ptr<Store> store(new Store(loop, std::move(options), metrics));
  Status status = co_await store->OpenDirectory();
  if (status.ok()) status = co_await store->OpenJournalAndRecover();
  if (!status.ok()) {
    store->calls_.Close();
    store->context_->background.Close();
    co_await store->context_->background.Drain();
    if (store->context_->journal != nullptr) co_await store->context_->journal->Close();
    co_return status;
  }
  store->loops_.Spawn(store->RunKeeper());
  store->loops_.Spawn(store->RunScrubber());
  co_return store;
}

Task<Status> Store::CheckParts(const std::vector<DirectoryEntry>& entries) {
  const std::string& dir = context_->options.dir;
  const auto has = [&](std::string_view name) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const DirectoryEntry& entry) { return entry.name == name; });
  };
  if (has("superblock")) {
    for (const std::string_view part : {"journal", "chunks"}) {
      if (!has(part)) {
        co_return Status(
            Code::kCorruption,
            fmt::format("{} is a store whose {} is missing; restore it, or start on an "
                        "empty directory",
                        dir, part));
      }
    }
    co_return Status::Ok();
  }
  if (has("CURRENT") && has("IDENTITY")) {
    co_return Status(Code::kInvalidArgument,
                     dir + " is a metaserver's directory; give the chunkserver one of its own");
  }
  constexpr std::string_view kOurs[] = {"LOCK", "journal",        "chunks",    kIncoming,
                                        kTrash, "superblock.new", "lost+found"};
  for (const DirectoryEntry& entry : entries) {
    if (std::find(std::begin(kOurs), std::end(kOurs), entry.name) == std::end(kOurs)) {
      co_return Status(
          Code::kCorruption,
          fmt::format("{} is not empty and not a store: it has '{}'", dir, entry.name));
    }
  }
  const bool journal_used = has("journal") && co_await IsUsedJournal(context_->PathOf("journal"));
  if (journal_used) {
    co_return Status(Code::kCorruption,
                     fmt::format("{} has a journal with appends in it, but its superblock is "
                                 "missing; restore it, or start on an empty directory",
                                 dir));
  }
  if (!has("chunks")) co_return Status::Ok();
  // Made half before? Then there are no chunks yet.
  for (unsigned i = 0; i < kChunkDirectories; ++i) {
    auto chunks = co_await loop_.disk().List(context_->PathOf(ChunkDirectory(ChunkId(i))));
    if (chunks.ok() && !chunks->empty()) {
      co_return Status(
          Code::kCorruption,
          fmt::format("{} has chunks, but its superblock is missing; restore it, or start "
                      "on an empty directory",
                      dir));
    }
  }
  co_return Status::Ok();
}

// Appends may be in the journal alone, without a chunk file. One that was made half has none.
Task<bool> Store::IsUsedJournal(std::string path) {
  auto file = co_await loop_.disk().Open(std::move(path), {});
  if (!file.ok()) co_return false;
  const auto scan = co_await ScanJournal(**file);
  co_return scan.ok() && scan->next_sequence > 1;
}

// The superblock comes last: a directory without one is not a store yet.
Task<Status> Store::Format(bool journal_there) {
  const StoreOptions& options = context_->options;
  for (const std::string_view part : {std::string_view("chunks"), kIncoming, kTrash}) {
    MORAINE_CO_RETURN_IF_ERROR(
        co_await MakeDirectoryIfMissing(loop_, context_->PathOf(std::string(part))));
  }
  for (unsigned i = 0; i < kChunkDirectories; ++i) {
    MORAINE_CO_RETURN_IF_ERROR(
        co_await MakeDirectoryIfMissing(loop_, context_->PathOf(ChunkDirectory(ChunkId(i)))));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await loop_.disk().SyncDirectory(context_->PathOf("chunks")));
  const std::string journal = context_->PathOf("journal");
  if (journal_there) MORAINE_CO_RETURN_IF_ERROR(co_await loop_.disk().Remove(journal));
  superblock_.incarnation = NewIncarnation(loop_.random());
  superblock_.cluster = options.cluster;
  superblock_.journal_id = loop_.random().Next();
  MORAINE_CO_RETURN_IF_ERROR(co_await Journal::Create(loop_, journal, superblock_.journal_id,
                                                      BlockFloor(options.journal_bytes)));
  MORAINE_CO_RETURN_IF_ERROR(co_await loop_.disk().SyncDirectory(options.dir));
  co_return co_await WriteSuperblock(loop_, options.dir, superblock_);
}

Status Store::CheckRoomForJournal(bool directory_there) {
  const StoreOptions& options = context_->options;
  const Result<DiskSpace> space =
      loop_.disk().Space(directory_there ? options.dir : ParentOf(options.dir));
  if (!space.ok() || space->free_bytes >= options.journal_bytes) return {};
  return {
      Code::kNoSpace,
      fmt::format("the disk of {} has {} free, the journal takes {}; give a smaller "
                  "--journal-bytes or a larger disk",
                  options.dir, FormatBytes(space->free_bytes), FormatBytes(options.journal_bytes))};
}

Task<Status> Store::OpenDirectory() {
  const StoreOptions& options = context_->options;
  // Before anything is made: also the lock's file has no place in a directory of somebody else.
  const auto before = co_await loop_.disk().List(options.dir);
  if (before.ok()) MORAINE_CO_RETURN_IF_ERROR(co_await CheckParts(*before));
  if (before.code() == Code::kNotDirectory) {
    co_return Status(Code::kNotDirectory, options.dir + " is a file, not a directory");
  }
  const bool is_store =
      before.ok() && std::any_of(before->begin(), before->end(),
                                 [](const auto& e) { return e.name == "superblock"; });
  if (!is_store) MORAINE_CO_RETURN_IF_ERROR(CheckRoomForJournal(before.ok()));
  const Status made = co_await loop_.disk().MakeDirectory(options.dir);
  if (made.ok()) {
    MORAINE_CO_RETURN_IF_ERROR(co_await loop_.disk().SyncDirectory(ParentOf(options.dir)));
  } else if (made.code() != Code::kAlreadyExists) {
    co_return made.Prefixed("cannot make the store (the parent directory must be there)");
  }
  auto lock = loop_.disk().Lock(context_->PathOf("LOCK"));
  if (!lock.ok() && lock.code() == Code::kBusy) {
    co_return Status(Code::kBusy, options.dir + " is in use by another process");
  }
  if (!lock.ok()) co_return lock.status();
  lock_ = std::move(*lock);
  MORAINE_CO_ASSIGN_OR_RETURN(const auto entries, co_await loop_.disk().List(options.dir));
  MORAINE_CO_RETURN_IF_ERROR(co_await CheckParts(entries));
  auto superblock = co_await ReadSuperblock(loop_, options.dir);
  if (superblock.ok()) {
    superblock_ = std::move(*superblock);
    for (const std::string_view part : {kIncoming, kTrash}) {
      MORAINE_CO_RETURN_IF_ERROR(
          co_await MakeDirectoryIfMissing(loop_, context_->PathOf(std::string(part))));
    }
  } else if (superblock.code() == Code::kNotFound) {
    const bool journal_there =
        std::any_of(entries.begin(), entries.end(),
                    [](const DirectoryEntry& entry) { return entry.name == "journal"; });
    MORAINE_CO_RETURN_IF_ERROR((co_await Format(journal_there)).Prefixed("cannot make the store"));
  } else {
    co_return superblock.status();
  }
  if (!options.cluster.empty() && !superblock_.cluster.empty() &&
      options.cluster != superblock_.cluster) {
    co_return Status(Code::kWrongCluster,
                     fmt::format("{} belongs to cluster {}, not {}", options.dir,
                                 superblock_.cluster, options.cluster));
  }
  context_->cluster = superblock_.cluster;
  RefreshSpace();
  co_return Status::Ok();
}

Task<Status> Store::OpenJournalAndRecover() {
  Recovery recovery;
  OpenOptions options;
  options.write = options.direct = options.durable_writes = true;
  MORAINE_CO_ASSIGN_OR_RETURN(recovery.journal_file,
                              co_await loop_.disk().Open(context_->PathOf("journal"), options));
  // What a killed process had under way is made durable before it is believed.
  MORAINE_CO_RETURN_IF_ERROR(co_await recovery.journal_file->Sync());
  auto scan = co_await ScanJournal(*recovery.journal_file);
  if (!scan.ok()) co_return scan.status().Prefixed(context_->PathOf("journal"));
  recovery.scan = std::move(*scan);
  if (recovery.scan.header.id != superblock_.journal_id) {
    co_return Status(Code::kCorruption,
                     context_->PathOf("journal") + " is the journal of another store");
  }
  // Shared: the visitor is called from a coroutine and must not refer to this frame's locals.
  auto replay = std::make_shared<JournalReplay>();
  MORAINE_CO_RETURN_IF_ERROR(co_await ReplayJournal(
      *recovery.journal_file, recovery.scan,
      [replay](uint64_t sequence, const std::vector<DecodedRecord>& records) {
        replay->Visit(sequence, records);
      }));
  recovery.replayed = replay->Take();
  MORAINE_CO_ASSIGN_OR_RETURN(const std::vector<ChunkId> chunks,
                              co_await ListChunkFiles(*context_));
  std::vector<Job> jobs;
  for (const ChunkId chunk : chunks) {
    jobs.push_back([this, chunk, found = &recovery]() -> Task<void> {
      auto file = co_await InspectChunkFile(*context_, chunk);
      if (file.ok()) {
        found->files[chunk] = std::move(*file);
      } else {
        found->failure = file.status();
      }
    });
  }
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
  MORAINE_CO_RETURN_IF_ERROR(recovery.failure);
  jobs.clear();
  for (const ChunkId chunk : chunks) AdoptFile(chunk, recovery);
  for (const auto& [chunk, replica] : recovery.replayed) {
    jobs.push_back([this, id = chunk, found = &recovery]() -> Task<void> {
      const Status status = co_await AdoptChunk(id, *found);
      if (!status.ok()) found->failure = status;
    });
  }
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
  MORAINE_CO_RETURN_IF_ERROR(recovery.failure);
  co_return co_await FinishRecovery(recovery);
}

// A file of which the journal knows nothing, or which took the place of what it knows.
void Store::AdoptFile(ChunkId chunk, Recovery& recovery) {
  const FoundFile& file = recovery.files.at(chunk);
  const auto replayed = recovery.replayed.find(chunk);
  const bool usable = file.status.ok();
  const bool foreign = usable && !file.header.cluster.empty() && !superblock_.cluster.empty() &&
                       file.header.cluster != superblock_.cluster;
  if (foreign) {
    LogError("chunk {}: its file belongs to cluster {}; it is left alone", chunk.value(),
             file.header.cluster);
    return;
  }
  if (replayed != recovery.replayed.end()) {
    const bool other =
        usable && file.header.sealed && file.header.incarnation != replayed->second.incarnation;
    if (!other) return;  // the journal decides
    if (replayed->second.deleted) {
      recovery.discard.push_back({replayed->second, /*has_file=*/false});
    } else {
      recovery.forget.push_back(replayed->second);
    }
    recovery.replayed.erase(replayed);
  }
  SealedReplica sealed;
  sealed.chunk = chunk;
  if (usable) {
    sealed.incarnation = file.header.incarnation;
    sealed.epoch = file.header.epoch;
    sealed.length = file.header.sealed_length;
    sealed.inode = file.header.origin.inode;
    sealed.file_offset = file.header.origin.file_offset;
  }
  const bool whole = usable && file.header.sealed && file.bytes >= ChunkFileBytes(sealed.length);
  sealed.damaged = !whole;
  if (!whole) {
    LogError("chunk {}: replica is damaged: {}", chunk.value(),
             !usable              ? file.status.message()
             : file.header.sealed ? "its file is too short"
                                  : "it is open and not in the journal");
    NoteChanged(chunk);
  }
  index_[chunk].sealed = sealed;
}

// A replica that the journal knows.
Task<Status> Store::AdoptChunk(ChunkId chunk, Recovery& recovery) {
  ReplayedReplica replayed = recovery.replayed.at(chunk);
  const auto found = recovery.files.find(chunk);
  const bool same = found != recovery.files.end() && found->second.status.ok() &&
                    found->second.header.incarnation == replayed.incarnation;
  if (replayed.deleted) {
    // Whatever lies there, also half a file without a header, is its leftover.
    recovery.discard.push_back({std::move(replayed), found != recovery.files.end()});
    co_return Status::Ok();
  }
  if (replayed.tombstone && !replayed.has_state) {
    AddTombstone(chunk, replayed.incarnation, replayed.epoch)
        ->second.need.Set(replayed.first_frame);
    // It is the deletion of the replica whose incarnation it has.
    if (same) recovery.discard.push_back({std::move(replayed), /*has_file=*/true});
    co_return Status::Ok();
  }
  ChunkHeader header;
  header.cluster = superblock_.cluster;
  header.chunk = chunk;
  header.incarnation = replayed.incarnation;
  header.epoch = replayed.epoch;
  header.origin = replayed.origin;
  const bool lost = recovery.scan.damaged && replayed.state_frame <= recovery.scan.damaged_until;
  MORAINE_CO_ASSIGN_OR_RETURN(
      auto state, co_await RecoverReplica(*context_, replayed, same ? &found->second : nullptr));
  if (lost) {
    LogError("chunk {}: journal records of it may be lost; the replica is damaged", chunk.value());
    state.damaged = true;
  }
  const bool damaged = state.damaged;
  auto replica = std::make_shared<OpenReplica>(*context_, std::move(header), std::move(state));
  index_[chunk].open = replica;
  ++open_count_;
  if (damaged) {
    NoteChanged(chunk);
  } else if (replica->sealed()) {
    recovery.finalize.push_back(replica);
  } else if (replica->NeedsRestating()) {
    recovery.restate.push_back(replica);
  }
  co_return Status::Ok();
}

Task<Status> Store::FinishRecovery(Recovery& recovery) {
  context_->journal = std::make_unique<Journal>(loop_, std::move(recovery.journal_file),
                                                recovery.scan, context_->metrics.registry);
  Journal* journal = context_->journal.get();
  journal->Start([this, journal] { return context_->needs.Oldest(journal->next_sequence()); },
                 [this] { wake_.Set(); }, [this](const Status& why) { context_->Quarantine(why); },
                 [this] { return context_->CheckMayWait(); });
  UpdateGauges();
  if (recovery.scan.damaged) {
    context_->Quarantine(
        Status(Code::kCorruption, "the journal has lost records that were acknowledged"));
    co_return Status::Ok();
  }
  // What cannot be thrown away must not cost the replicas that are well.
  context_->NoteWrite(co_await EmptyIncoming()).Ignore();
  context_->NoteWrite(co_await ListTrash()).Ignore();
  if (context_->quarantined()) co_return Status::Ok();
  for (const ReplayedReplica& replica : recovery.forget) {
    journal->Enqueue({RecordKind::kDone, replica.chunk, replica.incarnation, replica.epoch, 0, {}});
  }
  for (const auto& [replica, has_file] : recovery.discard) {
    if (has_file) {
      SpawnDiscard(replica.chunk, replica.incarnation, nullptr, ChunkPath(replica.chunk),
                   replica.first_frame);
    } else {
      journal->Enqueue(
          {RecordKind::kDone, replica.chunk, replica.incarnation, replica.epoch, 0, {}});
    }
  }
  std::vector<Job> jobs;
  for (const auto& replica : recovery.restate) {
    jobs.push_back([replica]() -> Task<void> { (co_await replica->Checkpoint()).Ignore(); });
  }
  for (const auto& replica : recovery.finalize) {
    jobs.push_back(
        [this, replica]() -> Task<void> { (co_await FinalizeAndIndex(replica)).Ignore(); });
  }
  // Failures here are the disk's: they end in quarantine, or are tried again by the keeper or by
  // who asks for a sync. A replica that is not restated promises no more than the journal does.
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
  UpdateGauges();
  co_return Status::Ok();
}

Task<Status> Store::EmptyIncoming() {
  const std::string directory = context_->PathOf(std::string(kIncoming));
  MORAINE_CO_ASSIGN_OR_RETURN(const auto entries, co_await loop_.disk().List(directory));
  for (const DirectoryEntry& entry : entries) {
    MORAINE_CO_RETURN_IF_ERROR(co_await loop_.disk().Remove(directory + "/" + entry.name));
  }
  co_return Status::Ok();
}

Task<Status> Store::ListTrash() {
  MORAINE_CO_ASSIGN_OR_RETURN(const auto entries,
                              co_await loop_.disk().List(context_->PathOf(std::string(kTrash))));
  for (const DirectoryEntry& entry : entries) {
    trash_[std::string(kTrash) + "/" + entry.name] = loop_.After(context_->options.trash_grace);
  }
  co_return Status::Ok();
}

Task<Status> Store::Join(std::string cluster, ServerId server) {
  if (!superblock_.cluster.empty() && superblock_.cluster != cluster) {
    co_return Status(Code::kWrongCluster,
                     fmt::format("{} belongs to cluster {}, not {}", context_->options.dir,
                                 superblock_.cluster, cluster));
  }
  if (superblock_.cluster == cluster && superblock_.server == server) co_return Status::Ok();
  Superblock joined = superblock_;
  joined.cluster = std::move(cluster);
  joined.server = server;
  MORAINE_CO_RETURN_IF_ERROR(
      context_->NoteWrite(co_await WriteSuperblock(loop_, context_->options.dir, joined)));
  superblock_ = std::move(joined);
  context_->cluster = superblock_.cluster;
  co_return Status::Ok();
}

Task<Status> Store::Close() {
  // While calls end and the rest is made durable, the keeper goes on making room for them.
  calls_.Close();
  EndWaits();
  co_await calls_.Drain();
  std::vector<Job> jobs;
  auto failure = std::make_shared<Status>();
  for (const auto& [chunk, entry] : index_) {
    if (entry.open == nullptr || entry.open->damaged()) continue;
    jobs.push_back([replica = entry.open, failure]() -> Task<void> {
      const Status status = co_await replica->SyncAll();
      if (!status.ok()) *failure = status;
    });
  }
  co_await RunBounded(loop_, context_->background, std::move(jobs), kRestateWidth);
  closing_.Set();
  wake_.Set();
  loops_.Close();
  co_await loops_.Drain();
  context_->background.Close();
  co_await context_->background.Drain();
  co_await context_->journal->Close();
  lock_ = nullptr;
  co_return *failure;
}

}  // namespace moraine::chunkserver
