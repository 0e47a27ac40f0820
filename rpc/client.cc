#include "rpc/client.h"

#include <common_constants.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

namespace moraine::rpc {

namespace {

std::string_view KindOf(idl::Role::type role) {
  switch (role) {
    case idl::Role::kClient:
      return "a client";
    case idl::Role::kChunkserver:
      return "a chunkserver";
    case idl::Role::kMetaserver:
      return "a metaserver";
    case idl::Role::kTool:
      return "a tool";
  }
  return "something of an unknown kind";
}

}  // namespace

bool ClustersAgree(const std::string& a, const std::string& b) {
  return a.empty() || b.empty() || a == b;
}

// One call that waits for its answer; lives in the caller's frame.
struct Channel::Pending {
  Pending(Loop& loop, const Connection* connection, const std::function<void(Protocol&)>* decode)
      : done(loop), connection(connection), decode(decode) {}
  Event done;
  const Connection* connection;
  const std::function<void(Protocol&)>* decode;
  Status status;
  Buffer bulk;
};

// Also when the caller's frame is destroyed while it waits.
struct Channel::Forget {
  Channel* channel;
  int32_t number;
  const Pending* pending;
  ~Forget() {
    const auto it = channel->pending_.find(number);
    if (it == channel->pending_.end() || it->second != pending) return;
    channel->pending_.erase(it);
    channel->door_changed_.NotifyAll();
  }
};

Channel::Channel(Loop& loop, Endpoint endpoint, Identity self, Expectation expectation)
    : loop_(loop),
      endpoint_(std::move(endpoint)),
      self_(std::move(self)),
      expectation_(expectation),
      door_changed_(loop),
      door_(loop, 1),
      tasks_(loop) {}

Channel::~Channel() = default;

void Channel::Close() {
  tasks_.Close();
  const Status why(Code::kCanceled, "the channel to " + endpoint_.ToString() + " is closed");
  Disconnect(why);
  if (shaking_hands_ != nullptr) shaking_hands_->Close(why);
  door_changed_.NotifyAll();
}

Task<void> Channel::Drain() {
  const bool drained = co_await tasks_.Drain();
  MORAINE_CHECK(drained);
}

void Channel::Disconnect(const Status& why) {
  if (connection_ == nullptr) return;
  const std::shared_ptr<Connection> connection = std::move(connection_);
  connection->Close(why);
  FailPending(connection.get(), why);
}

void Channel::FailPending(const Connection* connection, const Status& why) {
  for (auto it = pending_.begin(); it != pending_.end();) {
    Pending* pending = it->second;
    if (pending->connection != connection) {
      ++it;
      continue;
    }
    it = pending_.erase(it);
    pending->status = why;
    pending->done.Set();
  }
  door_changed_.NotifyAll();
}

// What the end of a connection means for a call on it: whether it was carried out is not known.
Status Channel::Broken(const Status& why) const {
  const Code code = tasks_.closed() ? Code::kCanceled : Code::kUnavailable;
  return {code, fmt::format("the connection to {} ended: {}", endpoint_.ToString(), why.message())};
}

Task<Status> Channel::WaitForConnection(Instant deadline) {
  while (!connected()) {
    if (tasks_.closed()) co_return Status(Code::kCanceled, "the channel is closed");
    const uint64_t failures_before = connect_failures_;
    if (!connecting_) {
      connecting_ = true;
      tasks_.Spawn(RunConnect());
    }
    const bool woken = co_await door_changed_.Wait(deadline);
    if (!woken) {
      co_return Status(Code::kTimeout, "no connection to " + endpoint_.ToString() + " in time");
    }
    if (connect_failures_ != failures_before) co_return connect_status_;
  }
  co_return Status();
}

// A connection with room, for the caller whose turn it is.
Task<Result<std::shared_ptr<Connection>>> Channel::WaitAtDoor(Instant deadline) {
  while (pending_.size() >= static_cast<size_t>(limits::kCallsPerConnectionMax)) {
    const bool woken = co_await door_changed_.Wait(deadline);
    if (tasks_.closed()) co_return Status(Code::kCanceled, "the channel is closed");
    if (!woken) {
      co_return Status(Code::kOverloaded, fmt::format("{} calls to {} are under way already",
                                                      pending_.size(), endpoint_.ToString()));
    }
  }
  if (!connected()) MORAINE_CO_RETURN_IF_ERROR(co_await WaitForConnection(deadline));
  const std::shared_ptr<Connection> connection = connection_;
  if (!connection->has_room()) {
    const bool room = co_await connection->WaitForRoom(deadline);
    if (!room) {
      if (connection->closed()) co_return Broken(connection->why_closed());
      co_return Status(Code::kOverloaded, endpoint_.ToString() + " does not take more bytes");
    }
  }
  co_return connection;
}

Task<void> Channel::RunConnect() {
  const Instant deadline = loop_.After(limits::kHandshakeTimeout);
  Status status;
  auto stream = co_await loop_.Connect(endpoint_, deadline);
  if (stream.ok()) {
    auto connection = std::make_shared<Connection>(loop_, std::move(*stream));
    // A peer that accepts and then says nothing must not hold us.
    struct Guard : Timer {
      explicit Guard(Connection* connection) : connection(connection) {}
      void Fire() override {
        connection->Close(
            Status(Code::kTimeout, connection->peer() + " does not answer the handshake"));
      }
      Connection* connection;
    } guard(connection.get());
    loop_.timers().Arm(guard, deadline);
    shaking_hands_ = connection;
    if (connection->Start(tasks_)) status = co_await ShakeHands(connection);
    shaking_hands_ = nullptr;
    if (status.ok() && tasks_.Spawn(RunReader(this, connection))) {
      connection_ = connection;
      ++connections_;
      asked_after_.reset();
    } else {
      if (status.ok()) status = Status(Code::kCanceled, "the channel is closed");
      connection->Close(status);
    }
  } else {
    status = stream.status().Prefixed("connect to " + endpoint_.ToString());
  }
  connecting_ = false;
  connect_status_ = status;
  if (!status.ok()) ++connect_failures_;
  door_changed_.NotifyAll();
}

Task<Status> Channel::ShakeHands(std::shared_ptr<Connection> connection) {
  idl::HandshakeRequest request;
  request.version = idl::g_common_constants.kProtocolVersion;
  request.role = self_.role;
  request.cluster = self_.cluster;
  request.name = self_.name;
  request.server_id = static_cast<int64_t>(self_.server.value());
  request.expect_server_id = static_cast<int64_t>(expectation_.server.value());
  connection->Send(connection->encoder().Call(idl::kHandshake.name, 0, {}, request), {});
  Result<size_t> length = co_await connection->ReadLength(limits::kSmallFrameBytes);
  if (!length.ok()) co_return length.status();
  Result<ConstBytes> frame = co_await connection->ReadFrame();
  if (!frame.ok()) co_return frame.status();
  Result<Decoder::Head> head = connection->decoder().Open(*frame);
  if (!head.ok()) co_return head.status().Prefixed(endpoint_.ToString());
  idl::HandshakeResponse response;
  Result<Decoder::AnswerHead> answer = connection->decoder().Answer(
      head->type, [&](Protocol& protocol) { response.read(&protocol); });
  if (!answer.ok()) co_return answer.status().Prefixed(endpoint_.ToString());
  if (!answer->success) co_return answer->error;
  if (answer->bulk_bytes > 0) co_return Status(Code::kProtocol, "raw bytes behind a handshake");
  MORAINE_CO_RETURN_IF_ERROR(CheckServer(response));
  peer_ = Identity{response.role, response.cluster, response.name,
                   ServerId(static_cast<uint64_t>(response.server_id))};
  co_return Status();
}

Status Channel::CheckServer(const idl::HandshakeResponse& response) const {
  const std::string where = endpoint_.ToString();
  const auto& constants = idl::g_common_constants;
  if (response.version < constants.kProtocolVersionOldest) {
    return {Code::kWrongVersion,
            fmt::format("{} speaks protocol version {}, which is older than {}, the oldest that is "
                        "understood here",
                        where, response.version, constants.kProtocolVersionOldest)};
  }
  if (response.role != expectation_.role) {
    return {Code::kWrongRole, fmt::format("{} is {}, not {}", where, KindOf(response.role),
                                          KindOf(expectation_.role))};
  }
  if (!ClustersAgree(self_.cluster, response.cluster)) {
    return {Code::kWrongCluster, fmt::format("{} belongs to cluster {}, not to {}", where,
                                             response.cluster, self_.cluster)};
  }
  const ServerId server(static_cast<uint64_t>(response.server_id));
  if (!expectation_.server.IsNone() && server != expectation_.server) {
    return {Code::kWrongRole, fmt::format("{} is chunkserver {}, not {}", where, server.value(),
                                          expectation_.server.value())};
  }
  return {};
}

Status Channel::FillHeader(CallOptions* options) const {
  if (options->dropped != nullptr && *options->dropped)
    return {Code::kCanceled, "the call was dropped before it was sent"};
  const Duration left = options->deadline - loop_.Now();
  if (left <= Duration::zero())
    return {Code::kTimeout, "the deadline came before the call was sent"};
  using std::chrono::milliseconds;
  const int64_t left_ms = std::chrono::duration_cast<milliseconds>(left).count();
  options->header.timeout_ms = static_cast<int32_t>(std::clamp<int64_t>(left_ms, 1, INT32_MAX));
  options->header.bulk_bytes = static_cast<int32_t>(options->bulk.size());
  options->header.bulk_alignment = static_cast<int32_t>(options->bulk_alignment);
  return {};
}

Task<Result<Buffer>> Channel::CallRaw(
    std::string_view name, CallOptions* options,
    const std::function<std::string(Connection&, int32_t)>* encode,
    const std::function<void(Protocol&)>* decode) {
  MORAINE_CHECK(options->deadline != kNever, "every call has a deadline");
  MORAINE_CHECK(options->bulk.size() <= limits::kBulkBytesMax);
  MORAINE_CHECK(options->bulk_alignment < limits::kBlockBytes);
  std::optional<TaskGroup::Pass> pass = tasks_.Enter();
  if (!pass) co_return Status(Code::kCanceled, "the channel is closed");

  const uint64_t failures_before = connect_failures_;
  std::optional<Semaphore::Units> turn = door_.TryAcquire(1);
  if (!turn) turn = co_await door_.Acquire(1, options->deadline);
  if (!turn) {
    if (connected())
      co_return Status(Code::kOverloaded, endpoint_.ToString() + " does not take more bytes");
    co_return Status(Code::kTimeout, "no connection to " + endpoint_.ToString() + " in time");
  }
  // An attempt that failed while we waited for our turn has failed for us too.
  if (!connected() && connect_failures_ != failures_before) co_return connect_status_;
  MORAINE_CO_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection,
                              co_await WaitAtDoor(options->deadline));
  MORAINE_CO_RETURN_IF_ERROR(FillHeader(options));

