// The one implementation of File. Internal to fs/client.
//
// Where a byte of the file is, in the order in which a read looks:
//   dirty_    written in the middle and not stored yet
//   inline_   the whole content of a small file
//   stream_   at the end: what this client appends (its open chunk, and what is not sent yet)
//   extents_  chunks, as the metaserver maps them
//   tail_     at the end: the open chunk of another client's stream
//   else a hole.
//
// mutex_ orders everything that changes; reads take it only when they need unsent bytes stored, and
// reloading_ when another client has changed the file.
#pragma once

#include <memory>
#include <optional>

#include "base/loop/sync.h"
#include "fs/chunkio/append_stream.h"
#include "fs/client/core.h"
#include "fs/client/dirty_ranges.h"
#include "fs/client/extent_map.h"
#include "fs/client/file.h"
#include "fs/client/file_source.h"

namespace moraine::fs {

class FileImpl final : public File, public std::enable_shared_from_this<FileImpl> {
 public:
  FileImpl(ClientCore& core, Attributes attributes);
  ~FileImpl() override;

  // ---- File
  Attributes attributes() const override;
  uint64_t size() const override { return size_; }
  Task<Result<ReadBytes>> Read(uint64_t offset, uint64_t length) override;
  Task<Result<std::vector<ReadBytes>>> ReadRanges(std::vector<Range> ranges) override;
  Task<Status> Write(uint64_t offset, ConstBytes bytes) override;
  Task<Result<uint64_t>> Append(ConstBytes bytes) override;
  void Push() override;
  Task<Status> Flush() override;
  Task<Status> Sync() override;
  Task<Status> Truncate(uint64_t size) override;
  Task<Status> Extend(uint64_t size) override;
  Status error() const override { return error_; }

  // ---- For the client
  // Takes what the metaserver says now; own unsaved writes stay on top.
  Status Adopt(const idl::Attributes& attributes, const idl::Layout& layout);
  Status AdoptUnlessLeased(const idl::Attributes& attributes, const idl::Layout& layout);
  void AdoptOwned(const Attributes& attributes, const Layout& layout);
  void AdoptAttributes(const Attributes& attributes);
  void AdoptFirstChunk(ChunkGrant grant);
  // Of another client's open tail: how far it is written now.
  Task<Status> RefreshTail(Instant deadline);
  Task<Status> Reload(Instant deadline);  // the layout, and then the tail
  // Stores everything, ends the streams, and keeps the lease.
  Task<Status> Settle(bool sync);
  // The same for good: what cannot be stored is given up, and error() says so from then on.
  // kTimeout when the file is busy for too long: then nothing has changed.
  Task<Status> End(Instant deadline);
  // The same, then gives the lease back, for recalls: also one that is not known of here, of an
  // open or a close whose answer never came.
  Task<Status> GiveBack(Instant deadline);
  // When the client stops and nothing can be sent any more.
  Task<void> GiveUp(Status why);
  void OnLeaseLost();
  // Something of this file was changed at the metaserver and is not on its disk yet.
  void NoteUnsynced() { ++changes_; }
  // The same of its bytes: if they are lost, the file says so.
  void NoteUnsyncedBytes() { bytes_change_ = ++changes_; }
  // Nothing is left to be synced: the file was made just now, durably.
  void NoteSynced() { synced_changes_ = changes_; }
  // Another client has changed the file: the next read asks where its bytes are.
  void NoteStale() {
    stale_ = true;
    ++news_;
  }
  // The metaserver may have lost its last changes: what it says next is true.
  void NoteRestart();
  // Another client has changed the file if the metaserver's attributes say so, which `own_changes`
  // of this client are behind.
  void NoteStaleIfOlder(const Attributes& attributes, uint64_t own_changes);
  bool HasUnsaved() const;
  void SetNoInline() { may_inline_ = false; }
  Instant dirty_since() const { return dirty_since_; }

  // For an Open of this client: takes the write lease, or only learns what the metaserver says now.
  // Ordered with everything else that takes or gives back the lease.
  Task<Status> OpenAt(bool writing, Instant deadline);
  // Asks whether the lease that this client believes to have is still its own: who acquires the
  // directory takes it at once, and the news of that may be under way. If it is, `attributes()` are
  // the metaserver's afterwards.
  Task<Status> ConfirmLease(Instant deadline);
  // Whether an open tail that the metaserver knows of may be this client's.
  bool HasOwnTail() const { return stream_ != nullptr || first_chunk_.has_value(); }
  // Of the metaserver's attributes that are known here.
  uint64_t version() const { return attributes_.version; }
  // The metaserver has granted the lease with another call's answer.
  Status AdoptLease(const idl::Attributes& attributes, const idl::Layout& layout);

  bool leased = false;  // believed, until an answer or the news say that it is not so
  int handles = 0;
  int opening = 0;          // calls of Open under way: the end does not begin before they end
  bool idle = false;        // nobody has it open; it is closed soon, unless it is opened again
  bool closing = false;     // the end has begun; who opens waits until this is out of the table
  bool registered = false;  // the metaserver was told that this client has the file open
  bool nameless = false;    // its last name was removed here
  bool recalling = false;   // giving the lease back for another session

