// The chunk file as it lies on the disk (CHUNK_FILE.md): offsets and the header. No I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/limits.h"
#include "base/loop/net.h"
#include "base/status.h"

namespace moraine::chunkserver {

inline constexpr uint64_t kPageBytes = limits::kBlockBytes;
inline constexpr uint64_t kGroupBlocks = kPageBytes / sizeof(uint64_t);  // of one checksum page
inline constexpr uint64_t kGroupBytes = kGroupBlocks * limits::kBlockBytes;
inline constexpr size_t kNameTextMax = 64;  // of a policy's name and of a cluster id in a header

constexpr uint64_t BlockFloor(uint64_t offset) {
  return offset / limits::kBlockBytes * limits::kBlockBytes;
}
constexpr uint64_t BlockCeil(uint64_t offset) {
  return BlockFloor(offset + limits::kBlockBytes - 1);
}
// Blocks that bytes [0, length) touch.
constexpr uint64_t BlocksOf(uint64_t length) { return BlockCeil(length) / limits::kBlockBytes; }

constexpr uint64_t ChecksumPageOffset(uint64_t group) {
  return kPageBytes + group * (kPageBytes + kGroupBytes);
}
// Where the block that begins at `chunk_offset` (a multiple of 4 KiB) lies in the file.
constexpr uint64_t FileOffsetOf(uint64_t chunk_offset) {
  return ChecksumPageOffset(chunk_offset / kGroupBytes) + kPageBytes + chunk_offset % kGroupBytes;
}
// The size of the file of a sealed chunk; also of an open one with `length` in whole blocks.
constexpr uint64_t ChunkFileBytes(uint64_t length) {
  return length == 0 ? kPageBytes : FileOffsetOf(BlockFloor(length - 1)) + kPageBytes;
}

// Where a replica comes from; what fsck needs when there is no metaserver to ask.
struct ReplicaOrigin {
  InodeId inode;
  uint64_t file_offset = 0;
  std::string policy;  // its name
  int replicas = 1;    // n
  int quorum = 1;      // w
  int floor = 1;
  int made = 1;
  bool operator==(const ReplicaOrigin&) const = default;
};

struct ChunkHeader {
  std::string cluster;
  ChunkId chunk;
  uint64_t incarnation = 0;
  Epoch epoch;
  bool sealed = false;
  uint64_t sealed_length = 0;
  ReplicaOrigin origin;
  bool operator==(const ChunkHeader&) const = default;
};

// Fills a page of 4 KiB. Names longer than kNameTextMax are cut.
void EncodeChunkHeader(const ChunkHeader& header, MutableBytes page);
// Errors: kCorruption, kWrongVersion (a newer program's file).
Result<ChunkHeader> DecodeChunkHeader(ConstBytes page);

// "chunks/07/0000000000000107.chunk"
std::string ChunkPath(ChunkId chunk);
std::string ChunkDirectory(ChunkId chunk);
inline constexpr unsigned kChunkDirectories = 256;
// The chunk of a file name like "0000000000000107.chunk"; kInvalidArgument for others.
Result<ChunkId> ParseChunkFileName(std::string_view name);

}  // namespace moraine::chunkserver
