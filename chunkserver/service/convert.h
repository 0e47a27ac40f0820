// Between Thrift's types and the store's: the only place where both appear, besides the handlers.
#pragma once

#include "chunkserver/store/replica_types.h"
#include "idl/chunkserver_types.h"
#include "idl/metaserver_types.h"

namespace moraine::chunkserver {

idl::ReplicaInfo ToWire(const ReplicaInfo& info);
idl::ReplicaReport ToReport(const ReplicaInfo& info);

// kInvalidArgument for numbers that no writer of ours sends.
Result<AppendCall> FromWire(const idl::AppendRequest& request, Buffer bulk);
Result<ReplicaOrigin> FromWire(const idl::ReplicaCreation& creation);
std::string ChecksumsToWire(const std::vector<uint64_t>& checksums);
Result<std::vector<uint64_t>> ChecksumsFromWire(const std::string& wire);
// Chunk ids, epochs, offsets and lengths: never negative.
Result<uint64_t> Unsigned(int64_t number, std::string_view what);

}  // namespace moraine::chunkserver
