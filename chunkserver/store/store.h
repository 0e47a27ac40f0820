// One store: the replicas of one disk, behind one directory.
//
//   DIR/superblock  whose store this is          DIR/journal   JOURNAL.md
//   DIR/LOCK        one process at a time        DIR/chunks/   CHUNK_FILE.md
//   DIR/incoming/   copies under way             DIR/trash/    deleted replicas, for a grace time
//
// Owns everything below DIR. What a call promises is durable when it returns, as said at each.
// Every call may also fail with kQuarantined (the disk has failed; reads go on), kCanceled
// (closing) and kIo. A `deadline` ends the wait for a turn, for room and for a file that is being
// replaced: kOverloaded, and nothing was done. Behind it nothing is begun, and nothing given up.
// Confined to one loop. Life: Open, calls, Close; a killed process just drops it.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "chunkserver/store/open_replica.h"
#include "chunkserver/store/sealed_reader.h"
#include "chunkserver/store/superblock.h"

namespace moraine::chunkserver {

class IncomingReplica;

class Store {
 public:
  // Opens the store in options.dir, or makes one in a directory that is empty or missing. On return
  // the journal has been replayed. Errors, each one line for an operator: kBusy (another process
  // has it), kWrongVersion, kWrongCluster, kCorruption (not a store, or partly missing), kNoSpace,
  // kIo.
  static Task<Result<std::unique_ptr<Store>>> Open(Loop& loop, StoreOptions options,
                                                   MetricRegistry& metrics);
  ~Store();

  // Accepts, and makes durable if `sync` says so; otherwise the bytes are in memory. A chunk that
  // is not known is created if the call says from what. Errors: protocol::AppendReplica::Append;
  // kCorruption (the bytes do not match), kUnknownChunk, kNoSpace, kOverloaded.
  Task<Result<AppendResult>> Append(AppendCall call);
  // The same on the word of recovery, for bytes copied from another replica. Also takes the place
  // of a tombstone of the same or an older epoch.
  Task<Result<AppendResult>> AppendCopied(AppendCall call);
  // Whole blocks around [offset, offset + length), cut at what is visible: the sealed length, or of
  // an open chunk what the writer told or `committed` says. Errors: kUnknownChunk, kNotCommitted,
  // kCorruption (then the replica is damaged), kTooLarge.
  Task<Result<ReadResult>> Read(ChunkId chunk, uint64_t offset, uint64_t length,
                                uint64_t committed);
  Result<ReplicaInfo> Stat(ChunkId chunk) const;
  // Learns the epoch, durably. kUnknownChunk: there is no such replica, and from now on, durably,
  // no append of a writer can make one, only AppendCopied or Install at this epoch or above.
  Task<Result<ReplicaInfo>> Fence(ChunkId chunk, Epoch epoch, Instant deadline = kNever);
  // Everything held is durable and at least `length`; else kWrongOffset (copy first).
  Task<Result<ReplicaInfo>> Hold(ChunkId chunk, Epoch epoch, uint64_t length,
                                 Instant deadline = kNever);
  // SEALED at `length`, durably. kWrongOffset: holds less, copy first. May be repeated.
  Task<Result<ReplicaInfo>> Seal(ChunkId chunk, Epoch epoch, uint64_t length,
                                 Instant deadline = kNever);
  // Durably forgotten; the file goes to the trash. Of an empty replica a tombstone stays for a
  // while, as behind a fence. kFenced: the replica knows a higher epoch. Ok when there is nothing.
  Task<Status> Delete(ChunkId chunk, Epoch epoch, Instant deadline = kNever);

  // A new sealed replica, made from bytes of others. Nothing is visible before Install.
  Task<Result<std::unique_ptr<IncomingReplica>>> BeginCopy(ChunkId chunk, Epoch epoch,
                                                           uint64_t length, ReplicaOrigin origin,
                                                           Instant deadline = kNever);
  Task<Result<ReplicaInfo>> Install(std::unique_ptr<IncomingReplica> incoming,
                                    Instant deadline = kNever);
  // Throws away what was written; also done by an Install that fails.
  Task<void> Abandon(std::unique_ptr<IncomingReplica> incoming);

  // In order of chunk id, above `after`. Tombstones are listed as open and empty,
  // unless they are deleted.
  std::vector<ReplicaInfo> List(ChunkId after, size_t count_max) const;
  StoreStatus GetStatus() const;
  const Superblock& superblock() const { return superblock_; }
  // Binds the store to a cluster and a server id, durably.
  Task<Status> Join(std::string cluster, ServerId server);

  // What a heartbeat has to tell since the last one that was acknowledged.
  struct Changes {
    std::vector<ReplicaInfo> changed;
    std::vector<ChunkId> gone;
  };
  Changes TakeChanges(size_t count_max);
  void ReturnChanges(const Changes& changes);  // they were not acknowledged
  void TellAgain(ChunkId chunk) { changed_.insert(chunk); }

  // Tries every block of every sealed replica once, as fast as the option allows. For tests and
  // tools; the background does it again and again.
  Task<void> ScrubOnce();

  // Who waits for a file that is being replaced or thrown away gets kCanceled, now and from now on:
  // on a full disk that may take for ever. For who lets calls end before Close, which does it too.
  void EndWaits();
  // Finishes what is under way, makes everything held durable, closes files. No calls after it.
  Task<Status> Close();

  StoreContext& context() { return *context_; }

