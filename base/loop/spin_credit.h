// Whether a loop should poll for a moment before it sleeps. Spinning is for events that come sooner
// than a sleeping thread wakes up (some 70 us on another CPU); whether they do, shows in how the
// last waits ended. So a loop that is talked to in quick succession spins, and an idle one, or one
// whose events are slow, sleeps at once. Owned by whoever runs the loop.
#pragma once

#include <algorithm>

#include "base/loop/time.h"

namespace moraine {

class SpinCredit {
 public:
  // `spin`: how long a loop polls; 0: never.
  explicit SpinCredit(Duration spin) : spin_(spin) {}

  Duration spin() const { return spin_; }
  bool IsWorthIt() const { return credit_ > 0 && spin_ > Duration::zero(); }
  // How a spin ended.
  void NoteSpin(bool paid) { credit_ = paid ? std::min(credit_ + 1, kMax) : credit_ - 1; }
  // A sleep was ended by an event after `slept`. Half of a short one was the waking up. (Measured
  // with a larger factor on two CPUs: a mount, a metaserver and a program that call each other get
  // 15 % slower unpinned and 40 % on one CPU, since who spins takes the CPU from who works.)
  void NoteSleep(Duration slept) {
    if (slept < 2 * spin_) credit_ = std::min(credit_ + 1, kMax);
  }

 private:
  static constexpr int kMax = 8;
  const Duration spin_;
  int credit_ = 0;
};

}  // namespace moraine