  const int32_t number = next_number_;
  next_number_ = next_number_ == INT32_MAX ? 1 : next_number_ + 1;
  std::string encoded = (*encode)(*connection, number);
  if (encoded.size() > limits::kFrameBytesMax) {
    co_return Status(Code::kTooLarge, fmt::format("a request of {} bytes; {} fit into a frame",
                                                  encoded.size(), limits::kFrameBytesMax));
  }
  Pending pending(loop_, connection.get(), decode);
  pending_.emplace(number, &pending);
  const Forget forget{this, number, &pending};
  if (asked_after_ != connection->heard_count()) {
    asked_after_ = connection->heard_count();
    asked_at_ = loop_.Now();
  }
  connection->Send(std::move(encoded), std::move(options->bulk));
  turn->Release();
  const bool answered = co_await pending.done.Wait(options->deadline);
  if (!answered) {
    const bool silent = connection_ == connection && asked_after_ == connection->heard_count() &&
                        loop_.Now() - asked_at_ >= limits::kSilenceMax;
    if (silent) {
      Disconnect(Status(Code::kUnavailable, "nothing came from " + endpoint_.ToString()));
    }
    co_return Status(Code::kTimeout,
                     fmt::format("no answer to {} from {} in time", name, endpoint_.ToString()));
  }
  if (!pending.status.ok()) co_return pending.status;
  co_return std::move(pending.bulk);
}

