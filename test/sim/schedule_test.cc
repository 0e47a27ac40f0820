// Seeds of the whole cluster. MORAINE_SEED=n runs seed n alone and prints what happens,
// MORAINE_SEEDS=n runs n seeds, MORAINE_FIRST_SEED and those behind it.
// MORAINE_TRACE_EVENTS=n shows the last n events of a failure.
#include "test/sim/schedule.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "base/random.h"
#include "base/sanitized.h"

namespace moraine::simulation {
namespace {

uint64_t NumberOr(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Outcome RunSeed(uint64_t seed, Weather weather, bool random_resets) {
  TellSeedOnAbort(seed);
  ScheduleOptions options;
  options.seed = seed;
  options.weather = weather;
  options.random_resets = random_resets;
  options.trace_events_max = NumberOr("MORAINE_TRACE_EVENTS", 400);
  options.print_notes = std::getenv("MORAINE_SEED") != nullptr;
  return RunSchedule(options);
}

// The shards are tests of their own, so that they run side by side.
constexpr uint64_t kShards = 8;
class ScheduleShard : public ::testing::TestWithParam<uint64_t> {
 protected:
  void RunSeeds(Weather weather, bool random_resets, uint64_t count) {
    const uint64_t one = NumberOr("MORAINE_SEED", 0);
    count = NumberOr("MORAINE_SEEDS", count);
    const uint64_t first = one > 0 ? one : NumberOr("MORAINE_FIRST_SEED", 1);
    Sum sum;
    for (uint64_t seed = first; seed < first + (one > 0 ? 1 : count); ++seed) {
      if (seed % kShards != GetParam()) continue;
      const Outcome outcome = RunSeed(seed, weather, random_resets);
      EXPECT_EQ(outcome.failure, "") << "MORAINE_SEED=" << seed << "\n" << outcome.trace;
      sum.Add(outcome);
    }
    sum.Print();
  }

 private:
  struct Sum {
    unsigned long long seeds = 0, events = 0, faults = 0, operations = 0, compared = 0;
    Duration simulated{0};
    void Add(const Outcome& outcome) {
      ++seeds;
      events += outcome.events;
      faults += outcome.faults;
      operations += outcome.operations;
      compared += outcome.bytes_checked;
      simulated += outcome.simulated;
    }
    void Print() const {
      std::printf(
          "%llu seeds, %llu events, %llu faults, %llu operations, %llu bytes of replicas "
          "compared, %.0f simulated seconds\n",
          seeds, events, faults, operations, compared,
          static_cast<double>(simulated.count()) / 1e9);
    }
  };
};
INSTANTIATE_TEST_SUITE_P(Shard, ScheduleShard, ::testing::Range<uint64_t>(0, kShards));

bool IsLong() { return std::getenv("MORAINE_TEST_LONG") != nullptr; }

// Chunkservers, clients and the network.
TEST_P(ScheduleShard, ServersComeAndGo) {
  const uint64_t seeds = IsLong() ? 1000 : 200;
  RunSeeds({.metaserver = false, .disks = false}, /*random_resets=*/false, Rounds(seeds, 8));
}

// Everything, also the metaserver, all power, bad and full disks, and connections that break at any
// message.
TEST_P(ScheduleShard, Everything) {
  RunSeeds({}, /*random_resets=*/true, Rounds(IsLong() ? 2000 : 800, 8));
}

// Without power cuts of the metaserver: what they leave depends on RocksDB's files, and RocksDB
// still reads the real clock (README.md). With them, when it is run for long.
TEST(ScheduleDeterminism, TheSameSeedGivesTheSameTrace) {
  const bool everything = IsLong();
  const Weather weather{.metaserver = everything, .disks = everything};
  const uint64_t one = NumberOr("MORAINE_SEED", 0);
  for (uint64_t i = 0; i < (one > 0 ? 1 : Rounds(20, 3)); ++i) {
    const uint64_t seed = one > 0 ? one : i * 37 + 5;
    const Outcome first = RunSeed(seed, weather, true);
    const Outcome second = RunSeed(seed, weather, true);
    ASSERT_EQ(first.failure, second.failure);
    ASSERT_EQ(first.trace_hash, second.trace_hash) << "MORAINE_SEED=" << seed;
    ASSERT_EQ(first.events, second.events) << "MORAINE_SEED=" << seed;
  }
}

}  // namespace
}  // namespace moraine::simulation
