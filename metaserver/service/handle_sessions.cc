#include <algorithm>

#include "base/log.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/names.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kNameBytesMax = 256;
constexpr int kRenewalsPerTtl = 4;  // at least
constexpr size_t kListedMax = 1 << 20;

Task<Result<idl::StartSessionResponse>> StartSession(Core& core, idl::StartSessionRequest request) {
  SessionRecord record;
  record.name = request.name.substr(0, kNameBytesMax);
  record.kind = request.kind.substr(0, kNameBytesMax);
  record.started_ns = core.loop.WallNanoseconds();
  MORAINE_CO_ASSIGN_OR_RETURN(const SessionId session, core.store.NewSession());
  Transaction transaction(core.store);
  transaction.Put(Family::kSessions, SessionKey(session), record.Encode());
  // On disk before anything that it will hold, which comes behind it in the log. One that a power
  // cut takes has ended; its number is not given again.
  MORAINE_CO_RETURN_IF_ERROR(core.store.Commit(transaction).status());
  core.sessions.Add(session);
  LogInfo("session {}: {} '{}'", session.value(), record.kind, record.name);
  idl::StartSessionResponse response;
  response.session = ToWire(session);
  response.ttl_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(core.options.session_ttl).count();
  response.cluster = core.store.cluster();
  co_return response;
}

// What the client believes to hold and does not: files whose lease it has, directories that it
// owns.
Result<std::vector<InodeId>> Lost(Core& core, SessionId session, const std::vector<InodeId>& held) {
  std::vector<InodeId> lost;
  Transaction transaction(core.store, session);
  for (const InodeId inode : held) {
    MORAINE_ASSIGN_OR_RETURN(const bool writes, HoldsLease(transaction, inode));
    if (writes) continue;
    MORAINE_ASSIGN_OR_RETURN(const SessionId owner, OwnerOf(transaction, inode));
    if (owner != session) lost.push_back(inode);
  }
  return lost;
}

Task<Result<idl::RenewSessionResponse>> RenewSession(Core& core, SessionId session,
                                                     Instant call_deadline,
                                                     idl::RenewSessionRequest request) {
  if (request.held.size() > kListedMax || request.open.size() > kListedMax) {
    co_return Status(Code::kTooLarge, "too much in one renewal");
  }
  MORAINE_CO_RETURN_IF_ERROR(core.sessions.Renew(session));
  std::vector<InodeId> open;
  for (const int64_t inode : request.open) open.push_back(IdFromWire<InodeId>(inode));
  core.sessions.Announce(session, open);
  std::vector<InodeId> held;
  for (const int64_t inode : request.held) held.push_back(IdFromWire<InodeId>(inode));
  MORAINE_CO_ASSIGN_OR_RETURN(std::vector<InodeId> lost, Lost(core, session, held));

  idl::RenewSessionResponse response;
  response.ttl_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(core.options.session_ttl).count();
  // The next renewal must come long before the session ends, also where that is soon.
  const Duration patience =
      std::min(core.options.renewal_hold, core.options.session_ttl / kRenewalsPerTtl);
  const Instant hold = lost.empty() ? core.loop.After(patience) : core.loop.Now();
  const RenewalNews news =
      co_await core.sessions.WaitForNews(session, std::min(hold, call_deadline));
  if (!core.sessions.IsAlive(session)) {
    co_return Status(Code::kSessionEnded, "session " + session.ToString() + " has ended");
  }
  // As it is now: what was granted meanwhile is not lost.
  MORAINE_CO_ASSIGN_OR_RETURN(lost, Lost(core, session, lost));
  for (const InodeId inode : lost) response.lost.push_back(ToWire(inode));
  for (const InodeId inode : news.lost) response.lost.push_back(ToWire(inode));
  for (const InodeId inode : news.recalled) response.recalled.push_back(ToWire(inode));
  for (const InodeId inode : news.stale) response.stale.push_back(ToWire(inode));
  co_return response;
}

}  // namespace

void HandleSessions(rpc::Server& server, Core& core) {
  server.Handle(idl::kStartSession, [&core](rpc::CallContext&, idl::StartSessionRequest request) {
    return StartSession(core, std::move(request));
  });
  server.Handle(
      idl::kRenewSession, [&core](rpc::CallContext& context, idl::RenewSessionRequest request) {
        return RenewSession(core, core.SessionOf(context), context.deadline, std::move(request));
      });
  server.Handle(idl::kEndSession,
                [&core](rpc::CallContext& context, idl::Empty) -> Task<Result<idl::Empty>> {
                  const SessionId session = core.SessionOf(context);
                  if (core.sessions.IsAlive(session)) {
                    MORAINE_CO_RETURN_IF_ERROR(EndSessionNow(core, session));
                    MORAINE_CO_RETURN_IF_ERROR(co_await core.store.Synced(core.store.written()));
                  }
                  co_return idl::Empty();
                });
}

}  // namespace moraine::metaserver
