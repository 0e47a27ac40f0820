// What the handlers share: the store, the tables, the executors, and the one way to make a change.
//
// Change runs an operation as one transaction, remembers its answer under (session, sequence), acts
// on its effects, and waits for the disk where the operation asks for that. Query runs a read.
// Confined to the loop.
#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fault_point.h"
#include "base/loop/loop.h"
#include "idl/metaserver_types.h"
#include "metaserver/cluster/registry.h"
#include "metaserver/recovery/caretaker.h"
#include "metaserver/recovery/file_recovery.h"
#include "metaserver/recovery/sealer.h"
#include "metaserver/service/answer_codec.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/options.h"
#include "metaserver/sessions/answers.h"
#include "metaserver/sessions/session_table.h"
#include "metaserver/store/store.h"
#include "metaserver/store/transaction.h"
#include "rpc/server.h"

namespace moraine::metaserver {

// What is refused first when the metaserver's own disk fills up.
bool MakesSomethingNew(std::string_view method);

struct Core {
  Loop& loop;
  const MetaserverOptions& options;
  Store& store;
  SessionTable& sessions;
  Answers& answers;
  Registry& registry;
  ChunkserverCalls& calls;
  Sealer& sealer;
  FileRecovery& recovery;
  Caretaker& caretaker;
  TaskGroup& tasks;
  const Instant started;
  // Replicas that a client has called bad and whose server is being asked.
  std::set<std::pair<ChunkId, ServerId>> suspects{};
  bool low_on_space = false;  // the metaserver's own disk is full but for its reserve

  SessionId SessionOf(const rpc::CallContext& context) const {
    return SessionId(static_cast<uint64_t>(context.header.session));
  }
  // kSessionEnded for a session that is not alive; none is fine.
  Status CheckSession(SessionId session) const;
  // After an operation; `committed` says whether it took place.
  void Act(const Effects& effects, SessionId session, bool committed);

  // A change. `operation` is a function of a Transaction& to Result<Response>; it may run several
  // times (while a file is recovered), and at most one run is committed.
  template <class Response, class Operation>
  Task<Result<Response>> Change(std::string_view method, const rpc::CallContext& context,
                                Operation operation) {
    const SessionId session = SessionOf(context);
    const auto sequence = static_cast<uint64_t>(context.header.sequence);
    MORAINE_CO_ASSIGN_OR_RETURN(const Acknowledged acknowledged, FromWire(context.header));
    const bool remembered = !session.IsNone() && sequence != 0;
    while (true) {
      MORAINE_CO_RETURN_IF_ERROR(CheckSession(session));
      Status status;
      std::vector<InodeId> recoveries;
      {
        Transaction transaction(store, session, loop.WallNanoseconds());
        if (remembered) {
          MORAINE_CO_RETURN_IF_ERROR(answers.CheckCurrent(session, sequence, acknowledged));
          MORAINE_CO_ASSIGN_OR_RETURN(const auto answer,
                                      answers.Find(transaction, session, sequence, method));
          if (answer.has_value()) {
            MORAINE_CO_RETURN_IF_ERROR(co_await store.Synced(store.written()));
            co_return DecodeAnswer<Response>(*answer);
          }
        }
        if (low_on_space && MakesSomethingNew(method)) {
          co_return Status(Code::kNoSpace, "the metaserver's disk is full");
        }
        Result<Response> response = operation(transaction);
        status = response.status();
        if (status.ok() && remembered) {
          status =
              answers.Remember(transaction, session, sequence, method, EncodeAnswer(*response));
        }
        Ticket ticket = 0;
        if (status.ok()) {
          const auto committed = store.Commit(transaction);
          status = committed.status();
          if (committed.ok()) ticket = *committed;
        }
        if (status.ok()) MORAINE_FAULT_POINT("change.committed");
        Act(transaction.effects(), session, status.ok());
        if (status.ok()) {
          if (remembered) answers.Committed(session, sequence);
          if (transaction.effects().durable) {
            MORAINE_CO_RETURN_IF_ERROR(co_await store.Synced(ticket));
          }
          MORAINE_FAULT_POINT("change.before_answer");
          co_return response;
        }
        recoveries = transaction.effects().recoveries;
      }
      // A file whose last writer has gone, or whose tail is in the way: the operation can be done
      // when the chunks are sealed.
      if (status.code() != Code::kLeaseTaken || recoveries.empty()) co_return status;
      const Instant deadline = std::min(context.deadline, loop.After(options.recovery_wait));
      const Status recovered = co_await recovery.RecoverAll(std::move(recoveries), deadline);
      // Another try would meet the same full disks.
      if (recovered.code() == Code::kNoSpace) co_return recovered;
      if (!recovered.ok() || loop.Now() >= context.deadline) co_return status;
    }
  }

  // A file as it is now. Layouts are read for each answer: with remembered answers they would be
  // written to the log at every open.
  Status Describe(InodeId inode, idl::Attributes* attributes, idl::Layout* layout);

  template <class Response, class Operation>
  Result<Response> Query(const rpc::CallContext& context, Operation operation) {
    Transaction transaction(store, SessionOf(context), loop.WallNanoseconds());
    return operation(transaction);
  }
};

// One file of handlers each.
void HandleSessions(rpc::Server& server, Core& core);
void HandleNames(rpc::Server& server, Core& core);
void HandleFiles(rpc::Server& server, Core& core);
void HandleDirectories(rpc::Server& server, Core& core);
void HandleXattrs(rpc::Server& server, Core& core);
void HandleAdministration(rpc::Server& server, Core& core);
void HandleRegistry(rpc::Server& server, Core& core);

// Ends a session: its leases and tokens are free, or will be when its chunks are sealed.
Status EndSessionNow(Core& core, SessionId session);

}  // namespace moraine::metaserver
