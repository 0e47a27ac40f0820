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
// mutex_ orders everything that changes; reads take it only when they need unsent bytes stored.
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

class FileImpl final : public File {
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
  Status error() const override { return error_; }

  // ---- For the client
  // Takes what the metaserver says now; own unsaved writes stay on top.
  Status Adopt(const idl::Attributes& attributes, const idl::Layout& layout);
  void AdoptOwned(const Attributes& attributes, const Layout& layout);
  void AdoptAttributes(const Attributes& attributes);
  void AdoptFirstChunk(ChunkGrant grant);
  // Of another client's open tail: how far it is written now.
  Task<Status> RefreshTail(Instant deadline);
  Task<Status> Reload(Instant deadline);
  // Stores everything, ends the stream, and keeps the lease.
  Task<Status> Settle(bool sync);
  // The same, then gives the lease back; for recalls and the last close.
  Task<Status> GiveBack();
  void OnSessionLost();
  bool HasUnsaved() const;
  void SetNoInline() { may_inline_ = false; }
  Instant dirty_since() const { return dirty_since_; }

  bool leased = false;
  int handles = 0;
  int writers = 0;
  bool closing = false;
  bool unregistered = false;  // opened from an owned directory: the metaserver was not told

 private:
  bool CanBeInline(uint64_t end) const;
  bool IsOwnChunk(ChunkId chunk) const;
  Task<Status> EnsureLease(Instant deadline);
  Task<Status> WriteLocked(uint64_t offset, ConstBytes bytes);
  Task<Status> LeaveInline();
  Task<Status> AppendLocked(uint64_t offset, ConstBytes bytes);
  // Stores dirty ranges and inline content; with `finish` also ends the stream.
  Task<Status> Store(bool sync, bool finish);
  Task<Result<std::vector<Extent>>> StoreDirty(bool sync);
  Task<Status> EndStream(std::optional<ChunkClose>* close, bool sync);
  void NoteClosedChunks();
  void MarkChanged();
  Status Keep(Status status);
  Token token() const { return core_.TokenOfFile(inode_); }

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

  ExtentMap extents_;
  std::map<ChunkId, ChunkPlace> places_;
  std::optional<ChunkPlace> tail_;  // of another client
  uint64_t tail_offset_ = 0;
  uint64_t tail_visible_ = 0;

  std::optional<std::string> inline_;
  bool inline_dirty_ = false;
  bool may_inline_ = true;
  DirtyRanges dirty_;

  std::unique_ptr<FileSource> tail_source_;
  std::unique_ptr<FileSource> loose_source_;
  std::optional<ChunkGrant> first_chunk_;
  std::unique_ptr<AppendStream> stream_;
  std::unique_ptr<AppendStream> loose_;

  Status error_;
  AsyncMutex mutex_;
};

}  // namespace moraine::fs
