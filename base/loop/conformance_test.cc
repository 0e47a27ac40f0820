// Time, ready queue, waiting and groups: what every loop promises (loop.h, sync.h, task_group.h).
#include "base/loop/conformance.h"

#include <thread>
#include <vector>

#include "base/loop/sync.h"
#include "base/loop/task_group.h"

namespace moraine {
namespace {

using testing::ElementsAre;

// Starts a task at once and drops it wherever it stands.
class Droppable {
 public:
  struct promise_type {
    Droppable get_return_object() {
      return Droppable(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
  Droppable(const Droppable&) = delete;
  Droppable& operator=(const Droppable&) = delete;
  ~Droppable() { frame_.destroy(); }
  static Droppable Start(Task<void> task) { co_await std::move(task); }

 private:
  explicit Droppable(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
  std::coroutine_handle<promise_type> frame_;
};

Task<int> Immediately(int value) { co_return value; }

TEST_P(LoopConformance, AMillionSynchronousCompletionsDoNotGrowTheStack) {
  int64_t sum = 0;
  Run([&]() -> Task<void> {
    for (int i = 0; i < 1'000'000; ++i) sum += co_await Immediately(1);
  });
  EXPECT_EQ(sum, 1'000'000);
}

TEST_P(LoopConformance, AMillionYieldsDoNotGrowTheStack) {
  int64_t sum = 0;
  Run([&]() -> Task<void> {
    for (int i = 0; i < 1'000'000; ++i) {
      co_await loop_.Yield();
      sum += co_await Immediately(1);
    }
  });
  EXPECT_EQ(sum, 1'000'000);
}

Task<void> Note(std::vector<int>* notes, int value) {
  notes->push_back(value);
  co_return;
}

TEST_P(LoopConformance, SpawnedTasksBeginAtTheNextTurnInOrder) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    for (int i = 1; i <= 3; ++i) loop_.Spawn(Note(&notes, i));
    notes.push_back(0);
    co_await loop_.Yield();
    notes.push_back(4);
  });
  EXPECT_THAT(notes, ElementsAre(0, 1, 2, 3, 4));
}

Task<void> SleepThenNote(Loop* loop, Instant at, std::vector<int>* notes, int value) {
  co_await loop->SleepUntil(at);
  EXPECT_GE(loop->Now(), at);
  notes->push_back(value);
}

TEST_P(LoopConformance, TimersFireInOrderAndTiesInOrderOfArming) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    TaskGroup group(loop_);
    const Instant start = loop_.Now();
    group.Spawn(SleepThenNote(&loop_, start + 6ms, &notes, 4));
    group.Spawn(SleepThenNote(&loop_, start + 4ms, &notes, 2));
    group.Spawn(SleepThenNote(&loop_, start + 4ms, &notes, 3));
    group.Spawn(SleepThenNote(&loop_, start + 2ms, &notes, 1));
    group.Spawn(SleepThenNote(&loop_, start - 1ms, &notes, 0));
    const bool drained = co_await group.Drain();
    EXPECT_TRUE(drained);
  });
  EXPECT_THAT(notes, ElementsAre(0, 1, 2, 3, 4));
}

TEST_P(LoopConformance, TimeGoesForward) {
  Run([&]() -> Task<void> {
    const Instant before = loop_.Now();
    const int64_t wall = loop_.WallNanoseconds();
    co_await loop_.Sleep(3ms);
    EXPECT_GE(loop_.Now() - before, 3ms);
    EXPECT_GT(loop_.WallNanoseconds(), wall);
  });
}

Task<void> WaitForEvent(Event* event, std::vector<int>* notes, int value) {
  const bool set = co_await event->Wait();
  EXPECT_TRUE(set);
  notes->push_back(value);
}

TEST_P(LoopConformance, AnEventWakesAllInOrderAndNeverInTheMiddleOfTheSetter) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    Event event(loop_);
    TaskGroup group(loop_);
    for (int i = 1; i <= 3; ++i) group.Spawn(WaitForEvent(&event, &notes, i));
    co_await loop_.Yield();
    event.Set();
    notes.push_back(0);
    co_await group.Drain();
    const bool still_set = co_await event.Wait(loop_.Now());
    EXPECT_TRUE(still_set);
    event.Reset();
    const bool set = co_await event.Wait(loop_.After(1ms));
    EXPECT_FALSE(set);
  });
  EXPECT_THAT(notes, ElementsAre(0, 1, 2, 3));
}

