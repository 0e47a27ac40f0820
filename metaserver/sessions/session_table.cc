#include "metaserver/sessions/session_table.h"

#include <algorithm>

#include "metaserver/store/store.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kInterestsMax = 65536;
constexpr size_t kStalePerSessionMax = 4096;  // beyond that a client learns by asking
constexpr int kDriftPermille = 10;

protocol::LeaseTerms TermsOf(Duration ttl) {
  return {.ttl = ttl, .margin = ttl / 10, .drift_permille = kDriftPermille};
}

}  // namespace

SessionTable::SessionTable(Loop& loop, Duration ttl)
    : loop_(loop), terms_(TermsOf(ttl)), missed_(Now()) {}

Status SessionTable::Load(Store& store) {
  Transaction transaction(store);
  Cursor cursor = transaction.Scan(Family::kSessions, {});
  for (; cursor.Valid(); cursor.Next()) {
    const SessionId session(NumberInKey(cursor.key(), 0));
    Add(session);
    unheard_.insert(session);
  }
  return cursor.status();
}

SessionTable::Session* SessionTable::Find(SessionId session) {
  const auto it = sessions_.find(session);
  return it == sessions_.end() ? nullptr : it->second.get();
}

void SessionTable::Add(SessionId session) {
  sessions_.emplace(session, std::make_shared<Session>(loop_, terms_, Now()));
}

void SessionTable::Remove(SessionId session) {
  const auto it = sessions_.find(session);
  if (it == sessions_.end()) return;
  const std::shared_ptr<Session> removed = it->second;
  while (!removed->open.empty()) Closed(*removed, removed->open.begin()->first);
  removed->lease.End();
  removed->changed.NotifyAll();
  sessions_.erase(it);
  unheard_.erase(session);
}

Status SessionTable::Renew(SessionId session) {
  Session* found = Find(session);
  if (found == nullptr) {
    return Status(Code::kSessionEnded, "session " + session.ToString() + " has ended");
  }
  return found->lease.Renew(Now());
}

std::vector<SessionId> SessionTable::Expired(Duration tick) {
  std::vector<SessionId> expired;
  const protocol::Time missed = missed_.Look(Now(), tick, terms_.ttl);
  if (missed > protocol::Time::zero()) {
    for (const auto& [id, session] : sessions_) session->lease.Extend(missed, Now());
  }
  for (const auto& [id, session] : sessions_) {
    if (session->lease.Expire(Now())) expired.push_back(id);
  }
  return expired;
}

void SessionTable::Opened(Session& session, InodeId inode, bool announced) {
  const auto [it, added] = session.open.try_emplace(inode);
  if (added) ++open_counts_[inode];
  if (announced) {
    it->second.announced = true;
  } else {
    it->second.touched = true;
  }
}

void SessionTable::Closed(Session& session, InodeId inode) {
  if (session.open.erase(inode) == 0) return;
  const auto count = open_counts_.find(inode);
  if (--count->second == 0) open_counts_.erase(count);
}

void SessionTable::NoteOpen(SessionId session, InodeId inode) {
  if (Session* found = Find(session)) Opened(*found, inode, false);
}

void SessionTable::NoteClose(SessionId session, InodeId inode, bool sure) {
  Session* found = Find(session);
  if (found == nullptr) return;
  if (sure) {
    Closed(*found, inode);
  } else if (const auto it = found->open.find(inode); it != found->open.end()) {
    it->second.announced = true;
  }
}

void SessionTable::Announce(SessionId session, const std::vector<InodeId>& open) {
  unheard_.erase(session);
  Session* found = Find(session);
  if (found == nullptr) return;
  std::set<InodeId> named(open.begin(), open.end());
  std::vector<InodeId> gone;
  for (auto& [inode, state] : found->open) {
    if (!named.contains(inode) && state.announced && !state.touched) gone.push_back(inode);
    state.touched = false;
  }
  for (const InodeId inode : gone) Closed(*found, inode);
  for (const InodeId inode : named) {
    if (!found->open.contains(inode)) Opened(*found, inode, true);
  }
}

bool SessionTable::HasOpen(SessionId session, InodeId inode) const {
  const auto it = sessions_.find(session);
  return it != sessions_.end() && it->second->open.contains(inode);
}

void SessionTable::Recall(SessionId holder, InodeId inode) {
  Session* found = Find(holder);
  if (found == nullptr) return;
  found->recalled.insert(inode);
  found->changed.NotifyAll();
}

void SessionTable::NoteLost(SessionId session, InodeId inode) {
  Session* found = Find(session);
  if (found == nullptr) return;
  found->lost.insert(inode);
  found->changed.NotifyAll();
}

void SessionTable::NoteGranted(SessionId session, InodeId inode) {
  Session* found = Find(session);
  if (found == nullptr) return;
  found->lost.erase(inode);
  found->recalled.erase(inode);
}

void SessionTable::NoteChanged(InodeId inode, SessionId by) {
  const auto it = interests_.find(inode);
  if (it == interests_.end()) return;
  for (const SessionId session : it->second.sessions) {
    Session* found = session == by ? nullptr : Find(session);
    if (found == nullptr || found->stale.size() >= kStalePerSessionMax) continue;
    found->stale.insert(inode);
    found->changed.NotifyAll();
  }
  std::erase_if(it->second.sessions, [by](SessionId session) { return session != by; });
  if (it->second.sessions.empty()) interests_.erase(it);
}

void SessionTable::NoteInterest(SessionId session, InodeId inode) {
  if (session.IsNone()) return;
  if (interests_.size() >= kInterestsMax) TrimInterests();
  Interest& interest = interests_[inode];
  interest.sessions.insert(session);
  interest.used = ++interest_clock_;
}

// Forgets the older half. A forgotten inode means a cache that lives until its own time is over.
void SessionTable::TrimInterests() {
  std::vector<uint64_t> uses;
  uses.reserve(interests_.size());
  for (const auto& [inode, interest] : interests_) uses.push_back(interest.used);
  const auto middle = uses.begin() + static_cast<ptrdiff_t>(uses.size() / 2);
  std::nth_element(uses.begin(), middle, uses.end());
  std::erase_if(interests_,
                [limit = *middle](const auto& entry) { return entry.second.used < limit; });
}

void SessionTable::WakeAll() {
  closing_ = true;
  for (const auto& [id, session] : sessions_) session->changed.NotifyAll();
}

Task<RenewalNews> SessionTable::WaitForNews(SessionId session, Instant deadline) {
  RenewalNews news;
  const auto it = sessions_.find(session);
  if (it == sessions_.end()) co_return news;
  const std::shared_ptr<Session> found = it->second;
  const uint64_t number = ++found->waiters;
  found->changed.NotifyAll();
  while (found->recalled.empty() && found->stale.empty() && found->lost.empty() &&
         !found->lease.ended() && !closing_ && number == found->waiters) {
    const bool woken = co_await found->changed.Wait(deadline);
    if (!woken) break;
  }
  if (number != found->waiters) co_return news;
  news.recalled.assign(found->recalled.begin(), found->recalled.end());
  news.stale.assign(found->stale.begin(), found->stale.end());
  news.lost.assign(found->lost.begin(), found->lost.end());
  found->recalled.clear();
  found->stale.clear();
  found->lost.clear();
  co_return news;
}

}  // namespace moraine::metaserver
