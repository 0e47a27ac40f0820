#include "chunkserver/service/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "chunkserver/service/convert.h"
#include "idl/methods.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kPartBytes = 1_MiB;
constexpr Duration kPartTimeout = std::chrono::seconds(10);

// Of every piece between block boundaries of the chunk.
std::vector<uint64_t> Checksums(uint64_t offset, ConstBytes bytes) {
  std::vector<uint64_t> checksums;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t in_block = (offset + at) % limits::kBlockBytes;
    const size_t size = std::min<size_t>(limits::kBlockBytes - in_block, bytes.size() - at);
    checksums.push_back(BlockChecksum(bytes.subspan(at, size)));
    at += size;
  }
  return checksums;
}

}  // namespace

Task<Result<Copier::Part>> Copier::FetchFrom(const CopySource& source, ChunkId chunk,
                                             uint64_t offset, uint64_t length, uint64_t committed,
                                             Instant deadline) {
  idl::ReadRequest request;
  request.chunk = static_cast<int64_t>(chunk.value());
  request.offset = static_cast<int64_t>(offset);
  request.length = static_cast<int32_t>(length);
  request.committed = static_cast<int64_t>(committed);
  rpc::CallOptions options;
  options.deadline = std::min(deadline, loop_.After(kPartTimeout));
  rpc::Channel& channel = channels_.To(source.endpoint, source.server);
  auto reply = co_await channel.Call(idl::kRead, std::move(request), std::move(options));
  if (!reply.ok()) co_return reply.status();
  Part part;
  MORAINE_CO_ASSIGN_OR_RETURN(part.offset, Unsigned(reply->response.offset, "offset"));
  MORAINE_CO_ASSIGN_OR_RETURN(part.checksums, ChecksumsFromWire(reply->response.checksums));
  if (part.offset % limits::kBlockBytes != 0 || part.offset > offset ||
      part.offset + reply->bulk.size() < offset + length) {
    co_return Status(Code::kProtocol, "the source sent another range");
  }
  if (Checksums(part.offset, reply->bulk.bytes()) != part.checksums) {
    co_return Status(Code::kCorruption, "the source sent bytes that do not match their checksums");
  }
  part.bytes = std::move(reply->bulk).Share();
  co_return part;
}

Task<Result<Copier::Part>> Copier::Fetch(ChunkId chunk, uint64_t offset, uint64_t length,
                                         uint64_t committed, std::vector<CopySource>* sources,
                                         Instant deadline) {
  Status last(Code::kUnavailable, fmt::format("chunk {} has no source left", chunk.value()));
  while (!sources->empty()) {
    auto part = co_await FetchFrom(sources->front(), chunk, offset, length, committed, deadline);
    if (part.ok()) co_return part;
    last = part.status().Prefixed(
        fmt::format("chunk {} from {}", chunk.value(), sources->front().endpoint.ToString()));
    LogWarning("copy: {}", last.ToString());
    sources->erase(sources->begin());
    if (loop_.Now() >= deadline) break;
  }
  co_return last;
}

Task<Status> Copier::Fill(IncomingReplica& incoming, ChunkId chunk, std::vector<CopySource> sources,
                          Instant deadline) {
  const uint64_t length = incoming.length();
  while (incoming.written() < length) {
    const uint64_t offset = incoming.written();
    const uint64_t size = std::min(kPartBytes, length - offset);
    auto part = co_await Fetch(chunk, offset, size, length, &sources, deadline);
    if (!part.ok()) co_return part.status();
    if (part->offset != offset || part->bytes->size() != size) {
      co_return Status(Code::kProtocol, "the source sent another range");
    }
    MORAINE_CO_RETURN_IF_ERROR(
        co_await incoming.Write(offset, std::move(part->bytes), std::move(part->checksums)));
  }
  co_return Status();
}

Task<Result<ReplicaInfo>> Copier::CopyWhole(ChunkId chunk, Epoch epoch, uint64_t length,
                                            ReplicaOrigin origin, std::vector<CopySource> sources,
                                            Instant deadline) {
  auto incoming = co_await store_.BeginCopy(chunk, epoch, length, std::move(origin), deadline);
  // A repeat of a copy whose answer was lost.
  if (incoming.code() == Code::kAlreadyExists) co_return store_.Stat(chunk);
  if (!incoming.ok()) co_return incoming.status();
  const Status filled = co_await Fill(**incoming, chunk, std::move(sources), deadline);
  if (!filled.ok()) {
    co_await store_.Abandon(std::move(*incoming));
    co_return filled;
  }
  co_return co_await store_.Install(std::move(*incoming), deadline);
}

Task<Result<ReplicaInfo>> Copier::Extend(ChunkId chunk, Epoch epoch, uint64_t length,
                                         ReplicaOrigin origin, std::vector<CopySource> sources,
                                         Instant deadline) {
  const Result<ReplicaInfo> here = store_.Stat(chunk);
  if (!here.ok() && here.code() != Code::kUnknownChunk) co_return here;
  uint64_t held = here.ok() ? here->held : 0;
  while (held < length) {
    const uint64_t size = std::min(kPartBytes, length - held);
    auto part = co_await Fetch(chunk, held, size, length, &sources, deadline);
    if (!part.ok()) co_return part.status();
    AppendCall call;
    call.chunk = chunk;
    call.epoch = epoch;
    call.offset = held;
    call.sync = held + size == length;
    call.create = origin;
    call.deadline = deadline;
    call.bytes = Buffer::Allocate(size, held % limits::kBlockBytes);
    std::memcpy(call.bytes.data(), part->bytes->data() + (held - part->offset), size);
    call.checksums = Checksums(held, call.bytes.bytes());
    auto appended = co_await store_.AppendCopied(std::move(call));
    if (!appended.ok()) co_return appended.status();
    held = appended->held;
  }
  co_return co_await store_.Hold(chunk, epoch, length, deadline);
}

}  // namespace moraine::chunkserver
