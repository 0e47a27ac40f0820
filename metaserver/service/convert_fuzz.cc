// Any bytes as the messages that the metaserver takes apart, and as answers that it remembers: the
// first byte says which. What was accepted keeps the bounds that the operations rely on.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "metaserver/service/answer_codec.h"
#include "metaserver/service/convert.h"
#include "rpc/fuzz_support.h"

namespace moraine::metaserver {
namespace {

using rpc::ReadMessage;

constexpr uint64_t kSignedMax = INT64_MAX;

void Check(const ClosedChunk& closed) {
  MORAINE_CHECK(!closed.chunk.IsNone() && closed.length <= kSignedMax);
  MORAINE_CHECK(closed.holders.size() <= static_cast<size_t>(limits::kReplicasMax));
}
void Check(const CreateArgs& args) {
  MORAINE_CHECK(args.type >= FileType::kRegular && args.type <= FileType::kBlockDevice);
}
void Check(const RenameArgs& args) { MORAINE_CHECK(args.mode <= RenameMode::kExchange); }
void Check(const SetAttributesArgs& args) { MORAINE_CHECK(args.size.value_or(0) <= kSignedMax); }
void Check(const CommitArgs& args) {
  for (const Extent& extent : args.extents) {
    MORAINE_CHECK(extent.length > 0 && extent.length <= kSignedMax);
    MORAINE_CHECK(extent.file_offset <= kSignedMax && extent.chunk_offset <= kSignedMax);
  }
  for (const ClosedChunk& closed : args.seals) Check(closed);
  MORAINE_CHECK(args.size.value_or(0) <= kSignedMax);
}
void Check(const AllocateChunkArgs& args) {
  if (args.previous.has_value()) Check(*args.previous);
  MORAINE_CHECK(args.tail_offset <= kSignedMax);
}
void Check(const Registry::Registration& registration) {
  MORAINE_CHECK(registration.space.total_bytes <= kSignedMax);
  MORAINE_CHECK(registration.space.free_bytes <= kSignedMax);
}
void Check(const std::vector<ReplicaReport>& reports) {
  for (const ReplicaReport& report : reports) MORAINE_CHECK(report.length <= kSignedMax);
}

template <class Message>
void Try(std::string_view bytes) {
  Message message;
  if (!ReadMessage(bytes, &message)) return;
  const auto own = FromWire(message);
  if (own.ok()) return Check(*own);
  MORAINE_CHECK(own.code() == Code::kInvalidArgument || own.code() == Code::kTooLarge);
}

// What is written again is read as the same.
template <class Answer>
void TryRemembered(std::string_view bytes) {
  const auto answer = DecodeAnswer<Answer>(bytes);
  if (!answer.ok()) {
    MORAINE_CHECK(answer.code() == Code::kCorruption);
    return;
  }
  const std::string again = EncodeAnswer(*answer);
  const auto second = DecodeAnswer<Answer>(again);
  MORAINE_CHECK(second.ok() && EncodeAnswer(*second) == again);
}

void Fuzz(uint8_t kind, std::string_view bytes) {
  switch (kind % 13) {
    case 0:
      return Try<idl::CreateRequest>(bytes);
    case 1:
      return Try<idl::RenameRequest>(bytes);
    case 2:
      return Try<idl::SetAttributesRequest>(bytes);
    case 3:
      return Try<idl::CommitRequest>(bytes);
    case 4:
      return Try<idl::AllocateChunkRequest>(bytes);
    case 5:
      return Try<idl::RegisterRequest>(bytes);
    case 6: {
      idl::SetPolicyRequest request;
      if (!ReadMessage(bytes, &request)) return;
      const auto policy = FromWire(request.policy);
      MORAINE_CHECK(!policy.ok() || policy->replicas <= INT32_MAX);
      return;
    }
    case 7: {
      idl::InventoryRequest request;
      if (!ReadMessage(bytes, &request)) return;
      const auto reports = FromWire(request.replicas);
      if (reports.ok()) Check(*reports);
      return;
    }
    case 8: {
      idl::LocateResponse located;
      if (ReadMessage(bytes, &located)) MORAINE_CHECK(ToJson(located).front() == '{');
      return;
    }
    case 9:
      return TryRemembered<idl::CreateResponse>(bytes);
    case 10:
      return TryRemembered<idl::CommitResponse>(bytes);
    case 11:
      return TryRemembered<idl::AllocateChunkResponse>(bytes);
    default:
      return TryRemembered<idl::OpenResponse>(bytes);
  }
}

}  // namespace
}  // namespace moraine::metaserver

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  moraine::metaserver::Fuzz(data[0],
                            std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
