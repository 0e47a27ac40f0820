// What a granter of time has to leave out of its count: while it did not run, or its machine slept,
// it could hear of nobody, and nobody's silence then means anything.
#pragma once

#include "protocol/lease.h"

namespace moraine::protocol {

class MissedTime {
 public:
  explicit MissedTime(Time now) : looked_(now) {}

  // For a look at `now` that was due `tick` after the last one: how late it is, if that is more
  // than a quarter of `patience`, the silence that others may keep; else zero. No look is quite in
  // time: what counted small delays would put off the end of everybody's patience for ever.
  Time Look(Time now, Time tick, Time patience) {
    const Time late = now - looked_ - tick;
    looked_ = now;
    return late > patience / 4 ? late : Time::zero();
  }

 private:
  Time looked_;
};

}  // namespace moraine::protocol
