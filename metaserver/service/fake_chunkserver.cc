#include "metaserver/service/fake_chunkserver.h"

namespace moraine::metaserver {
namespace {

rpc::Identity IdentityOf(const FakeDisk& disk, const std::string& name) {
  return {idl::Role::kChunkserver, {}, name, disk.id};
}

Status Unknown(ChunkId chunk) {
  return Status(Code::kUnknownChunk, fmt::format("no replica of chunk {}", chunk.value()));
}

}  // namespace

FakeChunkserver::FakeChunkserver(sim::SimLoop& loop, FakeDisk& disk, std::string name,
                                 Endpoint metaserver)
    : loop_(loop),
      disk_(disk),
      name_(std::move(name)),
      start_id_(MixBits(Hash64(name_) + ++disk.starts)),
      server_(loop, IdentityOf(disk, name_), {.listen = {name_, kPort}}, metrics_),
      metaserver_(loop, std::move(metaserver), IdentityOf(disk, name_),
                  {idl::Role::kMetaserver, {}}),
      peers_(loop, IdentityOf(disk, name_)),
      tasks_(loop) {
  // Unsynced bytes are gone with the process, and open replicas know that.
  for (auto& [chunk, replica] : disk_.replicas) {
    const auto& state = replica.state;
    const std::optional<uint64_t> sealed =
        state.sealed() ? std::optional(state.held()) : std::nullopt;
    replica.state = protocol::AppendReplica::Reopened(
        chunk, state.epoch(), state.sealed() ? state.held() : state.synced(), sealed);
  }
  Handle();
  MORAINE_CHECK(server_.Start().ok());
  tasks_.Spawn(RunHeartbeats());
}

idl::ReplicaInfo FakeChunkserver::InfoOf(ChunkId chunk) const {
  const FakeReplica& replica = disk_.replicas.at(chunk);
  idl::ReplicaInfo info;
  info.chunk = static_cast<int64_t>(chunk.value());
  info.epoch = static_cast<int64_t>(replica.state.epoch().value());
  info.state = replica.state.sealed() ? idl::ChunkState::kSealed : idl::ChunkState::kOpen;
  info.held = static_cast<int64_t>(replica.state.held());
  info.synced = static_cast<int64_t>(replica.state.synced());
  info.restarted = replica.state.restarted();
  info.damaged = replica.damaged;
  info.file_offset = static_cast<int64_t>(replica.file_offset);
  return info;
}

Result<FakeReplica*> FakeChunkserver::Find(ChunkId chunk) {
  const auto it = disk_.replicas.find(chunk);
  if (it == disk_.replicas.end()) return Unknown(chunk);
  return &it->second;
}

Result<idl::ReplicaInfo> FakeChunkserver::Stat(ChunkId chunk) const {
  if (!disk_.replicas.contains(chunk)) return Unknown(chunk);
  return InfoOf(chunk);
}

Result<idl::ReplicaInfo> FakeChunkserver::Fence(const idl::FenceRequest& request) {
  const ChunkId chunk(static_cast<uint64_t>(request.chunk));
  const Epoch epoch(static_cast<uint64_t>(request.epoch));
  const auto replica = Find(chunk);
  if (!replica.ok()) {
    disk_.tombstones[chunk] = std::max(disk_.tombstones[chunk], epoch);
    return replica.status();
  }
  MORAINE_RETURN_IF_ERROR((*replica)->state.Fence(epoch).status());
  return InfoOf(chunk);
}

Result<idl::ReplicaInfo> FakeChunkserver::Seal(const idl::SealRequest& request) {
  const ChunkId chunk(static_cast<uint64_t>(request.chunk));
  MORAINE_ASSIGN_OR_RETURN(FakeReplica * replica, Find(chunk));
  const Epoch epoch(static_cast<uint64_t>(request.epoch));
  const auto length = static_cast<uint64_t>(request.length);
  if (disk_.full && replica->state.synced() < length) return Status(Code::kNoSpace, "full");
  if (request.hold_only) {
    MORAINE_RETURN_IF_ERROR(replica->state.Hold(epoch, length));
    replica->state.OnSynced(replica->state.held());
  } else {
    if (disk_.misses_seals) return Status(Code::kUnavailable, "the seal got lost");
    MORAINE_RETURN_IF_ERROR(replica->state.Seal(epoch, length));
  }
  return InfoOf(chunk);
}

Task<Result<idl::ReplicaInfo>> FakeChunkserver::Copy(idl::CopyRequest request) {
  const ChunkId chunk(static_cast<uint64_t>(request.chunk));
  const Epoch epoch(static_cast<uint64_t>(request.epoch));
  const auto length = static_cast<uint64_t>(request.length);
  if (disk_.full) co_return Status(Code::kNoSpace, "full");
  Status status(Code::kUnavailable, "no source");
  for (const idl::Replica& source : request.sources) {
    MORAINE_CO_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(source.endpoint));
    idl::StatReplicaRequest ask;
    ask.chunk = request.chunk;
    rpc::CallOptions options;
    options.deadline = loop_.After(1s);
    const auto stat =
        co_await peers_.To(endpoint, ServerId(static_cast<uint64_t>(source.server_id)))
            .Ask(idl::kStatReplica, ask, std::move(options));
    if (!stat.ok()) {
      status = stat.status();
      continue;
    }
    if (static_cast<uint64_t>(stat->held) < length || stat->damaged) {
      status = Status(Code::kWrongOffset, "the source is shorter");
      continue;
    }
    ++disk_.copies;
    if (disk_.copy_time > Duration::zero()) co_await loop_.Sleep(disk_.copy_time);
    if (request.whole) {
      const auto there = disk_.replicas.find(chunk);
      if (there != disk_.replicas.end() && there->second.state.sealed() && !there->second.damaged) {
        co_return Status(Code::kAlreadyExists, "it is here already");
      }
      disk_.replicas.erase(chunk);
      disk_.replicas.emplace(
          chunk, FakeReplica{protocol::AppendReplica::Reopened(chunk, epoch, length, length)});
    } else {
      // The tombstone keeps writers out, not the recovery that has set it.
      const auto stone = disk_.tombstones.find(chunk);
      if (stone != disk_.tombstones.end() && stone->second <= epoch) {
        disk_.tombstones.erase(stone);
        disk_.replicas.emplace(chunk,
                               FakeReplica{protocol::AppendReplica(chunk, epoch),
                                           static_cast<uint64_t>(request.create.file_offset)});
      }
      MORAINE_CO_ASSIGN_OR_RETURN(FakeReplica * replica, Find(chunk));
      const uint64_t from = replica->state.held();
      MORAINE_CO_RETURN_IF_ERROR(replica->state.Copy(epoch, from, length - from).status());
      if (!replica->state.OnWritten(epoch, length)) {
        co_return Status(Code::kFenced, "fenced meanwhile");
      }
    }
    co_return InfoOf(chunk);
  }
  co_return status;
}