Task<void> TakeUnits(Loop* loop, Semaphore* semaphore, uint64_t count, std::vector<int>* notes,
                     int value) {
  const auto units = co_await semaphore->Acquire(count);
  EXPECT_TRUE(units.has_value());
  notes->push_back(value);
  co_await loop->Sleep(1ms);
}

TEST_P(LoopConformance, ASemaphoreServesInOrderOfAsking) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    Semaphore semaphore(loop_, 4);
    TaskGroup group(loop_);
    group.Spawn(TakeUnits(&loop_, &semaphore, 3, &notes, 1));
    group.Spawn(TakeUnits(&loop_, &semaphore, 4, &notes, 2));  // must wait for all
    group.Spawn(TakeUnits(&loop_, &semaphore, 1, &notes, 3));  // would fit, but asked later
    co_await loop_.Yield();
    EXPECT_FALSE(semaphore.TryAcquire(1).has_value());
    co_await group.Drain();
    EXPECT_EQ(semaphore.available(), 4u);
  });
  EXPECT_THAT(notes, ElementsAre(1, 2, 3));
}

TEST_P(LoopConformance, ASemaphoreForgetsWhoGaveUp) {
  Run([&]() -> Task<void> {
    Semaphore semaphore(loop_, 2);
    auto held = semaphore.TryAcquire(1);
    CO_ASSERT_TRUE(held.has_value());
    auto late = co_await semaphore.Acquire(2, loop_.After(1ms));
    EXPECT_FALSE(late.has_value());
    auto fits = co_await semaphore.Acquire(1, loop_.After(1s));
    EXPECT_TRUE(fits.has_value());
    held->Release();
    EXPECT_EQ(semaphore.available(), 1u);
  });
}

TEST_P(LoopConformance, ASemaphoreServesThoseBehindOneWhoLeaves) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    Semaphore semaphore(loop_, 2);
    auto held = semaphore.TryAcquire(1);
    TaskGroup group(loop_);
    {
      auto wait = [&]() -> Task<void> { co_await semaphore.Acquire(2); };
      const Droppable head = Droppable::Start(wait());
      group.Spawn(TakeUnits(&loop_, &semaphore, 1, &notes, 1));
      co_await loop_.Sleep(1ms);
      EXPECT_THAT(notes, ElementsAre());  // behind the large one
    }
    co_await group.Drain(loop_.After(10s));
    EXPECT_THAT(notes, ElementsAre(1));
    // Units granted to one who is dropped before it resumes come back.
    {
      auto wait = [&]() -> Task<void> { co_await semaphore.Acquire(2); };
      const Droppable head = Droppable::Start(wait());
      held->Release();
      EXPECT_EQ(semaphore.available(), 0u);
    }
    EXPECT_EQ(semaphore.available(), 2u);
  });
}

TEST_P(LoopConformance, AMutexExcludesAcrossAwaits) {
  int inside = 0;
  int entered = 0;
  Run([&]() -> Task<void> {
    AsyncMutex mutex(loop_);
    TaskGroup group(loop_);
    auto enter = [&]() -> Task<void> {
      const auto lock = co_await mutex.Acquire();
      EXPECT_EQ(++inside, 1);
      co_await loop_.Yield();
      --inside;
      ++entered;
    };
    for (int i = 0; i < 10; ++i) group.Spawn(enter());
    co_await group.Drain();
    EXPECT_FALSE(mutex.locked());
  });
  EXPECT_EQ(entered, 10);
}

