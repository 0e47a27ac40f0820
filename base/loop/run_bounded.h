// Many pieces of work, a few at a time. Confined to the loop.
#pragma once

#include <functional>
#include <vector>

#include "base/loop/loop.h"
#include "base/loop/task_group.h"

namespace moraine {

// Runs all jobs in `group`, at most `width` at a time, and waits for them. A job is kept until it
// has ended, with what it has captured. None begins in a group that is closed.
Task<void> RunBounded(Loop& loop, TaskGroup& group, std::vector<std::function<Task<void>()>> jobs,
                      size_t width);

}  // namespace moraine
