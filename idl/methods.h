// Every call of every service, once: its Thrift name and the types it carries. rpc/ encodes from
// this table, servers register handlers by it, metrics and tests walk it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/limits.h"
#include "idl/chunkserver_types.h"
#include "idl/common_types.h"
#include "idl/metaserver_types.h"

namespace moraine::idl {

template <class RequestType, class ResponseType>
struct Method {
  using Request = RequestType;
  using Response = ResponseType;
  std::string_view name;
};

// At most how many raw bytes the answer will bring, so that a server can make sure of room before
// it begins. Calls that answer with raw bytes have an overload.
template <class Request>
uint64_t AnswerBulkBytesMax(const Request&) {
  return 0;
}
inline uint64_t AnswerBulkBytesMax(const ReadRequest& request) {
  if (request.length <= 0) return 0;
  const auto length =
      std::min<uint64_t>(static_cast<uint64_t>(request.length), limits::kReadBytesMax);
  return length + 2 * limits::kBlockBytes;  // whole blocks at both ends
}

inline constexpr Method<HandshakeRequest, HandshakeResponse> kHandshake{"handshake"};

// Chunkserver
inline constexpr Method<AppendRequest, AppendResponse> kAppend{"append"};
inline constexpr Method<ReadRequest, ReadResponse> kRead{"read"};
inline constexpr Method<StatReplicaRequest, ReplicaInfo> kStatReplica{"statReplica"};
inline constexpr Method<FenceRequest, ReplicaInfo> kFence{"fence"};
inline constexpr Method<SealRequest, ReplicaInfo> kSeal{"seal"};
inline constexpr Method<CopyRequest, ReplicaInfo> kCopy{"copy"};
inline constexpr Method<DeleteReplicaRequest, Nothing> kDeleteReplica{"deleteReplica"};
inline constexpr Method<ListReplicasRequest, ListReplicasResponse> kListReplicas{"listReplicas"};
inline constexpr Method<Nothing, StoreStatus> kStoreStatus{"storeStatus"};

// Sessions
inline constexpr Method<StartSessionRequest, StartSessionResponse> kStartSession{"startSession"};
inline constexpr Method<RenewSessionRequest, RenewSessionResponse> kRenewSession{"renewSession"};
inline constexpr Method<Empty, Empty> kEndSession{"endSession"};

// Namespace
inline constexpr Method<EntryRequest, AttributesResponse> kLookup{"lookup"};
inline constexpr Method<PathRequest, AttributesResponse> kResolve{"resolve"};
inline constexpr Method<InodeRequest, AttributesResponse> kGetAttributes{"getAttributes"};
inline constexpr Method<SetAttributesRequest, AttributesResponse> kSetAttributes{"setAttributes"};
inline constexpr Method<CreateRequest, CreateResponse> kCreate{"create"};
inline constexpr Method<RemoveRequest, RemoveResponse> kRemove{"remove"};
inline constexpr Method<RenameRequest, RenameResponse> kRename{"rename"};
inline constexpr Method<LinkRequest, AttributesResponse> kLink{"link"};
inline constexpr Method<ReadDirectoryRequest, ReadDirectoryResponse> kReadDirectory{
    "readDirectory"};
inline constexpr Method<InodeRequest, SyncMetadataResponse> kSyncMetadata{"syncMetadata"};

// Files
inline constexpr Method<OpenRequest, OpenResponse> kOpen{"open"};
inline constexpr Method<CloseRequest, Empty> kClose{"close"};
inline constexpr Method<CommitRequest, CommitResponse> kCommit{"commit"};
inline constexpr Method<AllocateChunkRequest, AllocateChunkResponse> kAllocateChunk{
    "allocateChunk"};
inline constexpr Method<RecoverChunkRequest, RecoverChunkResponse> kRecoverChunk{"recoverChunk"};
inline constexpr Method<InodeRequest, LayoutResponse> kGetLayout{"getLayout"};
inline constexpr Method<ReportReplicaRequest, Empty> kReportReplica{"reportReplica"};
inline constexpr Method<AcquireDirectoryRequest, AcquireDirectoryResponse> kAcquireDirectory{
    "acquireDirectory"};
inline constexpr Method<ReleaseDirectoryRequest, Empty> kReleaseDirectory{"releaseDirectory"};

// Extended attributes
inline constexpr Method<GetXattrRequest, GetXattrResponse> kGetXattr{"getXattr"};
inline constexpr Method<SetXattrRequest, Empty> kSetXattr{"setXattr"};
inline constexpr Method<RemoveXattrRequest, Empty> kRemoveXattr{"removeXattr"};
inline constexpr Method<InodeRequest, ListXattrsResponse> kListXattrs{"listXattrs"};

// Administration
inline constexpr Method<Empty, ClusterStatus> kClusterStatus{"clusterStatus"};
inline constexpr Method<InodeRequest, LocateResponse> kLocate{"locate"};
inline constexpr Method<Empty, FileSystemStatus> kFileSystemStatus{"fileSystemStatus"};
inline constexpr Method<SetPolicyRequest, Empty> kSetPolicy{"setPolicy"};
inline constexpr Method<Empty, ListPoliciesResponse> kListPolicies{"listPolicies"};
inline constexpr Method<SetRulesRequest, Empty> kSetRules{"setRules"};
inline constexpr Method<InodeRequest, RulesResponse> kGetRules{"getRules"};

// Registry
inline constexpr Method<RegisterRequest, RegisterResponse> kRegisterChunkserver{
    "registerChunkserver"};
inline constexpr Method<InventoryRequest, InventoryResponse> kInventory{"inventory"};
inline constexpr Method<HeartbeatRequest, HeartbeatResponse> kHeartbeat{"heartbeat"};

// Calls `visit` with each method above, handshake first.
template <class Visitor>
void ForEachMethod(Visitor&& visit) {
  visit(kHandshake);
  visit(kAppend);
  visit(kRead);
  visit(kStatReplica);
  visit(kFence);
  visit(kSeal);
  visit(kCopy);
  visit(kDeleteReplica);
  visit(kListReplicas);
  visit(kStoreStatus);
  visit(kStartSession);
  visit(kRenewSession);
  visit(kEndSession);
  visit(kLookup);
  visit(kResolve);
  visit(kGetAttributes);
  visit(kSetAttributes);
  visit(kCreate);
  visit(kRemove);
  visit(kRename);
  visit(kLink);
  visit(kReadDirectory);
  visit(kSyncMetadata);
  visit(kOpen);
  visit(kClose);
  visit(kCommit);
  visit(kAllocateChunk);
  visit(kRecoverChunk);
  visit(kGetLayout);
  visit(kReportReplica);
  visit(kAcquireDirectory);
  visit(kReleaseDirectory);
  visit(kGetXattr);
  visit(kSetXattr);
  visit(kRemoveXattr);
  visit(kListXattrs);
  visit(kClusterStatus);
  visit(kLocate);
  visit(kFileSystemStatus);
  visit(kSetPolicy);
  visit(kListPolicies);
  visit(kSetRules);
  visit(kGetRules);
  visit(kRegisterChunkserver);
  visit(kInventory);
  visit(kHeartbeat);
}

}  // namespace moraine::idl
