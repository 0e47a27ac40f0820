#include "chunkserver/service/service.h"

#include <algorithm>

#include "base/fault_point.h"
#include "base/limits.h"
#include "chunkserver/service/convert.h"
#include "idl/methods.h"

namespace moraine::chunkserver {
namespace {

constexpr int kListMax = 10000;

Result<idl::ReplicaInfo> Answer(const Result<ReplicaInfo>& info) {
  if (!info.ok()) return info.status();
  return ToWire(*info);
}

}  // namespace

Task<Result<idl::AppendResponse>> Service::Append(rpc::CallContext& context,
                                                  idl::AppendRequest request) {
  Result<AppendCall> call = FromWire(request, std::move(context.bulk_in));
  if (!call.ok()) co_return call.status();
  call->deadline = context.deadline;
  const bool early = !MORAINE_FAULT_STATUS("mutant.chunkserver_answers_early").ok();
  if (early) call->sync = false;
  auto appended = co_await store_.Append(std::move(*call));
  if (!appended.ok()) co_return appended.status();
  idl::AppendResponse response;
  response.held = static_cast<int64_t>(appended->held);
  response.synced = static_cast<int64_t>(early ? appended->held : appended->synced);
  co_return response;
}

Task<Result<idl::ReadResponse>> Service::Read(rpc::CallContext& context, idl::ReadRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t offset, Unsigned(request.offset, "offset"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t length, Unsigned(request.length, "length"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t committed,
                              Unsigned(request.committed, "committed length"));
  auto read = co_await store_.Read(ChunkId(chunk), offset, length, committed);
  if (!read.ok()) co_return read.status();
  idl::ReadResponse response;
  response.offset = static_cast<int64_t>(read->offset);
  response.checksums = ChecksumsToWire(read->checksums);
  response.visible = static_cast<int64_t>(read->visible);
  response.sealed = read->sealed;
  if (!read->bytes.empty()) context.bulk_out.Add(std::move(read->bytes).Share());
  co_return response;
}

Task<Result<idl::ReplicaInfo>> Service::Fence(Instant deadline, idl::FenceRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t epoch, Unsigned(request.epoch, "epoch"));
  if (!MORAINE_FAULT_STATUS("mutant.chunkserver_ignores_fences").ok()) {
    co_return Answer(store_.Stat(ChunkId(chunk)));
  }
  co_return Answer(co_await store_.Fence(ChunkId(chunk), Epoch(epoch), deadline));
}

Task<Result<idl::ReplicaInfo>> Service::Seal(Instant deadline, idl::SealRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t epoch, Unsigned(request.epoch, "epoch"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t length, Unsigned(request.length, "length"));
  if (request.hold_only) {
    co_return Answer(co_await store_.Hold(ChunkId(chunk), Epoch(epoch), length, deadline));
  }
  co_return Answer(co_await store_.Seal(ChunkId(chunk), Epoch(epoch), length, deadline));
}

Task<Result<idl::ReplicaInfo>> Service::Copy(Instant deadline, idl::CopyRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t epoch, Unsigned(request.epoch, "epoch"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t length, Unsigned(request.length, "length"));
  if (length > limits::kChunkBytesMax) {
    co_return moraine::Status(Code::kInvalidArgument, "a chunk is not that long");
  }
  MORAINE_CO_ASSIGN_OR_RETURN(ReplicaOrigin origin, FromWire(request.create));
  std::vector<CopySource> sources;
  for (const idl::Replica& replica : request.sources) {
    MORAINE_CO_ASSIGN_OR_RETURN(Endpoint endpoint, ParseEndpoint(replica.endpoint));
    sources.push_back({ServerId(static_cast<uint64_t>(replica.server_id)), std::move(endpoint)});
  }
  if (request.whole) {
    co_return Answer(co_await copier_.CopyWhole(ChunkId(chunk), Epoch(epoch), length,
                                                std::move(origin), std::move(sources), deadline));
  }
  co_return Answer(co_await copier_.Extend(ChunkId(chunk), Epoch(epoch), length, std::move(origin),
                                           std::move(sources), deadline));
}

Task<Result<idl::Nothing>> Service::DeleteReplica(Instant deadline,
                                                  idl::DeleteReplicaRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t epoch, Unsigned(request.epoch, "epoch"));
  MORAINE_CO_RETURN_IF_ERROR(co_await store_.Delete(ChunkId(chunk), Epoch(epoch), deadline));
  co_return idl::Nothing();
}

