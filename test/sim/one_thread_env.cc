#include "test/sim/one_thread_env.h"

#include "base/check.h"

namespace moraine::simulation {

OneThreadEnv::OneThreadEnv(std::shared_ptr<metaserver::VolatileFileSystem> files)
    : EnvWrapper(metaserver::VolatileFileSystem::MakeEnv(files)) {
  file_system_ = std::move(files);  // without a detour through EnvWrapper's own calls
}

OneThreadEnv::~OneThreadEnv() = default;

void OneThreadEnv::Schedule(void (*function)(void* arg), void* arg, Priority priority, void* tag,
                            void (*unschedule)(void* arg)) {
  jobs_.push_back({function, arg, priority, tag, unschedule});
}

int OneThreadEnv::UnSchedule(void* tag, Priority priority) {
  std::deque<Job> kept;
  std::deque<Job> dropped;
  for (const Job& job : jobs_) {
    (job.tag == tag && job.priority == priority ? dropped : kept).push_back(job);
  }
  jobs_ = std::move(kept);
  for (const Job& job : dropped) {
    if (job.unschedule != nullptr) job.unschedule(job.arg);
  }
  return static_cast<int>(dropped.size());
}

void OneThreadEnv::RunJobs() {
  constexpr int kJobsMax = 10'000;
  for (int i = 0; !jobs_.empty(); ++i) {
    MORAINE_CHECK(i < kJobsMax, "RocksDB queues jobs without an end");
    const Job job = jobs_.front();
    jobs_.pop_front();
    job.function(job.arg);
  }
}

}  // namespace moraine::simulation
