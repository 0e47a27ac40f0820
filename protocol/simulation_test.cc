// Seeded schedules of the whole append protocol, and mutants that they must catch.
//
//   MORAINE_SIM_SCHEDULES=1000000   that many schedules in all instead of the usual number
//   MORAINE_SIM_SEED=n              only this one, of each policy, with a trace on stderr
#include "protocol/sim/simulation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>

#include "base/random.h"
#include "base/sanitized.h"

namespace moraine::protocol::sim {
namespace {

constexpr uint64_t kSchedules = Rounds(120000, 24000);  // over all policies
constexpr uint64_t kPolicies = 4;
constexpr uint64_t kMutantSchedulesMax = 20000;

std::optional<uint64_t> NumberFromEnvironment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

struct Case {
  const char* name;
  std::optional<Policy> policy;
};

void PrintTo(const Case& param, std::ostream* out) { *out << param.name; }

class SimulationTest : public testing::TestWithParam<Case> {};

TEST_P(SimulationTest, KeepsItsPromises) {
  const Case& param = GetParam();
  std::optional<uint64_t> only = NumberFromEnvironment("MORAINE_SIM_SEED");
  if (only) {
    Outcome outcome = RunSchedule(*only, param.policy, Mutant::kNone, /*trace=*/true);
    EXPECT_EQ(outcome.violation, "") << "seed " << *only;
    return;
  }
  uint64_t schedules =
      NumberFromEnvironment("MORAINE_SIM_SCHEDULES").value_or(kSchedules) / kPolicies;
  Stats stats;
  for (uint64_t seed = 1; seed <= schedules; ++seed) {
    TellSeedOnAbort(seed);
    Outcome outcome = RunSchedule(seed, param.policy);
    stats.Add(outcome.stats);
    ASSERT_EQ(outcome.violation, "") << fmt::format(
        "replay: MORAINE_SIM_SEED={} protocol_simulation_test "
        "--gtest_filter='*KeepsItsPromises/{}'",
        seed, param.name);
  }
  fmt::print(
      "{}: {} schedules, {} steps, {} callers told, {} reads, {} closes, {} settled, {} takeovers, "
      "{} seals, {} last resorts, {} copies, {} overtaken, {} failed attempts, {} stale appends, "
      "{} cut writes, {} late closes, {} lossy restarts, {} degraded chunks\n",
      param.name, schedules, stats.steps, stats.acks, stats.reads, stats.closes, stats.settled,
      stats.takeovers, stats.seals, stats.last_resorts, stats.copies, stats.overtaken,
      stats.failed_attempts, stats.stale_appends, stats.cut_writes, stats.late_closes,
      stats.lossy_restarts, stats.degraded);
  // A simulation that no longer reaches its corners passes for the wrong reason.
  if (schedules >= 1000) {
    for (uint64_t reached : {stats.acks, stats.closes, stats.settled, stats.takeovers,
                             stats.last_resorts, stats.overtaken, stats.stale_appends,
                             stats.cut_writes, stats.late_closes, stats.lossy_restarts}) {
      EXPECT_GT(reached, schedules / 500);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, SimulationTest,
                         testing::Values(Case{"Single", kSinglePolicy},
                                         Case{"Immutable", kImmutablePolicy},
                                         Case{"Log", kLogPolicy}, Case{"Random", std::nullopt}),
                         [](const auto& info) { return info.param.name; });

class MutantsTest : public testing::TestWithParam<Mutant> {};

TEST_P(MutantsTest, AreCaught) {
  const std::optional<Policy> policies[] = {kImmutablePolicy, kLogPolicy, std::nullopt};
  for (uint64_t seed = 1; seed <= kMutantSchedulesMax; ++seed) {
    TellSeedOnAbort(seed);
    std::optional<Policy> policy = policies[seed % std::size(policies)];
    Outcome outcome = RunSchedule(seed, policy, GetParam());
    if (outcome.violation.empty()) continue;
    fmt::print("{}: caught by schedule {}: {}\n", MutantName(GetParam()), seed, outcome.violation);
    return;
  }
  FAIL() << MutantName(GetParam()) << " survived " << kMutantSchedulesMax << " schedules";
}

std::vector<Mutant> AllMutants() {
  std::vector<Mutant> mutants;
  for (int i = 1; i < static_cast<int>(Mutant::kCount); ++i) {
    mutants.push_back(static_cast<Mutant>(i));
  }
  return mutants;
}

INSTANTIATE_TEST_SUITE_P(All, MutantsTest, testing::ValuesIn(AllMutants()),
                         [](const auto& info) { return MutantName(info.param); });

}  // namespace
}  // namespace moraine::protocol::sim
