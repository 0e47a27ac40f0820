#include "fs/chunkio/chunk_writer.h"

#include "base/check.h"
#include "base/fault_point.h"
#include "base/log.h"
#include "fs/chunkio/checksums.h"
#include "idl/methods.h"

namespace moraine::fs {
namespace {

// One is what the stream has on the way to those that commit, and a large piece a half more.
constexpr uint64_t kWindowsBehindMax = 2;

}  // namespace

ChunkWriter::ChunkWriter(Loop& loop, rpc::Channels& channels, ChunkGrant grant,
                         protocol::MadePolicy policy, const ChunkIoOptions& options,
                         Condition& changed)
    : loop_(loop),
      channels_(channels),
      grant_(std::move(grant)),
      options_(options),
      changed_(changed),
      rules_(grant_.chunk, grant_.epoch, policy),
      replicas_(grant_.replicas.size()),
      last_append_(loop.Now()),
      abandoned_(loop),
      tasks_(loop) {
  MORAINE_CHECK(static_cast<size_t>(policy.made) == grant_.replicas.size());
}

Result<protocol::AppendWriter::Ticket> ChunkWriter::Append(OwnedBytes bytes, bool sync) {
  last_append_ = loop_.Now();
  LeaveLaggards();
  auto submitted = rules_.Submit(bytes.bytes.size(), sync);
  if (!submitted.ok()) return submitted.status();
  const protocol::AppendHeader& header = submitted->header;
  idl::AppendRequest request;
  request.chunk = static_cast<int64_t>(grant_.chunk.value());
  request.epoch = static_cast<int64_t>(header.epoch.value());
  request.offset = static_cast<int64_t>(header.offset);
  request.checksums = PieceChecksums(header.offset, bytes.bytes);
  request.sync = header.sync;
  request.committed = static_cast<int64_t>(header.committed);
  const protocol::ReplicaSet live = rules_.live();
  for (size_t i = 0; i < replicas_.size(); ++i) {
    if (!live.Has(static_cast<int>(i))) continue;
    Replica& replica = replicas_[i];
    if (replica.outstanding++ == 0) replica.last_answer = loop_.Now();
    tasks_.Spawn(Send(i, request, bytes));
  }
  if (!watching_) {
    watching_ = true;
    tasks_.Spawn(WatchForStalls());
  }
  return submitted->ticket;
}

Task<void> ChunkWriter::Send(size_t index, idl::AppendRequest request, OwnedBytes bytes) {
  Replica& replica = replicas_[index];
  if (replica.failed) {
    --replica.outstanding;
    co_return;
  }
  if (!replica.acknowledged) {
    idl::ReplicaCreation create;
    create.inode = static_cast<int64_t>(grant_.inode.value());
    create.file_offset = static_cast<int64_t>(grant_.tail_offset);
    create.policy.name = grant_.policy_name;
    create.policy.replicas = grant_.policy.n;
    create.policy.quorum = grant_.policy.w;
    create.policy.floor = grant_.policy.floor;
    create.replicas_made = static_cast<int32_t>(replicas_.size());
    request.__set_create(create);
  }
  rpc::CallOptions options;
  options.deadline = loop_.After(options_.call_timeout);
  options.bulk_alignment = static_cast<uint64_t>(request.offset) % limits::kBlockBytes;
  options.bulk.Add(std::move(bytes.owner), bytes.bytes);
  options.dropped = &replica.failed;
  const ReplicaPlace& place = grant_.replicas[index];
  rpc::Channel& channel = channels_.To(place.endpoint, place.server);
  auto answer = co_await channel.Ask(idl::kAppend, std::move(request), std::move(options));
  --replica.outstanding;
  replica.last_answer = loop_.Now();
  if (!answer.ok()) {
    Fail(index, answer.status());
    co_return;
  }
  replica.acknowledged = true;
  if (answer->held < 0 || answer->synced < 0) {
    Fail(index, Status(Code::kProtocol, "negative length in an answer"));
    co_return;
  }
  rules_.OnAck(static_cast<int>(index), static_cast<uint64_t>(answer->held),
               static_cast<uint64_t>(answer->synced));
  if (!MORAINE_FAULT_STATUS("mutant.writer_counts_one_as_all").ok()) {
    for (size_t i = 0; i < replicas_.size(); ++i) {
      rules_.OnAck(static_cast<int>(i), static_cast<uint64_t>(answer->held),
                   static_cast<uint64_t>(answer->synced));
    }
  }
  changed_.NotifyAll();
}

void ChunkWriter::Fail(size_t index, const Status& why) {
  Replica& replica = replicas_[index];
  if (replica.failed) return;
  replica.failed = true;
  last_failure_ = why.Prefixed("chunkserver " + grant_.replicas[index].endpoint.ToString());
  if (why.code() != Code::kCanceled) {
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "chunk {}: replica on {} given up: {}",
                          grant_.chunk.value(), grant_.replicas[index].endpoint.ToString(),
                          why.ToString());
  }
  rules_.OnFailure(static_cast<int>(index), why.code());
  changed_.NotifyAll();
}

// The caller waits for what commits, not for the slowest: bytes for a replica that is behind those
// would gather here without end, all the time that it answers something.
void ChunkWriter::LeaveLaggards() {
  const protocol::ReplicaSet live = rules_.live();
  for (size_t i = 0; i < replicas_.size(); ++i) {
    const int replica = static_cast<int>(i);
    if (!live.Has(replica)) continue;
    if (rules_.submitted() - rules_.held(replica) <= kWindowsBehindMax * options_.window_bytes) {
      continue;
    }
    Fail(i, Status(Code::kTimeout, "fell behind the window"));
  }
}

// A server that takes bytes and answers nothing must not hold the stream for longer than `stall`.
Task<void> ChunkWriter::WatchForStalls() {
  while (!tasks_.closed()) {
    bool busy = false;
    for (size_t i = 0; i < replicas_.size(); ++i) {
      const Replica& replica = replicas_[i];
      if (replica.failed || replica.outstanding == 0) continue;
      busy = true;
      if (loop_.Now() - replica.last_answer >= options_.stall) {
        Fail(i, Status(Code::kTimeout, "no answer to an append"));
      }
    }
    if (!busy) break;
    (void)co_await abandoned_.Wait(loop_.After(options_.stall / 4));
  }
  watching_ = false;
}

ChunkClose ChunkWriter::Close() {
  const protocol::CloseRequest request = rules_.Close();
  ChunkClose close;
  close.chunk = grant_.chunk;
  close.epoch = grant_.epoch;
  close.length = request.length;
  for (size_t i = 0; i < grant_.replicas.size(); ++i) {
    if (request.holders.Has(static_cast<int>(i)))
      close.holders.push_back(grant_.replicas[i].server);
  }
  return close;
}

std::vector<ServerId> ChunkWriter::FailedServers() const {
  std::vector<ServerId> failed;
  for (size_t i = 0; i < replicas_.size(); ++i) {
    if (replicas_[i].failed) failed.push_back(grant_.replicas[i].server);
  }
  return failed;
}

void ChunkWriter::Abandon() {
  tasks_.Close();
  abandoned_.Set();
}

Task<void> ChunkWriter::Drain() {
  const bool drained = co_await tasks_.Drain();
  MORAINE_CHECK(drained);
}

}  // namespace moraine::fs
