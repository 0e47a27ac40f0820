#include "test/sim/settle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/store/transaction.h"

namespace moraine::simulation {
namespace {

using metaserver::ChunkRecord;

struct NamedChunk {
  ChunkId id;
  ChunkRecord record;
};

std::vector<NamedChunk> Chunks(Cluster& cluster) {
  std::vector<NamedChunk> chunks;
  metaserver::Metaserver* server = cluster.metaserver();
  if (server == nullptr) return chunks;
  metaserver::Transaction transaction(server->store());
  auto cursor = transaction.Scan(metaserver::Family::kChunks, {});
  for (; cursor.Valid(); cursor.Next()) {
    const auto record = ChunkRecord::Decode(cursor.value());
    if (!record.ok()) {
      cluster.stage().Fail("a chunk's record: " + record.status().ToString());
      break;
    }
    chunks.push_back({ChunkId(metaserver::NumberInKey(cursor.key(), 0)), *record});
  }
  return chunks;
}

bool IsKept(Cluster& cluster, ChunkId chunk) {
  if (cluster.metaserver() == nullptr) return false;
  metaserver::Transaction transaction(cluster.metaserver()->store());
  const auto record = metaserver::FindChunk(transaction, chunk);
  if (!record.ok()) return true;  // what is wrong with it is not hidden here
  return record->has_value() && (*record)->state != metaserver::ChunkState::kDeleting;
}

size_t Wanted(const Cluster& cluster, const ChunkRecord& record) {
  return std::min<size_t>(record.policy.replicas, cluster.options().chunkservers);
}

size_t IndexOf(Cluster& cluster, ServerId server) {
  for (size_t i = 0; i < cluster.chunkservers().size(); ++i) {
    chunkserver::Store* store = cluster.store(i);
    if (store != nullptr && store->superblock().server == server) return i;
  }
  return cluster.chunkservers().size();
}

// Empty when nothing is left to do; otherwise the first thing.
std::string Unsettled(Cluster& cluster) {
  if (cluster.metaserver() == nullptr) return "no metaserver";
  if (cluster.ServersAlive() < cluster.options().chunkservers) return "a chunkserver is not alive";
  for (const auto& [id, record] : Chunks(cluster)) {
    if (record.state != metaserver::ChunkState::kSealed) {
      return fmt::format("chunk {} is in state {}", id.value(), static_cast<int>(record.state));
    }
    if (record.GoodReplicas() != Wanted(cluster, record) ||
        record.replicas.size() != record.GoodReplicas()) {
      return fmt::format("chunk {} has {} good replicas of {}", id.value(), record.GoodReplicas(),
                         record.replicas.size());
    }
    if (record.references == 0) return fmt::format("chunk {} is kept for nobody", id.value());
    for (const metaserver::ReplicaRecord& replica : record.replicas) {
      const size_t server = IndexOf(cluster, replica.server);
      if (server == cluster.chunkservers().size()) return "a replica on an unknown server";
      const auto info = cluster.store(server)->Stat(id);
      if (!info.ok()) {
        return fmt::format("chunk {} of {} bytes, inode {}, at {}: {}", id.value(), record.length,
                           record.inode.value(), cluster.chunkservers()[server]->name(),
                           info.status().ToString());
      }
      if (info->damaged) {
        return fmt::format("chunk {} is damaged at {}", id.value(),
                           cluster.chunkservers()[server]->name());
      }
      // Its server missed the seal, and is told again when it says so.
      if (!info->sealed) {
        return fmt::format("chunk {} is open at {}", id.value(),
                           cluster.chunkservers()[server]->name());
      }
    }
  }
  return {};
}

Result<std::string> ReadReplica(Cluster& cluster, size_t server, ChunkId chunk, uint64_t length) {
  constexpr uint64_t kPiece = 1 << 20;
  std::string bytes;
  chunkserver::Store* store = cluster.store(server);
  MORAINE_ASSIGN_OR_RETURN(const chunkserver::ReplicaInfo info, store->Stat(chunk));
  if (!info.sealed || info.held != length) {
    return Status(Code::kCorruption,
                  fmt::format("{} with {} bytes instead of {}", info.sealed ? "sealed" : "open",
                              info.held, length));
  }
  while (bytes.size() < length) {
    const uint64_t want = std::min(kPiece, length - bytes.size());
    auto read = cluster.world().Await(cluster.chunkservers()[server]->loop(),
                                      store->Read(chunk, bytes.size(), want, length));
    if (!read.has_value()) return Status(Code::kTimeout, "no answer");
    if (!read->ok()) return read->status();
    const auto& got = (*read)->bytes;
    if (got.size() != want) return Status(Code::kCorruption, "a short read");
    bytes.append(reinterpret_cast<const char*>(got.data()), got.size());
  }
  return bytes;
}

}  // namespace

void AwaitSettled(Cluster& cluster, Duration limit) {
  const sim::World& world = cluster.world();
  Duration look_at = world.now();
  const bool settled = cluster.world().RunUntil(
      [&] {
        if (cluster.stage().verdict.failed()) return true;
        if (world.now() < look_at) return false;
        look_at = world.now() + 20ms;
        return Unsettled(cluster).empty();
      },
      limit);
  if (!settled) cluster.stage().Fail("not settled: " + Unsettled(cluster));
}

void ScrubAll(Cluster& cluster) {
  for (size_t i = 0; i < cluster.chunkservers().size(); ++i) {
    chunkserver::Store* store = cluster.store(i);
    if (store == nullptr) return cluster.stage().Fail("a chunkserver is down in the end");
    if (!cluster.world().Await(cluster.chunkservers()[i]->loop(), store->ScrubOnce())) {
      cluster.stage().Fail("a scrub does not end");
    }
  }
}

uint64_t CompareReplicas(Cluster& cluster) {
  uint64_t compared = 0;
  for (const auto& [id, record] : Chunks(cluster)) {
    std::string first;
    for (const metaserver::ReplicaRecord& replica : record.replicas) {
      const size_t server = IndexOf(cluster, replica.server);
      if (server == cluster.chunkservers().size()) {
        cluster.stage().Fail(
            fmt::format("chunk {}: no server {}", id.value(), replica.server.value()));
        return compared;
      }
      const auto bytes = ReadReplica(cluster, server, id, record.length);
      // Of a removed file that somebody had open until now.
      if (!bytes.ok() && !IsKept(cluster, id)) break;
      const std::string& name = cluster.chunkservers()[server]->name();
      if (!bytes.ok()) {
        cluster.stage().Fail(
            fmt::format("chunk {} at {}: {}", id.value(), name, bytes.status().ToString()));
        return compared;
      }
      compared += bytes->size();
      if (&replica == &record.replicas.front()) first = *bytes;
      if (*bytes != first) {
        cluster.stage().Fail(fmt::format("chunk {} has other bytes at {}", id.value(), name));
        return compared;
      }
    }
  }
  return compared;
}

}  // namespace moraine::simulation
