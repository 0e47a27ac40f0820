#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/losses.h"
#include "metaserver/namespace/names.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/store/store.h"

namespace moraine::metaserver {
namespace {

// Closes the previous chunk and says as what the new one joins the file.
Result<AttachedChunk> PlaceOf(Transaction& transaction, const AllocateChunkArgs& args,
                              InodeRecord& record) {
  AttachedChunk place{ChunkId(), AttachKind::kLoose, args.tail_offset};
  bool tail_closed = false;
  if (args.previous.has_value()) {
    const AttachedChunk* previous = FindAttached(record, args.previous->chunk);
    tail_closed = previous != nullptr && previous->kind == AttachKind::kTail;
    if (tail_closed) place.tail_offset = previous->tail_offset + args.previous->length;
    MORAINE_RETURN_IF_ERROR(CloseAttached(transaction, args.inode, record, *args.previous));
  }
  if (!args.tail) {
    place.tail_offset = 0;
    return place;
  }
  MORAINE_RETURN_IF_ERROR(CheckNoTail(transaction, args.inode, record));
  place.kind = AttachKind::kTail;
  if (tail_closed && args.tail_offset != 0 && args.tail_offset != place.tail_offset) {
    return Status(Code::kInvalidArgument, fmt::format("the next tail begins at {}, not at {}",
                                                      place.tail_offset, args.tail_offset));
  }
  if (place.tail_offset > limits::kFileBytesMax - limits::kChunkBytesMax) {
    return Status(Code::kTooLarge, fmt::format("a chunk at {}", place.tail_offset));
  }
  if (!record.inline_data.empty() && place.tail_offset != 0) {
    return Status(Code::kInvalidArgument,
                  "the inline content must be written into the first chunk, so it begins at 0");
  }
  return place;
}

Result<ChunkRecord> NewChunk(const AllocateChunkArgs& args, const PolicyRecord& policy,
                             const AttachedChunk& place, SessionId session,
                             std::span<const ServerView> servers, Random& random) {
  const std::vector<ServerId> chosen = Place(servers,
                                             {.wanted = static_cast<int>(policy.replicas),
                                              .floor = static_cast<int>(policy.floor),
                                              .existing = {},
                                              .avoid = args.avoid},
                                             random);
  if (chosen.size() < policy.floor) {
    const auto up = std::ranges::count(servers, true, &ServerView::placeable);
    const auto full = std::ranges::count(servers, true, &ServerView::full);
    // Waiting helps where servers are away, not where the disks of those that are up are full.
    if (chosen.size() + static_cast<size_t>(full) >= policy.floor) {
      return Status(Code::kNoSpace,
                    fmt::format("policy '{}' needs at least {} chunkservers, {} can take a chunk "
                                "and {} are full",
                                policy.name, policy.floor, up, full));
    }
    return Status(Code::kTooFewServers,
                  fmt::format("policy '{}' needs at least {} chunkservers, {} can take a chunk",
                              policy.name, policy.floor, up));
  }
  ChunkRecord chunk;
  chunk.state = ChunkState::kOpen;
  chunk.epoch = Epoch(1);
  chunk.policy = policy;
  chunk.made = static_cast<uint32_t>(chosen.size());
  chunk.length = limits::kChunkBytesMax;
  chunk.inode = args.inode;
  chunk.file_offset = place.kind == AttachKind::kTail ? place.tail_offset : kUnknownOffset;
  chunk.writer = session;
  for (const ServerId server : chosen) {
    const auto view = std::ranges::find(servers, server, &ServerView::id);
    chunk.replicas.push_back({server, ReplicaState::kGood, view->start_id});
  }
  return chunk;
}

}  // namespace

Result<ChunkGrant> AllocateChunk(Transaction& transaction, const AllocateChunkArgs& args,
                                 std::span<const ServerView> servers, Random& random) {
  MORAINE_ASSIGN_OR_RETURN(InodeRecord record, transaction.Inode(args.inode));
  MORAINE_RETURN_IF_ERROR(CheckWriter(transaction, args.inode, record, args.token));
  MORAINE_RETURN_IF_ERROR(CheckKnowsLosses(args.inode, record, args.losses));
  MORAINE_RETURN_IF_ERROR(CheckLayoutFits(args.inode, record));
  const bool data = args.previous.has_value() && IsTail(record, args.previous->chunk);
  MORAINE_ASSIGN_OR_RETURN(AttachedChunk place, PlaceOf(transaction, args, record));
  if (record.attached.size() >= static_cast<size_t>(limits::kChunksAttachedMax)) {
    return Status(Code::kOverloaded, fmt::format("inode {} has {} chunks open", args.inode.value(),
                                                 record.attached.size()));
  }
  MORAINE_ASSIGN_OR_RETURN(const PolicyRecord policy, FindPolicy(transaction, record.policy));
  MORAINE_ASSIGN_OR_RETURN(ChunkRecord chunk,
                           NewChunk(args, policy, place, transaction.session(), servers, random));
  MORAINE_ASSIGN_OR_RETURN(const ChunkId id, transaction.store().NewChunk());
  place.chunk = id;
  record.attached.push_back(place);
  if (data) Touch(transaction, record, true);
  // Also a first tail, which changes no attribute: who has the file open must learn where its bytes
  // go on.
  if (data || args.tail) transaction.effects().changed.push_back(args.inode);
  transaction.PutInode(args.inode, record);
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, id, chunk));
  return ChunkGrant{{id, std::move(chunk)}, args.tail, place.tail_offset};
}

}  // namespace moraine::metaserver
