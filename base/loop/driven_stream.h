// TCP connections of a DrivenLoop. See net.h for the contract.
#pragma once

#include <memory>

#include "base/loop/net.h"

namespace moraine {

class DrivenLoop;

Task<Result<std::unique_ptr<Stream>>> ConnectDrivenStream(DrivenLoop& loop, Endpoint to,
                                                          Instant deadline);
Result<std::unique_ptr<Listener>> ListenDriven(DrivenLoop& loop, const Endpoint& at);

}  // namespace moraine
