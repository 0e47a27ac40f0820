// Sizes and times as people write them.
//
//   sizes  "4096", "64KiB", "1.5 GiB", "64M" (K M G T P E are powers of 1024, as KiB is),
//          "10MB" (kB MB GB TB PB EB are powers of 1000); upper or lower case
//   times  "250ms", "1.5s", "1h30m", "1w2d"; ns us ms s m (or min) h d w; a bare "0" is allowed
//
// Parsing is exact: what is no whole number of bytes or nanoseconds, is negative or does not fit is
// kInvalidArgument with a message that quotes the text.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace moraine {

inline constexpr uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
inline constexpr uint64_t operator""_TiB(unsigned long long n) { return n << 40; }

Result<uint64_t> ParseBytes(std::string_view text);
Result<std::chrono::nanoseconds> ParseDuration(std::string_view text);

// For people, at most one decimal: "1.5 GiB", "999 B"; "250 ms", "1.5 s", "2.3 h".
std::string FormatBytes(uint64_t bytes);
std::string FormatDuration(std::chrono::nanoseconds duration);

// For files: parse back to exactly the same value. "1536MiB", "4097"; "1w2d", "250ms", "0s".
std::string ExactBytes(uint64_t bytes);
std::string ExactDuration(std::chrono::nanoseconds duration);

}  // namespace moraine
