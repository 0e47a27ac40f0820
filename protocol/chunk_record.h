// A chunk's record at the metaserver and every transition of it, as pure functions (APPEND.md
// section 5). Each takes the record as read inside a transaction and returns the record to write;
// the embedder writes it durably before it answers or sends anything that follows from it.
//
//   OPEN(epoch) --CloseByWriter--> CLOSED(epoch, length) --RecordSealed--> SEALED(length)
//      |                               |                                     ^
//      +------------BeginFencing-------+--> FENCING(epoch + 1) --RecordSealed-+
//                                              | BeginFencing (again, by anyone)
//                                              +--> FENCING(epoch + 2)
// SEALED and DELETING never go back.
#pragma once

#include <cstdint>

#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "protocol/policy.h"
#include "protocol/replica_set.h"

namespace moraine::protocol {

// Stored; values are never reused.
enum class ChunkState : uint8_t {
  kOpen = 1,     // a writer may append under `epoch`
  kClosed = 2,   // the writer has left at `length`; the bytes may not be on disk yet
  kFencing = 3,  // a recovery under `epoch` is finding the length, at most `length`
  kSealed = 4,   // `length` bytes, on disk at `good`, for ever
  kDeleting = 5,
};

struct ChunkRecord {
  ChunkState state = ChunkState::kOpen;
  Epoch epoch{1};
  MadePolicy policy;
  // OPEN: the chunk's capacity. CLOSED and SEALED: its length. FENCING: the most it may become:
  // after a close the next chunk begins there, so recovery must not go past it.
  uint64_t length = limits::kChunkBytesMax;
  // CLOSED: replicas that the writer saw hold `length`. SEALED: those that have it on disk.
  ReplicaSet good{};
};

// A living writer leaves the chunk (roll, or end of file).
struct CloseRequest {
  Epoch epoch;
  uint64_t length = 0;   // the writer's committed length, frozen
  ReplicaSet holders{};  // replicas that acknowledged that much
};

// Accepted only from OPEN at the same epoch with at least w holders. A repeat of an accepted close
// returns the record as it is, so that a lost answer may be asked for again.
// Errors: kFenced (another owner fenced the chunk), kSealed (closed at another length),
// kInvalidArgument (too few holders, or past the capacity).
Result<ChunkRecord> CloseByWriter(const ChunkRecord& record, const CloseRequest& request);

// A recovery begins, or begins again: the next epoch, which no other recovery has. The record must
// be durable before the first fence is sent. Error: kSealed.
Result<ChunkRecord> BeginFencing(const ChunkRecord& record);

// Recovery under `epoch` (or the settling of a close) is done: SEALED(length) with `good` durable.
// Refused with kFenced when a later recovery has begun: only the latest may decide. A repeat is ok.
Result<ChunkRecord> RecordSealed(const ChunkRecord& record, Epoch epoch, uint64_t length,
                                 ReplicaSet good);

// Repair has brought `replica` to the sealed length, on disk. It may be one past the `made` first
// ones: repair adds servers at the end of a sealed chunk's list. Error: kInvalidArgument unless
// SEALED, or past limits::kReplicasMax.
Result<ChunkRecord> AddGood(const ChunkRecord& record, int replica);

// Whether a replica that is not in `good` may be thrown away: not before w others are good. Until
// then it may be the second copy of acknowledged bytes.
bool MayDrop(const ChunkRecord& record, int replica);

}  // namespace moraine::protocol
