// A chunkserver for tests of the metaserver: protocol's replicas with lengths and no bytes, behind
// a real rpc::Server, that registers and sends heartbeats. What its disk would hold outlives its
// process (FakeDisk).
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/hash.h"
#include "base/loop/sim/machine.h"
#include "base/loop/sim/sim_loop.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"
#include "idl/methods.h"
#include "protocol/append_replica.h"
#include "rpc/channels.h"
#include "rpc/server.h"

namespace moraine::metaserver {

struct FakeReplica {
  protocol::AppendReplica state;
  uint64_t file_offset = 0;
  bool damaged = false;
};

struct FakeDisk {
  std::string incarnation;
  ServerId id;
  std::map<ChunkId, FakeReplica> replicas;
  std::map<ChunkId, Epoch> tombstones;
  std::set<ChunkId> changed;  // to be told with the next heartbeat
  bool full = false;          // takes no byte to the disk
  std::set<ChunkId> kept;     // whose deletion is refused
  bool misses_seals = false;  // answers none
  Duration copy_time{};       // how long a copy takes
  int inventory_pages = 1;    // each of kPageIds ids, and what is left over in the last
  Duration page_time{};       // how long each takes
  uint64_t registrations = 0;
  uint64_t pages = 0;  // that were taken
  uint64_t starts = 0;
  uint64_t stats = 0;
  uint64_t copies = 0;
  uint64_t deletions = 0;

  // The test is the writer: bytes arrive, and are synced or not.
  void Write(ChunkId chunk, uint64_t length, bool synced = true, uint64_t file_offset = 0) {
    auto it = replicas.find(chunk);
    if (it == replicas.end()) {
      it = replicas
               .emplace(chunk, FakeReplica{protocol::AppendReplica(chunk, Epoch(1)), file_offset})
               .first;
    }
    protocol::AppendReplica& replica = it->second.state;
    const protocol::AppendHeader header{.epoch = Epoch(1),
                                        .offset = replica.accepted(),
                                        .bytes = length - replica.accepted(),
                                        .sync = synced};
    const auto verdict = replica.Append(header);
    MORAINE_CHECK(verdict.ok(), verdict.status().ToString());
    MORAINE_CHECK(replica.OnWritten(Epoch(1), header.end()));
    if (synced) replica.OnSynced(header.end());
  }
  // Whether a writer of epoch 1 could still append.
  bool Takes(ChunkId chunk) const {
    const auto it = replicas.find(chunk);
    if (it == replicas.end()) return !tombstones.contains(chunk);
    protocol::AppendReplica replica = it->second.state;
    return replica.Append({.epoch = Epoch(1), .offset = replica.accepted(), .bytes = 1}).ok();
  }
  bool IsSealed(ChunkId chunk, uint64_t length) const {
    const auto it = replicas.find(chunk);
    return it != replicas.end() && it->second.state.sealed() && it->second.state.held() == length;
  }
};

class FakeChunkserver : public sim::Process {
 public:
  FakeChunkserver(sim::SimLoop& loop, FakeDisk& disk, std::string name, Endpoint metaserver);

 private:
  static constexpr uint16_t kPort = 7450;
  static constexpr uint64_t kPageIds = 100;

  idl::ReplicaReport ReportOf(ChunkId chunk, const FakeReplica& replica) const;
  Task<void> Heartbeat();
  idl::ReplicaInfo InfoOf(ChunkId chunk) const;
  Result<idl::ReplicaInfo> Stat(ChunkId chunk) const;
  Result<idl::ReplicaInfo> Fence(const idl::FenceRequest& request);
  Result<idl::ReplicaInfo> Seal(const idl::SealRequest& request);
  Task<Result<idl::ReplicaInfo>> Copy(idl::CopyRequest request);
  Result<idl::Nothing> Delete(const idl::DeleteReplicaRequest& request);
  Result<FakeReplica*> Find(ChunkId chunk);
  void Handle();
  Task<void> RunHeartbeats();
  Task<Status> RegisterOnce();
  Task<Status> SendInventory(ServerId server);

  sim::SimLoop& loop_;
  FakeDisk& disk_;
  const std::string name_;
  const uint64_t start_id_;
  MetricRegistry metrics_;
  rpc::Server server_;
  rpc::Channel metaserver_;
  rpc::Channels peers_;
  TaskGroup tasks_;
  bool registered_ = false;
};

}  // namespace moraine::metaserver
