// What a chunkserver says it has, against what the records say: pages of its inventory, and the
// changes in its heartbeats. The records are the truth; a report makes a replica good or missing,
// and everything the records do not know is given up, but only what this metaserver certainly knew
// more about.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/store/transaction.h"

namespace moraine::metaserver {

struct ReplicaReport {
  ChunkId chunk;
  Epoch epoch;
  bool sealed = false;
  uint64_t length = 0;
  bool damaged = false;
};

struct ReportOutcome {
  size_t unknown = 0;           // not in the records; kept for a long while (chunk_table.h)
  std::vector<ChunkId> remind;  // sealed chunks whose replica is still open
  std::vector<ChunkId> again;   // reports that could not be taken now: they have to come once more
};

// `is_busy`: a copy to this server or the end of a seal is under way, which will change the record
// itself. `servers`: for the choice of what is surplus.
Result<ReportOutcome> ApplyReports(Transaction& transaction, ServerId server,
                                   std::span<const ReplicaReport> reports,
                                   const std::function<bool(ChunkId)>& is_busy,
                                   const ServersNow& servers);
// Sealed replicas that should be in (after, up_to] and were not reported are missing.
Status ApplyAbsence(Transaction& transaction, ServerId server, ChunkId after, ChunkId up_to,
                    std::span<const ReplicaReport> reports);
// The server has its replica of a sealed chunk still, and it is damaged.
Status ApplyDamage(Transaction& transaction, ServerId server, ChunkId chunk);
// The server has lost or deleted its replica.
Status ApplyGone(Transaction& transaction, ServerId server, ChunkId chunk);

}  // namespace moraine::metaserver
