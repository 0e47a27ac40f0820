#include <algorithm>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/service/convert.h"
#include "metaserver/service/core.h"

namespace moraine::metaserver {
namespace {

// Chunks are counted per server up to here; a status must not hold up the loop.
constexpr size_t kCountedMax = 100'000;
// What most bytes are stored with (policy `immutable`).
constexpr uint64_t kUsualCopies = 3;

int64_t Milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

Result<idl::ClusterStatus> ClusterStatusOf(Core& core) {
  const Counters& counters = core.store.counters();
  idl::ClusterStatus status;
  status.cluster = core.store.cluster();
  status.inodes = counters.inodes;
  status.chunks = counters.chunks;
  status.open_chunks = counters.open_chunks;
  status.under_replicated_chunks = counters.under_replicated_chunks;
  status.lost_chunks = counters.lost_chunks;
  status.sessions = static_cast<int64_t>(core.sessions.size());
  status.user_bytes = counters.user_bytes;
  status.stored_bytes = counters.stored_bytes;
  status.deleting_chunks = counters.deleting_chunks;
  status.uptime_ms = Milliseconds(core.loop.Now() - core.started);
  Transaction transaction(core.store);
  for (const ServerId server : core.registry.All()) {
    const ServerRecord& record = *core.registry.Find(server);
    idl::ServerStatus& out = status.servers.emplace_back();
    out.server_id = ToWire(server);
    out.endpoint = record.endpoint;
    out.location = record.location;
    out.alive = core.registry.IsAlive(server);
    out.silent_ms = Milliseconds(core.registry.Silence(server));
    out.total_bytes = static_cast<int64_t>(record.total_bytes);
    out.free_bytes = static_cast<int64_t>(record.free_bytes);
    MORAINE_ASSIGN_OR_RETURN(const auto chunks,
                             ChunksOfServer(transaction, server, ChunkId(), kCountedMax));
    out.chunks = static_cast<int64_t>(chunks.size());
    out.quarantined = record.quarantined;
  }
  return status;
}

idl::FileSystemStatus FileSystemStatusOf(Core& core) {
  uint64_t total = 0;
  uint64_t free = 0;
  uint64_t servers = 0;
  for (const ServerId server : core.registry.All()) {
    if (core.registry.IsDead(server)) continue;
    const ServerRecord& record = *core.registry.Find(server);
    ++servers;
    total += record.total_bytes;
    if (!record.quarantined) free += record.free_bytes;
  }
  const uint64_t copies = std::clamp<uint64_t>(servers, 1, kUsualCopies);
  idl::FileSystemStatus status;
  status.total_bytes = static_cast<int64_t>(total / copies);
  status.free_bytes = static_cast<int64_t>(free / copies);
  status.inodes = core.store.counters().inodes;
  return status;
}

Task<Result<idl::Empty>> SetPolicyCall(Core& core, rpc::CallContext& context,
                                       idl::SetPolicyRequest request) {
  MORAINE_CO_ASSIGN_OR_RETURN(PolicyRecord policy, FromWire(request.policy));
  co_return co_await core.Change<idl::Empty>(
      idl::kSetPolicy.name, context,
      [policy = std::move(policy)](Transaction& transaction) -> Result<idl::Empty> {
        MORAINE_RETURN_IF_ERROR(SetPolicy(transaction, policy));
        return idl::Empty();
      });
}

Task<Result<idl::Empty>> SetRulesCall(Core& core, rpc::CallContext& context,
                                      idl::SetRulesRequest request) {
  std::vector<PolicyRule> rules;
  for (const idl::PolicyRule& rule : request.rules) rules.push_back({rule.glob, rule.policy});
  const auto directory = IdFromWire<InodeId>(request.inode);
  co_return co_await core.Change<idl::Empty>(
      idl::kSetRules.name, context,
      [directory, rules = std::move(rules)](Transaction& transaction) -> Result<idl::Empty> {
        MORAINE_RETURN_IF_ERROR(SetRules(transaction, directory, rules));
        return idl::Empty();
      });
}

Result<idl::RulesResponse> RulesOf(Core& core, rpc::CallContext& context, InodeId directory) {
  return core.Query<idl::RulesResponse>(
      context, [&](Transaction& transaction) -> Result<idl::RulesResponse> {
        MORAINE_ASSIGN_OR_RETURN(const EffectiveRules effective, GetRules(transaction, directory));
        idl::RulesResponse response;
        for (const PolicyRule& rule : effective.rules) {
          idl::PolicyRule& out = response.rules.emplace_back();
          out.glob = rule.glob;
          out.policy = rule.policy;
        }
        response.from_inode = ToWire(effective.from);
        if (!effective.from.IsNone()) {
          MORAINE_ASSIGN_OR_RETURN(response.from_path,
                                   PathOfDirectory(transaction, effective.from));
        }
        return response;
      });
}

}  // namespace

void HandleAdministration(rpc::Server& server, Core& core) {
  server.Handle(idl::kClusterStatus,
                [&core](rpc::CallContext&, idl::Empty) -> Task<Result<idl::ClusterStatus>> {
                  co_return ClusterStatusOf(core);
                });
  server.Handle(idl::kFileSystemStatus,
                [&core](rpc::CallContext&, idl::Empty) -> Task<Result<idl::FileSystemStatus>> {
                  co_return FileSystemStatusOf(core);
                });
  server.Handle(idl::kLocate,
                [&core](rpc::CallContext& context,
                        idl::InodeRequest request) -> Task<Result<idl::LocateResponse>> {
                  co_return core.Query<idl::LocateResponse>(context, [&](Transaction& transaction) {
                    return LocateAnswer(transaction, IdFromWire<InodeId>(request.inode),
                                        core.registry);
                  });
                });
  server.Handle(idl::kSetPolicy, [&core](rpc::CallContext& context, idl::SetPolicyRequest request) {
    return SetPolicyCall(core, context, std::move(request));
  });
  server.Handle(
      idl::kListPolicies,
      [&core](rpc::CallContext& context, idl::Empty) -> Task<Result<idl::ListPoliciesResponse>> {
        auto policies = core.Query<std::vector<PolicyRecord>>(
            context, [](Transaction& transaction) { return ListPolicies(transaction); });
        if (!policies.ok()) co_return policies.status();
        idl::ListPoliciesResponse response;
        for (const PolicyRecord& policy : *policies) response.policies.push_back(ToWire(policy));
        co_return response;
      });
  server.Handle(idl::kSetRules, [&core](rpc::CallContext& context, idl::SetRulesRequest request) {
    return SetRulesCall(core, context, std::move(request));
  });
  server.Handle(idl::kGetRules,
                [&core](rpc::CallContext& context,
                        idl::InodeRequest request) -> Task<Result<idl::RulesResponse>> {
                  co_return RulesOf(core, context, IdFromWire<InodeId>(request.inode));
                });
}

}  // namespace moraine::metaserver
