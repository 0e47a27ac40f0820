// Runs seeded schedules of the append protocol against its promises. See APPEND.md section 9.
//
// After every step it asserts: no acknowledged byte is lost while the policy's failures last, and
// no synced one beyond them; no two different bytes are ever read at one offset; no append is
// accepted under an epoch that a fence has ended. After the faults stop it asserts that every
// caller is answered and every chunk is sealed within a bounded number of rounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/sim/context.h"

namespace moraine::protocol::sim {

struct Outcome {
  std::string violation;  // empty: all promises were kept
  Stats stats;
};

// One schedule; everything in it follows from the arguments. No policy: a random one.
Outcome RunSchedule(uint64_t seed, std::optional<Policy> policy, Mutant mutant = Mutant::kNone,
                    bool trace = false);

}  // namespace moraine::protocol::sim
