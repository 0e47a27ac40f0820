#include "base/mutex.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace moraine {
namespace {

struct Counted {
  Mutex mutex;
  CondVar changed;
  int value MORAINE_GUARDED_BY(mutex) = 0;
};

TEST(MutexTest, ExcludesOtherThreads) {
  Counted counted;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&counted] {
      for (int i = 0; i < 10000; ++i) {
        MutexLock lock(counted.mutex);
        ++counted.value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(counted.mutex);
  EXPECT_EQ(counted.value, 40000);
}

TEST(MutexTest, LockCanBeGivenBackEarly) {
  Counted counted;
  MutexLock lock(counted.mutex);
  counted.value = 1;
  lock.Unlock();
  std::thread([&counted] {
    MutexLock inner(counted.mutex);
    counted.value = 2;
  }).join();
  lock.Lock();
  EXPECT_EQ(counted.value, 2);
}

TEST(MutexTest, TryLockFailsWhileHeld) {
  Counted counted;
  MutexLock lock(counted.mutex);
  bool taken = true;
  std::thread([&counted, &taken] {
    if (counted.mutex.TryLock()) {
      counted.mutex.Unlock();
    } else {
      taken = false;
    }
  }).join();
  EXPECT_FALSE(taken);
}

TEST(CondVarTest, WakesTheWaiter) {
  Counted counted;
  std::thread waiter([&counted] {
    MutexLock lock(counted.mutex);
    while (counted.value == 0) counted.changed.Wait(counted.mutex);
    counted.value = 2;
    counted.changed.NotifyAll();
  });
  {
    MutexLock lock(counted.mutex);
    counted.value = 1;
    counted.changed.NotifyOne();
    while (counted.value != 2) counted.changed.Wait(counted.mutex);
  }
  waiter.join();
}

TEST(CondVarTest, TimedWaitSaysThatTimeRanOut) {
  Counted counted;
  MutexLock lock(counted.mutex);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
  while (counted.changed.WaitUntil(counted.mutex, deadline)) {
  }
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
}

}  // namespace
}  // namespace moraine
