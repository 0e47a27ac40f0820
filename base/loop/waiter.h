// What suspended coroutines hang on: an intrusive list node (Waiter) and a timer node (Timer).
// Both unlink themselves when destroyed, so dropping a coroutine frame leaves nothing dangling.
// Confined to one loop.
#pragma once

#include <coroutine>
#include <cstddef>

#include "base/loop/time.h"

namespace moraine {

// A circular intrusive list with the list itself as sentinel.
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { Unlink(); }

  bool linked() const { return next_ != nullptr; }
  void Unlink() {
    if (!linked()) return;
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class Node>
  friend class List;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

// First in, first out. Does not own its nodes.
template <class Node>
class List {
 public:
  List() { head_.next_ = head_.previous_ = &head_; }
  ~List() {
    while (!empty()) front().Unlink();
    head_.next_ = head_.previous_ = nullptr;
  }
  bool empty() const { return head_.next_ == &head_; }
  Node& front() { return static_cast<Node&>(*head_.next_); }
  Node& back() { return static_cast<Node&>(*head_.previous_); }
  void PushBack(Node& node) {
    ListNode& n = node;
    n.Unlink();
    n.previous_ = head_.previous_;
    n.next_ = &head_;
    head_.previous_->next_ = &n;
    head_.previous_ = &n;
  }
  Node* PopFront() {
    if (empty()) return nullptr;
    Node& node = front();
    node.Unlink();
    return &node;
  }
  // Moves all nodes of `other` behind ours.
  void Splice(List& other) {
    while (Node* node = other.PopFront()) PushBack(*node);
  }

 private:
  ListNode head_;
};

// One suspended coroutine, in at most one wait list or ready queue.
struct Waiter : ListNode {
  std::coroutine_handle<> coroutine;
};

class TimerQueue;

// One pending call at an instant. `Fire` runs on the loop; it may destroy the timer.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  virtual ~Timer() { Cancel(); }
  bool armed() const { return queue_ != nullptr; }
  void Cancel();
  virtual void Fire() = 0;

 private:
  friend class TimerQueue;
  TimerQueue* queue_ = nullptr;
  size_t position_ = 0;
  Instant at_{};
  uint64_t order_ = 0;  // equal instants fire in the order of arming
};

}  // namespace moraine
