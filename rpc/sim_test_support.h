// A simulated server process with the calls of test_service.h, and a peer that speaks bytes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/encoding.h"
#include "base/loop/sim/world.h"
#include "rpc/test_service.h"

namespace moraine::rpc {

inline constexpr uint16_t kTestPort = 7000;

class ServerProcess : public sim::Process {
 public:
  ServerProcess(sim::SimLoop& loop, Identity self, ServerOptions options)
      : service(loop, std::move(self), std::move(options)) {
    const Status started = service.server.Start();
    MORAINE_CHECK(started.ok(), started.ToString());
  }
  TestService service;
};

// One server and one client machine.
class RpcWorld {
 public:
  explicit RpcWorld(uint64_t seed, ServerOptions options = {}, Identity self = MetaserverIdentity(),
                    sim::WorldOptions world_options = {})
      : world(seed, world_options),
        server_machine(world.AddMachine("server")),
        client(world.AddMachine("client")) {
    options.listen = Endpoint{"server", kTestPort};
    server_machine.Start([self, options](sim::SimLoop& loop) {
      return std::make_unique<ServerProcess>(loop, self, options);
    });
    client.Start();
  }
  TestService& service() { return server_machine.process_as<ServerProcess>().service; }
  Endpoint endpoint() const { return {"server", kTestPort}; }
  Loop& loop() { return client.loop(); }

  // Runs `body` on the client's loop to its end.
  void Run(std::function<Task<void>()> body, Duration limit = std::chrono::hours(2)) {
    SCOPED_TRACE(world.Describe());
    EXPECT_TRUE(world.Await(client.loop(), Call(std::move(body)), limit)) << world.Trace();
  }
  // The same with a channel that is closed and drained afterwards.
  void RunWithChannel(std::function<Task<void>(Channel&)> body, Identity self = ClientIdentity()) {
    Run([this, body = std::move(body), self]() -> Task<void> {
      return WithChannel(this, body, self);
    });
  }

  sim::World world;
  sim::Machine& server_machine;
  sim::Machine& client;

 private:
  static Task<void> Call(std::function<Task<void>()> body) { co_await body(); }
  static Task<void> WithChannel(RpcWorld* self, std::function<Task<void>(Channel&)> body,
                                Identity identity) {
    Channel channel(self->loop(), self->endpoint(), identity,
                    Expectation{idl::Role::kMetaserver, ServerId()});
    co_await body(channel);
    channel.Close();
    co_await channel.Drain();
  }
};

// Speaks bytes to a server: what no Channel would say.
class RawPeer {
 public:
  static Task<Result<std::unique_ptr<RawPeer>>> Connect(Loop* loop, Endpoint to) {
    auto stream = co_await loop->Connect(to, loop->After(std::chrono::seconds(10)));
    if (!stream.ok()) co_return stream.status();
    co_return std::unique_ptr<RawPeer>(new RawPeer(std::move(*stream)));
  }
  // Shaken hands.
  static Task<Result<std::unique_ptr<RawPeer>>> Greet(Loop* loop, Endpoint to) {
    auto peer = co_await Connect(loop, std::move(to));
    if (!peer.ok()) co_return peer.status();
    MORAINE_CO_RETURN_IF_ERROR(co_await (*peer)->Send((*peer)->Handshake()));
    auto frame = co_await (*peer)->Receive();
    if (!frame.ok()) co_return frame.status();
    co_return std::move(*peer);
  }

  std::string Handshake(std::function<void(idl::HandshakeRequest&)> change = nullptr) {
    idl::HandshakeRequest request;
    request.version = 1;
    request.role = idl::Role::kClient;
    if (change) change(request);
    return encoder.Call("handshake", 0, {}, request);
  }
  std::string GetAttributes(int32_t number) {
    return encoder.Call("getAttributes", number, {}, idl::InodeRequest());
  }

  Task<Status> Send(std::string bytes) {
    const ConstBytes piece = std::as_bytes(std::span(bytes));
    co_return co_await stream->Write(std::span(&piece, 1));
  }
  // The next frame without its length; kNotFound: the server ended the stream.
  Task<Result<std::string>> Receive() {
    MORAINE_CO_ASSIGN_OR_RETURN(const std::string length, co_await Read(4));
    co_return co_await Read(LoadBig32(length.data()));
  }
  Task<Result<std::string>> Read(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size) {
      auto got = co_await stream->Read(std::as_writable_bytes(std::span(bytes)).subspan(have));
      if (!got.ok()) co_return got.status();
      if (*got == 0) co_return Status(Code::kNotFound, "the end");
      have += *got;
    }
    co_return bytes;
  }
  // The error in the next answer.
  Task<Status> ReceiveError() {
    auto frame = co_await Receive();
    if (!frame.ok()) co_return frame.status();
    auto head = decoder.Open(std::as_bytes(std::span(*frame)));
    if (!head.ok()) co_return head.status();
    auto answer = decoder.Answer(
        head->type, [](Protocol& protocol) { protocol.skip(apache::thrift::protocol::T_STRUCT); });
    if (!answer.ok()) co_return answer.status();
    co_return answer->error;
  }
  // Whether the server ends the stream; drops what comes before that.
  Task<bool> Ends() {
    std::string bytes(65536, '\0');
    while (true) {
      auto got = co_await stream->Read(std::as_writable_bytes(std::span(bytes)));
      if (!got.ok() || *got == 0) co_return true;
    }
  }

  std::unique_ptr<Stream> stream;
  Encoder encoder;
  Decoder decoder;

 private:
  explicit RawPeer(std::unique_ptr<Stream> stream) : stream(std::move(stream)) {}
};

}  // namespace moraine::rpc

// ASSERT_OK for coroutines, which must not use `return`.
#define RPC_ASSERT_OK(expression)                                                 \
  do {                                                                            \
    const ::moraine::Status rpc_assert = (expression);                            \
    EXPECT_TRUE(rpc_assert.ok()) << #expression << ": " << rpc_assert.ToString(); \
    if (!rpc_assert.ok()) co_return;                                              \
  } while (false)
