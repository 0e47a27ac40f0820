// Names to addresses without blocking a loop.
#pragma once

#include <vector>

#include "base/loop/loop.h"
#include "base/loop/socket.h"

namespace moraine {

// Numeric hosts and "localhost" at once, others by getaddrinfo in RunBlocking. After the deadline
// the look-up goes on by itself and its answer is dropped. kUnavailable, kTimeout.
Task<Result<std::vector<SocketAddress>>> ResolveOn(Loop& loop, Endpoint endpoint, Instant deadline);

}  // namespace moraine
