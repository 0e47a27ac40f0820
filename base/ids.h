// Strong types for what is counted and named between machines, so that an epoch is never passed
// where an offset belongs. All are unsigned 64-bit; zero is "none" for ids.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace moraine {

template <class Tag>
class StrongNumber {
 public:
  constexpr StrongNumber() = default;
  constexpr explicit StrongNumber(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr bool IsNone() const { return value_ == 0; }
  constexpr StrongNumber Next() const { return StrongNumber(value_ + 1); }
  constexpr auto operator<=>(const StrongNumber&) const = default;
  std::string ToString() const { return std::to_string(value_); }

 private:
  uint64_t value_ = 0;
};

using InodeId = StrongNumber<struct InodeTag>;    // never reused; the root directory is 1
using ChunkId = StrongNumber<struct ChunkTag>;    // never reused
using ServerId = StrongNumber<struct ServerTag>;  // a chunkserver, given at its first registration
using SessionId = StrongNumber<struct SessionTag>;  // one mount or library instance
using Epoch = StrongNumber<struct EpochTag>;        // of a chunk; grows by one at each fencing
using Token = StrongNumber<struct TokenTag>;        // of an owned directory; strictly growing

inline constexpr InodeId kRootInode{1};

}  // namespace moraine

template <class Tag>
struct std::hash<moraine::StrongNumber<Tag>> {
  size_t operator()(moraine::StrongNumber<Tag> id) const noexcept {
    uint64_t x = id.value() * 0x9E3779B97F4A7C15ULL;
    return x ^ (x >> 32);
  }
};
