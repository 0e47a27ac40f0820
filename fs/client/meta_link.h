// The client's line to the metaserver: one session, kept alive; queries and changes that are
// repeated until they are answered or their deadline comes.
//
// A change carries (session, sequence): the metaserver does it once, however often it is sent. If
// the session has ended meanwhile, a new one is begun; a change whose outcome is unknown then ends
// with kSessionEnded, because only the old session could have told.
//
// Confined to one loop. Stop and Drain before destruction.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <set>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "fs/client/client.h"
#include "idl/methods.h"
#include "protocol/lease.h"
#include "rpc/client.h"

namespace moraine::fs {

class MetaLink {
 public:
  MetaLink(Loop& loop, const ClientOptions& options, MetricRegistry& metrics);

  // What the renewal tells and asks.
  struct Callbacks {
    // Inodes whose write lease we have, directories that we own.
    std::function<std::vector<int64_t>()> held;
    std::function<std::vector<int64_t>()> open;  // inodes we have open
    std::function<void(const idl::RenewSessionResponse&)> renewed;
    // Renewed, but what the metaserver had to tell before may be lost: an answer did not come, or
    // the connection is another.
    std::function<void()> regained;
    std::function<void()> session_lost;  // all leases and tokens are gone
  };
  void SetCallbacks(Callbacks callbacks) { callbacks_ = std::move(callbacks); }

  Task<Status> Start();
  // Ends the session, as far as the metaserver can be reached.
  Task<void> Stop();
  Task<void> Drain();

  template <class Request, class Response>
  Task<Result<Response>> Query(idl::Method<Request, Response> method, Request request,
                               Instant deadline) {
    Retry retry(*this, deadline);
    while (true) {
      rpc::CallOptions options = retry.Options();
      options.header.session = static_cast<int64_t>(session_.value());
      auto answer = co_await channel_.Ask(method, request, std::move(options));
      if (answer.ok() || !IsTransient(answer.code())) co_return answer;
      const bool again = co_await retry.Again();
      if (!again) co_return answer;
    }
  }

  // `wanted`: given up also when this is false.
  template <class Request, class Response>
  Task<Result<Response>> Change(idl::Method<Request, Response> method, Request request,
                                Instant deadline, std::function<bool()> wanted = nullptr) {
    Retry retry(*this, deadline, std::move(wanted));
    bool unknown = false;  // an attempt may have been carried out
    Sequence sequence(*this);
    while (true) {
      rpc::CallOptions options = retry.Options();
      options.header.session = static_cast<int64_t>(sequence.session.value());
      options.header.sequence = sequence.number;
      Acknowledge(sequence.session, &options.header);
      auto answer = co_await channel_.Ask(method, request, std::move(options));
      if (answer.ok()) co_return answer;
      if (answer.code() == Code::kSessionEnded && !unknown) {
        const Status renewed = co_await Renew(sequence.session, deadline);
        if (!renewed.ok()) co_return renewed;
        // The new session has neither the old one's tokens nor its leases.
        if (CarriesToken(request)) {
          co_return Status(Code::kFenced, "the session ended; its directory is given up");
        }
        if (kNeedsLease<Request>) co_return answer;
        sequence.Restart();
        continue;
      }
      if (!IsTransient(answer.code())) co_return answer;
      if (answer.code() != Code::kOverloaded) unknown = true;
      const bool again = co_await retry.Again();
      if (!again) co_return answer;
    }
  }

  // Whether the session, and with it its leases and tokens, certainly lives: only then what is
  // remembered under a lease may answer for the metaserver. Any thread.
  bool IsCertain() const {
    return loop_.Now().time_since_epoch().count() < certain_until_ns_.load();
  }
  // Until it does, or the metaserver has said that it does not and a new one has begun. kTimeout.
  Task<Status> AwaitCertain(Instant deadline);

  SessionId session() const { return session_; }
  const std::string& cluster() const { return cluster_; }
  uint64_t calls() const { return calls_; }
  Instant Deadline() const { return loop_.After(options_.timeout); }

 private:
  // Waits longer and longer between attempts.
  class Retry {
   public:
    Retry(MetaLink& link, Instant deadline, std::function<bool()> wanted = nullptr)
        : link_(link), deadline_(deadline), wanted_(std::move(wanted)) {}
    rpc::CallOptions Options();
    Task<bool> Again();

   private:
    MetaLink& link_;
    const Instant deadline_;
    const std::function<bool()> wanted_;
    Duration delay_ = std::chrono::milliseconds(2);
  };
  // A sequence number that is in use while this lives.
  struct Sequence {
    explicit Sequence(MetaLink& link) : link(link) { Restart(); }
    ~Sequence() { link.in_use_.erase({session, number}); }
    void Restart();
    MetaLink& link;
    SessionId session;
    int64_t number = 0;
  };
  template <class Request>
  static constexpr bool kNeedsLease = std::is_same_v<Request, idl::AllocateChunkRequest> ||
                                      std::is_same_v<Request, idl::CommitRequest>;
  template <class Request>
  static bool CarriesToken(const Request& request) {
    if constexpr (requires { request.token; }) return request.token != 0;
    return false;
  }
  static bool IsTransient(Code code) {
    return code == Code::kUnavailable || code == Code::kTimeout || code == Code::kOverloaded;
  }
  // Says which numbers of the session are over: their answers are here, or nobody waits for them.
  void Acknowledge(SessionId session, idl::RequestHeader* header) const;
  Task<Status> BeginSession(Instant deadline);
  // Makes sure that the session is another than `old`.
  Task<Status> Renew(SessionId old, Instant deadline);
  Task<void> KeepAlive();
  void NoteRenewed(Instant sent);

  Loop& loop_;
  const ClientOptions& options_;
  rpc::Channel channel_;
  Callbacks callbacks_;
  SessionId session_;
  std::string cluster_;
  std::optional<protocol::LeaseClock> lease_;  // of this session
  std::atomic<int64_t> certain_until_ns_{0};   // what it says, for other threads
  Condition renewed_;
  int64_t next_sequence_ = 1;
  std::set<std::pair<SessionId, int64_t>> in_use_;
  uint64_t calls_ = 0;
  bool stopping_ = false;
  Event stop_;
  AsyncMutex beginning_;
  TaskGroup tasks_;
};

}  // namespace moraine::fs
