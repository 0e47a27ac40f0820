#include "protocol/lease.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace moraine::protocol {
namespace {

constexpr int kPermille = 1000;

Time DriftOf(const LeaseTerms& terms) { return terms.ttl * terms.drift_permille / kPermille; }

}  // namespace

bool LeaseTerms::IsValid() const {
  return ttl > Time::zero() && margin >= Time::zero() && drift_permille >= 0 &&
         drift_permille < kPermille && margin + DriftOf(*this) < ttl;
}

LeaseClock::LeaseClock(const LeaseTerms& terms) : terms_(terms) { MORAINE_CHECK(terms.IsValid()); }

void LeaseClock::OnRenewed(Time sent) {
  Time until = sent + terms_.ttl - DriftOf(terms_) - terms_.margin;
  certain_until_ = renewed_ ? std::max(certain_until_, until) : until;
  renewed_ = true;
}

SessionLease::SessionLease(const LeaseTerms& terms, Time now)
    : terms_(terms), expires_(now + terms.ttl) {
  MORAINE_CHECK(terms.IsValid());
}

Status SessionLease::Renew(Time now) {
  // Late but not yet ended by anyone is not too late: nothing was taken away.
  if (ended_) return {Code::kSessionEnded, "the session's time ran out"};
  expires_ = std::max(expires_, now + terms_.ttl);
  return Status::Ok();
}

void SessionLease::Extend(Time by, Time now) {
  expires_ = std::max(expires_, std::min(expires_ + by, now + terms_.ttl));
}

bool SessionLease::Expire(Time now) {
  if (now >= expires_) ended_ = true;
  return ended_;
}

FileLease::Answer FileLease::Acquire(SessionId session) {
  MORAINE_CHECK(!session.IsNone());
  if (holder_.IsNone() || holder_ == session) {
    // A holder that asks again while it is recalled keeps the lease, and the recall stands.
    holder_ = session;
    return {.granted = true, .recall = SessionId()};
  }
  Answer answer{.granted = false, .recall = recalled_ ? SessionId() : holder_};
  recalled_ = true;
  return answer;
}

void FileLease::Release(SessionId session) {
  if (holder_ != session) return;
  holder_ = SessionId();
  recalled_ = false;
}

Status FileLease::Check(SessionId session) const {
  if (holder_.IsNone()) return {Code::kSessionEnded, "nobody holds the file's lease"};
  if (holder_ != session) {
    return {Code::kLeaseTaken, fmt::format("session {} writes the file", holder_.value())};
  }
  return Status::Ok();
}

DirectoryOwnership AcquireDirectory(const DirectoryOwnership& directory, SessionId session) {
  MORAINE_CHECK(!session.IsNone());
  return {.token = directory.token.Next(), .owner = session};
}

Result<DirectoryOwnership> ReleaseDirectory(const DirectoryOwnership& directory, Token token) {
  if (directory.owner.IsNone() || token != directory.token) {
    return {Code::kFenced, fmt::format("token {} is not the directory's", token.value())};
  }
  return DirectoryOwnership{.token = directory.token, .owner = SessionId()};
}

Status CheckDirectoryToken(const DirectoryOwnership& directory, Token token) {
  if (directory.owner.IsNone()) {
    if (token.IsNone()) return Status::Ok();
    return {Code::kFenced, fmt::format("token {} was given back", token.value())};
  }
  if (token == directory.token) return Status::Ok();
  if (token.IsNone()) return {Code::kBusy, "the directory is owned by a session"};
  return {Code::kFenced, fmt::format("token {} is over, the directory is at {}", token.value(),
                                     directory.token.value())};
}

}  // namespace moraine::protocol
