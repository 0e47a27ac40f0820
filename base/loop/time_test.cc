#include "base/loop/time.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>

#include "base/loop/driven_loop.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

constexpr int kFound = 0;
constexpr int kNotFound = 1;
constexpr int kMayNot = 2;

// By how much the loop's time has gone on since the monotonic clock's beginning, which is when the
// machine was started, less what it slept.
Duration AheadOfAwakeTime(Loop& loop) {
  timespec awake{};
  clock_gettime(CLOCK_MONOTONIC, &awake);
  return loop.Now().time_since_epoch() - std::chrono::seconds(awake.tv_sec);
}

// In a process of its own, whose children live in a machine that has slept for ten days.
[[noreturn]] void LookAfterASleep(Loop& (*make)()) {
  if (unshare(CLONE_NEWTIME) != 0) _exit(kMayNot);
  std::FILE* offsets = std::fopen("/proc/self/timens_offsets", "w");
  if (offsets == nullptr) _exit(kMayNot);
  std::fprintf(offsets, "boottime %d 0\n", 10 * 24 * 3600);
  if (std::fclose(offsets) != 0) _exit(kMayNot);
  const pid_t child = fork();
  if (child < 0) _exit(kMayNot);
  if (child == 0) _exit(AheadOfAwakeTime(make()) > 9 * 24h ? kFound : kNotFound);
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) _exit(kNotFound);
  _exit(WEXITSTATUS(status));
}

void ExpectCountsSleep(Loop& (*make)()) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) LookAfterASleep(make);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kMayNot) GTEST_SKIP() << "needs the right to make a time namespace";
  EXPECT_EQ(WEXITSTATUS(status), kFound);
}

// A lease would otherwise live longer because its holder was suspended.
TEST(LoopTime, GoesOnWhileTheMachineSleeps) {
  ExpectCountsSleep([]() -> Loop& { return *(*UringLoop::Create()).release(); });
  ExpectCountsSleep([]() -> Loop& { return *(*DrivenLoop::Create()).release(); });
}

}  // namespace
}  // namespace moraine