TEST_P(LoopConformance, AOneShotGivesItsValueToAllAndTimesOut) {
  Run([&]() -> Task<void> {
    OneShot<std::string> shot(loop_);
    const auto early = co_await shot.Wait(loop_.After(1ms));
    EXPECT_FALSE(early.has_value());
    auto set = [&]() -> Task<void> {
      co_await loop_.Sleep(1ms);
      shot.Set("value");
    };
    TaskGroup group(loop_);
    group.Spawn(set());
    const auto first = co_await shot.Wait(loop_.After(10s));
    const auto second = co_await shot.Wait();
    EXPECT_EQ(first, "value");
    EXPECT_EQ(second, "value");
    co_await group.Drain();
  });
}

TEST_P(LoopConformance, AGroupClosesAndDrains) {
  Run([&]() -> Task<void> {
    TaskGroup group(loop_);
    Event release(loop_);
    auto wait = [&]() -> Task<void> { co_await release.Wait(); };
    EXPECT_TRUE(group.Spawn(wait()));
    auto pass = group.Enter();
    EXPECT_TRUE(pass.has_value());
    group.Close();
    EXPECT_FALSE(group.Spawn(wait()));
    EXPECT_FALSE(group.Enter().has_value());
    EXPECT_EQ(group.inside(), 2u);
    const bool early = co_await group.Drain(loop_.After(1ms));
    EXPECT_FALSE(early);
    release.Set();
    pass.reset();
    const bool drained = co_await group.Drain(loop_.After(10s));
    EXPECT_TRUE(drained);
  });
}

TEST_P(LoopConformance, ADroppedTaskLeavesNothingBehind) {
  Run([&]() -> Task<void> {
    Event event(loop_);
    Semaphore semaphore(loop_, 1);
    int resumed = 0;
    auto wait_event = [&]() -> Task<void> {
      co_await event.Wait(loop_.After(2ms));
      ++resumed;
    };
    auto wait_semaphore = [&]() -> Task<void> {
      const auto units = co_await semaphore.Acquire(1);
      co_await loop_.Sleep(1ms);
      ++resumed;
    };
    auto wait_ready = [&]() -> Task<void> {
      co_await loop_.Yield();
      ++resumed;
    };
    const size_t timers = loop_.timers().size();
    {
      const Droppable first = Droppable::Start(wait_event());
      const Droppable second = Droppable::Start(wait_semaphore());
      const Droppable third = Droppable::Start(wait_ready());
      EXPECT_EQ(loop_.timers().size(), timers + 2);
      EXPECT_EQ(semaphore.available(), 0u);
    }
    EXPECT_EQ(loop_.timers().size(), timers);
    EXPECT_EQ(semaphore.available(), 1u);
    event.Set();
    co_await loop_.Sleep(5ms);
    EXPECT_EQ(resumed, 0);
  });
}

TEST_P(LoopConformance, BlockingWorkRunsAndResumes) {
  std::thread::id where;
  Run([&]() -> Task<void> {
    int sum = 0;
    for (int i = 0; i < 20; ++i) {
      co_await loop_.RunBlocking([&] {
        ++sum;
        where = std::this_thread::get_id();
      });
    }
    EXPECT_EQ(sum, 20);
    if (harness_->has_threads()) EXPECT_NE(where, std::this_thread::get_id());
  });
}

TEST_P(LoopConformance, PostedWorkOfOneThreadRunsInOrder) {
  std::vector<int> notes;
  Run([&]() -> Task<void> {
    Event done(loop_);
    auto post_all = [&] {
      for (int i = 0; i < 1000; ++i) loop_.Post([&notes, i] { notes.push_back(i); });
      loop_.Post([&] { done.Set(); });
    };
    if (harness_->has_threads()) {
      std::thread thread(post_all);
      co_await done.Wait();
      thread.join();
    } else {
      post_all();
      co_await done.Wait();
    }
  });
  ASSERT_EQ(notes.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(notes[i], i);
}

TEST_P(LoopConformance, PostWakesASleepingLoop) {
  if (!harness_->has_threads()) GTEST_SKIP() << "one thread only";
  Run([&]() -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      Event event(loop_);
      std::thread thread([&] { loop_.Post([&] { event.Set(); }); });
      const bool woken = co_await event.Wait(loop_.After(20s));
      EXPECT_TRUE(woken);
      thread.join();
    }
  });
}

}  // namespace
}  // namespace moraine
