#include "metaserver/service/rpc_calls.h"

#include <fmt/format.h>

#include "metaserver/service/convert.h"

namespace moraine::metaserver {
namespace {

ReplicaAnswer FromWire(const idl::ReplicaInfo& info) {
  ReplicaAnswer answer;
  answer.sealed = info.state == idl::ChunkState::kSealed;
  answer.held = static_cast<uint64_t>(info.held);
  answer.synced = static_cast<uint64_t>(info.synced);
  answer.restarted = info.restarted;
  answer.damaged = info.damaged;
  answer.file_offset = static_cast<uint64_t>(info.file_offset);
  return answer;
}

rpc::CallOptions Until(Instant deadline) {
  rpc::CallOptions options;
  options.deadline = deadline;
  return options;
}

}  // namespace

Result<rpc::Channel*> RpcCalls::ChannelTo(ServerId server) {
  const ServerRecord* record = registry_.Find(server);
  if (record == nullptr) {
    return Status(Code::kUnavailable, fmt::format("no chunkserver {}", server.value()));
  }
  MORAINE_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(record->endpoint));
  return &channels_.To(endpoint, server);
}

Task<Result<ReplicaAnswer>> RpcCalls::Stat(ServerId server, ChunkId chunk, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::StatReplicaRequest request;
  request.chunk = ToWire(chunk);
  const auto info = co_await channel->Ask(idl::kStatReplica, std::move(request), Until(deadline));
  if (!info.ok()) co_return info.status();
  co_return FromWire(*info);
}

Task<Result<ReplicaAnswer>> RpcCalls::Fence(ServerId server, ChunkId chunk, Epoch epoch,
                                            Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::FenceRequest request;
  request.chunk = ToWire(chunk);
  request.epoch = ToWire(epoch);
  const auto info = co_await channel->Ask(idl::kFence, std::move(request), Until(deadline));
  if (!info.ok()) co_return info.status();
  co_return FromWire(*info);
}

Task<Status> RpcCalls::Hold(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                            Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::SealRequest request;
  request.chunk = ToWire(chunk);
  request.epoch = ToWire(epoch);
  request.length = static_cast<int64_t>(length);
  request.hold_only = true;
  co_return (co_await channel->Ask(idl::kSeal, std::move(request), Until(deadline))).status();
}

Task<Status> RpcCalls::Seal(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                            Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::SealRequest request;
  request.chunk = ToWire(chunk);
  request.epoch = ToWire(epoch);
  request.length = static_cast<int64_t>(length);
  co_return (co_await channel->Ask(idl::kSeal, std::move(request), Until(deadline))).status();
}

Task<Status> RpcCalls::Copy(ServerId server, CopyOrder order, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::CopyRequest request;
  request.chunk = ToWire(order.chunk);
  request.epoch = ToWire(order.epoch);
  request.length = static_cast<int64_t>(order.length);
  for (const ServerId source : order.sources) {
    if (const ServerRecord* record = registry_.Find(source)) {
      idl::Replica replica;
      replica.server_id = ToWire(source);
      replica.endpoint = record->endpoint;
      request.sources.push_back(std::move(replica));
    }
  }
  request.whole = order.whole;
  request.create.inode = ToWire(order.inode);
  request.create.file_offset = static_cast<int64_t>(order.file_offset);
  request.create.policy = ToWire(order.policy);
  request.create.replicas_made = static_cast<int32_t>(order.made);
  co_return (co_await channel->Ask(idl::kCopy, std::move(request), Until(deadline))).status();
}

Task<Status> RpcCalls::Delete(ServerId server, ChunkId chunk, Epoch epoch, Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(rpc::Channel * channel, ChannelTo(server));
  idl::DeleteReplicaRequest request;
  request.chunk = ToWire(chunk);
  request.epoch = ToWire(epoch);
  co_return (co_await channel->Ask(idl::kDeleteReplica, std::move(request), Until(deadline)))
      .status();
}

}  // namespace moraine::metaserver