 private:
  struct Entry {
    std::shared_ptr<OpenReplica> open;  // or:
    SealedReplica sealed;
    ReplicaInfo Info() const { return open != nullptr ? open->Info() : sealed.Info(); }
    uint64_t incarnation() const {
      return open != nullptr ? open->header().incarnation : sealed.incarnation;
    }
  };
  struct Tombstone {
    Tombstone(JournalNeeds& needs, uint64_t incarnation, Epoch epoch)
        : need(needs), incarnation(incarnation), epoch(epoch) {}
    JournalNeeds::Need need;
    uint64_t incarnation;
    Epoch epoch;
    Instant until = kNever;  // deleted, and kept as long for the sake of late writers
  };
  struct Recovery;

  Store(Loop& loop, StoreOptions options, MetricRegistry& metrics);

  // store_open.cc
  Status CheckRoomForJournal(bool directory_there);
  Task<bool> IsUsedJournal(std::string path);
  Task<Status> OpenDirectory();
  Task<Status> Format(bool directory_there);
  Task<Status> CheckParts(const std::vector<DirectoryEntry>& entries);
  Task<Status> OpenJournalAndRecover();
  Task<Status> AdoptChunk(ChunkId chunk, Recovery& recovery);
  void AdoptFile(ChunkId chunk, Recovery& recovery);
  Task<Status> FinishRecovery(Recovery& recovery);
  Task<Status> EmptyIncoming();
  Task<Status> ListTrash();

  // store.cc
  Task<Result<AppendResult>> AppendTo(AppendCall call, bool copy);
  Result<std::shared_ptr<OpenReplica>> FindOpen(ChunkId chunk) const;
  Task<Result<std::shared_ptr<OpenReplica>>> FindOrCreate(const AppendCall& call, bool copy);
  std::shared_ptr<OpenReplica> Create(const AppendCall& call);
  Result<AppendResult> AppendToSealed(const AppendCall& call, const SealedReplica& sealed,
                                      bool copy) const;
  Status CheckRoomForReplica() const;
  uint64_t ReplicasInJournal() const;
  Status CheckRoomInJournal() const;
  Task<Result<Journal::Admission>> AdmitDeletion(Instant deadline);
  std::map<ChunkId, Tombstone>::iterator AddTombstone(ChunkId chunk, uint64_t incarnation,
                                                      Epoch epoch);
  Task<Result<ReplicaInfo>> FenceUnknown(ChunkId chunk, Epoch epoch);
  Task<Status> WaitForChange(ChunkId chunk, Instant deadline = kNever);
  void Erase(ChunkId chunk);
  void SpawnFinalize(std::shared_ptr<OpenReplica> replica);
  Task<Status> FinalizeAndIndex(std::shared_ptr<OpenReplica> replica);
  void SpawnDiscard(ChunkId chunk, uint64_t incarnation, std::shared_ptr<OpenReplica> open,
                    std::string path, uint64_t frame);
  Task<void> Discard(ChunkId chunk, uint64_t incarnation, std::shared_ptr<OpenReplica> open,
                     std::string path, std::shared_ptr<JournalNeeds::Need> need, uint64_t frame);
  Task<Status> MoveToTrash(std::string path, std::string name);
  Task<Status> InstallFile(IncomingReplica& incoming, Instant deadline);
  Status CheckReplaceable(ChunkId chunk, Epoch epoch, uint64_t length) const;  // store_copy.cc
  void Replace(const ChunkHeader& header);
  void UpdateGauges();
  void NoteChanged(ChunkId chunk) { changed_.insert(chunk); }
  void NoteGone(ChunkId chunk) {
    changed_.erase(chunk);
    gone_.insert(chunk);
  }

  // store_background.cc
  Task<void> RunKeeper();
  Task<void> RunScrubber();
  Task<void> RelieveMemory();
  Task<void> RelieveJournal();
  Task<void> RestateTombstones(uint64_t cutoff);
  void DropTombstones();
  void TellIdle();
  Task<void> RetryFinalizing();
  Task<void> EmptyTrash();
  Task<Status> ScrubReplica(SealedReplica replica);
  void RefreshSpace();

  // Declared first: everything below uses it.
  std::unique_ptr<StoreContext> context_;
  Loop& loop_;
  Superblock superblock_;
  std::unique_ptr<FileLock> lock_;
  SealedReader reader_;
  std::map<ChunkId, Entry> index_;
  std::map<ChunkId, Tombstone> tombstones_;
  std::set<ChunkId> changing_;  // their files are being replaced or thrown away
  Condition changed_over_;
  bool waits_ended_ = false;  // for changed_over_
  // Of deletions whose files could not be moved: their records stay until a restart.
  std::vector<std::shared_ptr<JournalNeeds::Need>> undiscarded_;
  std::set<ChunkId> changed_;
  std::set<ChunkId> gone_;
  std::map<std::string, Instant> trash_;  // when each file may go
  size_t open_count_ = 0;
  Instant idle_looked_{};  // by TellIdle
  DiskSpace space_;
  TaskGroup calls_;
  TaskGroup loops_;  // keeper and scrubber
  Event wake_;
  Event closing_;
};

// A sealed replica on its way in.
class IncomingReplica {
 public:
  IncomingReplica(StoreContext& context, ChunkHeader header, std::string path);
  // The next bytes, in order: whole blocks, except at the end. Verified against `checksums` (one
  // per block). kCorruption: ask another source.
  Task<Status> Write(uint64_t offset, std::shared_ptr<const Buffer> bytes,
                     std::vector<uint64_t> checksums);
  uint64_t written() const { return written_; }
  uint64_t length() const { return header_.sealed_length; }
  const ChunkHeader& header() const { return header_; }

 private:
  friend class Store;
  Task<Status> Complete();

  StoreContext& context_;
  const ChunkHeader header_;
  ChunkWriter writer_;
  uint64_t written_ = 0;
};

}  // namespace moraine::chunkserver
