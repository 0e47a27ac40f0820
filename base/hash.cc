#include "base/hash.h"

#if defined(__x86_64__)
// Picks AVX2 or AVX-512 at run time; the plain function is SSE2 only.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace moraine {

uint64_t BlockChecksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t Hash64(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

}  // namespace moraine
