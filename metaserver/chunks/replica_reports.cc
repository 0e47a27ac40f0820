#include "metaserver/chunks/replica_reports.h"

#include <unordered_set>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/store/store.h"

namespace moraine::metaserver {
namespace {

constexpr size_t kPage = 1024;

bool Matches(const ReplicaReport& report, const ChunkRecord& record) {
  return report.sealed && !report.damaged && report.length == record.length;
}

// A replica of a sealed chunk on a server that the record does not name.
Status ApplySurplus(Transaction& transaction, ServerId server, const ReplicaReport& report,
                    ChunkRecord& record, const ServersNow& servers) {
  MORAINE_ASSIGN_OR_RETURN(const bool going, IsDeletionQueued(transaction, server, report.chunk));
  if (going) return Status::Ok();
  if (Matches(report, record) && record.GoodReplicas() < record.policy.replicas) {
    record.replicas.push_back({server, ReplicaState::kGood, 0});
    MORAINE_RETURN_IF_ERROR(PutChunk(transaction, report.chunk, record));
    return DropSurplus(transaction, report.chunk, servers);
  }
  QueueDeletion(transaction, server, report.chunk, record.epoch);
  return Status::Ok();
}

Status ApplyToReplica(Transaction& transaction, const ReplicaReport& report, ChunkRecord& record,
                      ReplicaRecord& replica, const ServersNow& servers, ReportOutcome& outcome) {
  if (!report.sealed && !report.damaged) {
    outcome.remind.push_back(report.chunk);
    return Status::Ok();
  }
  const ReplicaState state = Matches(report, record) ? ReplicaState::kGood : ReplicaState::kMissing;
  if (replica.state == state) return Status::Ok();
  replica.state = state;
  MORAINE_RETURN_IF_ERROR(PutChunk(transaction, report.chunk, record));
  return DropSurplus(transaction, report.chunk, servers);
}

}  // namespace

Result<ReportOutcome> ApplyReports(Transaction& transaction, ServerId server,
                                   std::span<const ReplicaReport> reports,
                                   const std::function<bool(ChunkId)>& is_busy,
                                   const ServersNow& servers) {
  ReportOutcome outcome;
  for (const ReplicaReport& report : reports) {
    MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, report.chunk));
    if (!record.has_value()) {
      // An id that was never given out is from a future that this store has lost: hands off.
      MORAINE_ASSIGN_OR_RETURN(const bool going,
                               IsDeletionQueued(transaction, server, report.chunk));
      if (!going && transaction.store().WasGiven(report.chunk)) {
        MORAINE_RETURN_IF_ERROR(NoteUnknown(transaction, server, report.chunk, report.epoch));
      }
      ++outcome.unknown;
      continue;
    }
    // Before the seal the sealer asks for itself; only damage may come after its question.
    if (record->state != ChunkState::kSealed) {
      if (report.damaged && record->state != ChunkState::kDeleting) {
        outcome.again.push_back(report.chunk);
      }
      continue;
    }
    if (is_busy(report.chunk)) {
      outcome.again.push_back(report.chunk);
      continue;
    }
    if (ReplicaRecord* replica = record->FindReplica(server)) {
      MORAINE_RETURN_IF_ERROR(
          ApplyToReplica(transaction, report, *record, *replica, servers, outcome));
    } else {
      MORAINE_RETURN_IF_ERROR(ApplySurplus(transaction, server, report, *record, servers));
    }
  }
  return outcome;
}

Status ApplyAbsence(Transaction& transaction, ServerId server, ChunkId after, ChunkId up_to,
                    std::span<const ReplicaReport> reports) {
  std::unordered_set<ChunkId> reported;
  for (const ReplicaReport& report : reports) reported.insert(report.chunk);
  while (true) {
    MORAINE_ASSIGN_OR_RETURN(const auto chunks, ChunksOfServer(transaction, server, after, kPage));
    for (const ChunkId chunk : chunks) {
      if (chunk > up_to) return Status::Ok();
      after = chunk;
      if (!reported.contains(chunk)) {
        MORAINE_RETURN_IF_ERROR(ApplyGone(transaction, server, chunk));
      }
    }
    if (chunks.size() < kPage) return Status::Ok();
  }
}

Status ApplyDamage(Transaction& transaction, ServerId server, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(auto record, FindChunk(transaction, chunk));
  if (!record.has_value() || record->state != ChunkState::kSealed) return Status::Ok();
  ReplicaRecord* replica = record->FindReplica(server);
  if (replica == nullptr || replica->state == ReplicaState::kMissing) return Status::Ok();
  replica->state = ReplicaState::kMissing;
  return PutChunk(transaction, chunk, *record);
}

Status ApplyGone(Transaction& transaction, ServerId server, ChunkId chunk) {
  MORAINE_ASSIGN_OR_RETURN(const auto record, FindChunk(transaction, chunk));
  if (!record.has_value()) MORAINE_RETURN_IF_ERROR(ForgetUnknown(transaction, server, chunk));
  MORAINE_ASSIGN_OR_RETURN(const bool going, IsDeletionQueued(transaction, server, chunk));
  if (going) return FinishDeletion(transaction, server, chunk);
  return ApplyDamage(transaction, server, chunk);
}

}  // namespace moraine::metaserver
