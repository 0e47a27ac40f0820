// Time as a loop tells it: monotonic instants that never jump and wall time for people and mtimes.
// Both come from Loop, so that the simulation can rule them.
#pragma once

#include <chrono>
#include <cstdint>

namespace moraine {

using namespace std::chrono_literals;
using Duration = std::chrono::nanoseconds;

struct LoopClock {
  using rep = int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<LoopClock>;
  static constexpr bool is_steady = true;
};
using Instant = LoopClock::time_point;

// "Never" as a deadline.
inline constexpr Instant kNever = Instant::max();

}  // namespace moraine
