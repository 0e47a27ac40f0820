// TCP connections of a UringLoop. See net.h for the contract.
#pragma once

#include <memory>

#include "base/loop/net.h"

namespace moraine {

class UringLoop;

Task<Result<std::unique_ptr<Stream>>> ConnectUringStream(UringLoop& loop, Endpoint to,
                                                         Instant deadline);
Result<std::unique_ptr<Listener>> ListenUring(UringLoop& loop, const Endpoint& at);

}  // namespace moraine
