#include "rpc/server.h"

#include <common_constants.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace moraine::rpc {

struct Server::Peer {
  Peer(Loop& loop, std::unique_ptr<Stream> stream, Duration patience)
      : connection(std::make_shared<Connection>(loop, std::move(stream), patience)),
        calls(loop, limits::kCallsPerConnectionMax),
        bulk(std::make_shared<Semaphore>(loop, limits::kPeerBulkBytesMax)) {}
  const std::shared_ptr<Connection> connection;
  Semaphore calls;
  const std::shared_ptr<Semaphore> bulk;
  Identity identity;
  bool handshaken = false;
  uint64_t number = 0;  // in the order of arrival
};

// Room for the raw bytes of one call, both ways: of its connection, then of the server.
struct Server::BulkUnits {
  std::shared_ptr<Semaphore> peer;
  Semaphore::Units of_peer;
  Semaphore::Units of_server;
};

Server::Server(Loop& loop, Identity self, ServerOptions options, MetricRegistry& metrics)
    : loop_(loop),
      options_(std::move(options)),
      metrics_(metrics),
      self_(std::move(self)),
      frames_(loop, limits::kServerFrameBytesMax),
      bulk_(loop, limits::kServerBulkBytesMax),
      tasks_(loop),
      connections_(metrics.GetGauge("moraine_rpc_connections", "Open incoming connections.")),
      refused_(metrics.GetCounter("moraine_rpc_refused_connections_total",
                                  "Connections refused because too many are open.")),
      protocol_errors_(metrics.GetCounter("moraine_rpc_protocol_errors_total",
                                          "Connections closed because of what the peer sent.")) {}

Server::~Server() = default;

void Server::AddMethod(std::string_view name, Runner run, RequestReader read) {
  MethodEntry entry;
  entry.run = std::move(run);
  entry.read = std::move(read);
  const MetricRegistry::Labels labels = {{"method", std::string(name)}};
  entry.calls = &metrics_.GetCounter("moraine_rpc_calls_total", "Calls answered.", labels);
  entry.errors =
      &metrics_.GetCounter("moraine_rpc_errors_total", "Calls answered with an error.", labels);
  entry.latency = &metrics_.GetHistogram("moraine_rpc_latency_seconds",
                                         "From a call's arrival to its answer.", labels);
  const auto [at, added] = methods_.emplace(std::string(name), std::move(entry));
  MORAINE_CHECK(added, "a method is handled once");
  at->second.name = at->first;
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
  const std::map<uint64_t, std::shared_ptr<Peer>> peers = peers_;
  for (const auto& [number, peer] : peers) {
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
    if (tasks_.closed() || peers_.size() >= options_.connections_max) {
      refused_.Add();
      (*stream)->Close();
      continue;
    }
    auto peer = std::make_shared<Peer>(loop_, std::move(*stream), options_.frame_timeout);
    peer->connection->Start(tasks_);
    peer->number = next_peer_++;
    peers_.emplace(peer->number, peer);
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
  loop_.timers().Arm(handshake_timer, loop_.After(options_.handshake_timeout));

  Status status;
  while (status.ok()) status = co_await ServeNext(peer);
  if (status.code() == Code::kProtocol) {
    protocol_errors_.Add();
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "{}: {}; connection closed", peer->connection->peer(),
                          status.message());
  }
  // An error answer that says why must reach the peer first.
  co_await peer->connection->Finish(status);
  peers_.erase(peer->number);
  connections_.Set(static_cast<int64_t>(peers_.size()));
}

// The next call's bytes, when there is room for it.
Task<Result<ConstBytes>> Server::ReadCall(std::shared_ptr<Peer> peer, CallFrame* frame) {
  Connection& connection = *peer->connection;
  // A peer that asks and does not read its answers is not read either.
  if (!connection.has_room()) {
    const bool room = co_await connection.WaitForRoom(kNever);
    if (!room) co_return connection.why_closed();
  }
  std::optional<Semaphore::Units> call = peer->calls.TryAcquire(1);
  if (!call) call = co_await peer->calls.Acquire(1);
  frame->call_units = std::move(*call);
  const size_t bytes_max = peer->handshaken ? limits::kFrameBytesMax : limits::kSmallFrameBytes;
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t length, co_await connection.ReadLength(bytes_max));
  if (length > limits::kSmallFrameBytes) {
    std::optional<Semaphore::Units> room = co_await frames_.Acquire(length);
    frame->frame_units = std::move(*room);
  }
  co_return co_await connection.ReadFrame();
}

