// Reads ranges of chunks from whichever replica is likely to be quickest, asks another after a
// while, checks every block, and goes on to the next replica when bytes do not match. Small reads
// are kept and looked for in a BlockCache.
//
// Confined to one loop. Close and Drain before destruction.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "fs/chunkio/block_cache.h"
#include "fs/chunkio/chunk.h"
#include "fs/chunkio/options.h"
#include "fs/chunkio/server_stats.h"
#include "fs/chunkio/visible_length.h"
#include "idl/chunkserver_types.h"
#include "rpc/channels.h"

namespace moraine::fs {

class ChunkReader {
 public:
  // `bad`: told of every replica whose answer shows that it is bad or missing.
  using BadReplica = std::function<void(ChunkId, ServerId, const Status&)>;
  ChunkReader(Loop& loop, rpc::Channels& channels, const ChunkIoOptions& options,
              MetricRegistry& metrics, BadReplica bad);

  // Exactly [offset, offset + length) of the chunk, at most limits::kReadBytesMax. `committed`: how
  // much of an open chunk the caller knows to be held by the quorum.
  // Errors: kNotCommitted (past what readers may see), kCorruption or kUnknownChunk (no replica has
  // good bytes), kUnavailable and kTimeout (no replica answered).
  Task<Result<OwnedBytes>> Read(ChunkPlace place, uint64_t offset, uint64_t length,
                                uint64_t committed, Instant deadline);

  // How much of an open chunk is held by its quorum now, by asking the replicas, as soon as their
  // answers tell (visible_length.h). kUnavailable: too few answered.
  using Visible = VisibleBytes;
  Task<Result<Visible>> VisibleLength(ChunkPlace place, Instant deadline);

  void Close() { tasks_.Close(); }
  Task<void> Drain();

 private:
  Task<Result<OwnedBytes>> ReadThroughCache(ChunkPlace place, uint64_t offset, uint64_t length,
                                            uint64_t committed, Instant deadline);
  // From a replica.
  Task<Result<OwnedBytes>> Fetch(ChunkPlace place, uint64_t offset, uint64_t length,
                                 uint64_t committed, Instant deadline);
  void OrderForReading(ChunkId chunk, std::vector<ReplicaPlace>* replicas);
  struct Attempt;  // shared by the replicas asked for one read
  Task<void> AskReplica(std::shared_ptr<Attempt> attempt, ReplicaPlace replica);
  Task<Result<OwnedBytes>> AskOne(const Attempt& attempt, const ReplicaPlace& replica);
  struct Survey;
  Task<void> StatReplica(std::shared_ptr<Survey> survey, ReplicaPlace replica);

  Loop& loop_;
  rpc::Channels& channels_;
  const ChunkIoOptions options_;
  const BadReplica bad_;
  ServerStats stats_;
  BlockCache cache_;
  Counter& hedges_;
  Counter& mismatches_;
  TaskGroup tasks_;
};

}  // namespace moraine::fs
