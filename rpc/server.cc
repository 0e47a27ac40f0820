#include "rpc/server.h"

#include <common_constants.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace moraine::rpc {

struct Server::Peer {
  Peer(Loop& loop, std::unique_ptr<Stream> stream)
      : connection(std::make_shared<Connection>(loop, std::move(stream))),
        calls(loop, limits::kCallsPerConnectionMax) {}
  std::shared_ptr<Connection> connection;
  Semaphore calls;
  Identity identity;
  bool handshaken = false;
};

Server::Server(Loop& loop, Identity self, ServerOptions options, MetricRegistry& metrics)
    : loop_(loop),
      options_(std::move(options)),
      metrics_(metrics),
      self_(std::move(self)),
      bulk_(loop, limits::kServerBulkBytesMax),
      tasks_(loop),
      connections_(metrics.GetGauge("moraine_rpc_connections", "Open incoming connections")),
      refused_(metrics.GetCounter("moraine_rpc_refused_connections_total",
                                  "Connections refused because too many are open")),
      protocol_errors_(metrics.GetCounter("moraine_rpc_protocol_errors_total",
                                          "Connections closed because of what the peer sent")) {}

Server::~Server() = default;

void Server::AddMethod(std::string_view name, Runner run, RequestReader read) {
  MethodEntry entry;
  entry.run = std::move(run);
  entry.read = std::move(read);
  const MetricRegistry::Labels labels = {{"method", std::string(name)}};
  entry.calls = &metrics_.GetCounter("moraine_rpc_calls_total", "Calls answered", labels);
  entry.errors = &metrics_.GetCounter("moraine_rpc_errors_total", "Calls answered with an error", labels);
  entry.latency = &metrics_.GetHistogram("moraine_rpc_latency_microseconds",
                                         "From a call's arrival to its answer", labels);
  const bool added = methods_.emplace(std::string(name), std::move(entry)).second;
  MORAINE_CHECK(added, "a method is handled once");
}

void Server::Restrict(std::string_view method, std::set<idl::Role::type> roles) {
  const auto it = methods_.find(method);
  MORAINE_CHECK(it != methods_.end());
  it->second.roles = std::move(roles);
}

Status Server::Start() {
  Result<std::unique_ptr<Listener>> listener = loop_.Listen(options_.listen);
  if (!listener.ok()) return listener.status();
  listener_ = std::move(*listener);
  tasks_.Spawn(RunAccept());
  return {};
}

Endpoint Server::local() const {
  MORAINE_CHECK(listener_ != nullptr, "local() needs a started server");
  return listener_->local();
}

void Server::Close() {
  tasks_.Close();
  if (listener_ != nullptr) listener_->Close();
  const std::set<std::shared_ptr<Peer>> peers = peers_;
  for (const auto& peer : peers) {
    peer->connection->Close(Status(Code::kCanceled, "the server is shutting down"));
  }
}

Task<void> Server::Drain() {
  const bool drained = co_await tasks_.Drain();
  MORAINE_CHECK(drained);
}

Task<void> Server::RunAccept() {
  while (!tasks_.closed()) {
    auto stream = co_await listener_->Accept();
    if (!stream.ok()) {
      if (tasks_.closed() || stream.code() == Code::kCanceled) break;
      LogWarning("accept: {}", stream.status().ToString());
      co_await loop_.Sleep(limits::kAcceptRetryDelay);  // out of descriptors: others must end first
      continue;
    }
    if (peers_.size() >= static_cast<size_t>(limits::kConnectionsMax)) {
      refused_.Add();
      (*stream)->Close();
      continue;
    }
    auto peer = std::make_shared<Peer>(loop_, std::move(*stream));
    peer->connection->Start();
    peers_.insert(peer);
    connections_.Set(static_cast<int64_t>(peers_.size()));
    tasks_.Spawn(RunPeer(peer));
  }
}

Task<void> Server::RunPeer(std::shared_ptr<Peer> peer) {
  struct HandshakeTimer : Timer {
    explicit HandshakeTimer(Peer* peer) : peer(peer) {}
    void Fire() override {
      if (!peer->handshaken) {
        peer->connection->Close(Status(Code::kTimeout, "no handshake in time"));
      }
    }
    Peer* peer;
  } handshake_timer(peer.get());
  loop_.timers().Arm(handshake_timer, loop_.After(limits::kHandshakeTimeout));

  Status status;
  while (status.ok()) status = co_await ServeNext(peer);
  if (status.code() == Code::kProtocol) {
    protocol_errors_.Add();
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "{}: {}; connection closed", peer->connection->peer(),
                          status.message());
  }
  peer->connection->Close(status);
  peers_.erase(peer);
  connections_.Set(static_cast<int64_t>(peers_.size()));
}

