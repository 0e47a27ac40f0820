// Any bytes on a server's port, before and after the handshake, in pieces of any size: the server
// lives, ends that connection when the peer has left, and serves others. One server for all inputs,
// which it must not remember.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/loop/scripted_loop.h"
#include "rpc/test_service.h"

namespace moraine::rpc {
namespace {

constexpr uint64_t kInputsBetweenOthers = 16;

struct Rig {
  Rig() : service(loop, MetaserverIdentity(), Options()) {
    MORAINE_CHECK(service.server.Start().ok());
    Encoder encoder;
    idl::HandshakeRequest handshake;
    handshake.version = 1;
    handshake.role = idl::Role::kClient;
    greeting = encoder.Call("handshake", 0, {}, handshake);
    idl::InodeRequest request;
    request.inode = 5;
    good = greeting + encoder.Call("getAttributes", 1, {}, request);
    idl::AttributesResponse response;
    response.attributes.inode = 5;
    answer = encoder.Answer("getAttributes", 1, response, 0);
  }
  static ServerOptions Options() {
    ServerOptions options;
    options.listen = {"server", 7000};
    return options;
  }
  // The end of the connection is a few turns away from that of the stream.
  std::string Converse(std::string_view bytes, size_t piece) {
    std::string heard = loop.Converse(bytes, piece);
    loop.RunUntil([this] { return connections.Value() == 0; });
    return heard;
  }

  ScriptedLoop loop;
  TestService service;
  Gauge& connections = service.metrics.GetGauge("moraine_rpc_connections", "");
  std::string greeting, good, answer;
};

void Fuzz(const uint8_t* data, size_t size) {
  static Rig& rig = *new Rig();
  if (size == 0) return;
  const bool greet = (data[0] & 1) != 0;
  std::string bytes = greet ? rig.greeting : std::string();
  bytes.append(reinterpret_cast<const char*>(data + 1), size - 1);
  rig.Converse(bytes, size_t{4096} >> (data[0] >> 1) % 12);
  static uint64_t inputs = 0;
  if (++inputs % kInputsBetweenOthers != 0) return;
  MORAINE_CHECK(rig.Converse(rig.good, 4096).ends_with(rig.answer));
}

}  // namespace
}  // namespace moraine::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::rpc::Fuzz(data, size);
  return 0;
}
