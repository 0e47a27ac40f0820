// A RocksDB environment whose background jobs run in the thread that asks for them, so that a
// database can be part of a simulation. A job waits in a queue until RunJobs.
#pragma once

#include <rocksdb/env.h>

#include <deque>
#include <memory>

#include "metaserver/testing/volatile_file_system.h"

namespace moraine::simulation {

class OneThreadEnv : public rocksdb::EnvWrapper {
 public:
  explicit OneThreadEnv(std::shared_ptr<metaserver::VolatileFileSystem> files);
  ~OneThreadEnv() override;

  void Schedule(void (*function)(void* arg), void* arg, Priority priority, void* tag,
                void (*unschedule)(void* arg)) override;
  int UnSchedule(void* tag, Priority priority) override;
  // Until none is left; jobs may queue others.
  void RunJobs();

 private:
  struct Job {
    void (*function)(void*);
    void* arg;
    Priority priority;
    void* tag;
    void (*unschedule)(void*);
  };
  std::deque<Job> jobs_;
};

}  // namespace moraine::simulation
