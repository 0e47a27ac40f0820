// A replica that is not (or not yet visibly in its file) sealed: it takes appends and makes them
// durable, through the journal when they are small and through its file when they are large.
//
// Owns the bytes that are not in the file, the file while it is written, and the rules of the
// append protocol (protocol/append_replica.h) for this chunk. Lengths, each at most the one before:
//
//   held          accepted, in memory or in the file
//   journal_end   below it, bytes are in journal records that are queued, or in durable blocks
//   synced        durable
//   file length   whole blocks below are durable in the file, and a STATE record says so
//   flushed       whole blocks below are written (pending().begin()); may be above synced
//
// Calls of one replica take their turn in the order of arrival; the wait for durability is outside
// the turn, so that pipelined syncs share a commit. Reads never wait for writes. Confined to one
// loop; held by shared_ptr because calls outlive the index entry.
#pragma once

#include <memory>

#include "base/loop/sync.h"
#include "chunkserver/store/chunk_writer.h"
#include "chunkserver/store/pending_bytes.h"
#include "chunkserver/store/replica_types.h"
#include "chunkserver/store/store_context.h"
#include "protocol/append_replica.h"

namespace moraine::chunkserver {

class OpenReplica : public std::enable_shared_from_this<OpenReplica> {
 public:
  // A new, empty replica. Create() makes it durable.
  OpenReplica(StoreContext& context, ChunkHeader header);

  // What recovery found (recovery.h).
  struct Found {
    explicit Found(protocol::AppendReplica rules) : rules(rules) {}
    protocol::AppendReplica rules;      // synced: what the journal vouches for
    uint64_t flushed = 0;               // whole blocks in the file that verify
    uint64_t file_length = 0;           // of the last STATE record
    std::vector<uint64_t> checksums;    // of the blocks below flushed
    std::vector<std::byte> tail;        // bytes [flushed, held)
    std::vector<std::byte> seal_block;  // sealed: bytes of the block that the length cuts
    std::shared_ptr<File> file;         // may be null
    uint64_t first_frame = 0;           // the oldest journal frame it needs
    bool damaged = false;
  };
  OpenReplica(StoreContext& context, ChunkHeader header, Found found);
  ~OpenReplica();

  // Queues the STATE record of a new replica, at once.
  void QueueCreation();
  // Returns when the creation is durable.
  Task<Status> Created();

  // Errors: those of protocol::AppendReplica::Append; kCorruption (the bytes do not match
  // `checksums`), kQuarantined, kNoSpace, kUnknownChunk (deleted meanwhile). `copy`: the bytes come
  // from another replica, on the word of recovery.
  Task<Result<AppendResult>> Append(AppendCall call, bool copy);
  // As Read of Store.
  Task<Result<ReadResult>> Read(uint64_t offset, uint64_t length, uint64_t committed);
  // The epoch is durable on return. Error kFenced, kSealed. Deadlines as in Store.
  Task<Result<ReplicaInfo>> Fence(Epoch epoch, Instant deadline);
  // Everything held is durable, at least `length`; kWrongOffset when less is held.
  Task<Result<ReplicaInfo>> Hold(Epoch epoch, uint64_t length, Instant deadline);
  // Sealed durably on return; the file shows it after Finalize.
  Task<Result<ReplicaInfo>> Seal(Epoch epoch, uint64_t length, Instant deadline);

  // Background work, each safe to call at any time.
  Task<Status> FlushBehind();  // writes whole blocks, without making them durable
  Task<Status> Checkpoint();   // restates the replica at the journal's head, also a damaged one
  Task<Status> Finalize();     // after a seal: the file is complete, SEALED and durable
  Task<Status> SyncAll();      // before an orderly end

  // No call changes anything any more; those that wait for their turn get kUnknownChunk.
  void Retire() {
    retired_ = true;
    CountDirty();
  }
  void Revive() {  // what was to take its place has failed
    retired_ = false;
    CountDirty();
  }
  // Waits until no write to the file is under way.
  Task<void> Quiesce();
  void MarkDamaged(std::string_view why);

  ReplicaInfo Info() const;
  const ChunkHeader& header() const { return writer_.header(); }
  const std::string& path() const { return writer_.path(); }
  // Since its last append, or since NoteTold.
  Instant idle_since() const { return idle_since_; }
  void NoteTold() { idle_since_ = context_.loop.Now(); }
  bool damaged() const { return damaged_; }
  bool sealed() const { return rules_.sealed(); }
  uint64_t length() const { return rules_.held(); }
  uint64_t flushable_bytes() const { return pending_.full_end() - pending_.begin(); }
  bool NeedsRestating() const { return pending_.begin() > file_length_; }
  JournalNeeds::Need& need() { return need_; }

 private:
  Status CheckWritable() const;
  Task<Result<Semaphore::Units>> TakeTurn(Instant deadline);
  void TakeBytes(AppendCall& call);
  void CountDirty();
  void NoteBlocks(uint64_t from, const AppendCall& call);
  JournalRecord RecordOf(RecordKind kind, uint64_t number) const;
  Task<Status> MakeDurable(uint64_t end);
  Task<Status> SyncThroughFile();
  Task<Status> FlushTo(uint64_t end);
  Task<Status> WriteAndFlush(uint64_t end);
  Task<Result<std::vector<std::byte>>> BlockCutBy(uint64_t length);
  Task<Status> WriteSealedFile();
  Task<bool> TryRestate(bool last);
  Task<Status> RestateDamaged();
  // What a read will show, and where the bytes are: file, then memory, then the sealed block.
  struct ReadPlan {
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t file_end = 0;
    uint64_t memory_end = 0;
    std::vector<uint64_t> checksums;  // of the blocks that come from the file
    uint64_t cuts = 0;
  };
  ReadPlan PlanRead(uint64_t offset, uint64_t length, uint64_t visible) const;
  void FillFromMemory(const ReadPlan& plan, ReadResult& result) const;
  Task<Status> FillFromFile(const ReadPlan& plan, ReadResult& result);
  bool BlockMatches(uint64_t offset, ConstBytes block) const;

  StoreContext& context_;
  const ChunkId chunk_;
  protocol::AppendReplica rules_;
  ChunkWriter writer_;
  PendingBytes pending_;
  JournalNeeds::Need need_;

  uint64_t file_length_ = 0;
  uint64_t journal_end_ = 0;
  uint64_t journal_frame_ = 0;  // of the last record that moved journal_end_
  uint64_t creation_frame_ = 0;
  uint64_t seal_frame_ = 0;
  std::vector<std::byte> seal_block_;
  uint64_t cuts_ = 0;     // counts seals, for reads that run beside one
  int file_syncs_ = 0;    // syncs wait for it instead of using the journal
  uint64_t counted_ = 0;  // of the store's dirty bytes
  bool flushing_behind_ = false;
  bool damaged_ = false;
  bool retired_ = false;
  bool finalized_ = false;
  Instant idle_since_;
  Condition synced_changed_;
  Semaphore turns_;   // one call at a time, in order of arrival
  AsyncMutex file_;   // checkpoint, sync through the file, finalize
  AsyncMutex flush_;  // one write of blocks at a time
};

// Checks bytes of a chunk against one checksum per piece between multiples of 4 KiB.
// kCorruption, kInvalidArgument (another number of pieces).
Status CheckPieces(uint64_t offset, ConstBytes bytes, std::span<const uint64_t> checksums);

}  // namespace moraine::chunkserver
