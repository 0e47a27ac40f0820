// A set of replicas of one chunk, by their index in the chunk's replica list (0 .. made - 1).
// A plain value of two bytes; any thread may use its own.
#pragma once

#include <bit>
#include <cstdint>
#include <initializer_list>

#include "base/limits.h"

namespace moraine::protocol {

class ReplicaSet {
 public:
  constexpr ReplicaSet() = default;
  constexpr ReplicaSet(std::initializer_list<int> replicas) {
    for (int replica : replicas) Add(replica);
  }
  static constexpr ReplicaSet FromMask(uint16_t mask) {
    ReplicaSet set;
    set.mask_ = mask;
    return set;
  }
  // The replicas 0 .. made - 1.
  static constexpr ReplicaSet FirstN(int made) {
    return FromMask(static_cast<uint16_t>((1u << made) - 1));
  }

  constexpr void Add(int replica) { mask_ = static_cast<uint16_t>(mask_ | (1u << replica)); }
  constexpr void Remove(int replica) { mask_ = static_cast<uint16_t>(mask_ & ~(1u << replica)); }
  constexpr bool Has(int replica) const { return (mask_ >> replica & 1u) != 0; }
  constexpr int Count() const { return std::popcount(mask_); }
  constexpr bool Empty() const { return mask_ == 0; }
  constexpr uint16_t mask() const { return mask_; }
  constexpr bool ContainsAll(ReplicaSet other) const { return (other.mask_ & ~mask_) == 0; }
  constexpr bool Meets(ReplicaSet other) const { return (mask_ & other.mask_) != 0; }
  constexpr bool operator==(const ReplicaSet&) const = default;

 private:
  uint16_t mask_ = 0;
};

static_assert(limits::kReplicasMax <= 16);

}  // namespace moraine::protocol
