// The contracts of loop.h, net.h, disk.h, sync.h and task_group.h as one test suite for every kind
// of loop. A loop joins with a file of its own:
//
//   INSTANTIATE_TEST_SUITE_P(Uring, LoopConformance, testing::Values(&MakeUringHarness), ...);
//   INSTANTIATE_TEST_SUITE_P(Uring, DiskConformance, ...);   if it has a disk
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "base/loop/loop.h"

namespace moraine {

// One loop under test and the way to run something on it.
class LoopHarness {
 public:
  virtual ~LoopHarness() = default;
  virtual Loop& loop() = 0;
  // Starts `body` on the loop and drives the loop until it has ended.
  virtual void Run(std::function<Task<void>()> body) = 0;
  // Where this loop may listen and be reached.
  virtual std::string host() = 0;
  // Where nobody answers, not even with a refusal.
  virtual Endpoint silent() = 0;
  // An empty directory on the loop's disk.
  virtual std::string directory() { return ""; }
  // Whether other threads may Post (not on virtual time).
  virtual bool has_threads() { return true; }
};

using HarnessFactory = std::unique_ptr<LoopHarness> (*)();

class LoopConformance : public testing::TestWithParam<HarnessFactory> {
 protected:
  LoopConformance() : harness_(GetParam()()), loop_(harness_->loop()) {}
  void Run(std::function<Task<void>()> body) { harness_->Run(std::move(body)); }
  Endpoint AnyPort() { return {harness_->host(), 0}; }

  std::unique_ptr<LoopHarness> harness_;
  Loop& loop_;
};

class DiskConformance : public LoopConformance {
 protected:
  std::string Path(const std::string& name) { return harness_->directory() + "/" + name; }
  Disk& disk() { return loop_.disk(); }
};

inline ConstBytes AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline MutableBytes AsWritable(std::string& text) {
  return std::as_writable_bytes(std::span(text.data(), text.size()));
}

}  // namespace moraine

// ASSERT_TRUE and ASSERT_OK for coroutines, which must not use `return`.
#define CO_ASSERT_TRUE(condition)         \
  do {                                    \
    const bool co_assert = (condition);   \
    EXPECT_TRUE(co_assert) << #condition; \
    if (!co_assert) co_return;            \
  } while (false)
#define CO_ASSERT_OK(expression)                                                \
  do {                                                                          \
    const ::moraine::Status co_assert = (expression);                           \
    EXPECT_TRUE(co_assert.ok()) << #expression << ": " << co_assert.ToString(); \
    if (!co_assert.ok()) co_return;                                             \
  } while (false)
