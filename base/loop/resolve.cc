#include "base/loop/resolve.h"

#include <memory>
#include <utility>

#include "base/loop/sync.h"

namespace moraine {
namespace {

struct Lookup {
  explicit Lookup(Loop& loop) : done(loop) {}
  Event done;
  Result<std::vector<SocketAddress>> answer{Status(Code::kInternal, "no look-up yet")};
};

Task<void> RunLookup(Loop* loop, Endpoint endpoint, std::shared_ptr<Lookup> lookup) {
  co_await loop->RunBlocking([&] { lookup->answer = Resolve(endpoint); });
  lookup->done.Set();
}

}  // namespace

Task<Result<std::vector<SocketAddress>>> ResolveOn(Loop& loop, Endpoint endpoint,
                                                   Instant deadline) {
  if (const auto address = AddressWithoutLookup(endpoint)) {
    co_return std::vector<SocketAddress>{*address};
  }
  auto lookup = std::make_shared<Lookup>(loop);
  loop.Spawn(RunLookup(&loop, endpoint, lookup));
  const bool done = co_await lookup->done.Wait(deadline);
  if (!done)
    co_return Status(Code::kTimeout, "look up host '" + endpoint.host + "': no answer yet");
  co_return std::move(lookup->answer);
}

}  // namespace moraine
