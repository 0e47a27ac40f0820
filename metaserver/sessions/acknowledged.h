// Which of a session's changes are over: the client has the answer, or waits for it no longer, and
// will not send them again. Section 5 of idl/PROTOCOL.md.
//
// All numbers below `below()` but a few that the client still waits for, so that one slow change
// does not make the metaserver remember the answers of all changes after it. What is over stays so:
// Add only adds, in any order, as often as one likes. Bounded by limits::kSlowChangesMax.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/encoding.h"
#include "base/status.h"

namespace moraine::metaserver {

class Acknowledged {
 public:
  Acknowledged() = default;
  // All below this.
  explicit Acknowledged(uint64_t below) : below_(below) {}
  // All below `below` but `waiting`. kInvalidArgument: too many, not rising, or not below.
  static Result<Acknowledged> Except(uint64_t below, std::vector<uint64_t> waiting);

  bool IsOver(uint64_t sequence) const;
  // What `other` calls over is over too.
  void Add(const Acknowledged& other);

  uint64_t below() const { return below_; }
  std::span<const uint64_t> waiting() const { return waiting_; }

  // v below, v count of waiting, each: v difference to the one before (the first: to 0).
  void Encode(moraine::Writer& writer) const;
  static Acknowledged Decode(moraine::Reader& reader);

 private:
  uint64_t below_ = 0;
  std::vector<uint64_t> waiting_;  // rising, all smaller than below_
};

}  // namespace moraine::metaserver
