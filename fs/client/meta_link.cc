#include "fs/client/meta_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace moraine::fs {
namespace {

constexpr Duration kAttempt = std::chrono::seconds(5);
constexpr Duration kDelayMax = std::chrono::milliseconds(250);
constexpr Duration kRenewalPause = std::chrono::milliseconds(100);
constexpr Duration kEndTimeout = std::chrono::seconds(2);
// What this side keeps back of a session's time: for answers that are under way already, and for a
// clock that runs slower than the metaserver's.
constexpr int kMarginPermille = 50;
constexpr int kDriftPermille = 5;
// So many changes behind one that is not answered it counts as slow.
constexpr int64_t kSlowAfter = limits::kRememberedAnswersMax / 2;

}  // namespace

MetaLink::MetaLink(Loop& loop, const ClientOptions& options, MetricRegistry&)
    : loop_(loop),
      options_(options),
      channel_(loop, options.metaserver,
               rpc::Identity{idl::Role::kClient, "", options.name, ServerId()},
               rpc::Expectation{idl::Role::kMetaserver, ServerId()}),
      renewed_(loop),
      stop_(loop),
      beginning_(loop),
      tasks_(loop) {}

rpc::CallOptions MetaLink::Retry::Options() {
  ++link_.calls_;
  rpc::CallOptions options;
  options.deadline = std::min(deadline_, link_.loop_.After(kAttempt));
  return options;
}

Task<bool> MetaLink::Retry::Again() {
  if (link_.stopping_ || link_.loop_.Now() + delay_ >= deadline_) co_return false;
  co_await link_.loop_.Sleep(delay_);
  delay_ = std::min(delay_ * 2, kDelayMax);
  co_return !wanted_ || wanted_();
}

void MetaLink::Sequence::Restart() {
  link.in_use_.erase({session, number});
  session = link.session_;
  number = link.next_sequence_++;
  link.in_use_.insert({session, number});
}

void MetaLink::Acknowledge(SessionId session, idl::RequestHeader* header) const {
  auto next = in_use_.lower_bound({session, 0});
  const auto first_waiting = [&] {
    return next == in_use_.end() || next->first != session ? next_sequence_ : next->second;
  };
  header->acknowledged_below = first_waiting();
  if (next_sequence_ - header->acknowledged_below <= kSlowAfter) return;
  // A change that takes long, and all behind it are still remembered: name it, and free those.
  std::vector<int64_t> waiting;
  while (first_waiting() < next_sequence_ && waiting.size() < limits::kSlowChangesMax) {
    waiting.push_back(first_waiting());
    ++next;
  }
  header->__set_over_below(first_waiting());
  header->__set_waiting(std::move(waiting));
}

Task<Status> MetaLink::BeginSession(Instant deadline) {
  const Instant begin = loop_.Now();
  idl::StartSessionRequest request;
  request.name = options_.name;
  request.kind = options_.kind;
  auto answer = co_await Query(idl::kStartSession, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  if (answer->session <= 0 || answer->ttl_ms <= 0) {
    co_return Status(Code::kProtocol, "the metaserver gave an impossible session");
  }
  session_ = SessionId(static_cast<uint64_t>(answer->session));
  cluster_ = answer->cluster;
  const Duration ttl = std::chrono::milliseconds(answer->ttl_ms);
  lease_.emplace(protocol::LeaseTerms{ttl, ttl * kMarginPermille / 1000, kDriftPermille});
  NoteRenewed(begin);
  co_return Status();
}

void MetaLink::NoteRenewed(Instant sent) {
  lease_->OnRenewed(sent.time_since_epoch());
  certain_until_ns_ = lease_->certain_until().count();
  renewed_.NotifyAll();
}

Task<Status> MetaLink::AwaitCertain(Instant deadline) {
  while (!IsCertain()) {
    if (stopping_) co_return Status(Code::kCanceled, "the client is stopping");
    const bool woken = co_await renewed_.Wait(deadline);
    if (!woken) co_return Status(Code::kTimeout, "the metaserver does not confirm the session");
  }
  co_return Status();
}

Task<Status> MetaLink::Start() {
  MORAINE_CO_RETURN_IF_ERROR(co_await BeginSession(Deadline()));
  tasks_.Spawn(KeepAlive());
  co_return Status();
}

Task<Status> MetaLink::Renew(SessionId old, Instant deadline) {
  auto lock = co_await beginning_.Acquire(deadline);
  if (!lock) co_return Status(Code::kTimeout, "no new session in time");
  if (session_ != old) co_return Status();
  if (stopping_) co_return Status(Code::kCanceled, "the client is stopping");
  LogWarning("session {} has ended at the metaserver; beginning a new one", old.value());
  // First: nothing of the old session may be believed under the new one's time.
  certain_until_ns_ = 0;
  if (callbacks_.session_lost) callbacks_.session_lost();
  co_return co_await BeginSession(deadline);
}

Task<void> MetaLink::KeepAlive() {
  bool missed = false;  // an answer
  uint64_t connections = channel_.connections();
  while (!stopping_) {
    const SessionId session = session_;
    idl::RenewSessionRequest request;
    if (callbacks_.held) request.held = callbacks_.held();
    if (callbacks_.open) request.open = callbacks_.open();
    rpc::CallOptions options;
    options.deadline = loop_.After(kAttempt);
    options.header.session = static_cast<int64_t>(session.value());
    const Instant begin = loop_.Now();
    auto answer = co_await channel_.Ask(idl::kRenewSession, std::move(request), std::move(options));
    if (stopping_) break;
    if (answer.ok()) {
      // News are told once, and are in the metaserver's memory until then.
      missed = missed || channel_.connections() != connections;
      connections = channel_.connections();
      if (std::exchange(missed, false) && callbacks_.regained) callbacks_.regained();
      if (session == session_) NoteRenewed(begin);
      if (callbacks_.renewed) callbacks_.renewed(*answer);
    } else if (answer.code() == Code::kSessionEnded) {
      (co_await Renew(session, Deadline())).Ignore();
    } else {
      missed = true;
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "the session is not renewed: {}",
                            answer.status().ToString());
    }
    // The metaserver holds a renewal while it has nothing to say; do not spin when it does not.
    if (loop_.Now() - begin < kRenewalPause) co_await stop_.Wait(loop_.After(kRenewalPause));
  }
}

Task<void> MetaLink::Stop() {
  // First: the end of the session must not look like a loss to the renewal that is under way.
  stopping_ = true;
  stop_.Set();
  renewed_.NotifyAll();
  if (!session_.IsNone()) {
    rpc::CallOptions options;
    options.deadline = loop_.After(kEndTimeout);
    options.header.session = static_cast<int64_t>(session_.value());
    auto answer = co_await channel_.Ask(idl::kEndSession, idl::Empty(), std::move(options));
    if (!answer.ok()) LogInfo("the session ends by itself: {}", answer.status().ToString());
  }
  tasks_.Close();
  channel_.Close();
}

Task<void> MetaLink::Drain() {
  (void)co_await tasks_.Drain();
  co_await channel_.Drain();
}

}  // namespace moraine::fs
