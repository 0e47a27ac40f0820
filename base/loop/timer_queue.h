// A binary heap of timers: arm and cancel in O(log n), earliest first, ties in arming order.
// Owns nothing. Confined to one loop.
#pragma once

#include <optional>
#include <vector>

#include "base/loop/waiter.h"

namespace moraine {

class TimerQueue {
 public:
  ~TimerQueue();
  void Arm(Timer& timer, Instant at);  // re-arms when armed already
  std::optional<Instant> Earliest() const;
  // Takes the earliest timer out if it is due, else null. The caller fires it.
  Timer* PopDue(Instant now);
  size_t size() const { return heap_.size(); }

 private:
  friend class Timer;
  void Remove(Timer& timer);
  void SiftUp(size_t position);
  void SiftDown(size_t position);
  void Place(size_t position, Timer* timer);
  static bool Before(const Timer& a, const Timer& b);

  std::vector<Timer*> heap_;
  uint64_t next_order_ = 0;
};

}  // namespace moraine
