// Calls to one server. A Channel connects and shakes hands when the first call needs it, and again
// after the connection broke; many calls are in flight at once and answers come in any order. Calls
// are sent in the order in which they were made, also those that had to wait for a connection. A
// connection on which nothing came in for limits::kSilenceMax since the first unanswered call was
// sent is given up when a call on it runs out of time, so that the next call makes a new one; calls
// with short deadlines find that out together.
//
// What a failed call means:
//   kUnavailable  no connection, or it broke: the call may or may not have been carried out
//   kTimeout      no answer by the deadline: likewise unknown
//   kOverloaded   refused at the door, here (no room by the deadline) or there: not carried out
//   kTooLarge     the request does not fit into a frame: not sent (or the server's own answer)
//   kCanceled     the channel was closed: unknown; or the caller dropped the call: not sent
//   kWrongCluster, kWrongVersion, kWrongRole  the handshake failed: not carried out
//   anything else is the server's own answer
// A change whose outcome is unknown is repeated with the same session and sequence number
// (section "Idempotency" of idl/PROTOCOL.md); nothing here repeats by itself.
//
// Confined to one loop. Close and Drain before destruction.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "rpc/bulk.h"
#include "rpc/connection.h"
#include "rpc/identity.h"

namespace moraine::rpc {

struct CallOptions {
  Instant deadline = kNever;  // required: a call without one is a bug
  idl::RequestHeader header;  // session, sequence and trace; the rest is filled in
  BulkOut bulk;
  size_t bulk_alignment = 0;  // where in a 4 KiB page the bulk begins for the receiver
  // True when the call's turn to be sent comes: it is not sent and ends with kCanceled. Outlives
  // the call; none: it is sent in any case.
  const bool* dropped = nullptr;
};

template <class Response>
struct Reply {
  Response response;
  Buffer bulk;
};

class Channel {
 public:
  Channel(Loop& loop, Endpoint endpoint, Identity self, Expectation expectation);
  ~Channel();

  template <class Request, class Response>
  Task<Result<Reply<Response>>> Call(idl::Method<Request, Response> method, Request request,
                                     CallOptions options) {
    Reply<Response> reply;
    std::function<std::string(Connection&, int32_t)> encode = [&](Connection& connection,
                                                                  int32_t number) {
      return connection.encoder().Call(method.name, number, options.header, request);
    };
    std::function<void(Protocol&)> decode = [&](Protocol& protocol) {
      reply.response.read(&protocol);
    };
    Result<Buffer> bulk = co_await CallRaw(method.name, &options, &encode, &decode);
    if (!bulk.ok()) co_return bulk.status();
    reply.bulk = std::move(*bulk);
    co_return reply;
  }
  // The same for calls without bulk.
  template <class Request, class Response>
  Task<Result<Response>> Ask(idl::Method<Request, Response> method, Request request,
                             CallOptions options) {
    auto reply = co_await Call(method, std::move(request), std::move(options));
    if (!reply.ok()) co_return reply.status();
    co_return std::move(reply->response);
  }

  // Ends all calls with kCanceled and refuses new ones.
  void Close();
  Task<void> Drain();
  // Forgets the connection, so that the next call makes a new one; calls under way fail.
  void Disconnect(const Status& why);

  bool connected() const { return connection_ != nullptr && !connection_->closed(); }
  // How many connections there have been: what the server knew of the last one may be gone.
  uint64_t connections() const { return connections_; }
  const Endpoint& endpoint() const { return endpoint_; }
  // Of the server, as its last handshake said.
  const Identity& peer() const { return peer_; }
  size_t calls_in_flight() const { return pending_.size(); }

 private:
  struct Pending;
  struct Forget;
  Task<Result<Buffer>> CallRaw(std::string_view name, CallOptions* options,
                               const std::function<std::string(Connection&, int32_t)>* encode,
                               const std::function<void(Protocol&)>* decode);
  Task<Result<std::shared_ptr<Connection>>> WaitAtDoor(Instant deadline);
  Task<Status> WaitForConnection(Instant deadline);
  Status FillHeader(CallOptions* options) const;
  Task<void> RunConnect();
  Task<Status> ShakeHands(std::shared_ptr<Connection> connection);
  Status CheckServer(const idl::HandshakeResponse& response) const;
  static Task<void> RunReader(Channel* channel, std::shared_ptr<Connection> connection);
  Task<Status> ReadAnswer(Connection& connection);
  void FailPending(const Connection* connection, const Status& why);
  Status Broken(const Status& why) const;

  // Constant after construction.
  Loop& loop_;
  const Endpoint endpoint_;
  const Identity self_;
  const Expectation expectation_;

  std::shared_ptr<Connection> connection_;
  uint64_t connections_ = 0;
  // The first call on it since something was heard, and what had been heard until then.
  Instant asked_at_{};
  std::optional<uint64_t> asked_after_;
  std::shared_ptr<Connection> shaking_hands_;  // not yet of use
  Identity peer_;
  bool connecting_ = false;
  Condition door_changed_;  // an attempt to connect or a call has ended
  Status connect_status_;   // of the last attempt
  uint64_t connect_failures_ = 0;
  Semaphore door_;  // one call at a time waits for a connection and for room
  std::map<int32_t, Pending*> pending_;
  int32_t next_number_ = 1;
  TaskGroup tasks_;
};

}  // namespace moraine::rpc
