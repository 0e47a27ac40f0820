// Any bytes on a server's port, before and after the handshake, in pieces of any size: the server
// lives, ends that connection when the peer does, and serves others. On virtual time.
#include <string>

#include "base/check.h"
#include "base/log.h"
#include "rpc/sim_test_support.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;

Task<void> SendAll(Loop* loop, Endpoint to, std::string bytes, bool greet, size_t piece,
                   bool* ended) {
  auto peer = greet ? co_await RawPeer::Greet(loop, to) : co_await RawPeer::Connect(loop, to);
  MORAINE_CHECK(peer.ok(), peer.status().ToString());
  for (size_t done = 0; done < bytes.size(); done += piece) {
    const Status sent = co_await (*peer)->Send(bytes.substr(done, piece));
    if (!sent.ok()) break;
  }
  *ended = true;
}

Task<void> CallOnce(RpcWorld* rig, bool* ended) {
  Channel channel(rig->loop(), rig->endpoint(), ClientIdentity(), Expectation());
  const Status status = co_await CheckEcho(&rig->loop(), &channel, 5, 10s);
  MORAINE_CHECK(status.ok(), status.ToString());
  channel.Close();
  co_await channel.Drain();
  *ended = true;
}

void Fuzz(const uint8_t* data, size_t size) {
  if (size < 2) return;
  const bool greet = (data[0] & 1) != 0;
  const size_t piece = 1 + (data[0] >> 1) * 16;
  RpcWorld rig(data[1]);
  bool ended = false;
  const std::string bytes(reinterpret_cast<const char*>(data + 2), size - 2);
  rig.loop().Spawn(SendAll(&rig.loop(), rig.endpoint(), bytes, greet, piece, &ended));
  MORAINE_CHECK(rig.world.RunUntil([&] { return ended; }, 10min));
  bool called = false;
  rig.loop().Spawn(CallOnce(&rig, &called));
  MORAINE_CHECK(rig.world.RunUntil([&] { return called; }, 10min));
  Gauge& connections = rig.service().metrics.GetGauge("moraine_rpc_connections", "");
  MORAINE_CHECK(rig.world.RunUntil([&] { return connections.Value() == 0; }, 10min));
}

}  // namespace
}  // namespace moraine::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::rpc::Fuzz(data, size);
  return 0;
}
