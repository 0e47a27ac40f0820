#include "metaserver/service/metaserver.h"

#include <fmt/format.h>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/units.h"
#include "idl/methods.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/service/convert.h"

namespace moraine::metaserver {
namespace {

rpc::Identity IdentityOf(const Store& store) {
  rpc::Identity identity;
  identity.role = idl::Role::kMetaserver;
  identity.cluster = store.cluster();
  identity.name = "metaserver";
  return identity;
}

rpc::ServerOptions ServerOptionsOf(const MetaserverOptions& options) {
  rpc::ServerOptions server;
  server.listen = options.listen;
  return server;
}

}  // namespace

bool MakesSomethingNew(std::string_view method) {
  for (const std::string_view name :
       {idl::kCreate.name, idl::kLink.name, idl::kSetXattr.name, idl::kAllocateChunk.name}) {
    if (method == name) return true;
  }
  return false;
}

Status Core::CheckSession(SessionId session) const {
  if (session.IsNone() || sessions.IsAlive(session)) return Status::Ok();
  return Status(Code::kSessionEnded, fmt::format("session {} has ended", session.value()));
}

void Core::Act(const Effects& effects, SessionId session, bool committed) {
  for (const auto& [holder, inode] : effects.recalls) sessions.Recall(holder, inode);
  for (const InodeId inode : effects.recoveries) recovery.Begin(inode);
  if (!committed) return;
  for (const InodeId inode : effects.opened) sessions.NoteOpen(session, inode);
  for (const InodeId inode : effects.granted) sessions.NoteGranted(session, inode);
  for (const InodeId inode : effects.changed) sessions.NoteChanged(inode, session);
  for (const auto& [loser, inode] : effects.lost) sessions.NoteLost(loser, inode);
  for (const auto& [inode, chunk] : effects.unsettled) sealer.NoteUnsettled(inode, chunk);
  for (const auto& [inode, chunk] : effects.settled) sealer.NoteSettled(inode, chunk);
  for (const auto& [inode, chunk] : effects.below_floor) sealer.NoteBelowFloor(inode, chunk);
  for (const auto& [inode, chunk] : effects.at_floor) sealer.NoteAtFloor(inode, chunk);
  for (const auto& [server, chunk] : effects.deletions) caretaker.NoteDeletion(server, chunk);
  for (const InodeId inode : effects.orphans) caretaker.NoteOrphan(inode);
  if (!effects.queued) return;
  sealer.Wake();
  caretaker.Wake();
}

Status Core::Describe(InodeId inode, idl::Attributes* attributes, idl::Layout* layout) {
  Transaction transaction(store);
  MORAINE_ASSIGN_OR_RETURN(const FileView file, GetLayout(transaction, inode));
  *attributes = ToWire(file.inode);
  *layout = ToWire(file.layout, registry);
  return Status::Ok();
}

Status EndSessionNow(Core& core, SessionId session) {
  Transaction transaction(core.store, SessionId(), core.loop.WallNanoseconds());
  MORAINE_RETURN_IF_ERROR(EndSession(transaction, session));
  MORAINE_RETURN_IF_ERROR(core.store.Commit(transaction).status());
  MORAINE_FAULT_POINT("session.ended");
  core.sessions.Remove(session);
  core.answers.Forget(session);
  core.Act(transaction.effects(), session, true);
  core.caretaker.NoteClosedAll();
  return Status::Ok();
}

Result<std::unique_ptr<Metaserver>> Metaserver::Open(Loop& loop, MetaserverOptions options,
                                                     MetricRegistry& metrics) {
  options.store.metrics = &metrics;
  options.store.must_exist = !options.cluster.empty();
  MORAINE_ASSIGN_OR_RETURN(auto store, Store::Open(loop, options.store));
  if (!options.cluster.empty() && options.cluster != store->cluster()) {
    return Status(Code::kWrongCluster,
                  fmt::format("{} belongs to cluster {}, not {}", options.store.directory,
                              store->cluster(), options.cluster));
  }
  std::unique_ptr<Metaserver> metaserver(
      new Metaserver(loop, std::move(options), metrics, std::move(store)));
  MORAINE_RETURN_IF_ERROR(metaserver->Load());
  return metaserver;
}

Metaserver::Metaserver(Loop& loop, MetaserverOptions options, MetricRegistry& metrics,
                       std::unique_ptr<Store> store)
    : loop_(loop),
      options_(std::move(options)),
      metrics_(metrics),
      store_(std::move(store)),
      sessions_(loop, options_.session_ttl),
      registry_(loop, options_.registry),
      calls_(loop, registry_, IdentityOf(*store_)),
      sealer_(loop, *store_, registry_, calls_, options_.sealer, metrics,
              [this](const Effects& effects) { core_.Act(effects, SessionId(), true); }),
      recovery_(loop, *store_, sealer_,
                [this](const Effects& effects) { core_.Act(effects, SessionId(), true); }),
      caretaker_(
          loop, *store_, registry_, calls_, sealer_, options_.caretaker,
          // Before every session of the last life has spoken, anything may be open.
          [this](InodeId inode) { return !sessions_.AllHeard() || sessions_.IsOpen(inode); },
          metrics, [this](const Effects& effects) { core_.Act(effects, SessionId(), true); }),
      tasks_(loop),
      server_(loop, IdentityOf(*store_), ServerOptionsOf(options_), metrics),
      core_{loop,   options_, *store_,   sessions_,  answers_, registry_,
            calls_, sealer_,  recovery_, caretaker_, tasks_,   loop.Now()},
      stop_(loop) {
  HandleSessions(server_, core_);
  HandleNames(server_, core_);
  HandleFiles(server_, core_);
  HandleDirectories(server_, core_);
  HandleXattrs(server_, core_);
  HandleAdministration(server_, core_);
  HandleRegistry(server_, core_);
}

Metaserver::~Metaserver() = default;

Status Metaserver::Load() {
  MORAINE_RETURN_IF_ERROR(sessions_.Load(*store_));
  MORAINE_RETURN_IF_ERROR(answers_.Load(*store_));
  return registry_.Load(*store_);
}

Status Metaserver::Start() {
  MORAINE_RETURN_IF_ERROR(server_.Start());
  MORAINE_RETURN_IF_ERROR(recovery_.Start());
  MORAINE_RETURN_IF_ERROR(sealer_.Start());
  caretaker_.Start();
  tasks_.Spawn(RunTicks());
  return Status::Ok();
}

Task<void> Metaserver::RunTicks() {
  while (!stopping_) {
    ExpireSessions();
    LookAtSpace();
    SetGauges();
    co_await stop_.Wait(loop_.After(options_.session_tick));
  }
}

void Metaserver::ExpireSessions() {
  for (const SessionId session : sessions_.Expired(options_.session_tick)) {
    LogWarning("session {} has not renewed in time; it ends", session.value());
    const Status status = EndSessionNow(core_, session);
    if (!status.ok()) LogError("ending session {}: {}", session.value(), status.ToString());
  }
}

void Metaserver::LookAtSpace() {
  const auto space = loop_.disk().Space(options_.store.directory);
  if (!space.ok()) return;  // it cannot be told: the store finds out
  const bool low = space->free_bytes < options_.reserve_bytes;
  if (low && !core_.low_on_space) {
    LogWarning("{} has only {} of free space: nothing new is made", options_.store.directory,
               FormatBytes(space->free_bytes));
  } else if (!low && core_.low_on_space) {
    LogInfo("{} has free space again", options_.store.directory);
  }
  core_.low_on_space = low;
}

void Metaserver::SetGauges() {
  const Counters& counters = store_->counters();
  const auto set = [this](std::string_view name, std::string_view help, int64_t value) {
    metrics_.GetGauge(name, help).Set(value);
  };
  set("moraine_meta_inodes", "Inodes.", counters.inodes);
  set("moraine_meta_chunks", "Chunks that are not being deleted.", counters.chunks);
  set("moraine_meta_open_chunks", "Chunks that are not sealed yet.", counters.open_chunks);
  set("moraine_meta_under_replicated_chunks", "Sealed chunks with too few good replicas.",
      counters.under_replicated_chunks);
  set("moraine_meta_lost_chunks", "Sealed chunks without a good replica.", counters.lost_chunks);
  set("moraine_meta_deleting_chunks", "Chunks whose replicas are being deleted.",
      counters.deleting_chunks);
  set("moraine_meta_user_bytes", "Bytes of sealed chunks.", counters.user_bytes);
  set("moraine_meta_stored_bytes", "Bytes of their good replicas.", counters.stored_bytes);
  set("moraine_meta_sessions", "Sessions alive.", static_cast<int64_t>(sessions_.size()));
  set("moraine_meta_servers_alive", "Chunkservers heard of lately.",
      static_cast<int64_t>(registry_.AliveCount()));
  set("moraine_meta_repairs_running", "Copies under way.",
      static_cast<int64_t>(caretaker_.copies_under_way()));
  set("moraine_meta_recoveries_running", "Files being recovered.",
      static_cast<int64_t>(recovery_.running()));
}

Task<void> Metaserver::Stop() {
  stopping_ = true;
  stop_.Set();
  server_.Close();
  tasks_.Close();
  caretaker_.Close();
  recovery_.Close();
  sealer_.Close();
  calls_.Close();
  // Those who wait for news hold a call each.
  sessions_.WakeAll();
  co_await server_.Drain();
  co_await tasks_.Drain();
  co_await caretaker_.Drain();
  co_await sealer_.Drain();
  co_await recovery_.Drain();
  co_await calls_.Drain();
  co_await store_->Stop();
}

}  // namespace moraine::metaserver