Result<idl::ListReplicasResponse> Service::ListReplicas(
    const idl::ListReplicasRequest& request) const {
  MORAINE_ASSIGN_OR_RETURN(const uint64_t after, Unsigned(request.after_chunk, "chunk"));
  const auto limit = static_cast<size_t>(std::clamp(request.limit, 1, kListMax));
  const std::vector<ReplicaInfo> page = store_.List(ChunkId(after), limit);
  idl::ListReplicasResponse response;
  response.more = page.size() == limit;
  for (const ReplicaInfo& info : page) response.replicas.push_back(ToWire(info));
  return response;
}

idl::StoreStatus Service::Status() const {
  const StoreStatus status = store_.GetStatus();
  idl::StoreStatus wire;
  wire.server_id = static_cast<int64_t>(store_.superblock().server.value());
  wire.total_bytes = static_cast<int64_t>(status.total_bytes);
  wire.free_bytes = static_cast<int64_t>(status.free_bytes);
  wire.replicas = static_cast<int64_t>(status.replicas);
  wire.open_replicas = static_cast<int64_t>(status.open_replicas);
  wire.quarantined = status.quarantined;
  wire.journal_bytes = static_cast<int64_t>(status.journal_bytes);
  wire.journal_used_bytes = static_cast<int64_t>(status.journal_used_bytes);
  return wire;
}

void Service::Register(rpc::Server& server) {
  using rpc::CallContext;
  server.Handle(idl::kAppend, [this](CallContext& context, idl::AppendRequest request) {
    return Append(context, std::move(request));
  });
  server.Handle(idl::kRead, [this](CallContext& context, idl::ReadRequest request) {
    return Read(context, std::move(request));
  });
  server.Handle(
      idl::kStatReplica,
      [this](CallContext&, idl::StatReplicaRequest request) -> Task<Result<idl::ReplicaInfo>> {
        const auto chunk = Unsigned(request.chunk, "chunk");
        if (!chunk.ok()) co_return chunk.status();
        co_return Answer(store_.Stat(ChunkId(*chunk)));
      });
  server.Handle(idl::kFence, [this](CallContext& context, idl::FenceRequest request) {
    return Fence(context.deadline, request);
  });
  server.Handle(idl::kSeal, [this](CallContext& context, idl::SealRequest request) {
    return Seal(context.deadline, request);
  });
  server.Handle(idl::kCopy, [this](CallContext& context, idl::CopyRequest request) {
    return Copy(context.deadline, std::move(request));
  });
  server.Handle(idl::kDeleteReplica,
                [this](CallContext& context, idl::DeleteReplicaRequest request) {
                  return DeleteReplica(context.deadline, request);
                });
  server.Handle(
      idl::kListReplicas,
      [this](CallContext&, idl::ListReplicasRequest request)
          -> Task<Result<idl::ListReplicasResponse>> { co_return ListReplicas(request); });
  server.Handle(
      idl::kStoreStatus,
      [this](CallContext&, idl::Nothing) -> Task<Result<idl::StoreStatus>> { co_return Status(); });
  // What changes a replica's fate is the metaserver's word alone.
  for (const auto name :
       {idl::kFence.name, idl::kSeal.name, idl::kCopy.name, idl::kDeleteReplica.name}) {
    server.Restrict(name, {idl::Role::kMetaserver});
  }
}

}  // namespace moraine::chunkserver
