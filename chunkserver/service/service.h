// The calls of service Chunkserver (idl/chunkserver.thrift) on a store: decode, check who may, call
// the store, encode. Confined to one loop.
#pragma once

#include "chunkserver/service/copier.h"
#include "chunkserver/store/store.h"
#include "rpc/server.h"

namespace moraine::chunkserver {

class Service {
 public:
  Service(Store& store, Copier& copier) : store_(store), copier_(copier) {}
  // Once, before the server starts.
  void Register(rpc::Server& server);

 private:
  Task<Result<idl::AppendResponse>> Append(rpc::CallContext& context, idl::AppendRequest request);
  Task<Result<idl::ReadResponse>> Read(rpc::CallContext& context, idl::ReadRequest request);
  Task<Result<idl::ReplicaInfo>> Fence(Instant deadline, idl::FenceRequest request);
  Task<Result<idl::ReplicaInfo>> Seal(Instant deadline, idl::SealRequest request);
  Task<Result<idl::ReplicaInfo>> Copy(Instant deadline, idl::CopyRequest request);
  Task<Result<idl::Nothing>> DeleteReplica(Instant deadline, idl::DeleteReplicaRequest request);
  Result<idl::ListReplicasResponse> ListReplicas(const idl::ListReplicasRequest& request) const;
  idl::StoreStatus Status() const;

  Store& store_;
  Copier& copier_;
};

}  // namespace moraine::chunkserver
