// One schedule: a cluster, its workloads, a sequence of faults, the end of the faults, and what
// must hold then. Everything follows from the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/loop/time.h"
#include "test/sim/storm.h"

namespace moraine::simulation {

struct ScheduleOptions {
  uint64_t seed = 0;
  // Called when the cluster is up, before the workloads: a mutant breaks something here.
  std::function<void(Cluster&)> at_start = nullptr;
  bool verify_reads = true;
  Weather weather;
  bool random_resets = true;
  size_t trace_events_max = 400;
  bool print_notes = false;  // as they come, to standard error
};

struct Outcome {
  std::string failure;  // empty: everything held
  std::string trace;    // of a failure
  uint64_t trace_hash = 0;
  uint64_t events = 0;
  Duration simulated{0};
  uint64_t faults = 0;
  uint64_t operations = 0;
  uint64_t bytes_checked = 0;  // of replicas, in the end
};

Outcome RunSchedule(const ScheduleOptions& options);

}  // namespace moraine::simulation
