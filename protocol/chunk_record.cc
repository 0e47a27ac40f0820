#include "protocol/chunk_record.h"

#include <fmt/format.h>

#include "base/check.h"

namespace moraine::protocol {

Result<ChunkRecord> CloseByWriter(const ChunkRecord& record, const CloseRequest& request) {
  if (record.epoch != request.epoch || record.state == ChunkState::kFencing ||
      record.state == ChunkState::kDeleting) {
    return {Code::kFenced, fmt::format("the chunk is at epoch {}, the writer at {}",
                                       record.epoch.value(), request.epoch.value())};
  }
  if (record.state != ChunkState::kOpen) {
    if (record.length == request.length) return record;
    return {Code::kSealed,
            fmt::format("the chunk is closed at {}, not at {}", record.length, request.length)};
  }
  if (request.length > record.length) {
    return {Code::kInvalidArgument,
            fmt::format("closing at {}, the chunk ends at {}", request.length, record.length)};
  }
  if (!ReplicaSet::FirstN(record.policy.made).ContainsAll(request.holders) ||
      request.holders.Count() < record.policy.w) {
    return {Code::kInvalidArgument, fmt::format("{} replicas are said to hold the chunk, needed {}",
                                                request.holders.Count(), record.policy.w)};
  }
  ChunkRecord closed = record;
  closed.state = ChunkState::kClosed;
  closed.length = request.length;
  closed.good = request.holders;
  return closed;
}

Result<ChunkRecord> BeginFencing(const ChunkRecord& record) {
  if (record.state == ChunkState::kSealed || record.state == ChunkState::kDeleting) {
    return {Code::kSealed, "the chunk is sealed"};
  }
  ChunkRecord fencing = record;
  fencing.state = ChunkState::kFencing;
  fencing.epoch = record.epoch.Next();
  fencing.good = ReplicaSet();
  return fencing;
}

Result<ChunkRecord> RecordSealed(const ChunkRecord& record, Epoch epoch, uint64_t length,
                                 ReplicaSet good) {
  if (record.epoch != epoch || record.state == ChunkState::kOpen ||
      record.state == ChunkState::kDeleting) {
    return {Code::kFenced, fmt::format("the chunk is at epoch {}, this recovery at {}",
                                       record.epoch.value(), epoch.value())};
  }
  if (record.state == ChunkState::kSealed) {
    if (record.length == length) return record;
    return {Code::kSealed, fmt::format("sealed at {}, not at {}", record.length, length)};
  }
  MORAINE_CHECK(length <= record.length, "a seal past the closed length");
  MORAINE_CHECK(record.state != ChunkState::kClosed || length == record.length);
  MORAINE_CHECK(!good.Empty() || length == 0, "a seal that nobody holds");
  ChunkRecord sealed = record;
  sealed.state = ChunkState::kSealed;
  sealed.length = length;
  sealed.good = good;
  return sealed;
}

Result<ChunkRecord> AddGood(const ChunkRecord& record, int replica) {
  if (record.state != ChunkState::kSealed || replica < 0 || replica >= limits::kReplicasMax) {
    return {Code::kInvalidArgument, "only a replica of a sealed chunk becomes good"};
  }
  ChunkRecord better = record;
  better.good.Add(replica);
  return better;
}

bool MayDrop(const ChunkRecord& record, int replica) {
  if (record.state == ChunkState::kDeleting) return true;
  return record.state == ChunkState::kSealed && !record.good.Has(replica) &&
         record.good.Count() >= record.policy.w;
}

}  // namespace moraine::protocol
