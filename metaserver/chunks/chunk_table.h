// Chunk records inside a transaction, with everything that is derived from them: the index by
// server, the queues, and the counters. Nothing else writes those families.
//
// The states and their transitions are protocol/chunk_record.h's; the conversions are here.
// Errors: kCorruption and kIo of the store, kUnknownChunk where a chunk must exist.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "metaserver/chunks/placement.h"
#include "metaserver/store/transaction.h"
#include "protocol/chunk_record.h"
#include "protocol/policy.h"

namespace moraine::metaserver {

Result<std::optional<ChunkRecord>> FindChunk(Transaction& transaction, ChunkId chunk);
// kUnknownChunk if there is none.
Result<ChunkRecord> GetChunk(Transaction& transaction, ChunkId chunk);
// Writes the record, and brings index, queues and counters from the stored one to this one.
Status PutChunk(Transaction& transaction, ChunkId chunk, const ChunkRecord& record);

// Adds to the number of extents that name the chunk. At zero it is deleted, unless `keep`.
Status AddReferences(Transaction& transaction, ChunkId chunk, int64_t delta, bool keep = false);

// DELETING with the next epoch; every replica is queued for deletion.
Status BeginDelete(Transaction& transaction, ChunkId chunk);
// Takes one replica of a living chunk off its list and queues it for deletion.
Status DropReplica(Transaction& transaction, ChunkId chunk, ServerId server);
// A sealed chunk has enough good replicas: drops the others, and good ones beyond what its policy
// asks for (ChooseKept). Does nothing while there are too few. `servers` is asked only if needed.
using ServersNow = std::function<std::span<const ServerView>()>;
Status DropSurplus(Transaction& transaction, ChunkId chunk, const ServersNow& servers);
// The server has deleted its replica; forgets the chunk with the last one.
Status FinishDeletion(Transaction& transaction, ServerId server, ChunkId chunk);

// Replicas of chunks without a record. They may be what is left of a file whose record this store
// has lost, so they stay for a long while before they are deleted. The first report counts.
Status NoteUnknown(Transaction& transaction, ServerId server, ChunkId chunk, Epoch epoch);
Status ForgetUnknown(Transaction& transaction, ServerId server, ChunkId chunk);
// Queues the deletion of those that were first reported before `reported_before_ns`, at most
// `count_max`; returns which.
Result<std::vector<std::pair<ServerId, ChunkId>>> DeleteUnknown(Transaction& transaction,
                                                                int64_t reported_before_ns,
                                                                size_t count_max);

// Queued deletions of one server: the chunk and the epoch up to which it may delete.
struct QueuedDeletion {
  ChunkId chunk;
  Epoch epoch;
};
Result<std::vector<QueuedDeletion>> QueuedDeletions(Transaction& transaction, ServerId server,
                                                    ChunkId after, size_t limit);
void QueueDeletion(Transaction& transaction, ServerId server, ChunkId chunk, Epoch epoch);
Result<bool> IsDeletionQueued(Transaction& transaction, ServerId server, ChunkId chunk);

// Sealed chunks with too few good copies but at least one, fewest first.
Result<std::vector<ChunkId>> QueuedRepairs(Transaction& transaction, size_t limit);
// Sealed chunks on fewer disks than the floor of their policy, also those on none.
Result<std::vector<std::pair<InodeId, ChunkId>>> ChunksBelowFloor(Transaction& transaction);
// Closed and fencing chunks, after `after`.
Result<std::vector<ChunkId>> QueuedSeals(Transaction& transaction, ChunkId after, size_t limit);
// Chunks with a replica on the server, after `after`.
Result<std::vector<ChunkId>> ChunksOfServer(Transaction& transaction, ServerId server,
                                            ChunkId after, size_t limit);

// The record in the protocol's terms, and back. `ToProtocol` needs a chunk that is not sealed, so
// that indices mean replicas.
protocol::MadePolicy MadePolicyOf(const ChunkRecord& record);
// Sealed, with bytes, and on too few disks for a sync that waits for them (APPEND.md section 7).
bool IsBelowFloor(const ChunkRecord& record);
protocol::ChunkRecord ToProtocol(const ChunkRecord& record);
void TakeFromProtocol(const protocol::ChunkRecord& from, ChunkRecord& record);

// A living writer leaves the chunk at `length`. Errors: protocol::CloseByWriter's; kBusy while a
// close of this session's is being settled by a fence.
Status CloseChunk(ChunkRecord& record, SessionId session, Epoch epoch, uint64_t length,
                  std::span<const ServerId> holders);

}  // namespace moraine::metaserver
