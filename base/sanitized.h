// For tests: whether this program is built with a sanitizer, which makes it some ten times slower.
// A random test does fewer rounds there. What it looks for by itself is found by all rounds of the
// other builds; what a sanitizer looks for shows in the first ones, since they run the same code.
#pragma once

#include <algorithm>
#include <cstdint>

namespace moraine {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

constexpr uint64_t Rounds(uint64_t usual, uint64_t sanitized) {
  return kSanitized ? std::min(usual, sanitized) : usual;
}

}  // namespace moraine
