// Chunks as a client sees them: where they are and how they may be written. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/ids.h"
#include "base/loop/net.h"
#include "protocol/policy.h"

namespace moraine::fs {

struct ReplicaPlace {
  ServerId server;
  Endpoint endpoint;
  bool operator==(const ReplicaPlace&) const = default;
};

// Bytes on their way, kept alive by `owner`.
struct OwnedBytes {
  std::shared_ptr<const Buffer> owner;
  ConstBytes bytes;
};

// A chunk to write into, as the metaserver granted it.
struct ChunkGrant {
  ChunkId chunk;
  Epoch epoch;
  std::vector<ReplicaPlace> replicas;
  protocol::Policy policy;
  std::string policy_name;  // for the replicas' headers, as is the inode
  InodeId inode;
  bool tail = false;  // byte i of the chunk is the file's byte tail_offset + i
  uint64_t tail_offset = 0;
};

// What a writer says when it leaves a chunk.
struct ChunkClose {
  ChunkId chunk;
  Epoch epoch;
  uint64_t length = 0;
  std::vector<ServerId> holders;
};

// A chunk to read from.
struct ChunkPlace {
  ChunkId chunk;
  Epoch epoch;
  bool sealed = false;
  uint64_t length = 0;  // sealed: exact; else what was known when this was asked for
  std::vector<ReplicaPlace> replicas;
  protocol::Policy policy;
};

}  // namespace moraine::fs
