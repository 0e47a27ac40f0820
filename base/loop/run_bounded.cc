#include "base/loop/run_bounded.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/loop/sync.h"

namespace moraine {

Task<void> RunBounded(Loop& loop, TaskGroup& group, std::vector<std::function<Task<void>()>> jobs,
                      size_t width) {
  // Shared, not on this frame: a killed process drops coroutines in any order.
  struct State {
    explicit State(Loop& loop) : ended(loop) {}
    std::vector<std::function<Task<void>()>> jobs;
    size_t next = 0;
    size_t running = 0;
    Condition ended;
  };
  auto state = std::make_shared<State>(loop);
  state->jobs = std::move(jobs);
  const size_t workers = std::min(width, state->jobs.size());
  for (size_t i = 0; i < workers; ++i) {
    const bool started = group.Spawn([](std::shared_ptr<State> shared) -> Task<void> {
      while (shared->next < shared->jobs.size()) {
        const size_t mine = shared->next++;
        co_await shared->jobs[mine]();
      }
      if (--shared->running == 0) shared->ended.NotifyAll();
    }(state));
    if (started) ++state->running;
  }
  while (state->running > 0) co_await state->ended.Wait();
}

}  // namespace moraine
