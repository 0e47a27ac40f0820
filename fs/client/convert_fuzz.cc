// Any bytes as what a metaserver tells a client: attributes, a chunk to write, a file's layout. The
// first byte says which. What was accepted keeps the bounds that reading and writing rely on.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "fs/client/convert.h"
#include "rpc/fuzz_support.h"

namespace moraine::fs {
namespace {

void CheckGrant(const ChunkGrant& grant) {
  MORAINE_CHECK(!grant.chunk.IsNone() && !grant.replicas.empty());
  MORAINE_CHECK(grant.replicas.size() <= static_cast<size_t>(limits::kReplicasMax));
  MORAINE_CHECK(grant.policy.ForMade(static_cast<int>(grant.replicas.size())).ok());
  MORAINE_CHECK(grant.tail_offset <= INT64_MAX);
}

void CheckLayout(const Layout& layout) {
  uint64_t end = 0;
  for (const Extent& extent : layout.extents) {
    MORAINE_CHECK(extent.length > 0 && extent.file_offset >= end);
    end = extent.file_offset + extent.length;
    MORAINE_CHECK(end <= limits::kFileBytesMax && layout.chunks.contains(extent.chunk));
    MORAINE_CHECK(extent.chunk_offset + extent.length <= limits::kChunkBytesMax);
  }
  for (const auto& [chunk, place] : layout.chunks) {
    MORAINE_CHECK(place.length <= limits::kChunkBytesMax);
  }
  if (layout.tail.has_value()) CheckGrant(*layout.tail);
}

template <class Message, class Convert, class Check>
void Try(std::string_view bytes, const Convert& convert, const Check& check) {
  Message message;
  if (!rpc::ReadMessage(bytes, &message)) return;
  const auto own = convert(message);
  if (own.ok()) return check(*own);
  MORAINE_CHECK(own.code() == Code::kProtocol);
}

void Fuzz(uint8_t kind, std::string_view bytes) {
  switch (kind % 3) {
    case 0:
      return Try<idl::Attributes>(
          bytes, [](const auto& wire) { return FromWire(wire); },
          [](const Attributes& own) { MORAINE_CHECK(own.size <= limits::kFileBytesMax); });
    case 1:
      return Try<idl::ChunkGrant>(
          bytes, [](const auto& wire) { return FromWire(wire, InodeId(2)); }, CheckGrant);
    default:
      return Try<idl::Layout>(
          bytes, [](const auto& wire) { return FromWire(wire, InodeId(2)); }, CheckLayout);
  }
}

}  // namespace
}  // namespace moraine::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  moraine::fs::Fuzz(data[0], std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
