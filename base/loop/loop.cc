#include "base/loop/loop.h"

#include <charconv>
#include <optional>
#include <utility>

namespace moraine {

// A coroutine that owns itself: linked into the loop's list while it lives, gone at its end.
struct Loop::Detached {
  struct promise_type : ListNode {
    promise_type(Loop* loop, Task<void>&) : loop(loop) {
      loop->detached_.PushBack(*this);
      ++loop->spawned_;
    }
    ~promise_type() { --loop->spawned_; }
    Detached get_return_object() { return {}; }
    auto initial_suspend() noexcept {
      struct Start {
        promise_type& promise;
        bool await_ready() noexcept { return false; }
        void await_suspend(std::coroutine_handle<> self) noexcept {
          promise.start.coroutine = self;
          promise.loop->Ready(promise.start);
        }
        void await_resume() noexcept {}
      };
      return Start{*this};
    }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
    Loop* loop;
    Waiter start;
  };
};

Loop::Detached Loop::RunDetached(Loop*, Task<void> task) { co_await std::move(task); }

Loop::Loop() = default;

Loop::~Loop() { DestroySpawned(); }

void Loop::Spawn(Task<void> task) { RunDetached(this, std::move(task)); }

void Loop::DestroySpawned() {
  // Destroying one coroutine may end or spawn others; take them one at a time. The youngest first:
  // most of them work for an older one that owns what they use.
  dropping_ = true;
  while (!detached_.empty()) {
    auto& promise = static_cast<Detached::promise_type&>(detached_.back());
    std::coroutine_handle<Detached::promise_type>::from_promise(promise).destroy();
  }
  dropping_ = false;
}

bool Loop::RunReady() {
  // Then look at the outside world again.
  constexpr int kResumptionsMax = 4096;
  constexpr Duration kTimeMax = std::chrono::milliseconds(2);
  constexpr int kResumptionsPerLook = 64;  // at the clock; and whenever somebody yields
  std::optional<Instant> end;              // most turns are too short for a look
  yielded_ = false;
  for (int i = 1; i <= kResumptionsMax; ++i) {
    Waiter* waiter = ready_.PopFront();
    if (waiter == nullptr) return false;
    waiter->coroutine.resume();
    const bool look = i % kResumptionsPerLook == 0 || std::exchange(yielded_, false);
    if (!look) continue;
    if (!end.has_value()) {
      end = After(kTimeMax);
    } else if (Now() >= *end) {
      break;
    }
  }
  return !ready_.empty();
}

void Loop::RunTimers() {
  const Instant now = Now();
  while (Timer* timer = timers_.PopDue(now)) timer->Fire();
}

Result<Endpoint> ParseEndpoint(std::string_view text, bool zero_port_ok) {
  const std::string said(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) {
    return Status(Code::kInvalidArgument,
                  "'" + said + "' is not HOST:PORT, for example 127.0.0.1:7400");
  }
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port > 65535 ||
      (port == 0 && !zero_port_ok)) {
    return Status(Code::kInvalidArgument, "the port in '" + said + "' must be a number from " +
                                              (zero_port_ok ? "0" : "1") + " to 65535");
  }
  return Endpoint{std::string(host), static_cast<uint16_t>(port)};
}

}  // namespace moraine
