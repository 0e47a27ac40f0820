// An endless append stream over a row of chunks: gathers small pieces, sends them, goes on in a
// new chunk when one is full or lost too many replicas, and knows how far everything is held and
// synced. When it falls silent it tells the replicas how far that is, for readers. It knows nothing
// of names; a ChunkSource gives it chunks.
//
// Positions are stream offsets; the stream begins at `start` (the file offset of a tail stream).
//   taken      given to Append
//   committed  held by the policy's quorum: readers may see it, it survives the policy's failures
//   synced     on the disks of the policy's quorum
// A caller's bytes are copied when there is room for them, so they must stay until Append returns.
// An error that no new chunk can mend is kept and returned by every later call.
//
// Confined to one loop. Close (or Abandon) and Drain before destruction.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "fs/chunkio/chunk_writer.h"

namespace moraine::fs {

// Where a stream's chunks come from: the metaserver, or a test.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  // Closes `previous` at the length it tells and gives the chunk that goes on at `offset`. A server
  // that does not answer is asked until it does, as long as `wanted` is true: only its answer tells
  // whether the chunk was granted. Errors with Advice::kRetry are tried again for a while.
  virtual Task<Result<ChunkGrant>> NextChunk(std::optional<ChunkClose> previous, uint64_t offset,
                                             std::vector<ServerId> avoid,
                                             std::function<bool()> wanted) = 0;
  // Until a chunk that was closed is sealed and on the disks its policy wants; gives its length.
  virtual Task<Result<uint64_t>> AwaitSealed(ChunkId chunk, Instant deadline) = 0;
};

class AppendStream {
 public:
  // `first`: a chunk that is granted already; its tail_offset must be `start`.
  AppendStream(Loop& loop, rpc::Channels& channels, ChunkSource& source,
               const ChunkIoOptions& options, uint64_t start, std::optional<ChunkGrant> first);
  ~AppendStream();

  // All that wait do so until their deadline.
  //
  // Takes the bytes over; waits while the window is full. kTimeout: the window did not move, and
  // nothing was taken. (Of more bytes than a window holds some may have been; then the error
  // stays.)
  Task<Status> Append(ConstBytes bytes, Instant deadline);
  // Begins to send what is gathered.
  void Push();
  // Until everything taken so far is committed / synced.
  Task<Status> Flush(Instant deadline);
  Task<Status> Sync(Instant deadline);
  // Flushes, lets a roll that is under way end, then gives what the metaserver needs to seal the
  // last chunk (nothing if no chunk is open). The stream takes nothing afterwards; Finish may be
  // called again and gives the same.
  Task<Result<std::optional<ChunkClose>>> Finish(Instant deadline);
  bool finished() const { return finished_; }

  uint64_t start() const { return start_; }
  uint64_t taken() const { return taken_; }
  uint64_t committed() const { return committed_; }
  const Status& error() const { return error_; }
  // The open chunk, where bytes of the stream from `base` on lie; nothing before the first one.
  struct OpenChunk {
    const ChunkGrant& grant;
    uint64_t base;
    uint64_t committed;  // bytes of the chunk
  };
  std::optional<OpenChunk> open_chunk() const;
  // Whether `chunk` is where this stream appends, or will begin to.
  bool owns(ChunkId chunk) const {
    return (writer_ != nullptr && writer_->grant().chunk == chunk) ||
           (first_ && first_->chunk == chunk);
  }
  // Chunks this stream has closed, in order, with where their bytes are in the stream. They stay
  // here until TakeClosed hands them out.
  struct ClosedChunk {
    ChunkGrant grant;
    uint64_t base = 0;
    uint64_t length = 0;
  };
  std::vector<ClosedChunk> TakeClosed() { return std::exchange(closed_, {}); }

  // Gives up without flushing; calls under way end with kCanceled.
  void Abandon();
  Task<void> Drain();

 private:
  struct Piece {
    uint64_t offset = 0;  // in the stream
    OwnedBytes bytes;
    uint64_t end() const { return offset + bytes.bytes.size(); }
  };
  // A chunk that is closed and perhaps not on disk everywhere yet.
  struct Retired {
    std::unique_ptr<ChunkWriter> writer;
    uint64_t base = 0;
    uint64_t length = 0;
    bool closed = false;  // the metaserver has said so
    bool settling = false;
    bool settled = false;
    bool Synced() const { return settled || writer->rules().synced() >= length; }
  };

  Task<void> Run();
  bool SendQueued();
  void SendSync();
  void TakeAnswers();
  Instant TellAt() const;
  bool MustRoll() const;
  Task<void> Roll();
  Task<void> PauseIfFruitless();
  Task<void> DrainFullChunk(Instant deadline);
  void Requeue(uint64_t from);
  Task<Result<ChunkGrant>> AskForChunk(std::optional<ChunkClose> previous);
  bool Begin(ChunkGrant grant);
  void SettleBelow(uint64_t offset);
  Task<void> Settle(Retired* retired);
  void DropSettled();
  static Task<void> DrainRetired(std::unique_ptr<Retired> retired);
  Task<bool> AwaitRoom(uint64_t bytes, Instant deadline, bool may_give_up);
  Status Late(const char* words) const;
  bool NoRoomSince(uint64_t refusals) const;
  bool NoChunkSince(uint64_t refusals) const;
  void NoteTrouble(Status status);
  void Take(ConstBytes bytes);
  void Fail(Status status);
  void EnqueueGathered();
  uint64_t SyncedNow() const;

  // Constant after construction.
  Loop& loop_;
  rpc::Channels& channels_;
  ChunkSource& source_;
  const ChunkIoOptions options_;
  const uint64_t start_;

  uint64_t taken_;
  uint64_t committed_;
  uint64_t sync_wanted_;
  Status error_;
  bool finished_ = false;
  bool between_chunks_ = false;  // one was left or none had begun; the next is being asked for
  Status trouble_;               // why there is none yet, or none of the bytes reach a disk
  uint64_t refusals_ = 0;        // for want of room
  int fruitless_rolls_ = 0;      // in a row

  // Bytes gathered and not yet queued: [gather_begin_, gather_end_) of gather_.
  std::shared_ptr<Buffer> gather_;
  size_t gather_begin_ = 0;
  size_t gather_end_ = 0;

  std::deque<Piece> queue_;      // not sent in the current chunk
  std::deque<Piece> in_flight_;  // sent there, not committed
  std::unique_ptr<ChunkWriter> writer_;
  uint64_t base_ = 0;       // stream offset of the chunk's first byte
  uint64_t sync_sent_ = 0;  // stream offset up to which a sync was sent in this chunk
  std::optional<ChunkGrant> first_;
  std::vector<std::unique_ptr<Retired>> retired_;
  int settling_ = 0;  // of them
  std::vector<ClosedChunk> closed_;
  std::vector<ServerId> avoid_;

  Condition changed_;   // something for Run to look at
  Condition progress_;  // committed, synced or error moved
  TaskGroup tasks_;
};

}  // namespace moraine::fs
