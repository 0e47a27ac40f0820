// Our own random numbers: the same seed gives the same numbers on every machine and with every
// compiler, which the standard library's distributions and shuffle do not promise.
//
// The generator is xoshiro256** 1.0 by Blackman and Vigna, seeded through SplitMix64
// (https://prng.di.unimi.it). Not for secrets. Not thread-safe: one owner each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace moraine {

class Random {
 public:
  explicit Random(uint64_t seed);

  // All 64 bits.
  uint64_t Next();
  // Evenly from [0, bound). `bound` must not be 0.
  uint64_t Uniform(uint64_t bound);
  // Evenly from [low, high], both included.
  uint64_t Between(uint64_t low, uint64_t high);
  // From [0, 1), 53 bits.
  double NextDouble();
  // True with probability p; never for p <= 0, always for p >= 1.
  bool Chance(double p);
  // True once in n on average.
  bool OneIn(uint64_t n) { return Uniform(n) == 0; }
  // A generator with a stream of its own, so that one part of a simulation does not shift the
  // numbers of another.
  Random Fork() { return Random(Next()); }

  // Fisher-Yates over anything with size() and operator[].
  template <class Container>
  void Shuffle(Container& items) {
    for (size_t i = items.size(); i > 1; --i) {
      using std::swap;
      swap(items[i - 1], items[Uniform(i)]);
    }
  }
  // One of the items of a container that is not empty.
  template <class Container>
  auto& Pick(Container& items) {
    return items[Uniform(items.size())];
  }

 private:
  std::array<uint64_t, 4> state_;
};

// One step of SplitMix64: a good 64-bit mix of `value`.
uint64_t MixBits(uint64_t value);

// A seed from the kernel's entropy.
uint64_t EntropySeed();

// For tests: the number in the environment variable MORAINE_SEED when it is set, else entropy.
// A test prints it with SCOPED_TRACE, so that each failure can be run again; TellSeedOnAbort is
// called with it.
uint64_t SeedFromEnvironment();
// For tests that go through many seeds: a check that aborts the process says on standard error
// which seed it was, the one of the last call.
void TellSeedOnAbort(uint64_t seed);

}  // namespace moraine
