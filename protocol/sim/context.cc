#include "protocol/sim/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/check.h"

namespace moraine::protocol::sim {

const char* MutantName(Mutant mutant) {
  constexpr const char* kNames[] = {"None",
                                    "AcceptOldEpoch",
                                    "ForgetFence",
                                    "AckBeforeHeld",
                                    "SyncIsHeld",
                                    "AckAfterFence",
                                    "AcceptGap",
                                    "RestartedVouches",
                                    "CommitOneFewer",
                                    "CommitAfterClose",
                                    "RecoverOneFewer",
                                    "Impatient",
                                    "RecordBeforeHold",
                                    "HoldWithoutSync",
                                    "SealOneShort",
                                    "RecordSuperseded",
                                    "CloseAnyEpoch",
                                    "ForgetClosedLength",
                                    "ReadPastCommitted"};
  static_assert(std::size(kNames) == static_cast<size_t>(Mutant::kCount));
  return kNames[static_cast<size_t>(mutant)];
}

Knobs DrawKnobs(Random& random, std::optional<Policy> policy) {
  Knobs knobs;
  if (policy) {
    knobs.policy = *policy;
  } else {
    int n = static_cast<int>(random.Between(1, 6));
    int w = static_cast<int>(random.Between(1, n));
    knobs.policy = {.n = n, .w = w, .floor = static_cast<int>(random.Between(1, w))};
  }
  knobs.servers = knobs.policy.n + static_cast<int>(random.Uniform(3));
  knobs.capacity = random.Between(4, kCapacityMax);
  knobs.steps = static_cast<int>(random.Between(30, 110));
  auto sometimes = [&](uint64_t most) {
    return random.OneIn(2) ? 0 : static_cast<int>(random.Between(1, most));
  };
  knobs.drop_percent = sometimes(25);
  knobs.double_percent = sometimes(25);
  knobs.slow_disk_percent = sometimes(80);
  knobs.crash = sometimes(6);
  knobs.freeze = sometimes(6);
  knobs.kill = sometimes(2);
  knobs.power = random.OneIn(4) ? 1 : 0;
  knobs.pause = sometimes(6);
  knobs.takeover = static_cast<int>(random.Between(1, 5));
  knobs.meta_crash = sometimes(2);
  knobs.give_up = sometimes(5);
  knobs.close = sometimes(5);
  return knobs;
}

void Stats::Add(const Stats& other) {
  steps += other.steps;
  acks += other.acks;
  closes += other.closes;
  takeovers += other.takeovers;
  seals += other.seals;
  settled += other.settled;
  overtaken += other.overtaken;
  last_resorts += other.last_resorts;
  copies += other.copies;
  stale_appends += other.stale_appends;
  lossy_restarts += other.lossy_restarts;
  reads += other.reads;
  cut_writes += other.cut_writes;
  failed_attempts += other.failed_attempts;
  degraded += other.degraded;
  late_closes += other.late_closes;
}

void Context::Send(const Message& message) {
  bool local = message.kind == Message::Kind::kRecord;
  if (!local && !quiet && Percent(knobs.drop_percent)) return;
  network.push_back(message);
}

void Context::Violated(const std::string& what) {
  if (violation.empty()) violation = what;
  Trace("VIOLATION: " + what);
}

void Context::Trace(const std::string& what) const {
  if (trace) fmt::print(stderr, "{:4} {}\n", stats.steps, what);
}

int Context::Lost(const Chunk& chunk) const {
  int lost = 0;
  for (size_t i = 0; i < chunk.replicas.size(); ++i) {
    if (chunk.replicas[i].restarted || servers[chunk.servers[i]].dead) ++lost;
  }
  return lost;
}

}  // namespace moraine::protocol::sim
