#include "metaserver/sessions/acknowledged.h"

#include <algorithm>

#include "base/limits.h"

namespace moraine::metaserver {

Result<Acknowledged> Acknowledged::Except(uint64_t below, std::vector<uint64_t> waiting) {
  const bool rising =
      std::ranges::adjacent_find(waiting, std::ranges::greater_equal()) == waiting.end();
  if (waiting.size() > limits::kSlowChangesMax || !rising ||
      (!waiting.empty() && waiting.back() >= below)) {
    return Status(Code::kInvalidArgument, "a header that waits for impossible sequence numbers");
  }
  Acknowledged acknowledged(below);
  acknowledged.waiting_ = std::move(waiting);
  return acknowledged;
}

bool Acknowledged::IsOver(uint64_t sequence) const {
  return sequence < below_ && !std::ranges::binary_search(waiting_, sequence);
}

void Acknowledged::Add(const Acknowledged& other) {
  // Whoever has seen more numbers knows of all that the client may still wait for.
  const bool more = other.below_ > below_;
  const Acknowledged less = more ? std::move(*this) : other;
  if (more) *this = other;
  std::erase_if(waiting_, [&](uint64_t sequence) { return less.IsOver(sequence); });
}

void Acknowledged::Encode(moraine::Writer& writer) const {
  writer.Varint(below_);
  writer.Varint(waiting_.size());
  uint64_t before = 0;
  for (const uint64_t sequence : waiting_) {
    writer.Varint(sequence - before);
    before = sequence;
  }
}

Acknowledged Acknowledged::Decode(moraine::Reader& reader) {
  const uint64_t below = reader.Varint();
  std::vector<uint64_t> waiting(reader.VarintAtMost(limits::kSlowChangesMax));
  uint64_t before = 0;
  for (uint64_t& sequence : waiting) sequence = before += reader.Varint();
  Result<Acknowledged> acknowledged = Except(below, std::move(waiting));
  if (acknowledged.ok()) return std::move(*acknowledged);
  reader.Fail();
  return {};
}

}  // namespace moraine::metaserver
