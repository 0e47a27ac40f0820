// What the metaserver asks of chunkservers, as an interface: the real one is service/rpc_calls.h,
// tests bring their own.
//
// Errors: those of the wire (kUnavailable, kTimeout: the outcome is unknown) and of the chunkserver
// (protocol::AppendReplica). Every call ends by its deadline.
#pragma once

#include <vector>

#include "base/ids.h"
#include "base/loop/loop.h"
#include "metaserver/store/records.h"

namespace moraine::metaserver {

struct ReplicaAnswer {
  bool sealed = false;
  uint64_t held = 0;
  uint64_t synced = 0;
  bool restarted = false;
  bool damaged = false;
  uint64_t file_offset = 0;
};

struct CopyOrder {
  ChunkId chunk;
  Epoch epoch;
  uint64_t length = 0;
  std::vector<ServerId> sources;  // tried in this order
  bool whole = false;             // a new sealed replica; else an open, fenced one is brought up
  InodeId inode;
  uint64_t file_offset = 0;
  PolicyRecord policy;
  uint32_t made = 0;
};

class ChunkserverCalls {
 public:
  virtual ~ChunkserverCalls() = default;
  virtual Task<Result<ReplicaAnswer>> Stat(ServerId server, ChunkId chunk, Instant deadline) = 0;
  virtual Task<Result<ReplicaAnswer>> Fence(ServerId server, ChunkId chunk, Epoch epoch,
                                            Instant deadline) = 0;
  // Hold: has `length` bytes on disk, stays open. Seal: is sealed there, for ever.
  virtual Task<Status> Hold(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                            Instant deadline) = 0;
  virtual Task<Status> Seal(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                            Instant deadline) = 0;
  virtual Task<Status> Copy(ServerId server, CopyOrder order, Instant deadline) = 0;
  virtual Task<Status> Delete(ServerId server, ChunkId chunk, Epoch epoch, Instant deadline) = 0;
};

}  // namespace moraine::metaserver