 private:
  bool CanBeInline(uint64_t end) const;
  bool IsOwnChunk(ChunkId chunk) const;
  Task<Status> ReloadLayout(Instant deadline);
  // What each change begins with; needs mutex_.
  Task<Status> BeginChange(Instant deadline);
  // Both need mutex_.
  Task<Status> EnsureLease(Instant deadline);
  Task<Status> AskToOpen(bool writing, Instant deadline);
  Task<Status> WriteLocked(uint64_t offset, ConstBytes bytes);
  Task<Status> LeaveInline();
  Task<Status> SyncOverRecord(Instant deadline);
  Task<Status> Resize(uint64_t size, bool may_shorten);
  Task<Status> AppendLocked(uint64_t offset, ConstBytes bytes);
  // What ends when something is stored. A chunk that has ended is closed by the same commit.
  enum class Ending { kNothing, kStream, kAll };
  // Stores dirty ranges and inline content; needs mutex_.
  Task<Status> Store(bool sync, Ending ending) {
    return Store(sync, ending, core_.link.Deadline());
  }
  Task<Status> Store(bool sync, Ending ending, Instant deadline);
  bool DirtyOverStored() const;
  Task<Result<std::vector<Extent>>> StoreDirty(bool sync, Instant deadline);
  struct Ended {
    std::vector<Extent> extents;  // where the dirty ranges are now
    std::optional<ChunkClose> tail;
    std::optional<ChunkClose> loose;
  };
  Task<Result<Ended>> EndStreams(bool sync, Ending ending, Instant deadline);
  Task<Result<std::optional<ChunkClose>>> EndStream(AppendStream& stream, bool sync,
                                                    Instant deadline);
  void OnStored(const Ended& ended);
  Task<Status> SettleLocked(bool sync);
  Task<Status> ReleaseLease();
  Task<Status> StartAnew(Instant deadline);
  Task<Status> EndLocked();
  Task<Status> SyncRecord(Instant deadline);
  // Gives a stream up; its calls end in the background. Readers may still hold it.
  Task<void> LetGo(std::shared_ptr<AppendStream> stream);
  // Forgets what is not stored, and keeps `why` as the error if there was anything.
  Task<void> DropUnsaved(Status why);
  void NoteClosedChunks();
  // Bytes of the file are gone that nobody had synced.
  static Status LostBytes();
  void TakeLosses(uint32_t losses);
  void MarkChanged();
  Status Keep(Status status);
  Token token() const { return core_.TokenOfFile(inode_); }

  Task<Status> Freshen(uint64_t end, Instant deadline);
  Task<Status> ReachUnsent(uint64_t end, Instant deadline);
  struct Segment;
  std::vector<Segment> Plan(uint64_t offset, uint64_t length) const;
  void PlanChunks(uint64_t offset, uint64_t length, std::vector<Segment>* plan) const;
  void PlanTail(uint64_t offset, uint64_t length, std::vector<Segment>* plan) const;
  Task<Result<ReadBytes>> ReadOnce(uint64_t offset, uint64_t length, Instant deadline);
  struct Gather;
  Task<void> ReadSegment(std::shared_ptr<Gather> gather, size_t index, Segment segment);
  std::vector<Segment> SplitForReading(std::vector<Segment> plan) const;
  // Where the chunks that we know are now.
  Task<Status> RefreshPlaces(Instant deadline);

  ClientCore& core_;
  Attributes attributes_;  // as the metaserver last said
  uint64_t size_ = 0;
  int64_t mtime_ns_ = 0;
  bool changed_ = false;  // times or size to be told at the next commit
  Instant dirty_since_ = kNever;
  // What a sync has to ask the metaserver for: changes that it was told without "sync", chunks that
  // were closed before all of their bytes were on disk. Whatever was done before this File was made
  // counts as one.
  uint64_t changes_ = 1;
  uint64_t synced_changes_ = 0;
  uint64_t bytes_change_ = 0;  // the last of them that was of bytes
  uint64_t grants_ = 0;        // of the lease
  // The file's losses (Attributes) that the layout here knows of; said with every change.
  uint32_t losses_ = 0;

  ExtentMap extents_;
  std::map<ChunkId, ChunkPlace> places_;
  bool stale_ = false;              // what is known of the places of bytes may be old
  uint64_t news_ = 0;               // how often it became so
  uint64_t own_version_ = 0;        // where own changes since the layout have led, if it is higher
  std::optional<ChunkPlace> tail_;  // of another client
  uint64_t tail_offset_ = 0;
  uint64_t tail_visible_ = 0;

  std::optional<std::string> inline_;
  bool inline_dirty_ = false;
  bool may_inline_ = true;
  // The stream begins with what the inode record holds, and the record lets go of it when the
  // stream's chunk is mapped: the chunk must be on disk before that.
  bool replaces_record_ = false;
  DirtyRanges dirty_;

  std::unique_ptr<FileSource> tail_source_;
  std::unique_ptr<FileSource> loose_source_;
  std::optional<ChunkGrant> first_chunk_;
  std::shared_ptr<AppendStream> stream_;  // changed under mutex_ only; readers keep their own
  std::shared_ptr<AppendStream> loose_;
  std::vector<ChunkClose> unclosed_;  // loose chunks that have ended; the next commit closes them

  Status error_;
  AsyncMutex mutex_;
  AsyncMutex reloading_;  // readers of a stale file wait for one of them
};

}  // namespace moraine::fs