Result<idl::Nothing> FakeChunkserver::Delete(const idl::DeleteReplicaRequest& request) {
  const ChunkId chunk(static_cast<uint64_t>(request.chunk));
  const auto it = disk_.replicas.find(chunk);
  if (it == disk_.replicas.end()) return idl::Nothing();
  if (disk_.kept.contains(chunk)) return Status(Code::kNoSpace, "no room for the deletion");
  if (it->second.state.epoch() > Epoch(static_cast<uint64_t>(request.epoch))) {
    return Status(Code::kFenced, "the replica is newer");
  }
  disk_.replicas.erase(it);
  ++disk_.deletions;
  return idl::Nothing();
}

void FakeChunkserver::Handle() {
  server_.Handle(
      idl::kStatReplica,
      [this](rpc::CallContext&, idl::StatReplicaRequest request) -> Task<Result<idl::ReplicaInfo>> {
        ++disk_.stats;
        co_return Stat(ChunkId(static_cast<uint64_t>(request.chunk)));
      });
  server_.Handle(
      idl::kFence,
      [this](rpc::CallContext&, idl::FenceRequest request) -> Task<Result<idl::ReplicaInfo>> {
        co_return Fence(request);
      });
  server_.Handle(
      idl::kSeal,
      [this](rpc::CallContext&, idl::SealRequest request) -> Task<Result<idl::ReplicaInfo>> {
        co_return Seal(request);
      });
  server_.Handle(idl::kCopy, [this](rpc::CallContext&, idl::CopyRequest request) {
    return Copy(std::move(request));
  });
  server_.Handle(
      idl::kDeleteReplica,
      [this](rpc::CallContext&, idl::DeleteReplicaRequest request) -> Task<Result<idl::Nothing>> {
        co_return Delete(request);
      });
}

