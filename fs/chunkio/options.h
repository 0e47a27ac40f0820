// Bounds of the data path of one client; the client's options set them.
#pragma once

#include "base/limits.h"
#include "base/loop/time.h"

namespace moraine::fs {

struct ChunkIoOptions {
  Duration timeout = std::chrono::seconds(30);  // of a whole operation, roll and retries included
  Duration stall = limits::kAppendStallMax;     // a replica that is silent this long is left behind
  Duration call_timeout = std::chrono::seconds(10);  // of one call to one server
  uint64_t window_bytes = 16 << 20;                  // taken over and not yet committed, per stream
  uint64_t piece_bytes = 1 << 20;                    // sequential bytes are gathered up to this
  uint64_t cache_bytes = 0;                          // bytes kept in memory (block_cache.h)
  Duration hedge_min = std::chrono::milliseconds(2);  // never hedge a read before this
};

}  // namespace moraine::fs
