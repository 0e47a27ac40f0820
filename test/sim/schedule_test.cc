// Seeds of the whole cluster. MORAINE_SEED=n runs seed n alone and prints what happens,
// MORAINE_SEEDS=n runs n seeds instead of 1,000.
#include "test/sim/schedule.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace moraine::simulation {
namespace {

uint64_t NumberOr(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Says which seed it was when a check aborts the process.
void RememberSeed(uint64_t seed) {
  static uint64_t current;
  current = seed;
  std::signal(SIGABRT, [](int) {
    char text[64];
    const int size = std::snprintf(text, sizeof text, "MORAINE_SEED=%llu\n",
                                   static_cast<unsigned long long>(current));
    if (write(STDERR_FILENO, text, static_cast<size_t>(size)) < 0) std::_Exit(1);
    std::signal(SIGABRT, SIG_DFL);
  });
}

Outcome RunSeed(uint64_t seed) {
  RememberSeed(seed);
  ScheduleOptions options;
  options.seed = seed;
  options.print_notes = std::getenv("MORAINE_SEED") != nullptr;
  return RunSchedule(options);
}

// The shards are tests of their own, so that they run side by side.
constexpr uint64_t kShards = 4;
class ScheduleShard : public ::testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Shard, ScheduleShard, ::testing::Range<uint64_t>(0, kShards));

TEST_P(ScheduleShard, EverythingHolds) {
  const uint64_t one = NumberOr("MORAINE_SEED", 0);
  const uint64_t count = one > 0 ? 1 : NumberOr("MORAINE_SEEDS", 1000);
  const uint64_t first = NumberOr("MORAINE_FIRST_SEED", 1);
  uint64_t seeds = 0, events = 0, faults = 0, operations = 0, compared = 0;
  Duration simulated{0};
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t seed = one > 0 ? one : first + i;
    if (seed % kShards != GetParam()) continue;
    const Outcome outcome = RunSeed(seed);
    ASSERT_EQ(outcome.failure, "") << "MORAINE_SEED=" << seed << "\n" << outcome.trace;
    ++seeds;
    events += outcome.events;
    faults += outcome.faults;
    operations += outcome.operations;
    compared += outcome.bytes_checked;
    simulated += outcome.simulated;
  }
  std::printf(
      "%llu seeds, %llu events, %llu faults, %llu operations, %llu bytes of replicas "
      "compared, %.0f simulated seconds\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(events),
      static_cast<unsigned long long>(faults), static_cast<unsigned long long>(operations),
      static_cast<unsigned long long>(compared), static_cast<double>(simulated.count()) / 1e9);
}

TEST(ScheduleDeterminism, TheSameSeedGivesTheSameTrace) {
  const uint64_t one = NumberOr("MORAINE_SEED", 0);
  for (uint64_t i = 0; i < (one > 0 ? 1 : 20); ++i) {
    const uint64_t seed = one > 0 ? one : i * 37 + 5;
    const Outcome first = RunSeed(seed);
    const Outcome second = RunSeed(seed);
    ASSERT_EQ(first.failure, "") << "MORAINE_SEED=" << seed << "\n" << first.trace;
    ASSERT_EQ(first.trace_hash, second.trace_hash) << "MORAINE_SEED=" << seed;
    ASSERT_EQ(first.events, second.events) << "MORAINE_SEED=" << seed;
  }
}

}  // namespace
}  // namespace moraine::simulation
