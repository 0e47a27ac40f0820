#include "fs/client/convert.h"

#include <fmt/format.h>

#include "base/limits.h"

namespace moraine::fs {
namespace {

Status Impossible(std::string_view what) {
  return {Code::kProtocol, fmt::format("the metaserver sent an impossible {}", what)};
}

Result<std::vector<ReplicaPlace>> Places(const std::vector<idl::Replica>& wire) {
  std::vector<ReplicaPlace> places;
  for (const idl::Replica& replica : wire) {
    Result<Endpoint> endpoint = ParseEndpoint(replica.endpoint);
    if (!endpoint.ok()) return Impossible("chunkserver address '" + replica.endpoint + "'");
    places.push_back({ServerId(static_cast<uint64_t>(replica.server_id)), std::move(*endpoint)});
  }
  return places;
}

protocol::Policy PolicyFromWire(const idl::Policy& wire) {
  return {.n = wire.replicas, .w = wire.quorum, .floor = wire.floor};
}

Result<ChunkPlace> PlaceFromWire(const idl::ChunkPlace& wire) {
  ChunkPlace place;
  place.chunk = ChunkId(static_cast<uint64_t>(wire.chunk));
  place.epoch = Epoch(static_cast<uint64_t>(wire.epoch));
  place.sealed = wire.state == idl::ChunkState::kSealed;
  if (wire.length < 0 || static_cast<uint64_t>(wire.length) > limits::kChunkBytesMax) {
    return Impossible("chunk length");
  }
  place.length = static_cast<uint64_t>(wire.length);
  place.policy = PolicyFromWire(wire.policy);
  MORAINE_ASSIGN_OR_RETURN(place.replicas, Places(wire.replicas));
  return place;
}

}  // namespace

Result<Attributes> FromWire(const idl::Attributes& wire) {
  Attributes attributes;
  if (wire.inode <= 0) return Impossible("inode number");
  if (wire.type < idl::FileType::kRegular || wire.type > idl::FileType::kBlockDevice) {
    return Impossible("file type");
  }
  if (wire.size < 0 || static_cast<uint64_t>(wire.size) > limits::kFileBytesMax) {
    return Impossible("file size");
  }
  attributes.inode = InodeId(static_cast<uint64_t>(wire.inode));
  attributes.type = static_cast<FileType>(wire.type);
  attributes.mode = static_cast<uint32_t>(wire.mode);
  attributes.uid = static_cast<uint32_t>(wire.uid);
  attributes.gid = static_cast<uint32_t>(wire.gid);
  attributes.links = static_cast<uint64_t>(wire.links);
  attributes.size = static_cast<uint64_t>(wire.size);
  attributes.atime_ns = wire.atime_ns;
  attributes.mtime_ns = wire.mtime_ns;
  attributes.ctime_ns = wire.ctime_ns;
  attributes.rdev = static_cast<uint32_t>(wire.rdev);
  attributes.version = static_cast<uint64_t>(wire.version);
  attributes.stored_bytes = static_cast<uint64_t>(wire.stored_bytes);
  attributes.open_tail = wire.open_tail;
  attributes.losses = static_cast<uint32_t>(wire.losses);
  return attributes;
}

Result<ChunkGrant> FromWire(const idl::ChunkGrant& wire, InodeId inode) {
  ChunkGrant grant;
  if (wire.chunk <= 0 || wire.epoch <= 0 || wire.tail_offset < 0) return Impossible("chunk grant");
  grant.chunk = ChunkId(static_cast<uint64_t>(wire.chunk));
  grant.epoch = Epoch(static_cast<uint64_t>(wire.epoch));
  grant.policy = PolicyFromWire(wire.policy);
  grant.policy_name = wire.policy.name;
  grant.inode = inode;
  grant.tail = wire.tail;
  grant.tail_offset = static_cast<uint64_t>(wire.tail_offset);
  MORAINE_ASSIGN_OR_RETURN(grant.replicas, Places(wire.replicas));
  if (!grant.policy.ForMade(static_cast<int>(grant.replicas.size())).ok()) {
    return Impossible("number of replicas");
  }
  return grant;
}

Result<Layout> FromWire(const idl::Layout& wire, InodeId inode) {
  Layout layout;
  uint64_t end = 0;
  for (const idl::Extent& extent : wire.extents) {
    const Extent own{
        static_cast<uint64_t>(extent.file_offset), static_cast<uint64_t>(extent.length),
        ChunkId(static_cast<uint64_t>(extent.chunk)), static_cast<uint64_t>(extent.chunk_offset)};
    if (extent.file_offset < 0 || extent.length <= 0 || extent.chunk_offset < 0 ||
        own.file_offset < end || own.chunk_offset + own.length > limits::kChunkBytesMax ||
        own.file_offset + own.length > limits::kFileBytesMax) {
      return Impossible("extent");
    }
    end = own.file_offset + own.length;
    layout.extents.push_back(own);
  }
  for (const idl::ChunkPlace& place : wire.chunks) {
    MORAINE_ASSIGN_OR_RETURN(ChunkPlace own, PlaceFromWire(place));
    const ChunkId chunk = own.chunk;
    layout.chunks.emplace(chunk, std::move(own));
  }
  for (const Extent& extent : layout.extents) {
    if (!layout.chunks.contains(extent.chunk)) return Impossible("extent without its chunk");
  }
  if (wire.__isset.tail) {
    MORAINE_ASSIGN_OR_RETURN(layout.tail, FromWire(wire.tail, inode));
  }
  if (wire.__isset.inline_data) layout.inline_data = wire.inline_data;
  return layout;
}

idl::SealedChunk ToWire(const ChunkClose& close) {
  idl::SealedChunk wire;
  wire.chunk = ToWire(close.chunk);
  wire.epoch = static_cast<int64_t>(close.epoch.value());
  wire.length = static_cast<int64_t>(close.length);
  for (ServerId server : close.holders) wire.holders.push_back(ToWire(server));
  return wire;
}

idl::Extent ToWire(const Extent& extent) {
  idl::Extent wire;
  wire.file_offset = static_cast<int64_t>(extent.file_offset);
  wire.length = static_cast<int64_t>(extent.length);
  wire.chunk = ToWire(extent.chunk);
  wire.chunk_offset = static_cast<int64_t>(extent.chunk_offset);
  return wire;
}

idl::FileType::type ToWire(FileType type) { return static_cast<idl::FileType::type>(type); }

}  // namespace moraine::fs
