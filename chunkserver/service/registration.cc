#include "chunkserver/service/registration.h"

#include <fmt/format.h>

#include "base/log.h"
#include "chunkserver/service/convert.h"
#include "idl/methods.h"

namespace moraine::chunkserver {
namespace {

constexpr size_t kPageReplicas = 2000;
constexpr Duration kTimeout = std::chrono::seconds(5);
constexpr Duration kRetry = std::chrono::milliseconds(200);

bool IsFinal(Code code) {
  return code == Code::kWrongCluster || code == Code::kWrongVersion || code == Code::kWrongRole;
}

rpc::Identity Self(const Store& store, const std::string& endpoint) {
  const Superblock& superblock = store.superblock();
  return {idl::Role::kChunkserver, superblock.cluster, "chunkserver " + endpoint,
          superblock.server};
}

}  // namespace

Registration::Registration(Loop& loop, Store& store, RegistrationOptions options,
                           std::function<void()> joined)
    : loop_(loop),
      store_(store),
      options_(std::move(options)),
      joined_(std::move(joined)),
      start_id_(loop.random().Next() >> 1),
      channel_(loop, options_.metaserver, Self(store, options_.endpoint),
               rpc::Expectation{idl::Role::kMetaserver, ServerId()}),
      last_(Code::kUnavailable, "not registered yet"),
      closing_(loop),
      tasks_(loop) {}

rpc::CallOptions Registration::Options() const {
  rpc::CallOptions options;
  options.deadline = loop_.After(kTimeout);
  return options;
}

Task<Status> Registration::Register() {
  const Superblock& superblock = store_.superblock();
  const StoreStatus status = store_.GetStatus();
  idl::RegisterRequest request;
  request.server_id = static_cast<int64_t>(superblock.server.value());
  request.incarnation = superblock.incarnation;
  request.endpoint = options_.endpoint;
  request.location = options_.location;
  request.total_bytes = static_cast<int64_t>(status.total_bytes);
  request.free_bytes = static_cast<int64_t>(status.free_bytes);
  request.start_id = static_cast<int64_t>(start_id_);
  auto answer = co_await channel_.Ask(idl::kRegisterChunkserver, std::move(request), Options());
  if (!answer.ok()) co_return answer.status();
  const ServerId server(static_cast<uint64_t>(answer->server_id));
  if (superblock.server != server || superblock.cluster != answer->cluster) {
    MORAINE_CO_RETURN_IF_ERROR(co_await store_.Join(answer->cluster, server));
  }
  if (joined_) joined_();
  if (answer->want_inventory) MORAINE_CO_RETURN_IF_ERROR(co_await SendInventory());
  registered_ = true;
  LogInfo("registered with {} as chunkserver {} of cluster {}", options_.metaserver.ToString(),
          server.value(), answer->cluster);
  co_return Status();
}

Task<Status> Registration::SendInventory() {
  ChunkId after;
  bool more = true;
  while (more) {
    const std::vector<ReplicaInfo> page = store_.List(after, kPageReplicas);
    more = page.size() == kPageReplicas;
    idl::InventoryRequest request;
    request.server_id = static_cast<int64_t>(store_.superblock().server.value());
    request.after_chunk = static_cast<int64_t>(after.value());
    request.up_to_chunk = more ? static_cast<int64_t>(page.back().chunk.value()) : INT64_MAX;
    for (const ReplicaInfo& info : page) request.replicas.push_back(ToReport(info));
    auto answer = co_await channel_.Ask(idl::kInventory, std::move(request), Options());
    if (!answer.ok()) co_return answer.status();
    for (const int64_t unknown : answer->unknown) {
      const ChunkId chunk(static_cast<uint64_t>(unknown));
      const Result<ReplicaInfo> info = store_.Stat(chunk);
      if (!info.ok()) continue;
      LogInfo("chunk {} is unknown to the metaserver: its replica goes to the trash", unknown);
      const Status deleted = co_await store_.Delete(chunk, info->epoch, loop_.After(kTimeout));
      if (!deleted.ok()) LogWarning("chunk {}: {}", unknown, deleted.ToString());
    }
    TellAgain(answer->again);
    if (more) after = page.back().chunk;
  }
  co_return Status();
}

void Registration::TellAgain(const std::vector<int64_t>& chunks) {
  for (const int64_t chunk : chunks) store_.TellAgain(ChunkId(static_cast<uint64_t>(chunk)));
}

Task<Status> Registration::SendHeartbeat() {
  Store::Changes changes = store_.TakeChanges(kPageReplicas);
  const StoreStatus status = store_.GetStatus();
  idl::HeartbeatRequest request;
  request.server_id = static_cast<int64_t>(store_.superblock().server.value());
  request.start_id = static_cast<int64_t>(start_id_);
  request.total_bytes = static_cast<int64_t>(status.total_bytes);
  request.free_bytes = static_cast<int64_t>(status.free_bytes);
  request.quarantined = status.quarantined;
  for (const ReplicaInfo& info : changes.changed) request.changed.push_back(ToReport(info));
  for (const ChunkId chunk : changes.gone) {
    request.gone.push_back(static_cast<int64_t>(chunk.value()));
  }
  auto answer = co_await channel_.Ask(idl::kHeartbeat, std::move(request), Options());
  if (!answer.ok()) {
    store_.ReturnChanges(changes);
    co_return answer.status();
  }
  if (answer->register_again) {
    store_.ReturnChanges(changes);
    registered_ = false;
  }
  TellAgain(answer->again);
  co_return Status();
}

Task<Status> Registration::Start() {
  const Status first = co_await Register();
  last_ = first;
  if (IsFinal(first.code())) co_return first;
  if (!first.ok()) {
    LogWarning("metaserver {}: {}; trying again", options_.metaserver.ToString(), first.ToString());
  }
  tasks_.Spawn(Run());
  co_return Status();
}

Task<void> Registration::Run() {
  while (!closing_.is_set()) {
    const Instant begin = loop_.Now();
    // Not a conditional expression: both arms would have to live across the wait.
    Status status;
    if (registered_) {
      status = co_await SendHeartbeat();
    } else {
      status = co_await Register();
    }
    if (!status.ok() && !closing_.is_set()) {
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "metaserver {}: {}", options_.metaserver.ToString(),
                            status.ToString());
    }
    last_ = status;
    const Instant next =
        registered_ && status.ok() ? begin + options_.heartbeat : loop_.After(kRetry);
    (void)co_await closing_.Wait(next);
  }
}

Status Registration::health() const {
  if (registered_ && last_.ok()) return {};
  return last_.ok() ? Status(Code::kUnavailable, "registering again") : last_;
}

void Registration::Close() {
  closing_.Set();
  tasks_.Close();
  channel_.Close();
}

Task<void> Registration::Drain() {
  (void)co_await tasks_.Drain();
  co_await channel_.Drain();
}

}  // namespace moraine::chunkserver
