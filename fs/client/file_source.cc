#include "fs/client/file_source.h"

#include "fs/client/convert.h"

namespace moraine::fs {

Task<Result<ChunkGrant>> FileSource::NextChunk(std::optional<ChunkClose> previous, uint64_t offset,
                                               std::vector<ServerId> avoid,
                                               std::function<bool()> wanted) {
  if (core_.link.session() != session_) {
    co_return Status(Code::kSessionEnded, "the session ended in which these bytes were written");
  }
  idl::AllocateChunkRequest request;
  request.inode = ToWire(inode_);
  request.tail = tail_;
  request.tail_offset = tail_ ? static_cast<int64_t>(offset) : 0;
  if (previous) request.__set_previous(ToWire(*previous));
  for (ServerId server : avoid) request.avoid_servers.push_back(ToWire(server));
  request.token = ToWire(core_.TokenOfFile(inode_));
  request.__set_losses(static_cast<int32_t>(losses_));
  auto answer = co_await core_.link.Change(idl::kAllocateChunk, std::move(request), kNever,
                                           std::move(wanted));
  if (!answer.ok()) co_return answer.status();
  Result<ChunkGrant> grant = FromWire(answer->chunk, inode_);
  if (grant.ok()) grant->tail_offset = offset;
  co_return grant;
}

Task<Result<uint64_t>> FileSource::AwaitSealed(ChunkId chunk, Instant deadline) {
  idl::RecoverChunkRequest request;
  request.chunk = ToWire(chunk);
  auto answer = co_await core_.link.Query(idl::kRecoverChunk, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  co_return static_cast<uint64_t>(answer->length);
}

}  // namespace moraine::fs
