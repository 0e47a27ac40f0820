// Appends to one open chunk: sends every append to all its replicas, in order, many in flight, and
// counts the answers by the rules of protocol/append_writer.h.
//
// A replica that answers and is much slower than those that commit is left behind: the bytes for it
// are kept for at most two of the stream's windows.
//
// It does not roll and does not retry: when rules().roll() says so, AppendStream goes on in another
// chunk. Confined to one loop; Abandon and Drain before destruction.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "fs/chunkio/chunk.h"
#include "fs/chunkio/options.h"
#include "idl/chunkserver_types.h"
#include "protocol/append_writer.h"
#include "rpc/channels.h"

namespace moraine::fs {

class ChunkWriter {
 public:
  // `changed` is notified whenever rules() may say something new. It outlives the writer.
  ChunkWriter(Loop& loop, rpc::Channels& channels, ChunkGrant grant, protocol::MadePolicy policy,
              const ChunkIoOptions& options, Condition& changed);

  // Sends `bytes` (at most limits::kAppendBytesMax; none is a plain sync, or only tells what is
  // committed). Errors: those of AppendWriter::Submit.
  Result<protocol::AppendWriter::Ticket> Append(OwnedBytes bytes, bool sync);

  protocol::AppendWriter& rules() { return rules_; }
  const ChunkGrant& grant() const { return grant_; }
  // When Append was called last.
  Instant last_append() const { return last_append_; }
  // Of this chunk as the metaserver wants it to close it.
  ChunkClose Close();
  std::vector<ServerId> FailedServers() const;
  // Why the last replica was given up, for messages.
  const Status& last_failure() const { return last_failure_; }

  // No new calls; those under way end by their deadlines.
  void Abandon();
  Task<void> Drain();

 private:
  Task<void> Send(size_t replica, idl::AppendRequest request, OwnedBytes bytes);
  Task<void> WatchForStalls();
  void LeaveLaggards();
  void Fail(size_t replica, const Status& why);

  Loop& loop_;
  rpc::Channels& channels_;
  const ChunkGrant grant_;
  const ChunkIoOptions& options_;
  Condition& changed_;
  protocol::AppendWriter rules_;
  struct Replica {
    int outstanding = 0;
    Instant last_answer{};
    bool acknowledged = false;  // it exists there: appends need not say how to make it
    bool failed = false;
  };
  std::vector<Replica> replicas_;
  Status last_failure_;
  Instant last_append_;  // or when it was granted
  bool watching_ = false;
  Event abandoned_;
  TaskGroup tasks_;
};

}  // namespace moraine::fs