// Reads one call and starts it. An error ends the connection.
Task<Status> Server::ServeNext(std::shared_ptr<Peer> peer) {
  Connection& connection = *peer->connection;
  CallFrame frame;
  frame.peer = peer;
  MORAINE_CO_ASSIGN_OR_RETURN(const ConstBytes bytes, co_await ReadCall(peer, &frame));
  Decoder& decoder = connection.decoder();
  MORAINE_CO_ASSIGN_OR_RETURN(const Decoder::Head head, decoder.Open(bytes));
  if (head.type != apache::thrift::protocol::T_CALL) {
    co_return Status(Code::kProtocol, "sent a message that is not a call");
  }
  frame.number = head.number;
  frame.received = loop_.Now();
  const bool is_handshake = head.name == idl::kHandshake.name;
  if (is_handshake == peer->handshaken) {
    const Status error(Code::kWrongRole, is_handshake
                                             ? "the handshake is done already"
                                             : "the first call on a connection is handshake");
    Refuse(*peer, PrintableName(head.name), frame.number, error);
    co_return Status(Code::kProtocol,
                     "called " + PrintableName(head.name) + ": " + error.message());
  }

  idl::HandshakeRequest handshake;
  const auto method = methods_.find(head.name);
  const bool known = method != methods_.end();
  MORAINE_CO_RETURN_IF_ERROR(decoder.Arguments(&frame.context.header, [&](Protocol& protocol) {
    if (is_handshake) {
      handshake.read(&protocol);
    } else if (known) {
      frame.request = method->second.read(protocol, &frame.answer_bulk_bytes);
    } else {
      protocol.skip(apache::thrift::protocol::T_STRUCT);
    }
  }));
  if (is_handshake) co_return AnswerHandshake(frame, handshake);
  // The bulk belongs to the frame, whatever becomes of the call.
  MORAINE_CO_RETURN_IF_ERROR(co_await AdmitBulk(&frame));
  if (!known) {
    const std::string name = PrintableName(head.name);
    connection.Send(connection.encoder().UnknownMethod(name, frame.number), {});
    co_return Status();
  }
  if (frame.request == nullptr) {
    co_return Status(Code::kProtocol, "called " + head.name + " without a request");
  }
  frame.method = &method->second;
  Begin(std::move(frame));
  co_return Status();
}

// Waits for room for the raw bytes that come with the call and with its answer, and reads the
// former.
Task<Status> Server::AdmitBulk(CallFrame* frame) {
  const idl::RequestHeader& header = frame->context.header;
  if (header.bulk_bytes < 0 || static_cast<uint64_t>(header.bulk_bytes) > limits::kBulkBytesMax ||
      header.bulk_alignment < 0 ||
      static_cast<uint64_t>(header.bulk_alignment) >= limits::kBlockBytes) {
    co_return Status(Code::kProtocol, fmt::format("announced {} raw bytes at {}", header.bulk_bytes,
                                                  header.bulk_alignment));
  }
  const auto bulk_bytes = static_cast<uint64_t>(header.bulk_bytes);
  const uint64_t room_bytes = bulk_bytes + frame->answer_bulk_bytes;
  if (room_bytes == 0) co_return Status();
  // One step for both ways: nobody holds room for a request and waits for room for its answer.
  frame->bulk_units = std::make_shared<BulkUnits>();
  frame->bulk_units->peer = frame->peer->bulk;
  std::optional<Semaphore::Units> of_peer = co_await frame->peer->bulk->Acquire(room_bytes);
  frame->bulk_units->of_peer = std::move(*of_peer);
  std::optional<Semaphore::Units> of_server = co_await bulk_.Acquire(room_bytes);
  frame->bulk_units->of_server = std::move(*of_server);
  if (bulk_bytes == 0) co_return Status();
  MORAINE_CO_ASSIGN_OR_RETURN(frame->context.bulk_in,
                              co_await frame->peer->connection->ReadBulk(
                                  bulk_bytes, static_cast<size_t>(header.bulk_alignment)));
  co_return Status();
}

