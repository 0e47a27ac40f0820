// The sessions that are alive: their time, what they have open, and what their next renewal has to
// tell them. In memory only; the durable part (that a session exists, its leases and tokens) is in
// the store. After a restart every stored session gets a full ttl, and what it has open is
// announced by its renewals.
//
// Confined to the loop. Reads no clock: callers pass the loop's time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/loop/sync.h"
#include "metaserver/store/transaction.h"
#include "protocol/lease.h"
#include "protocol/missed_time.h"

namespace moraine::metaserver {

struct RenewalNews {
  std::vector<InodeId> recalled;
  std::vector<InodeId> stale;
  std::vector<InodeId> lost;
};

class SessionTable {
 public:
  SessionTable(Loop& loop, Duration ttl);

  // All stored sessions, with a full ttl from now.
  Status Load(Store& store);

  void Add(SessionId session);
  // It has ended, for good; whoever waits in WaitForNews is told.
  void Remove(SessionId session);
  bool IsAlive(SessionId session) const { return sessions_.contains(session); }
  size_t size() const { return sessions_.size(); }
  // kSessionEnded.
  Status Renew(SessionId session);
  // Sessions whose time is over; they are still in the table. To be asked every `tick`:
  // time in which this process did not run does not count (protocol/missed_time.h).
  std::vector<SessionId> Expired(Duration tick);
  // True when every session that was loaded has renewed or ended since: only then is it known what
  // is open.
  bool AllHeard() const { return unheard_.empty(); }

  // ---- Open inodes
  void NoteOpen(SessionId session, InodeId inode);
  // `sure`: the handle is gone. Otherwise the next renewal decides (the session may have others).
  void NoteClose(SessionId session, InodeId inode, bool sure);
  // A renewal's list. Takes back what it does not name, unless that was opened after it was sent.
  void Announce(SessionId session, const std::vector<InodeId>& open);
  bool IsOpen(InodeId inode) const { return open_counts_.contains(inode); }
  bool HasOpen(SessionId session, InodeId inode) const;

  // ---- News
  void Recall(SessionId holder, InodeId inode);
  // A lease or a directory of the session is another's now.
  void NoteLost(SessionId session, InodeId inode);
  // It is the session's now: what was to be told of an earlier one must not end this one.
  void NoteGranted(SessionId session, InodeId inode);
  // Everybody but `by` who has looked at the inode lately should look again.
  void NoteChanged(InodeId inode, SessionId by);
  // The session has been told the inode's state and may cache it.
  void NoteInterest(SessionId session, InodeId inode);
  // Ends all waiting, for the shutdown.
  void WakeAll();
  // What there is to tell; waits for something until the deadline. Empties the list. Only one at a
  // time per session waits; an older one returns at once.
  Task<RenewalNews> WaitForNews(SessionId session, Instant deadline);

 private:
  struct OpenInode {
    bool announced = false;  // only the renewals know how often it is open
    bool touched = false;    // opened since the last renewal
  };
  struct Session {
    Session(Loop& loop, const protocol::LeaseTerms& terms, protocol::Time now)
        : lease(terms, now), changed(loop) {}
    protocol::SessionLease lease;
    std::map<InodeId, OpenInode> open;
    std::set<InodeId> recalled;
    std::set<InodeId> stale;
    std::set<InodeId> lost;
    Condition changed;
    uint64_t waiters = 0;
  };
  // Who has looked at an inode, for the inodes asked about most recently.
  struct Interest {
    std::set<SessionId> sessions;
    uint64_t used = 0;
  };

  protocol::Time Now() const { return loop_.Now().time_since_epoch(); }
  Session* Find(SessionId session);
  void Opened(Session& session, InodeId inode, bool announced);
  void Closed(Session& session, InodeId inode);
  void TrimInterests();

  Loop& loop_;
  const protocol::LeaseTerms terms_;
  std::map<SessionId, std::shared_ptr<Session>> sessions_;
  std::set<SessionId> unheard_;
  std::unordered_map<InodeId, int> open_counts_;
  std::unordered_map<InodeId, Interest> interests_;
  uint64_t interest_clock_ = 0;
  protocol::MissedTime missed_;  // between calls of Expired
  bool closing_ = false;
};

}  // namespace moraine::metaserver
