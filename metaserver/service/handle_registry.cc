#include <fmt/format.h>

#include "base/log.h"
#include "base/units.h"
#include "metaserver/chunks/replica_reports.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

Task<Result<idl::RegisterResponse>> RegisterCall(Core& core, idl::RegisterRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(const Registry::Registration registration, FromWire(request));
  Transaction transaction(core.store);
  MORAINE_CO_ASSIGN_OR_RETURN(const ServerId server,
                              core.registry.Register(transaction, registration));
  MORAINE_CO_ASSIGN_OR_RETURN(const ServerRecord record, core.registry.RecordFor(registration));
  MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, core.store.Commit(transaction));
  // At once: a death that was declared meanwhile would be written over this record.
  core.registry.Registered(server, record);
  MORAINE_CO_RETURN_IF_ERROR(co_await core.store.Synced(ticket));
  LogInfo("chunkserver {} at {} ({})", server.value(), record.endpoint, record.location);
  core.caretaker.Wake();
  core.sealer.Wake();
  idl::RegisterResponse response;
  response.server_id = ToWire(server);
  response.cluster = core.store.cluster();
  response.want_inventory = true;
  co_return response;
}

// Commits what reports have changed, has open replicas of sealed chunks told, and asks for reports
// that came at the wrong time. Durable: what was answered is not reported again.
template <class Response>
Task<Status> Finish(Core& core, Transaction& transaction, ServerId server,
                    const ReportOutcome& outcome, Response* response) {
  const bool changed = !transaction.empty();
  MORAINE_CO_ASSIGN_OR_RETURN(const Ticket ticket, core.store.Commit(transaction));
  core.Act(transaction.effects(), SessionId(), true);
  if (outcome.unknown > 0) {
    LogWarning("chunkserver {} has {} replicas that no record names; they are kept for {}",
               server.value(), outcome.unknown,
               FormatDuration(core.options.caretaker.unknown_grace));
  }
  for (const ChunkId chunk : outcome.remind) core.sealer.Remind(chunk, server);
  for (const ChunkId chunk : outcome.again) {
    response->again.push_back(ToWire(chunk));
    response->__isset.again = true;
  }
  if (!changed) co_return Status::Ok();
  co_return co_await core.store.Synced(ticket);
}

Result<ReportOutcome> Apply(Core& core, Transaction& transaction, ServerId server,
                            std::span<const ReplicaReport> reports) {
  return ApplyReports(
      transaction, server, reports,
      [&core, server](ChunkId chunk) {
        return core.caretaker.IsTarget(chunk, server) || core.sealer.IsBusy(chunk);
      },
      [&core] { return core.registry.Views(); });
}

Task<Result<idl::InventoryResponse>> InventoryCall(Core& core, idl::InventoryRequest request) {
  const auto server = IdFromWire<ServerId>(request.server_id);
  // An inventory may take longer than a server may be silent. One that was given up meanwhile has
  // to begin anew: its replicas are marked missing, those that it has told of too.
  if (!core.registry.NoteHeard(server)) {
    co_return Status(Code::kNotFound, fmt::format("no chunkserver {} is alive", server.value()));
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const auto reports, FromWire(request.replicas));
  Transaction transaction(core.store, SessionId(), core.loop.WallNanoseconds());
  MORAINE_CO_ASSIGN_OR_RETURN(const ReportOutcome outcome,
                              Apply(core, transaction, server, reports));
  MORAINE_CO_RETURN_IF_ERROR(ApplyAbsence(transaction, server,
                                          IdFromWire<ChunkId>(request.after_chunk),
                                          IdFromWire<ChunkId>(request.up_to_chunk), reports));
  idl::InventoryResponse response;
  MORAINE_CO_RETURN_IF_ERROR(co_await Finish(core, transaction, server, outcome, &response));
  core.registry.NoteHeard(server);
  co_return response;
}

Task<Result<idl::HeartbeatResponse>> HeartbeatCall(Core& core, idl::HeartbeatRequest request) {
  const auto server = IdFromWire<ServerId>(request.server_id);
  idl::HeartbeatResponse response;
  if (request.total_bytes < 0 || request.free_bytes < 0) {
    co_return Status(Code::kInvalidArgument, "a disk of negative size");
  }
  const bool known = core.registry.Heartbeat(
      server, static_cast<uint64_t>(request.start_id),
      {static_cast<uint64_t>(request.total_bytes), static_cast<uint64_t>(request.free_bytes)},
      request.quarantined);
  if (!known) {
    response.register_again = true;
    co_return response;
  }
  if (request.changed.empty() && request.gone.empty()) co_return response;
  MORAINE_CO_ASSIGN_OR_RETURN(const auto reports, FromWire(request.changed));
  Transaction transaction(core.store, SessionId(), core.loop.WallNanoseconds());
  MORAINE_CO_ASSIGN_OR_RETURN(const ReportOutcome outcome,
                              Apply(core, transaction, server, reports));
  for (const int64_t chunk : request.gone) {
    MORAINE_CO_RETURN_IF_ERROR(ApplyGone(transaction, server, IdFromWire<ChunkId>(chunk)));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await Finish(core, transaction, server, outcome, &response));
  co_return response;
}

}  // namespace

void HandleRegistry(rpc::Server& server, Core& core) {
  server.Handle(idl::kRegisterChunkserver,
                [&core](rpc::CallContext&, idl::RegisterRequest request) {
                  return RegisterCall(core, std::move(request));
                });
  server.Handle(idl::kInventory, [&core](rpc::CallContext&, idl::InventoryRequest request) {
    return InventoryCall(core, std::move(request));
  });
  server.Handle(idl::kHeartbeat, [&core](rpc::CallContext&, idl::HeartbeatRequest request) {
    return HeartbeatCall(core, std::move(request));
  });
  for (const std::string_view method :
       {idl::kRegisterChunkserver.name, idl::kInventory.name, idl::kHeartbeat.name}) {
    server.Restrict(method, {idl::Role::kChunkserver});
  }
}

}  // namespace moraine::metaserver