void Server::Begin(CallFrame frame) {
  Peer& peer = *frame.peer;
  const auto& roles = frame.method->roles;
  if (!roles.empty() && !roles.contains(peer.identity.role)) {
    SendError(frame, Status(Code::kWrongRole,
                            std::string(frame.method->name) + " is not for this kind of peer"));
    return;
  }
  frame.context.peer = peer.identity;
  const int32_t timeout_ms = frame.context.header.timeout_ms;
  frame.context.deadline = timeout_ms > 0 ? loop_.After(std::chrono::milliseconds(timeout_ms))
                                          : loop_.After(options_.default_timeout);
  const Runner& run = frame.method->run;
  tasks_.Spawn(run(std::move(frame)));
}

Status Server::CheckHandshake(const idl::HandshakeRequest& request) const {
  const auto& constants = idl::g_common_constants;
  if (request.version < constants.kProtocolVersionOldest) {
    return {
        Code::kWrongVersion,
        fmt::format("protocol version {} is too old for this server, which understands {} to {}; "
                    "upgrade {}",
                    request.version, constants.kProtocolVersionOldest, constants.kProtocolVersion,
                    request.name.empty() ? "the caller" : PrintableName(request.name))};
  }
  if (!ClustersAgree(self_.cluster, request.cluster)) {
    return {Code::kWrongCluster, fmt::format("this server belongs to cluster {}, the caller to {}",
                                             self_.cluster, PrintableName(request.cluster))};
  }
  const auto& roles = idl::_Role_VALUES_TO_NAMES;
  if (!roles.contains(request.role)) {
    return {Code::kWrongRole,
            fmt::format("this server does not know role {}", static_cast<int>(request.role))};
  }
  const ServerId expected(static_cast<uint64_t>(request.expect_server_id));
  if (!expected.IsNone() && expected != self_.server) {
    return {Code::kWrongRole,
            fmt::format("this is chunkserver {}, not {}", self_.server.value(), expected.value())};
  }
  return {};
}

Status Server::AnswerHandshake(const CallFrame& frame, const idl::HandshakeRequest& request) {
  Peer& peer = *frame.peer;
  Connection& connection = *peer.connection;
  if (frame.context.header.bulk_bytes != 0)
    return {Code::kProtocol, "raw bytes behind a handshake"};
  const Status status = CheckHandshake(request);
  if (!status.ok()) {
    Refuse(peer, idl::kHandshake.name, frame.number, status);
    return status;
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
  connection.Send(connection.encoder().Answer(idl::kHandshake.name, frame.number, response, 0), {});
  return {};
}

Encoder& Server::EncoderOf(CallFrame& frame) { return frame.peer->connection->encoder(); }

// The last words to a peer; the caller ends the connection.
void Server::Refuse(Peer& peer, std::string_view name, int32_t number, const Status& error) {
  Connection& connection = *peer.connection;
  connection.Send(connection.encoder().Error(name, number, error), {});
}

void Server::SendAnswer(CallFrame& frame, std::string encoded) {
  if (encoded.size() > limits::kFrameBytesMax) {
    SendError(
        frame,
        Status(Code::kTooLarge,
               fmt::format("the answer of {} bytes does not fit into a frame of {}; ask for less",
                           encoded.size(), limits::kFrameBytesMax)));
    return;
  }
  frame.method->calls->Add();
  frame.method->latency->RecordTime(loop_.Now() - frame.received);
  frame.context.bulk_in = Buffer();
  BulkOut& bulk = frame.context.bulk_out;
  // The answer may wait for as long as the peer is slow, and its room is taken until it is sent.
  if (!bulk.empty() && frame.bulk_units != nullptr)
    bulk.owners.push_back(std::move(frame.bulk_units));
  frame.peer->connection->Send(std::move(encoded), std::move(bulk));
}

void Server::SendError(CallFrame& frame, const Status& error) {
  frame.method->calls->Add();
  frame.method->errors->Add();
  frame.method->latency->RecordTime(loop_.Now() - frame.received);
  frame.peer->connection->Send(EncoderOf(frame).Error(frame.method->name, frame.number, error), {});
}

}  // namespace moraine::rpc
