// Who may write: sessions, file leases and directory tokens (APPEND.md section 8), without I/O.
//
// Leases only guess who is alive and keep polite writers apart; what makes a wrong guess harmless
// is the token or epoch that the storage checks. Nothing here reads a clock: every call is told the
// time, on a clock that never steps back and goes on while the machine is suspended: Loop::Now.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "base/status.h"

namespace moraine::protocol {

using Time = std::chrono::nanoseconds;  // since any fixed moment of the same machine

// What both sides agree on. The holder stops early, the granter waits in full, and
// `drift_permille` bounds how much faster one clock may run than the other.
struct LeaseTerms {
  Time ttl;
  Time margin;         // what the holder keeps back for work that is already under way
  int drift_permille;  // of ttl

  bool IsValid() const;
};

// The holder's side: one mount, one container server, one lock holder. It counts from the moment
// it *sent* the renewal, so that it ends before the granter's count, which starts on arrival.
class LeaseClock {
 public:
  explicit LeaseClock(const LeaseTerms& terms);

  // The answer to a renewal sent at `sent` says it was granted. Answers may come in any order.
  void OnRenewed(Time sent);
  // The granter says that the lease is over, or its holder gives it back. There is no way on.
  void OnLost() { lost_ = true; }
  // Whether the lease certainly lives at `now`: only then serve reads or start writes.
  bool IsCertain(Time now) const { return !lost_ && renewed_ && now < certain_until_; }
  Time certain_until() const { return lost_ || !renewed_ ? Time::zero() : certain_until_; }

 private:
  LeaseTerms terms_;
  Time certain_until_{};
  bool renewed_ = false;
  bool lost_ = false;
};

// The granter's side of one session.
class SessionLease {
 public:
  SessionLease(const LeaseTerms& terms, Time now);

  // kSessionEnded once it has ended: the session must be made anew, its leases are gone.
  Status Renew(Time now);
  // Ends the session if its time is over. True if it has ended. A granter that restarted gives
  // every session a full ttl from its start by Renew.
  bool Expire(Time now);
  // The granter did not run for `by`, so that it could hear of nobody: that time does not count.
  // Never beyond a full ttl from now.
  void Extend(Time by, Time now);
  // Its owner leaves, or its connection proved that the process died.
  void End() { ended_ = true; }
  bool ended() const { return ended_; }
  Time expires() const { return expires_; }

 private:
  LeaseTerms terms_;
  Time expires_;
  bool ended_ = false;
};

// At most one session writes an inode at a time.
class FileLease {
 public:
  struct Answer {
    bool granted = false;
    SessionId
        recall;  // not granted: the session to be asked to give it back, or none if it has been
  };

  // Granted if nobody has it or `session` has it already. Otherwise the holder is to be recalled
  // (once), and the caller asks again.
  Answer Acquire(SessionId session);
  // Given back, or the session ended: its open chunks must be sealed before the next grant, which
  // the embedder sees to. No effect for another session.
  void Release(SessionId session);
  // May `session` change the file? kLeaseTaken by another, kSessionEnded if nobody holds it.
  Status Check(SessionId session) const;

  SessionId holder() const { return holder_; }
  bool recalled() const { return recalled_; }

 private:
  SessionId holder_;
  bool recalled_ = false;
};

// The token of an owned directory. Stored durably before any answer that carries it.
struct DirectoryOwnership {
  Token token;      // the last one given; zero if the directory was never owned
  SessionId owner;  // none: not owned now
};

// The state after `session` takes the directory. The token grows even if the same session had it:
// a new life of the same owner must not be mixed up with its old requests.
DirectoryOwnership AcquireDirectory(const DirectoryOwnership& directory, SessionId session);

// The owner gives it back. The token stays, so that the next one is higher.
// kFenced if `token` is not the owner's.
Result<DirectoryOwnership> ReleaseDirectory(const DirectoryOwnership& directory, Token token);

// May a change that carries `token` (zero: none) be made in the directory? In an owned directory
// only the current token may; in one that is not owned only changes without a token: one with a
// token is late. Errors: kFenced, kBusy (owned, and the caller never was the owner).
Status CheckDirectoryToken(const DirectoryOwnership& directory, Token token);

}  // namespace moraine::protocol
