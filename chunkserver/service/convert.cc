#include "chunkserver/service/convert.h"

#include <fmt/format.h>

#include "base/encoding.h"
#include "base/limits.h"
#include "protocol/policy.h"

namespace moraine::chunkserver {
namespace {

constexpr size_t kChecksumBytes = 8;

}  // namespace

Result<uint64_t> Unsigned(int64_t number, std::string_view what) {
  if (number < 0) {
    return Status(Code::kInvalidArgument, fmt::format("{} {} is negative", what, number));
  }
  return static_cast<uint64_t>(number);
}

std::string ChecksumsToWire(const std::vector<uint64_t>& checksums) {
  std::string wire(checksums.size() * kChecksumBytes, '\0');
  for (size_t i = 0; i < checksums.size(); ++i) {
    StoreLittle64(wire.data() + i * kChecksumBytes, checksums[i]);
  }
  return wire;
}

Result<std::vector<uint64_t>> ChecksumsFromWire(const std::string& wire) {
  if (wire.size() % kChecksumBytes != 0) {
    return Status(Code::kInvalidArgument, "checksums are 8 bytes each");
  }
  std::vector<uint64_t> checksums(wire.size() / kChecksumBytes);
  for (size_t i = 0; i < checksums.size(); ++i) {
    checksums[i] = LoadLittle64(wire.data() + i * kChecksumBytes);
  }
  return checksums;
}

idl::ReplicaInfo ToWire(const ReplicaInfo& info) {
  idl::ReplicaInfo wire;
  wire.chunk = static_cast<int64_t>(info.chunk.value());
  wire.epoch = static_cast<int64_t>(info.epoch.value());
  wire.state = info.sealed ? idl::ChunkState::kSealed : idl::ChunkState::kOpen;
  wire.held = static_cast<int64_t>(info.held);
  wire.synced = static_cast<int64_t>(info.synced);
  wire.committed = static_cast<int64_t>(info.committed);
  wire.restarted = info.restarted;
  wire.damaged = info.damaged;
  wire.inode = static_cast<int64_t>(info.inode.value());
  wire.file_offset = static_cast<int64_t>(info.file_offset);
  return wire;
}

idl::ReplicaReport ToReport(const ReplicaInfo& info) {
  idl::ReplicaReport report;
  report.chunk = static_cast<int64_t>(info.chunk.value());
  report.epoch = static_cast<int64_t>(info.epoch.value());
  report.state = info.sealed ? idl::ChunkState::kSealed : idl::ChunkState::kOpen;
  report.length = static_cast<int64_t>(info.held);
  report.damaged = info.damaged;
  return report;
}

Result<ReplicaOrigin> FromWire(const idl::ReplicaCreation& creation) {
  ReplicaOrigin origin;
  MORAINE_ASSIGN_OR_RETURN(const uint64_t inode, Unsigned(creation.inode, "inode"));
  origin.inode = InodeId(inode);
  MORAINE_ASSIGN_OR_RETURN(origin.file_offset, Unsigned(creation.file_offset, "file offset"));
  if (creation.policy.name.size() > limits::kNameBytesMax) {
    return Status(Code::kInvalidArgument, "the policy's name is too long");
  }
  origin.policy = creation.policy.name;
  origin.replicas = creation.policy.replicas;
  origin.quorum = creation.policy.quorum;
  origin.floor = creation.policy.floor;
  origin.made = creation.replicas_made;
  const protocol::Policy policy{.n = origin.replicas, .w = origin.quorum, .floor = origin.floor};
  MORAINE_RETURN_IF_ERROR(policy.Validate());
  const auto made = policy.ForMade(origin.made);
  if (!made.ok()) return made.status();
  return origin;
}

Result<AppendCall> FromWire(const idl::AppendRequest& request, Buffer bulk) {
  AppendCall call;
  MORAINE_ASSIGN_OR_RETURN(const uint64_t chunk, Unsigned(request.chunk, "chunk"));
  MORAINE_ASSIGN_OR_RETURN(const uint64_t epoch, Unsigned(request.epoch, "epoch"));
  if (chunk == 0 || epoch == 0) {
    return Status(Code::kInvalidArgument, "an append names its chunk and epoch");
  }
  call.chunk = ChunkId(chunk);
  call.epoch = Epoch(epoch);
  MORAINE_ASSIGN_OR_RETURN(call.offset, Unsigned(request.offset, "offset"));
  MORAINE_ASSIGN_OR_RETURN(call.committed, Unsigned(request.committed, "committed length"));
  MORAINE_ASSIGN_OR_RETURN(call.checksums, ChecksumsFromWire(request.checksums));
  call.sync = request.sync;
  call.bytes = std::move(bulk);
  if (request.__isset.create) {
    MORAINE_ASSIGN_OR_RETURN(call.create, FromWire(request.create));
  }
  return call;
}

}  // namespace moraine::chunkserver
