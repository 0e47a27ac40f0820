#include "base/random.h"

#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace moraine {

uint64_t MixBits(uint64_t value) {
  value += 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) {
    word = MixBits(seed);
    seed += 0x9E3779B97F4A7C15ULL;
  }
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

// Lemire's multiplication: the high half of a 128-bit product, with the rare uneven low halves
// thrown away ("Fast Random Integer Generation in an Interval", 2019).
uint64_t Random::Uniform(uint64_t bound) {
  MORAINE_CHECK(bound > 0);
  unsigned __int128 product = static_cast<unsigned __int128>(Next()) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t uneven = -bound % bound;
    while (static_cast<uint64_t>(product) < uneven) {
      product = static_cast<unsigned __int128>(Next()) * bound;
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

uint64_t Random::Between(uint64_t low, uint64_t high) {
  MORAINE_CHECK(low <= high);
  const uint64_t width = high - low + 1;
  return width == 0 ? Next() : low + Uniform(width);
}

double Random::NextDouble() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

bool Random::Chance(double p) { return NextDouble() < p; }

uint64_t EntropySeed() {
  uint64_t seed = 0;
  MORAINE_CHECK(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
  return seed;
}

uint64_t SeedFromEnvironment() {
  const char* text = std::getenv("MORAINE_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : EntropySeed();
  TellSeedOnAbort(seed);
  return seed;
}

void TellSeedOnAbort(uint64_t seed) {
  static std::atomic<uint64_t> current;
  current = seed;
  std::signal(SIGABRT, [](int) {
    char text[64] = "MORAINE_SEED=";
    char* end = std::to_chars(text + std::strlen(text), text + sizeof text - 1, current.load()).ptr;
    *end++ = '\n';
    if (write(STDERR_FILENO, text, static_cast<size_t>(end - text)) < 0) std::_Exit(1);
    std::signal(SIGABRT, SIG_DFL);
  });
}

}  // namespace moraine
