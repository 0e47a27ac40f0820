// Whole copies: a sealed replica made from bytes of others, invisible until it is complete.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "chunkserver/store/store.h"

namespace moraine::chunkserver {

IncomingReplica::IncomingReplica(StoreContext& context, ChunkHeader header, std::string path)
    : context_(context), header_(header), writer_(context, std::move(header), std::move(path)) {}

Task<Status> IncomingReplica::Write(uint64_t offset, std::shared_ptr<const Buffer> bytes,
                                    std::vector<uint64_t> checksums) {
  const uint64_t end = offset + bytes->size();
  if (offset != written_ || end > length() || (end % limits::kBlockBytes != 0 && end != length())) {
    co_return Status(Code::kWrongOffset, fmt::format("[{}, {}) of a copy of {} bytes at {}", offset,
                                                     end, length(), written_));
  }
  MORAINE_CO_RETURN_IF_ERROR(context_.CheckWritable());
  MORAINE_CO_RETURN_IF_ERROR(CheckPieces(offset, bytes->bytes(), checksums));
  for (size_t i = 0; i < checksums.size(); ++i) {
    writer_.SetChecksum(offset / limits::kBlockBytes + i, checksums[i]);
  }
  // Through pending bytes, which align the blocks and pad the last one.
  PendingBytes pending(offset);
  pending.AppendShared(bytes, bytes->bytes());
  const std::vector<std::byte> padding(BlockCeil(end) - end);
  pending.Append(padding);
  while (pending.begin() < pending.end()) {
    const uint64_t from = pending.begin();
    const uint64_t to = std::min(pending.end(), (from / kGroupBytes + 1) * kGroupBytes);
    MORAINE_CO_RETURN_IF_ERROR(
        context_.NoteWrite(co_await writer_.WriteBlocks(from, pending.SliceOf(from, to))));
    pending.DropBefore(to);
  }
  written_ = end;
  co_return Status::Ok();
}

Task<Status> IncomingReplica::Complete() {
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.WriteChecksums(BlocksOf(length())));
  MORAINE_CO_RETURN_IF_ERROR(co_await writer_.WriteHeader(header_));
  co_return co_await writer_.Flush();
}

// A copy may take the place of nothing, of a replica that was never sealed here, or of a bad one.
Status Store::CheckReplaceable(ChunkId chunk, Epoch epoch, uint64_t length) const {
  const auto stone = tombstones_.find(chunk);
  if (stone != tombstones_.end() && stone->second.epoch > epoch) {
    return {Code::kFenced,
            fmt::format("epoch {} of chunk {} is over", epoch.value(), chunk.value())};
  }
  const auto found = index_.find(chunk);
  if (found == index_.end()) return Status::Ok();
  const ReplicaInfo info = found->second.Info();
  if (info.epoch > epoch) {
    return {Code::kFenced,
            fmt::format("epoch {} of chunk {} is over", epoch.value(), chunk.value())};
  }
  if (!info.sealed || info.damaged) return Status::Ok();
  if (info.held == length) {
    return {Code::kAlreadyExists, fmt::format("chunk {} is here already", chunk.value())};
  }
  return {Code::kSealed,
          fmt::format("chunk {} is sealed at {}, not {}", chunk.value(), info.held, length)};
}

Task<Result<std::unique_ptr<IncomingReplica>>> Store::BeginCopy(ChunkId chunk, Epoch epoch,
                                                                uint64_t length,
                                                                ReplicaOrigin origin,
                                                                Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Status(Code::kCanceled, "the store is closing");
  MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(chunk, deadline));
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  if (length > limits::kChunkBytesMax) co_return Status(Code::kTooLarge, "longer than a chunk");
  MORAINE_CO_RETURN_IF_ERROR(CheckReplaceable(chunk, epoch, length));
  RefreshSpace();
  if (space_.free_bytes < context_->options.reserve_bytes + ChunkFileBytes(length)) {
    co_return Status(Code::kNoSpace,
                     fmt::format("{} are free, a copy of {} does not fit above the reserve",
                                 FormatBytes(space_.free_bytes), FormatBytes(length)));
  }
  ChunkHeader header;
  header.cluster = superblock_.cluster;
  header.chunk = chunk;
  header.incarnation = loop_.random().Next();
  header.epoch = epoch;
  header.sealed = true;
  header.sealed_length = length;
  header.origin = std::move(origin);
  std::string path = fmt::format("incoming/{:016x}.{:016x}", chunk.value(), header.incarnation);
  co_return std::make_unique<IncomingReplica>(*context_, std::move(header), std::move(path));
}