// Reads one call and starts it. An error ends the connection.
Task<Status> Server::ServeNext(std::shared_ptr<Peer> peer) {
  Connection& connection = *peer->connection;
  // A peer that asks and does not read its answers is not read either.
  const bool room = co_await connection.WaitForRoom(kNever);
  if (!room) co_return connection.why_closed();
  std::optional<Semaphore::Units> call = co_await peer->calls.Acquire(1);
  Result<ConstBytes> bytes = co_await connection.ReadFrame();
  if (!bytes.ok()) co_return bytes.status();
  Decoder& decoder = connection.decoder();
  Result<Decoder::Head> head = decoder.Open(*bytes);
  if (!head.ok()) co_return head.status();
  if (head->type != apache::thrift::protocol::T_CALL) {
    co_return Status(Code::kProtocol, "sent a message that is not a call");
  }
  CallFrame frame;
  frame.peer = peer;
  frame.number = head->number;
  frame.received = loop_.Now();
  frame.call_units = std::move(*call);

  idl::HandshakeRequest handshake;
  const bool is_handshake = head->name == idl::kHandshake.name;
  const auto method = methods_.find(head->name);
  const bool known = method != methods_.end();
  MORAINE_CO_RETURN_IF_ERROR(decoder.Arguments(&frame.context.header, [&](Protocol& protocol) {
    if (is_handshake) {
      handshake.read(&protocol);
    } else if (known) {
      frame.request = method->second.read(protocol);
    } else {
      protocol.skip(apache::thrift::protocol::T_STRUCT);
    }
  }));
  const idl::RequestHeader& header = frame.context.header;
  if (header.bulk_bytes < 0 || static_cast<uint64_t>(header.bulk_bytes) > limits::kBulkBytesMax ||
      header.bulk_alignment < 0 || static_cast<uint64_t>(header.bulk_alignment) >= limits::kBlockBytes) {
    co_return Status(Code::kProtocol, fmt::format("announced {} raw bytes at {}", header.bulk_bytes,
                                                  header.bulk_alignment));
  }
  if (is_handshake) co_return AnswerHandshake(*peer, frame.number, handshake);
  if (!peer->handshaken) {
    connection.Send(connection.encoder().Error(head->name, frame.number,
                        Status(Code::kWrongRole, "the first call on a connection is handshake")), {});
    co_return Status(Code::kProtocol, "called " + head->name.substr(0, 64) + " before the handshake");
  }
  if (header.bulk_bytes > 0) {
    const auto bulk_bytes = static_cast<size_t>(header.bulk_bytes);
    std::optional<Semaphore::Units> units = co_await bulk_.Acquire(bulk_bytes);
    frame.bulk_units = std::move(*units);
    auto bulk = co_await connection.ReadBulk(bulk_bytes, static_cast<size_t>(header.bulk_alignment));
    if (!bulk.ok()) co_return bulk.status();
    frame.context.bulk_in = std::move(*bulk);
  }
  if (!known) {
    connection.Send(connection.encoder().UnknownMethod(head->name.substr(0, 64), frame.number), {});
    co_return Status();
  }
  if (frame.request == nullptr) {
    co_return Status(Code::kProtocol, "called " + head->name + " without a request");
  }
  const auto& roles = method->second.roles;
  if (!roles.empty() && !roles.contains(peer->identity.role)) {
    connection.Send(connection.encoder().Error(head->name, frame.number,
                        Status(Code::kWrongRole, head->name + " is not for this kind of peer")), {});
    co_return Status();
  }
  frame.method = &method->second;
  frame.context.peer = peer->identity;
  frame.context.deadline = header.timeout_ms > 0
                               ? loop_.After(std::chrono::milliseconds(header.timeout_ms))
                               : loop_.After(options_.default_timeout);
  tasks_.Spawn(method->second.run(std::move(frame)));
  co_return Status();
}

Status Server::CheckHandshake(const idl::HandshakeRequest& request) const {
  const auto& constants = idl::g_common_constants;
  if (request.version < constants.kProtocolVersionOldest) {
    return {Code::kWrongVersion,
            fmt::format("protocol version {} is too old for this server, which understands {} to {}; upgrade {}",
                        request.version, constants.kProtocolVersionOldest, constants.kProtocolVersion,
                        request.name.empty() ? "the caller" : request.name)};
  }
  if (!ClustersAgree(self_.cluster, request.cluster)) {
    return {Code::kWrongCluster, fmt::format("this server belongs to cluster {}, the caller to {}",
                                             self_.cluster, request.cluster)};
  }
  const ServerId expected(static_cast<uint64_t>(request.expect_server_id));
  if (!expected.IsNone() && expected != self_.server) {
    return {Code::kWrongRole, fmt::format("this is chunkserver {}, not {}", self_.server.value(), expected.value())};
  }
  return {};
}

Status Server::AnswerHandshake(Peer& peer, int32_t number, const idl::HandshakeRequest& request) {
  Connection& connection = *peer.connection;
  const Status status = CheckHandshake(request);
  if (!status.ok()) {
    connection.Send(connection.encoder().Error(idl::kHandshake.name, number, status), {});
    // The error must reach the peer before the stream ends: it will close, or time out.
    return {};
  }
  peer.handshaken = true;
  peer.identity = Identity{request.role, request.cluster, request.name,
                           ServerId(static_cast<uint64_t>(request.server_id))};
  idl::HandshakeResponse response;
  response.version = idl::g_common_constants.kProtocolVersion;
  response.role = self_.role;
  response.cluster = self_.cluster;
  response.name = self_.name;
  response.server_id = static_cast<int64_t>(self_.server.value());
  connection.Send(connection.encoder().Answer(idl::kHandshake.name, number, response, 0), {});
  return {};
}

Encoder& Server::EncoderOf(CallFrame& frame) { return frame.peer->connection->encoder(); }

void Server::SendAnswer(CallFrame& frame, std::string encoded, bool ok) {
  frame.method->calls->Add();
  if (!ok) frame.method->errors->Add();
  frame.method->latency->RecordTime(loop_.Now() - frame.received);
  frame.peer->connection->Send(std::move(encoded), std::move(frame.context.bulk_out));
}

}  // namespace moraine::rpc
