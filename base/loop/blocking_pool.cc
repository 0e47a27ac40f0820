#include "base/loop/blocking_pool.h"

#include <memory>
#include <utility>

namespace moraine {
namespace {

// Shared by the coroutine that waits and the thread that works.
struct Job {
  Waiter* waiter = nullptr;  // touched on the loop only; null when the coroutine is gone
  Mutex mutex;
  CondVar changed;
  bool ended MORAINE_GUARDED_BY(mutex) = false;

  void End() {
    MutexLock lock(mutex);
    ended = true;
    changed.NotifyAll();
  }
  void AwaitEnd() {
    MutexLock lock(mutex);
    while (!ended) changed.Wait(mutex);
  }
};

class JobAwaiter : public Waiter {
 public:
  JobAwaiter(Loop& loop, BlockingPool& pool, std::function<void()> work)
      : loop_(loop), pool_(pool), work_(std::move(work)) {}
  ~JobAwaiter() {
    if (job_ == nullptr || job_->waiter == nullptr) return;
    job_->waiter = nullptr;
    job_->AwaitEnd();
  }
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) {
    coroutine = awaiting;
    job_ = std::make_shared<Job>();
    job_->waiter = this;
    pool_.Submit([job = job_, &loop = loop_, work = std::move(work_)] {
      work();
      job->End();
      loop.Post([job, &loop] {
        if (job->waiter != nullptr) loop.Ready(*std::exchange(job->waiter, nullptr));
      });
    });
  }
  void await_resume() const {}

 private:
  Loop& loop_;
  BlockingPool& pool_;
  std::function<void()> work_;
  std::shared_ptr<Job> job_;
};

}  // namespace

BlockingPool::BlockingPool(int threads_max) : threads_max_(static_cast<size_t>(threads_max)) {
  MORAINE_CHECK(threads_max > 0, "a pool needs a thread");
}

BlockingPool::~BlockingPool() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
    wake_.NotifyAll();
  }
  for (std::thread& thread : threads) thread.join();
}

void BlockingPool::Submit(std::function<void()> work) {
  MutexLock lock(mutex_);
  MORAINE_CHECK(!stopping_, "work for a pool that stops");
  queue_.push_back(std::move(work));
  if (idle_ >= queue_.size()) {
    wake_.NotifyOne();
  } else if (threads_.size() < threads_max_) {
    threads_.emplace_back([this] { ThreadMain(); });
  }
}

void BlockingPool::ThreadMain() {
  MutexLock lock(mutex_);
  while (true) {
    while (queue_.empty()) {
      if (stopping_) return;
      ++idle_;
      wake_.Wait(mutex_);
      --idle_;
    }
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.Unlock();
    work();
    work = nullptr;
    lock.Lock();
  }
}

Task<void> BlockingPool::Run(Loop& loop, std::function<void()> work) {
  co_await JobAwaiter(loop, *this, std::move(work));
}

}  // namespace moraine
