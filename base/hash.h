// The two hashes that are stored or agreed between machines. Both are XXH3-64 with seed 0; their
// values are part of the on-disk and wire formats and pinned by golden tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace moraine {

// The checksum of a data block (usually limits::kBlockBytes, shorter at the end of a chunk), of a
// header page or of a journal record. About 0.2 us for 4 KiB with AVX2.
uint64_t BlockChecksum(std::span<const std::byte> bytes);

// For placement, sharding and tables of names.
uint64_t Hash64(std::string_view text);

}  // namespace moraine
