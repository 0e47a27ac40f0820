#include "protocol/append_replica.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"

namespace moraine::protocol {

AppendReplica::AppendReplica(ChunkId chunk, Epoch epoch) : chunk_(chunk), epoch_(epoch) {}

AppendReplica AppendReplica::Reopened(ChunkId chunk, Epoch epoch, uint64_t durable_length,
                                      std::optional<uint64_t> sealed_length) {
  AppendReplica replica(chunk, epoch);
  replica.held_ = durable_length;
  if (sealed_length) {
    // A sealed replica that is now shorter is damaged; what is left may still be read by repair.
    replica.held_ = std::min(durable_length, *sealed_length);
    replica.sealed_ = true;
  } else {
    replica.restarted_ = true;
  }
  replica.accepted_ = replica.held_;
  replica.synced_ = replica.held_;
  return replica;
}

Status AppendReplica::CheckEpoch(Epoch epoch) const {
  if (epoch < epoch_) {
    return {Code::kFenced, fmt::format("epoch {} of chunk {} is over, {} is known here",
                                       epoch.value(), chunk_.value(), epoch_.value())};
  }
  if (epoch > epoch_) {
    return {Code::kProtocol, fmt::format("epoch {} of chunk {} never fenced {} here", epoch.value(),
                                         chunk_.value(), epoch_.value())};
  }
  return Status::Ok();
}

Result<AppendVerdict> AppendReplica::Accept(uint64_t offset, uint64_t bytes, bool may_grow) {
  if (bytes > limits::kChunkBytesMax || offset > limits::kChunkBytesMax - bytes) {
    return {Code::kTooLarge, fmt::format("{} bytes at {} pass the end of a chunk", bytes, offset)};
  }
  uint64_t end = offset + bytes;
  if (end <= held_) return AppendVerdict::kHeld;
  if (end <= accepted_) return AppendVerdict::kInFlight;
  if (!may_grow) {
    return {Code::kSealed, fmt::format("chunk {} takes no more bytes here ({} at {})",
                                       chunk_.value(), sealed_ ? "sealed" : "restarted", held_)};
  }
  if (broken_) return {Code::kIo, fmt::format("a write to chunk {} failed", chunk_.value())};
  if (offset != accepted_) {
    return {Code::kWrongOffset, fmt::format("chunk {} ends at {}, the append is [{}, {})",
                                            chunk_.value(), accepted_, offset, end)};
  }
  accepted_ = end;
  return AppendVerdict::kWrite;
}

Result<AppendVerdict> AppendReplica::Append(const AppendHeader& header) {
  MORAINE_RETURN_IF_ERROR(CheckEpoch(header.epoch));
  Result<AppendVerdict> verdict =
      Accept(header.offset, header.bytes, /*may_grow=*/!sealed_ && !restarted_);
  // The writer's word is true even where its bytes are refused; held() bounds it when it is used.
  committed_ = std::max(committed_, header.committed);
  return verdict;
}

Result<AppendVerdict> AppendReplica::Copy(Epoch epoch, uint64_t offset, uint64_t bytes) {
  MORAINE_RETURN_IF_ERROR(CheckEpoch(epoch));
  return Accept(offset, bytes, /*may_grow=*/!sealed_);
}

bool AppendReplica::OnWritten(Epoch epoch, uint64_t end) {
  if (epoch != epoch_) return false;  // cut by a fence: its writer must not count it
  if (sealed_ || broken_) return end <= held_;
  MORAINE_CHECK(end <= accepted_, "a write that was never accepted");
  held_ = std::max(held_, end);
  return true;
}

void AppendReplica::OnWriteFailed() {
  broken_ = true;
  accepted_ = held_;
}

void AppendReplica::OnSynced(uint64_t end) { synced_ = std::max(synced_, std::min(end, held_)); }

Result<FenceAnswer> AppendReplica::Fence(Epoch epoch) {
  if (sealed_) return {Code::kSealed, fmt::format("chunk {} is sealed", chunk_.value())};
  if (epoch < epoch_) return CheckEpoch(epoch);
  if (epoch > epoch_) {
    epoch_ = epoch;
    accepted_ = held_;  // writes in flight are forgotten; OnWritten tells them by their epoch
  }
  return FenceAnswer{.length = held_, .synced = synced_, .restarted = restarted_};
}

Status AppendReplica::Hold(Epoch epoch, uint64_t length) {
  MORAINE_RETURN_IF_ERROR(CheckEpoch(epoch));
  if (sealed_ && held_ != length) {
    return {Code::kSealed, fmt::format("chunk {} is sealed at {}", chunk_.value(), held_)};
  }
  if (held_ < length) {
    return {Code::kWrongOffset,
            fmt::format("chunk {} holds {} of {} bytes", chunk_.value(), held_, length)};
  }
  return Status::Ok();
}

Status AppendReplica::Seal(Epoch epoch, uint64_t length) {
  if (epoch < epoch_) return CheckEpoch(epoch);
  if (sealed_ && held_ != length) {
    return {Code::kSealed,
            fmt::format("chunk {} is sealed at {}, not {}", chunk_.value(), held_, length)};
  }
  if (held_ < length) {
    return {Code::kWrongOffset,
            fmt::format("chunk {} holds {} of {} bytes", chunk_.value(), held_, length)};
  }
  epoch_ = epoch;
  sealed_ = true;
  held_ = accepted_ = length;
  synced_ = std::min(synced_, length);
  return Status::Ok();
}

uint64_t AppendReplica::readable() const { return sealed_ ? held_ : std::min(committed_, held_); }

}  // namespace moraine::protocol