Task<void> Channel::RunReader(Channel* channel, std::shared_ptr<Connection> connection) {
  Status status;
  while (status.ok()) status = co_await channel->ReadAnswer(*connection);
  connection->Close(status);
  if (channel->connection_ == connection) channel->connection_ = nullptr;
  channel->FailPending(connection.get(), channel->Broken(connection->why_closed()));
}

Task<Status> Channel::ReadAnswer(Connection& connection) {
  Result<ConstBytes> frame = co_await connection.ReadFrame();
  if (!frame.ok()) co_return frame.status();
  Result<Decoder::Head> head = connection.decoder().Open(*frame);
  if (!head.ok()) co_return head.status();
  const auto it = pending_.find(head->number);
  Pending* pending = it == pending_.end() ? nullptr : it->second;
  Result<Decoder::AnswerHead> answer =
      connection.decoder().Answer(head->type, [&](Protocol& protocol) {
        if (pending != nullptr) {
          (*pending->decode)(protocol);
        } else {
          protocol.skip(apache::thrift::protocol::T_STRUCT);  // its caller has gone
        }
      });
  if (!answer.ok()) co_return answer.status();
  Buffer bulk;
  if (answer->bulk_bytes > 0) {
    Result<Buffer> read = co_await connection.ReadBulk(answer->bulk_bytes, 0);
    if (!read.ok()) co_return read.status();
    bulk = std::move(*read);
    // The caller may have gone while the bytes came.
    const auto again = pending_.find(head->number);
    pending = again == pending_.end() ? nullptr : again->second;
  }
  if (pending == nullptr) co_return Status();
  pending_.erase(head->number);
  door_changed_.NotifyAll();
  pending->status = answer->error;
  pending->bulk = std::move(bulk);
  pending->done.Set();
  co_return Status();
}

}  // namespace moraine::rpc
