// ChunkserverCalls over rpc/. Confined to the loop.
#pragma once

#include "metaserver/cluster/registry.h"
#include "metaserver/recovery/chunkserver_calls.h"
#include "rpc/channels.h"

namespace moraine::metaserver {

class RpcCalls final : public ChunkserverCalls {
 public:
  RpcCalls(Loop& loop, const Registry& registry, rpc::Identity self)
      : registry_(registry), channels_(loop, std::move(self)) {}

  Task<Result<ReplicaAnswer>> Stat(ServerId server, ChunkId chunk, Instant deadline) override;
  Task<Result<ReplicaAnswer>> Fence(ServerId server, ChunkId chunk, Epoch epoch,
                                    Instant deadline) override;
  Task<Status> Hold(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                    Instant deadline) override;
  Task<Status> Seal(ServerId server, ChunkId chunk, Epoch epoch, uint64_t length,
                    Instant deadline) override;
  Task<Status> Copy(ServerId server, CopyOrder order, Instant deadline) override;
  Task<Status> Delete(ServerId server, ChunkId chunk, Epoch epoch, Instant deadline) override;

  void Close() { channels_.Close(); }
  Task<void> Drain() { return channels_.Drain(); }

 private:
  // kUnavailable for a server that nobody knows.
  Result<rpc::Channel*> ChannelTo(ServerId server);

  const Registry& registry_;
  rpc::Channels channels_;
};

}  // namespace moraine::metaserver
