// Between Thrift's types and the metaserver's own: the only place where both appear, besides the
// handlers. What comes from the wire is checked here as far as types go (no negative number becomes
// a large one); what it means is checked by the operations.
#pragma once

#include <string>

#include "idl/chunkserver_types.h"
#include "idl/metaserver_types.h"
#include "metaserver/chunks/replica_reports.h"
#include "metaserver/cluster/registry.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/sessions/acknowledged.h"

namespace moraine::metaserver {

template <class Tag>
int64_t ToWire(StrongNumber<Tag> number) {
  return static_cast<int64_t>(number.value());
}
template <class Id>
Id IdFromWire(int64_t number) {
  return Id(static_cast<uint64_t>(number));
}

idl::Attributes ToWire(const InodeView& inode);
idl::Policy ToWire(const PolicyRecord& policy);
// Replicas and endpoints as a reader needs them: good ones, or all if none is good.
idl::ChunkPlace ToWire(const ChunkView& chunk, const Registry& registry);
idl::ChunkGrant ToWire(const ChunkGrant& grant, const Registry& registry);
idl::Layout ToWire(const Layout& layout, const Registry& registry);
idl::AttributesResponse AttributesAnswer(const InodeView& inode);
idl::ChunkState::type ToWire(ChunkState state);
// The policy that is in force for the file, and where its bytes are.
Result<idl::LocateResponse> LocateAnswer(Transaction& transaction, InodeId inode,
                                         const Registry& registry);
// Bytes that are not UTF-8 become U+FFFD.
std::string ToJson(const idl::LocateResponse& located);

// kInvalidArgument for what no client of ours sends.
Result<CreateArgs> FromWire(const idl::CreateRequest& request);
Result<RenameArgs> FromWire(const idl::RenameRequest& request);
Result<SetAttributesArgs> FromWire(const idl::SetAttributesRequest& request);
Result<CommitArgs> FromWire(const idl::CommitRequest& request);
Result<AllocateChunkArgs> FromWire(const idl::AllocateChunkRequest& request);
Result<PolicyRecord> FromWire(const idl::Policy& policy);
Result<Registry::Registration> FromWire(const idl::RegisterRequest& request);
Result<Acknowledged> FromWire(const idl::RequestHeader& header);
Result<std::vector<ReplicaReport>> FromWire(const std::vector<idl::ReplicaReport>& reports);

}  // namespace moraine::metaserver
