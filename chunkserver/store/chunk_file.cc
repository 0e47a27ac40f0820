#include "chunkserver/store/chunk_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "base/encoding.h"
#include "base/hash.h"
#include "base/loop/disk.h"

namespace moraine::chunkserver {
namespace {

// CHUNK_FILE.md section 2.
constexpr char kMagic[8] = {'M', 'R', 'N', 'C', 'H', 'U', 'N', 'K'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kOpen = 1;
constexpr uint32_t kSealed = 2;
constexpr size_t kPolicyNameAt = 72;
constexpr size_t kClusterAt = kPolicyNameAt + 2 + kNameTextMax;
constexpr size_t kChecksumAt = kSectorBytes - sizeof(uint64_t);
constexpr std::string_view kSuffix = ".chunk";
constexpr size_t kIdDigits = 16;

void StoreText(std::byte* at, std::string_view text) {
  const size_t size = std::min(text.size(), kNameTextMax);
  StoreLittle16(at, static_cast<uint16_t>(size));
  std::memcpy(at + 2, text.data(), size);
}

std::string LoadText(const std::byte* at) {
  const size_t size = std::min<size_t>(LoadLittle16(at), kNameTextMax);
  return std::string(reinterpret_cast<const char*>(at + 2), size);
}

}  // namespace

void EncodeChunkHeader(const ChunkHeader& header, MutableBytes page) {
  MORAINE_CHECK(page.size() == kPageBytes);
  std::byte* at = page.data();
  std::memset(at, 0, kPageBytes);
  std::memcpy(at, kMagic, sizeof(kMagic));
  StoreLittle32(at + 8, kVersion);
  StoreLittle32(at + 12, header.sealed ? kSealed : kOpen);
  StoreLittle64(at + 16, header.chunk.value());
  StoreLittle64(at + 24, header.incarnation);
  StoreLittle64(at + 32, header.epoch.value());
  StoreLittle64(at + 40, header.origin.inode.value());
  StoreLittle64(at + 48, header.origin.file_offset);
  StoreLittle64(at + 56, header.sealed_length);
  StoreLittle16(at + 64, static_cast<uint16_t>(header.origin.replicas));
  StoreLittle16(at + 66, static_cast<uint16_t>(header.origin.quorum));
  StoreLittle16(at + 68, static_cast<uint16_t>(header.origin.floor));
  StoreLittle16(at + 70, static_cast<uint16_t>(header.origin.made));
  StoreText(at + kPolicyNameAt, header.origin.policy);
  StoreText(at + kClusterAt, header.cluster);
  StoreLittle64(at + kChecksumAt, BlockChecksum(page.first(kChecksumAt)));
}

Result<ChunkHeader> DecodeChunkHeader(ConstBytes page) {
  if (page.size() < kSectorBytes) return {Code::kCorruption, "chunk header is cut short"};
  const std::byte* at = page.data();
  if (std::memcmp(at, kMagic, sizeof(kMagic)) != 0) return {Code::kCorruption, "not a chunk file"};
  if (BlockChecksum(page.first(kChecksumAt)) != LoadLittle64(at + kChecksumAt)) {
    return {Code::kCorruption, "chunk header does not match its checksum"};
  }
  const uint32_t version = LoadLittle32(at + 8);
  if (version != kVersion) {
    return {Code::kWrongVersion,
            fmt::format("chunk file of version {}, this program knows {}", version, kVersion)};
  }
  const uint32_t state = LoadLittle32(at + 12);
  ChunkHeader header;
  header.sealed = state == kSealed;
  header.chunk = ChunkId(LoadLittle64(at + 16));
  header.incarnation = LoadLittle64(at + 24);
  header.epoch = Epoch(LoadLittle64(at + 32));
  header.origin.inode = InodeId(LoadLittle64(at + 40));
  header.origin.file_offset = LoadLittle64(at + 48);
  header.sealed_length = LoadLittle64(at + 56);
  header.origin.replicas = LoadLittle16(at + 64);
  header.origin.quorum = LoadLittle16(at + 66);
  header.origin.floor = LoadLittle16(at + 68);
  header.origin.made = LoadLittle16(at + 70);
  header.origin.policy = LoadText(at + kPolicyNameAt);
  header.cluster = LoadText(at + kClusterAt);
  if ((state != kOpen && state != kSealed) || header.sealed_length > limits::kChunkBytesMax) {
    return {Code::kCorruption, "chunk header has impossible values"};
  }
  return header;
}

std::string ChunkDirectory(ChunkId chunk) {
  return fmt::format("chunks/{:02x}", chunk.value() % kChunkDirectories);
}

std::string ChunkPath(ChunkId chunk) {
  return fmt::format("{}/{:016x}{}", ChunkDirectory(chunk), chunk.value(), kSuffix);
}

Result<ChunkId> ParseChunkFileName(std::string_view name) {
  uint64_t id = 0;
  if (name.size() == kIdDigits + kSuffix.size() && name.ends_with(kSuffix)) {
    const auto [end, error] = std::from_chars(name.data(), name.data() + kIdDigits, id, 16);
    if (error == std::errc() && end == name.data() + kIdDigits) return ChunkId(id);
  }
  return {Code::kInvalidArgument, fmt::format("'{}' is not the name of a chunk file", name)};
}

}  // namespace moraine::chunkserver
