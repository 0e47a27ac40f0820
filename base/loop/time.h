// Time as a loop tells it: instants that never step back, and wall time for people and mtimes. Both
// come from Loop, so that the simulation can rule them.
//
// Instants go on while the machine is suspended (CLOCK_BOOTTIME): a lease must not live longer
// because its holder slept. What a loop waits for does not wake the machine, and when it is awake
// again, timers that came due meanwhile are late by at most the rest of the wait that was under
// way.
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

// The real clocks, for loops that are not simulated.
Instant RealNow();
int64_t RealWallNanoseconds();

}  // namespace moraine
