// Serves registered methods on one port: accepts, shakes hands, admits, dispatches, answers.
//
//   Server server(loop, identity, options, metrics);
//   server.Handle(idl::kRead, [&](CallContext& context, idl::ReadRequest request)
//                                 -> Task<Result<idl::ReadResponse>> { ... });
//   MORAINE_RETURN_IF_ERROR(server.Start());
//
// Each call runs as its own coroutine on the loop; calls of one connection begin in the order in
// which they arrived. At the door: connections, calls per connection, frame and bulk lengths, bytes
// of large frames and of bulk (both ways) per connection and in all, the time for a handshake and
// for a begun frame. What does not fit waits in the socket (calls, bytes) or is refused
// (connections, lengths). A peer that breaks the protocol loses its connection, after the error if
// it asked. Confined to one loop. Shutdown: Close, then Drain; answers not yet written are dropped.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/limits.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "rpc/bulk.h"
#include "rpc/connection.h"
#include "rpc/identity.h"

namespace moraine::rpc {

// One call, while its handler runs.
struct CallContext {
  idl::RequestHeader header;
  Identity peer;
  Instant deadline{};  // when the caller stops waiting
  Buffer bulk_in;      // the request's raw bytes, aligned as the caller asked
  BulkOut bulk_out;    // the answer's raw bytes; filled by the handler
};

struct ServerOptions {
  Endpoint listen;
  Duration default_timeout = std::chrono::seconds(30);
  Duration handshake_timeout = limits::kHandshakeTimeout;
  Duration frame_timeout = limits::kFrameTimeout;  // for a begun frame, and for the bulk behind it
  size_t connections_max = limits::kConnectionsMax;
};

class Server {
 public:
  Server(Loop& loop, Identity self, ServerOptions options, MetricRegistry& metrics);
  ~Server();

  template <class Request, class Response, class Handler>
  void Handle(idl::Method<Request, Response> method, Handler handler) {
    AddMethod(
        method.name,
        [this, handler = std::move(handler)](CallFrame frame) -> Task<void> {
          return RunCall<Request, Response>(this, handler, std::move(frame));
        },
        [](Protocol& protocol, uint64_t* answer_bulk_bytes) -> std::shared_ptr<void> {
          auto request = std::make_shared<Request>();
          request->read(&protocol);
          *answer_bulk_bytes = AnswerBulkBytesMax(*request);
          return request;
        });
  }

  // Binds the port; kBusy when it is taken.
  Status Start();
  Endpoint local() const;  // with the port that was really taken
  // Who we are, in handshakes from now on (a chunkserver learns its id late).
  void SetIdentity(Identity self) { self_ = std::move(self); }
  const Identity& identity() const { return self_; }
  // Methods that may be called by these roles only; default: all roles.
  void Restrict(std::string_view method, std::set<idl::Role::type> roles);

  void Close();
  Task<void> Drain();

 private:
  struct Peer;
  struct MethodEntry;
  struct BulkUnits;
  struct CallFrame {
    std::shared_ptr<Peer> peer;
    int32_t number = 0;
    CallContext context;
    std::shared_ptr<void> request;
    Semaphore::Units call_units;
    Semaphore::Units frame_units;
    std::shared_ptr<BulkUnits> bulk_units;  // shared with the answer on its way out
    uint64_t answer_bulk_bytes = 0;
    MethodEntry* method = nullptr;
    Instant received{};
  };
  using Runner = std::function<Task<void>(CallFrame)>;
  using RequestReader =
      std::function<std::shared_ptr<void>(Protocol&, uint64_t* answer_bulk_bytes)>;
  struct MethodEntry {
    std::string_view name;
    Runner run;
    RequestReader read;
    std::set<idl::Role::type> roles;  // empty: all
    Counter* calls = nullptr;
    Counter* errors = nullptr;
    Histogram* latency = nullptr;
  };

  template <class Request, class Response, class Handler>
  static Task<void> RunCall(Server* server, Handler handler, CallFrame frame) {
    Request& request = *static_cast<Request*>(frame.request.get());
    Result<Response> response = co_await handler(frame.context, std::move(request));
    if (response.ok()) {
      const size_t bulk_bytes = frame.context.bulk_out.size();
      server->SendAnswer(
          frame, EncoderOf(frame).Answer(frame.method->name, frame.number, *response, bulk_bytes));
    } else {
      server->SendError(frame, response.status());
    }
  }

  void AddMethod(std::string_view name, Runner run, RequestReader read);
  Task<void> RunAccept();
  Task<void> RunPeer(std::shared_ptr<Peer> peer);
  Task<Status> ServeNext(std::shared_ptr<Peer> peer);
  Task<Result<ConstBytes>> ReadCall(std::shared_ptr<Peer> peer, CallFrame* frame);
  Task<Status> AdmitBulk(CallFrame* frame);
  void Begin(CallFrame frame);
  Status AnswerHandshake(const CallFrame& frame, const idl::HandshakeRequest& request);
  Status CheckHandshake(const idl::HandshakeRequest& request) const;
  static Encoder& EncoderOf(CallFrame& frame);
  void SendAnswer(CallFrame& frame, std::string encoded);
  void SendError(CallFrame& frame, const Status& error);
  static void Refuse(Peer& peer, std::string_view name, int32_t number, const Status& error);

  // Constant after construction.
  Loop& loop_;
  const ServerOptions options_;
  MetricRegistry& metrics_;

  Identity self_;
  std::unique_ptr<Listener> listener_;
  std::map<std::string, MethodEntry, std::less<>> methods_;
  Semaphore frames_;
  Semaphore bulk_;
  TaskGroup tasks_;
  uint64_t next_peer_ = 1;
  std::map<uint64_t, std::shared_ptr<Peer>> peers_;  // after what their queues give back to
  Gauge& connections_;
  Counter& refused_;
  Counter& protocol_errors_;
};

}  // namespace moraine::rpc
