// Any bytes as a value of the metaserver's store; the first byte says of which kind. Encodings are
// unique, so what was understood and is written again must give the same bytes.
#include <algorithm>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "metaserver/sessions/answers.h"
#include "metaserver/store/families.h"
#include "metaserver/store/records.h"

namespace moraine::metaserver {
namespace {

template <class Record>
void Try(std::string_view bytes) {
  const auto record = Record::Decode(bytes);
  if (record.ok()) {
    MORAINE_CHECK(record->Encode() == bytes);
  } else {
    MORAINE_CHECK(record.code() == Code::kCorruption);
  }
}

// The versions before are read too, and written as the present one.
void TryAnswer(std::string_view bytes) {
  const auto answer = RememberedAnswer::Decode(bytes);
  if (!answer.ok()) return;
  const std::string again = answer->Encode();
  MORAINE_CHECK(bytes[0] < 3 || again == bytes);
  const auto second = RememberedAnswer::Decode(again);
  MORAINE_CHECK(second.ok() && second->method == answer->method && second->bytes == answer->bytes);
  MORAINE_CHECK(second->acknowledged.below() == answer->acknowledged.below());
  MORAINE_CHECK(std::ranges::equal(second->acknowledged.waiting(), answer->acknowledged.waiting()));
}

void Fuzz(uint8_t kind, std::string_view bytes) {
  switch (kind % 13) {
    case 0:
      return Try<InodeRecord>(bytes);
    case 1:
      return Try<DentryRecord>(bytes);
    case 2:
      return Try<ExtentRecord>(bytes);
    case 3:
      return Try<PolicyRecord>(bytes);
    case 4:
      return Try<ChunkRecord>(bytes);
    case 5:
      return Try<ServerRecord>(bytes);
    case 6:
      return Try<SessionRecord>(bytes);
    case 7:
      return Try<LeaseRecord>(bytes);
    case 8:
      return Try<TokenRecord>(bytes);
    case 9:
      return Try<RulesRecord>(bytes);
    case 10:
      return Try<ReservedIds>(bytes);
    case 11:
      return Try<Counters>(bytes);
    default:
      return TryAnswer(bytes);
  }
}

}  // namespace
}  // namespace moraine::metaserver

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  moraine::metaserver::Fuzz(data[0], bytes);
  // A key of any length, as the store may hold it.
  for (const size_t offset : {0, 1, 8, 9}) moraine::metaserver::NumberInKey(bytes, offset);
  return 0;
}
