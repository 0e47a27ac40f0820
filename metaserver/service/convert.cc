#include "metaserver/service/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/policies.h"

namespace moraine::metaserver {
namespace {

Status Impossible(std::string_view what) {
  return Status(Code::kInvalidArgument, fmt::format("an impossible {}", what));
}

idl::Replica ReplicaOf(ServerId server, const Registry& registry) {
  idl::Replica replica;
  replica.server_id = ToWire(server);
  const ServerRecord* record = registry.Find(server);
  if (record != nullptr) replica.endpoint = record->endpoint;
  return replica;
}

Result<ClosedChunk> ClosedFromWire(const idl::SealedChunk& wire) {
  if (wire.chunk <= 0 || wire.epoch <= 0 || wire.length < 0 ||
      wire.holders.size() > static_cast<size_t>(limits::kReplicasMax)) {
    return Impossible("closed chunk");
  }
  ClosedChunk closed{IdFromWire<ChunkId>(wire.chunk),
                     IdFromWire<Epoch>(wire.epoch),
                     static_cast<uint64_t>(wire.length),
                     {}};
  for (const int64_t holder : wire.holders) closed.holders.push_back(IdFromWire<ServerId>(holder));
  return closed;
}

constexpr size_t kExtentsPerCommitMax = 65536;
constexpr size_t kSealsPerCommitMax = 256;
constexpr size_t kAvoidedMax = 64;

}  // namespace

idl::ChunkState::type ToWire(ChunkState state) {
  switch (state) {
    // A closed chunk's replicas are still open ones for a reader, with a length that is known.
    case ChunkState::kOpen:
    case ChunkState::kClosed:
      return idl::ChunkState::kOpen;
    case ChunkState::kSealed:
      return idl::ChunkState::kSealed;
    case ChunkState::kFencing:
      return idl::ChunkState::kFencing;
    case ChunkState::kDeleting:
      return idl::ChunkState::kDeleting;
  }
  return idl::ChunkState::kDeleting;
}

idl::Attributes ToWire(const InodeView& inode) {
  const InodeRecord& record = inode.record;
  idl::Attributes wire;
  wire.inode = ToWire(inode.id);
  wire.type = static_cast<idl::FileType::type>(record.type);
  wire.mode = static_cast<int32_t>(record.mode);
  wire.uid = static_cast<int32_t>(record.uid);
  wire.gid = static_cast<int32_t>(record.gid);
  wire.links = static_cast<int64_t>(record.links);
  wire.size = static_cast<int64_t>(record.size);
  wire.atime_ns = record.atime_ns;
  wire.mtime_ns = record.mtime_ns;
  wire.ctime_ns = record.ctime_ns;
  wire.rdev = static_cast<int32_t>(record.rdev);
  wire.version = static_cast<int64_t>(record.version);
  wire.stored_bytes = static_cast<int64_t>(record.stored_bytes + record.inline_data.size());
  wire.open_tail = inode.open_tail;
  wire.losses = static_cast<int32_t>(record.losses);
  return wire;
}

idl::Policy ToWire(const PolicyRecord& policy) {
  idl::Policy wire;
  wire.name = policy.name;
  wire.replicas = static_cast<int32_t>(policy.replicas);
  wire.quorum = static_cast<int32_t>(policy.quorum);
  wire.floor = static_cast<int32_t>(policy.floor);
  return wire;
}

idl::ChunkPlace ToWire(const ChunkView& chunk, const Registry& registry) {
  const ChunkRecord& record = chunk.record;
  idl::ChunkPlace wire;
  wire.chunk = ToWire(chunk.id);
  wire.epoch = ToWire(record.epoch);
  wire.state = ToWire(record.state);
  const bool decided = record.state == ChunkState::kSealed || record.state == ChunkState::kClosed;
  wire.length = static_cast<int64_t>(decided ? record.length : record.mapped);
  const bool any_good = record.GoodReplicas() > 0;
  for (const ReplicaRecord& replica : record.replicas) {
    if (any_good && replica.state != ReplicaState::kGood) continue;
    wire.replicas.push_back(ReplicaOf(replica.server, registry));
  }
  wire.policy = ToWire(record.policy);
  return wire;
}

idl::ChunkGrant ToWire(const ChunkGrant& grant, const Registry& registry) {
  idl::ChunkGrant wire;
  wire.chunk = ToWire(grant.chunk.id);
  wire.epoch = ToWire(grant.chunk.record.epoch);
  for (const ReplicaRecord& replica : grant.chunk.record.replicas) {
    wire.replicas.push_back(ReplicaOf(replica.server, registry));
  }
  wire.policy = ToWire(grant.chunk.record.policy);
  wire.tail = grant.tail;
  wire.tail_offset = static_cast<int64_t>(grant.tail_offset);
  return wire;
}

idl::Layout ToWire(const Layout& layout, const Registry& registry) {
  idl::Layout wire;
  wire.extents.reserve(layout.extents.size());
  for (const Extent& extent : layout.extents) {
    idl::Extent& out = wire.extents.emplace_back();
    out.file_offset = static_cast<int64_t>(extent.file_offset);
    out.length = static_cast<int64_t>(extent.length);
    out.chunk = ToWire(extent.chunk);
    out.chunk_offset = static_cast<int64_t>(extent.chunk_offset);
  }
  for (const ChunkView& chunk : layout.chunks) {
    wire.chunks.push_back(ToWire(chunk, registry));
    if (layout.tail.has_value() && layout.tail->chunk == chunk.id) {
      wire.__set_tail(ToWire(ChunkGrant{chunk, true, layout.tail->tail_offset}, registry));
    }
  }
  if (layout.inline_data.has_value()) wire.__set_inline_data(*layout.inline_data);
  return wire;
}

idl::AttributesResponse AttributesAnswer(const InodeView& inode) {
  idl::AttributesResponse answer;
  answer.attributes = ToWire(inode);
  if (inode.record.type == FileType::kSymlink) {
    answer.__set_symlink_target(inode.record.symlink_target);
  }
  return answer;
}

Result<idl::LocateResponse> LocateAnswer(Transaction& transaction, InodeId inode,
                                         const Registry& registry) {
  MORAINE_ASSIGN_OR_RETURN(const FileView file, GetLayout(transaction, inode));
  idl::LocateResponse answer;
  answer.attributes = ToWire(file.inode);
  if (!file.inode.record.policy.empty()) {
    MORAINE_ASSIGN_OR_RETURN(const PolicyRecord policy,
                             FindPolicy(transaction, file.inode.record.policy));
    answer.policy = ToWire(policy);
  }
  answer.inline_data = file.layout.inline_data.has_value();
  for (const ChunkView& chunk : file.layout.chunks) {
    idl::LocatedChunk& located = answer.chunks.emplace_back();
    located.chunk = ToWire(chunk.id);
    located.state = ToWire(chunk.record.state);
    const bool open = chunk.record.state == ChunkState::kOpen;
    located.length = static_cast<int64_t>(open ? chunk.record.mapped : chunk.record.length);
    const auto first = std::ranges::find(file.layout.extents, chunk.id, &Extent::chunk);
    const uint64_t offset = first != file.layout.extents.end() ? first->file_offset
                            : file.layout.tail.has_value()     ? file.layout.tail->tail_offset
                                                               : 0;
    located.file_offset = static_cast<int64_t>(offset);
    for (const ReplicaRecord& replica : chunk.record.replicas) {
      idl::LocatedReplica& out = located.replicas.emplace_back();
      out.server_id = ToWire(replica.server);
      out.endpoint = ReplicaOf(replica.server, registry).endpoint;
      switch (replica.state) {
        case ReplicaState::kGood:
          out.state = idl::ReplicaState::kGood;
          break;
        case ReplicaState::kLagging:
          out.state = idl::ReplicaState::kStale;
          break;
        case ReplicaState::kMissing:
          out.state = idl::ReplicaState::kMissing;
          break;
      }
    }
  }
  return answer;
}

std::string ToJson(const idl::LocateResponse& located) {
  nlohmann::json json;
  json["inode"] = located.attributes.inode;
  json["size"] = located.attributes.size;
  json["policy"] = located.policy.name;
  json["inline"] = located.inline_data;
  json["chunks"] = nlohmann::json::array();
  for (const idl::LocatedChunk& chunk : located.chunks) {
    nlohmann::json replicas = nlohmann::json::array();
    for (const idl::LocatedReplica& replica : chunk.replicas) {
      const char* state = replica.state == idl::ReplicaState::kGood    ? "good"
                          : replica.state == idl::ReplicaState::kStale ? "stale"
                                                                       : "missing";
      replicas.push_back(
          {{"server", replica.server_id}, {"endpoint", replica.endpoint}, {"state", state}});
    }
    json["chunks"].push_back({{"chunk", chunk.chunk},
                              {"offset", chunk.file_offset},
                              {"length", chunk.length},
                              {"sealed", chunk.state == idl::ChunkState::kSealed},
                              {"replicas", std::move(replicas)}});
  }
  // Names of policies and addresses may hold any bytes; JSON cannot, and dump() throws by default.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<CreateArgs> FromWire(const idl::CreateRequest& request) {
  if (request.type < idl::FileType::kRegular || request.type > idl::FileType::kBlockDevice) {
    return Impossible("file type");
  }
  CreateArgs args;
  args.parent = IdFromWire<InodeId>(request.parent);
  args.name = request.name;
  args.type = static_cast<FileType>(request.type);
  args.mode = static_cast<uint32_t>(request.mode);
  args.uid = static_cast<uint32_t>(request.uid);
  args.gid = static_cast<uint32_t>(request.gid);
  args.rdev = static_cast<uint32_t>(request.rdev);
  args.symlink_target = request.symlink_target;
  args.exclusive = request.exclusive;
  args.token = IdFromWire<Token>(request.token);
  args.policy = request.policy;
  return args;
}

Result<RenameArgs> FromWire(const idl::RenameRequest& request) {
  if (request.mode < idl::RenameMode::kReplace || request.mode > idl::RenameMode::kExchange) {
    return Impossible("rename mode");
  }
  return RenameArgs{IdFromWire<InodeId>(request.parent),     request.name,
                    IdFromWire<InodeId>(request.new_parent), request.new_name,
                    static_cast<RenameMode>(request.mode),   IdFromWire<Token>(request.token),
                    IdFromWire<Token>(request.new_token)};
}

Result<SetAttributesArgs> FromWire(const idl::SetAttributesRequest& request) {
  SetAttributesArgs args;
  args.inode = IdFromWire<InodeId>(request.inode);
  if (request.__isset.mode) args.mode = static_cast<uint32_t>(request.mode);
  if (request.__isset.uid) args.uid = static_cast<uint32_t>(request.uid);
  if (request.__isset.gid) args.gid = static_cast<uint32_t>(request.gid);
  if (request.__isset.size) {
    if (request.size < 0) return Impossible("file size");
    args.size = static_cast<uint64_t>(request.size);
  }
  if (request.__isset.atime_ns) args.atime_ns = request.atime_ns;
  if (request.__isset.mtime_ns) args.mtime_ns = request.mtime_ns;
  args.token = IdFromWire<Token>(request.token);
  if (request.__isset.losses) args.losses = static_cast<uint32_t>(request.losses);
  return args;
}

Result<CommitArgs> FromWire(const idl::CommitRequest& request) {
  if (request.extents.size() > kExtentsPerCommitMax || request.seals.size() > kSealsPerCommitMax) {
    return Status(Code::kTooLarge, "too much in one commit");
  }
  CommitArgs args;
  args.inode = IdFromWire<InodeId>(request.inode);
  for (const idl::Extent& extent : request.extents) {
    if (extent.file_offset < 0 || extent.length <= 0 || extent.chunk_offset < 0) {
      return Impossible("extent");
    }
    args.extents.push_back({static_cast<uint64_t>(extent.file_offset),
                            static_cast<uint64_t>(extent.length), IdFromWire<ChunkId>(extent.chunk),
                            static_cast<uint64_t>(extent.chunk_offset)});
  }
  if (request.__isset.size) {
    if (request.size < 0) return Impossible("file size");
    args.size = static_cast<uint64_t>(request.size);
  }
  if (request.__isset.mtime_ns) args.mtime_ns = request.mtime_ns;
  if (request.__isset.inline_data) args.inline_data = request.inline_data;
  for (const idl::SealedChunk& closed : request.seals) {
    MORAINE_ASSIGN_OR_RETURN(ClosedChunk own, ClosedFromWire(closed));
    args.seals.push_back(std::move(own));
  }
  args.sync = request.sync;
  args.token = IdFromWire<Token>(request.token);
  if (request.__isset.losses) args.losses = static_cast<uint32_t>(request.losses);
  return args;
}

Result<AllocateChunkArgs> FromWire(const idl::AllocateChunkRequest& request) {
  if (request.tail_offset < 0 || request.avoid_servers.size() > kAvoidedMax) {
    return Impossible("chunk request");
  }
  AllocateChunkArgs args;
  args.inode = IdFromWire<InodeId>(request.inode);
  args.tail = request.tail;
  args.tail_offset = static_cast<uint64_t>(request.tail_offset);
  if (request.__isset.previous) {
    MORAINE_ASSIGN_OR_RETURN(args.previous, ClosedFromWire(request.previous));
  }
  for (const int64_t server : request.avoid_servers) {
    args.avoid.push_back(IdFromWire<ServerId>(server));
  }
  args.token = IdFromWire<Token>(request.token);
  if (request.__isset.losses) args.losses = static_cast<uint32_t>(request.losses);
  return args;
}

Result<PolicyRecord> FromWire(const idl::Policy& policy) {
  if (policy.replicas < 0 || policy.quorum < 0 || policy.floor < 0) return Impossible("policy");
  return PolicyRecord{policy.name, static_cast<uint32_t>(policy.replicas),
                      static_cast<uint32_t>(policy.quorum), static_cast<uint32_t>(policy.floor)};
}

Result<Registry::Registration> FromWire(const idl::RegisterRequest& request) {
  if (request.total_bytes < 0 || request.free_bytes < 0) return Impossible("size of a disk");
  return Registry::Registration{
      IdFromWire<ServerId>(request.server_id),
      request.incarnation,
      request.endpoint,
      request.location,
      {static_cast<uint64_t>(request.total_bytes), static_cast<uint64_t>(request.free_bytes)},
      static_cast<uint64_t>(request.start_id)};
}

Result<Acknowledged> FromWire(const idl::RequestHeader& header) {
  const auto number = [](int64_t value) {
    return static_cast<uint64_t>(std::max<int64_t>(value, 0));
  };
  Acknowledged acknowledged(number(header.acknowledged_below));
  if (!header.__isset.over_below) return acknowledged;
  const std::vector<uint64_t> waiting(header.waiting.begin(), header.waiting.end());
  MORAINE_ASSIGN_OR_RETURN(const auto more,
                           Acknowledged::Except(number(header.over_below), waiting));
  acknowledged.Add(more);
  return acknowledged;
}

Result<std::vector<ReplicaReport>> FromWire(const std::vector<idl::ReplicaReport>& reports) {
  std::vector<ReplicaReport> out;
  out.reserve(reports.size());
  for (const idl::ReplicaReport& report : reports) {
    if (report.chunk <= 0 || report.length < 0) return Impossible("replica");
    out.push_back({IdFromWire<ChunkId>(report.chunk), IdFromWire<Epoch>(report.epoch),
                   report.state == idl::ChunkState::kSealed, static_cast<uint64_t>(report.length),
                   report.damaged});
  }
  return out;
}

}  // namespace moraine::metaserver
