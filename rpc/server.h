// Serves registered methods on one port: accepts, shakes hands, admits, dispatches, answers.
//
//   Server server(loop, identity, options, metrics);
//   server.Handle(idl::kRead, [&](CallContext& context, idl::ReadRequest request)
//                                 -> Task<Result<idl::ReadResponse>> { ... });
//   MORAINE_RETURN_IF_ERROR(server.Start());
//
// Each call runs as its own coroutine on the loop; calls of one connection begin in the order in
// which they arrived. At the door: connections, calls per connection, frame and bulk lengths, bulk
// bytes in all, the time for a handshake and for a begun frame. What does not fit waits in the
// socket (bulk, calls) or is refused (connections, lengths).
// Confined to one loop. Shutdown: Close, then Drain.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

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
  Instant deadline{};      // when the caller stops waiting
  Buffer bulk_in;          // the request's raw bytes, aligned as the caller asked
  BulkOut bulk_out;        // the answer's raw bytes; filled by the handler
};

struct ServerOptions {
  Endpoint listen;
  Duration default_timeout = std::chrono::seconds(30);
};

class Server {
 public:
  Server(Loop& loop, Identity self, ServerOptions options, MetricRegistry& metrics);
  ~Server();

  template <class Request, class Response, class Handler>
  void Handle(idl::Method<Request, Response> method, Handler handler) {
    AddMethod(method.name, [this, method, handler = std::move(handler)](CallFrame frame) -> Task<void> {
      return RunCall<Request, Response>(method.name, handler, std::move(frame));
    }, [](Protocol& protocol) -> std::shared_ptr<void> {
      auto request = std::make_shared<Request>();
      request->read(&protocol);
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
  struct CallFrame {
    std::shared_ptr<Peer> peer;
    int32_t number = 0;
    CallContext context;
    std::shared_ptr<void> request;
    Semaphore::Units call_units;
    Semaphore::Units bulk_units;
    MethodEntry* method = nullptr;
    Instant received{};
  };
  using Runner = std::function<Task<void>(CallFrame)>;
  using RequestReader = std::function<std::shared_ptr<void>(Protocol&)>;
  struct MethodEntry {
    Runner run;
    RequestReader read;
    std::set<idl::Role::type> roles;  // empty: all
    Counter* calls = nullptr;
    Counter* errors = nullptr;
    Histogram* latency = nullptr;
  };

  template <class Request, class Response, class Handler>
  Task<void> RunCall(std::string_view name, Handler handler, CallFrame frame) {
    Request& request = *static_cast<Request*>(frame.request.get());
    Result<Response> response = co_await handler(frame.context, std::move(request));
    // The answer may wait in the socket for as long as the peer is slow; the request's bytes go now.
    frame.context.bulk_in = Buffer();
    frame.bulk_units.Release();
    if (response.ok()) {
      const size_t bulk_bytes = frame.context.bulk_out.size();
      SendAnswer(frame, EncoderOf(frame).Answer(name, frame.number, *response, bulk_bytes), true);
    } else {
      frame.context.bulk_out = BulkOut();
      SendAnswer(frame, EncoderOf(frame).Error(name, frame.number, response.status()), false);
    }
  }

  void AddMethod(std::string_view name, Runner run, RequestReader read);
  Task<void> RunAccept();
  Task<void> RunPeer(std::shared_ptr<Peer> peer);
  Task<Status> ServeNext(std::shared_ptr<Peer> peer);
  Status AnswerHandshake(Peer& peer, int32_t number, const idl::HandshakeRequest& request);
  Status CheckHandshake(const idl::HandshakeRequest& request) const;
  Encoder& EncoderOf(CallFrame& frame);
  void SendAnswer(CallFrame& frame, std::string encoded, bool ok);

  // Constant after construction.
  Loop& loop_;
  const ServerOptions options_;
  MetricRegistry& metrics_;

  Identity self_;
  std::unique_ptr<Listener> listener_;
  std::map<std::string, MethodEntry, std::less<>> methods_;
  std::set<std::shared_ptr<Peer>> peers_;
  Semaphore bulk_;
  TaskGroup tasks_;
  Gauge& connections_;
  Counter& refused_;
  Counter& protocol_errors_;
};

}  // namespace moraine::rpc
