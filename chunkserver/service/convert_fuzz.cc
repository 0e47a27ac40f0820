// Any bytes as the messages that a chunkserver takes apart; the first byte says which. What was
// accepted keeps the bounds that the store relies on.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "chunkserver/service/convert.h"
#include "protocol/policy.h"
#include "rpc/fuzz_support.h"

namespace moraine::chunkserver {
namespace {

constexpr uint64_t kSignedMax = INT64_MAX;

void Check(const ReplicaOrigin& origin) {
  MORAINE_CHECK(origin.inode.value() <= kSignedMax && origin.file_offset <= kSignedMax);
  MORAINE_CHECK(origin.policy.size() <= limits::kNameBytesMax);
  MORAINE_CHECK(1 <= origin.made && origin.made <= limits::kReplicasMax);
  MORAINE_CHECK(1 <= origin.quorum && origin.quorum <= origin.replicas);
}

void TryAppend(std::string_view bytes) {
  idl::AppendRequest request;
  if (!rpc::ReadMessage(bytes, &request)) return;
  const auto call = FromWire(request, Buffer());
  if (!call.ok()) {
    MORAINE_CHECK(call.code() == Code::kInvalidArgument || call.code() == Code::kTooFewServers);
    return;
  }
  MORAINE_CHECK(!call->chunk.IsNone() && call->offset <= kSignedMax);
  MORAINE_CHECK(call->committed <= kSignedMax);
  MORAINE_CHECK(ChecksumsToWire(call->checksums) == request.checksums);
  if (call->create.has_value()) Check(*call->create);
}

void TryCreation(std::string_view bytes) {
  idl::ReplicaCreation creation;
  if (!rpc::ReadMessage(bytes, &creation)) return;
  const auto origin = FromWire(creation);
  if (origin.ok()) Check(*origin);
}

void TryNumber(std::string_view bytes) {
  idl::ReadRequest request;
  if (!rpc::ReadMessage(bytes, &request)) return;
  const auto offset = Unsigned(request.offset, "offset");
  MORAINE_CHECK(offset.ok() ? *offset <= kSignedMax : request.offset < 0);
}

void Fuzz(uint8_t kind, std::string_view bytes) {
  switch (kind % 3) {
    case 0:
      return TryAppend(bytes);
    case 1:
      return TryCreation(bytes);
    default:
      return TryNumber(bytes);
  }
}

}  // namespace
}  // namespace moraine::chunkserver

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  moraine::chunkserver::Fuzz(data[0],
                             std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
