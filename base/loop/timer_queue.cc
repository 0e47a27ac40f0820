#include "base/loop/timer_queue.h"

#include <algorithm>

#include "base/check.h"

namespace moraine {

void Timer::Cancel() {
  if (queue_ != nullptr) queue_->Remove(*this);
}

TimerQueue::~TimerQueue() {
  for (Timer* timer : heap_) timer->queue_ = nullptr;
}

bool TimerQueue::Before(const Timer& a, const Timer& b) {
  return a.at_ != b.at_ ? a.at_ < b.at_ : a.order_ < b.order_;
}

void TimerQueue::Place(size_t position, Timer* timer) {
  heap_[position] = timer;
  timer->position_ = position;
}

void TimerQueue::Arm(Timer& timer, Instant at) {
  timer.Cancel();
  timer.queue_ = this;
  timer.at_ = at;
  timer.order_ = next_order_++;
  heap_.push_back(&timer);
  timer.position_ = heap_.size() - 1;
  SiftUp(timer.position_);
}

std::optional<Instant> TimerQueue::Earliest() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front()->at_;
}

Timer* TimerQueue::PopDue(Instant now) {
  if (heap_.empty() || heap_.front()->at_ > now) return nullptr;
  Timer* timer = heap_.front();
  Remove(*timer);
  return timer;
}

void TimerQueue::Remove(Timer& timer) {
  const size_t position = timer.position_;
  MORAINE_CHECK(position < heap_.size() && heap_[position] == &timer);
  Timer* last = heap_.back();
  heap_.pop_back();
  if (last != &timer) {
    Place(position, last);
    SiftUp(position);
    SiftDown(last->position_);
  }
  timer.queue_ = nullptr;
}

void TimerQueue::SiftUp(size_t position) {
  Timer* timer = heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    if (!Before(*timer, *heap_[parent])) break;
    Place(position, heap_[parent]);
    position = parent;
  }
  Place(position, timer);
}

void TimerQueue::SiftDown(size_t position) {
  Timer* timer = heap_[position];
  while (true) {
    size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && Before(*heap_[child + 1], *heap_[child])) ++child;
    if (!Before(*heap_[child], *timer)) break;
    Place(position, heap_[child]);
    position = child;
  }
  Place(position, timer);
}

}  // namespace moraine
