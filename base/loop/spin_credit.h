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
  // A sleep was ended by an event after `slept`. Most of a short one was waking up, here and at the
  // other side, which may spin too.
  void NoteSleep(Duration slept) {
    if (slept < kWorthATry * spin_) credit_ = std::min(credit_ + 1, kMax);
  }

 private:
  static constexpr int kMax = 8;
  static constexpr int kWorthATry = 6;
  const Duration spin_;
  int credit_ = 0;
};

}  // namespace moraine