// Puts the copy into the index in the place of whatever was there.
void Store::Replace(const ChunkHeader& header) {
  const auto forget = [&](uint64_t incarnation) {
    context_->journal->Enqueue({RecordKind::kDone, header.chunk, incarnation, header.epoch, 0, {}});
  };
  const auto found = index_.find(header.chunk);
  if (found != index_.end() && found->second.open != nullptr) {
    forget(found->second.open->header().incarnation);
    found->second.open->need().Clear();
  }
  const auto stone = tombstones_.find(header.chunk);
  if (stone != tombstones_.end()) {
    forget(stone->second.incarnation);
    tombstones_.erase(stone);
  }
  Erase(header.chunk);
  index_[header.chunk].sealed = {
      header.chunk,        header.incarnation,        header.epoch, header.sealed_length,
      header.origin.inode, header.origin.file_offset, false};
  gone_.erase(header.chunk);
  NoteChanged(header.chunk);
  UpdateGauges();
}

Task<void> Store::Abandon(std::unique_ptr<IncomingReplica> incoming) {
  if (!incoming->writer_.has_file()) co_return;
  // What stays for any reason is removed at the next start.
  (co_await loop_.disk().Remove(context_->PathOf(incoming->writer_.path()))).Ignore();
}

Task<Result<ReplicaInfo>> Store::Install(std::unique_ptr<IncomingReplica> incoming,
                                         Instant deadline) {
  const auto pass = calls_.Enter();
  if (!pass) co_return Status(Code::kCanceled, "the store is closing");
  const ChunkId chunk = incoming->header().chunk;
  const Status status = co_await InstallFile(*incoming, deadline);
  if (!status.ok()) {
    co_await Abandon(std::move(incoming));
    co_return status;
  }
  co_return Stat(chunk);
}

Task<Status> Store::InstallFile(IncomingReplica& incoming, Instant deadline) {
  const ChunkHeader header = incoming.header();
  if (incoming.written() != incoming.length()) {
    co_return Status(Code::kInvalidArgument, "the copy is not complete");
  }
  MORAINE_CO_RETURN_IF_ERROR(context_->NoteWrite(co_await incoming.Complete()));
  MORAINE_CO_RETURN_IF_ERROR(co_await WaitForChange(header.chunk, deadline));
  MORAINE_CO_RETURN_IF_ERROR(context_->CheckWritable());
  MORAINE_CO_RETURN_IF_ERROR(CheckReplaceable(header.chunk, header.epoch, header.sealed_length));
  changing_.insert(header.chunk);
  const auto found = index_.find(header.chunk);
  std::shared_ptr<OpenReplica> old;
  if (found != index_.end()) old = found->second.open;
  if (old != nullptr) {
    old->Retire();
    co_await old->Quiesce();
  }
  Status status = co_await loop_.disk().Rename(context_->PathOf(incoming.writer_.path()),
                                               context_->PathOf(ChunkPath(header.chunk)));
  if (!status.ok()) {
    if (old != nullptr) old->Revive();
  } else {
    status = co_await loop_.disk().SyncDirectory(context_->PathOf(ChunkDirectory(header.chunk)));
    // Which file has the name is in doubt now: that is the disk's end, whatever the reason.
    if (!status.ok()) status = Status(Code::kIo, status.message());
  }
  context_->NoteWrite(status).Ignore();
  if (status.ok()) Replace(header);
  changing_.erase(header.chunk);
  changed_over_.NotifyAll();
  co_return status;
}

}  // namespace moraine::chunkserver
