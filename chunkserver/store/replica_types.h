// What the store says about replicas and takes from its callers. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/ids.h"
#include "base/loop/time.h"
#include "chunkserver/store/chunk_file.h"

namespace moraine::chunkserver {

struct ReplicaInfo {
  ChunkId chunk;
  Epoch epoch;
  bool sealed = false;
  uint64_t held = 0;
  uint64_t synced = 0;
  uint64_t committed = 0;
  bool restarted = false;
  bool damaged = false;
  InodeId inode;
  uint64_t file_offset = 0;
};

struct AppendCall {
  ChunkId chunk;
  Epoch epoch;
  uint64_t offset = 0;
  Buffer bytes;                     // best at an address with the offset's remainder in a page
  std::vector<uint64_t> checksums;  // of every piece between multiples of 4 KiB of the chunk
  bool sync = false;
  uint64_t committed = 0;
  std::optional<ReplicaOrigin> create;
  Instant deadline = kNever;  // as for the calls of Store
};

struct AppendResult {
  uint64_t held = 0;
  uint64_t synced = 0;
};

struct ReadResult {
  uint64_t offset = 0;  // of the first byte: the block boundary at or below what was asked
  Buffer bytes;
  std::vector<uint64_t> checksums;
  uint64_t visible = 0;
  bool sealed = false;
};

struct StoreStatus {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t replicas = 0;
  uint64_t open_replicas = 0;
  bool quarantined = false;
  uint64_t journal_bytes = 0;
  uint64_t journal_used_bytes = 0;
};

}  // namespace moraine::chunkserver
