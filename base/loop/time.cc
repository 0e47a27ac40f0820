#include "base/loop/time.h"

#include <time.h>

namespace moraine {
namespace {

int64_t ReadClock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Instant RealNow() { return Instant(Duration(ReadClock(CLOCK_BOOTTIME))); }

int64_t RealWallNanoseconds() { return ReadClock(CLOCK_REALTIME); }

}  // namespace moraine
