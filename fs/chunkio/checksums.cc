#include "fs/chunkio/checksums.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/encoding.h"
#include "base/fault_point.h"
#include "base/hash.h"
#include "base/limits.h"

namespace moraine::fs {
namespace {

size_t FirstPiece(uint64_t chunk_offset) {
  return limits::kBlockBytes - chunk_offset % limits::kBlockBytes;
}

}  // namespace

std::string PieceChecksums(uint64_t chunk_offset, ConstBytes bytes) {
  std::string checksums;
  for (size_t at = 0, size = 0; at < bytes.size(); at += size) {
    const size_t piece = at == 0 ? FirstPiece(chunk_offset) : limits::kBlockBytes;
    size = std::min(piece, bytes.size() - at);
    char encoded[8];
    StoreLittle64(encoded, BlockChecksum(bytes.subspan(at, size)));
    checksums.append(encoded, sizeof encoded);
  }
  return checksums;
}

Status VerifyPieceChecksums(uint64_t chunk_offset, ConstBytes bytes, std::string_view checksums) {
  if (!MORAINE_FAULT_STATUS("mutant.reader_ignores_checksums").ok()) return Status::Ok();
  size_t at = 0;
  size_t index = 0;
  while (at < bytes.size()) {
    const size_t piece = at == 0 ? FirstPiece(chunk_offset) : limits::kBlockBytes;
    const size_t size = std::min(piece, bytes.size() - at);
    if (checksums.size() < (index + 1) * 8) {
      return {Code::kProtocol, "fewer checksums than blocks"};
    }
    if (LoadLittle64(checksums.data() + index * 8) != BlockChecksum(bytes.subspan(at, size))) {
      return {Code::kCorruption, fmt::format("bytes at chunk offset {} do not match their checksum",
                                             chunk_offset + at)};
    }
    at += size;
    ++index;
  }
  if (checksums.size() != index * 8) return {Code::kProtocol, "more checksums than blocks"};
  return {};
}

}  // namespace moraine::fs