idl::ReplicaReport FakeChunkserver::ReportOf(ChunkId chunk, const FakeReplica& replica) const {
  idl::ReplicaReport report;
  report.chunk = static_cast<int64_t>(chunk.value());
  report.epoch = static_cast<int64_t>(replica.state.epoch().value());
  report.state = replica.state.sealed() ? idl::ChunkState::kSealed : idl::ChunkState::kOpen;
  report.length = static_cast<int64_t>(replica.state.held());
  report.damaged = replica.damaged;
  return report;
}

Task<Status> FakeChunkserver::RegisterOnce() {
  idl::RegisterRequest request;
  request.server_id = static_cast<int64_t>(disk_.id.value());
  request.incarnation = disk_.incarnation;
  request.endpoint = fmt::format("{}:{}", name_, kPort);
  request.location = name_;
  request.total_bytes = 1LL << 40;
  request.free_bytes = 1LL << 39;
  request.start_id = static_cast<int64_t>(start_id_);
  rpc::CallOptions options;
  options.deadline = loop_.After(1s);
  const auto answer = co_await metaserver_.Ask(idl::kRegisterChunkserver, request, options);
  if (!answer.ok()) co_return answer.status();
  disk_.id = ServerId(static_cast<uint64_t>(answer->server_id));
  server_.SetIdentity({idl::Role::kChunkserver, answer->cluster, name_, disk_.id});
  ++disk_.registrations;
  co_return co_await SendInventory(disk_.id);
}

Task<Status> FakeChunkserver::SendInventory(ServerId server) {
  for (int page = 0; page < disk_.inventory_pages; ++page) {
    const bool last = page + 1 == disk_.inventory_pages;
    idl::InventoryRequest inventory;
    inventory.server_id = static_cast<int64_t>(server.value());
    inventory.after_chunk = static_cast<int64_t>(static_cast<uint64_t>(page) * kPageIds);
    inventory.up_to_chunk =
        last ? INT64_MAX : inventory.after_chunk + static_cast<int64_t>(kPageIds);
    for (const auto& [chunk, replica] : disk_.replicas) {
      const auto id = static_cast<int64_t>(chunk.value());
      if (id > inventory.after_chunk && id <= inventory.up_to_chunk) {
        inventory.replicas.push_back(ReportOf(chunk, replica));
      }
    }
    rpc::CallOptions options;
    options.deadline = loop_.After(1s);
    MORAINE_CO_RETURN_IF_ERROR(
        (co_await metaserver_.Ask(idl::kInventory, inventory, options)).status());
    ++disk_.pages;
    if (!last && disk_.page_time > Duration::zero()) co_await loop_.Sleep(disk_.page_time);
  }
  co_return Status::Ok();
}

Task<void> FakeChunkserver::Heartbeat() {
  idl::HeartbeatRequest request;
  request.server_id = static_cast<int64_t>(disk_.id.value());
  request.start_id = static_cast<int64_t>(start_id_);
  request.total_bytes = 1LL << 40;
  request.free_bytes = 1LL << 39;
  const std::set<ChunkId> told = disk_.changed;
  for (const ChunkId chunk : told) {
    const auto replica = disk_.replicas.find(chunk);
    if (replica != disk_.replicas.end()) {
      request.changed.push_back(ReportOf(chunk, replica->second));
    }
  }
  rpc::CallOptions options;
  options.deadline = loop_.After(1s);
  const auto answer = co_await metaserver_.Ask(idl::kHeartbeat, request, options);
  if (!answer.ok()) co_return;
  for (const ChunkId chunk : told) disk_.changed.erase(chunk);
  for (const int64_t chunk : answer->again) {
    disk_.changed.insert(ChunkId(static_cast<uint64_t>(chunk)));
  }
  if (answer->register_again) registered_ = false;
}

Task<void> FakeChunkserver::RunHeartbeats() {
  while (true) {
    if (!registered_) registered_ = (co_await RegisterOnce()).ok();
    if (registered_) co_await Heartbeat();
    co_await loop_.Sleep(registered_ ? Duration(1s) : Duration(100ms));
  }
}

}  // namespace moraine::metaserver
