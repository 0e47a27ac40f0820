// Goal S5: programs that are broken on purpose must be caught within a bounded number of seeds.
// What is broken lies around the rules of protocol/: a disk or a file system that breaks its word,
// or a fault point at which a step is left out.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/random.h"
#include "base/sanitized.h"
#include "test/sim/cluster.h"
#include "test/sim/schedule.h"

namespace moraine::simulation {
namespace {

constexpr uint64_t kSeedsMax = 200;

struct Mutant {
  const char* name;
  const char* point = nullptr;  // armed for ever with an error
  std::function<void(Cluster&)> at_start = nullptr;
  bool verify_reads = true;
  bool random_resets = false;  // connections break, answers are lost
};

void OnAllDisks(Cluster& cluster, const std::function<void(sim::DiskOptions&)>& change) {
  for (sim::Machine* machine : cluster.chunkservers()) change(machine->disk().options());
}

std::vector<Mutant> Mutants() {
  return {
      {.name = "ChunkserverSkipsSyncs",
       .at_start =
           [](Cluster& cluster) {
             OnAllDisks(cluster, [](sim::DiskOptions& disk) { disk.ignores_syncs = true; });
           }},
      {.name = "ChunkserverSkipsDirectorySyncs",
       .at_start =
           [](Cluster& cluster) {
             OnAllDisks(cluster, [](sim::DiskOptions& disk) { disk.ignores_name_syncs = true; });
           }},
      {.name = "ChunkserverIgnoresNoSpace",
       .at_start =
           [](Cluster& cluster) {
             OnAllDisks(cluster, [](sim::DiskOptions& disk) { disk.ignores_no_space = true; });
           }},
      {.name = "MetaserverSkipsSyncs",
       .at_start = [](Cluster& cluster) { cluster.meta_disk().files->IgnoreSyncs(); }},
      {.name = "ChunkserverAnswersEarly", .point = "mutant.chunkserver_answers_early"},
      {.name = "ChunkserverIgnoresFences", .point = "mutant.chunkserver_ignores_fences"},
      {.name = "MetaserverIgnoresTokens", .point = "mutant.metaserver_ignores_tokens"},
      {.name = "MetaserverGrantsToChanges",
       .point = "mutant.metaserver_grants_to_changes",
       .random_resets = true},
      {.name = "MetaserverForgetsAnswers",
       .point = "mutant.metaserver_forgets_answers",
       .random_resets = true},
      {.name = "NobodyChecksChecksums",
       .point = "mutant.reader_ignores_checksums",
       .verify_reads = false},
      {.name = "WriterCountsOneAsAll", .point = "mutant.writer_counts_one_as_all"},
  };
}

// True when the seed shows the mistake, and holds without it.
bool IsCaught(const Mutant& mutant, uint64_t seed) {
  ScheduleOptions options;
  options.seed = seed;
  options.random_resets = mutant.random_resets;
  options.verify_reads = mutant.verify_reads;
  options.at_start = [&mutant](Cluster& cluster) {
    if (mutant.at_start) mutant.at_start(cluster);
    if (mutant.point == nullptr) return;
    FaultSpec spec;
    spec.name = mutant.point;
    spec.action = FaultSpec::Action::kIo;
    spec.times = UINT64_MAX;
    ArmFault(std::move(spec));
  };
  const Outcome outcome = RunSchedule(options);
  ResetFaults();
  if (outcome.failure.empty()) return false;
  options.at_start = nullptr;
  options.verify_reads = true;
  const Outcome sane = RunSchedule(options);
  if (!sane.failure.empty()) return false;
  std::printf("%s is caught by seed %llu: %s\n", mutant.name, static_cast<unsigned long long>(seed),
              outcome.failure.c_str());
  return true;
}

// In a process of its own: a mutant may also be caught by an assertion.
int RunMutant(const Mutant& mutant) {
  for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
    TellSeedOnAbort(seed);
    if (IsCaught(mutant, seed)) return 0;
  }
  return 1;
}

class MutantTest : public ::testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(All, MutantTest, ::testing::Range<size_t>(0, Mutants().size()),
                         [](const ::testing::TestParamInfo<size_t>& info) {
                           return std::string(Mutants()[info.param].name);
                         });

TEST_P(MutantTest, IsCaught) {
  if (std::getenv("MORAINE_TEST_LONG") == nullptr) GTEST_SKIP() << "set MORAINE_TEST_LONG";
  if (kSanitized) GTEST_SKIP() << "what a mutant does is the same without a sanitizer";
  const Mutant mutant = Mutants()[GetParam()];
  std::fflush(nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const int result = RunMutant(mutant);
    std::fflush(nullptr);
    _exit(result);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), SIGABRT) << "an assertion may catch it, nothing else may";
    return;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << mutant.name << " survives " << kSeedsMax << " seeds";
}

}  // namespace
}  // namespace moraine::simulation
