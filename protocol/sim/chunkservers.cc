#include "protocol/sim/chunkservers.h"

#include <fmt/format.h>

#include <algorithm>

namespace moraine::protocol::sim {

using Kind = Message::Kind;

void Chunkservers::Deliver(const Message& message) {
  Chunk& chunk = context_.chunks[message.chunk];
  Replica& replica = chunk.replicas[message.replica];
  switch (message.kind) {
    case Kind::kAppend:
      return OnAppend(message, replica);
    case Kind::kCopyData:
      return OnCopyData(message, replica);
    case Kind::kFence:
      return OnFence(message, replica);
    case Kind::kHold:
      return OnHold(message, replica);
    case Kind::kSeal:
      return OnSeal(message, replica);
    case Kind::kCopyFrom:
      return OnCopyFrom(message, chunk.replicas[message.source]);
    default:
      context_.Violated("a message for someone else");
  }
}

void Chunkservers::OnAppend(const Message& message, Replica& replica) {
  AppendHeader header{.epoch = message.epoch,
                      .offset = message.offset,
                      .bytes = message.bytes,
                      .sync = message.sync,
                      .committed = message.committed};
  Message moved = message;
  if (context_.mutant == Mutant::kAcceptOldEpoch)
    moved.epoch = header.epoch = replica.state.epoch();
  if (context_.mutant == Mutant::kAcceptGap && header.offset > replica.state.accepted()) {
    moved.offset = header.offset = replica.state.accepted();
  }
  if (context_.mutant == Mutant::kAckBeforeHeld) {
    Message ack = message;
    ack.kind = Kind::kAck;
    ack.length = header.end();
    ack.synced = 0;
    context_.Send(ack);
  }
  Result<AppendVerdict> verdict = replica.state.Append(header);
  if (!verdict.ok()) {
    if (verdict.code() == Code::kFenced) ++context_.stats.stale_appends;
    Message refused = message;
    refused.kind = Kind::kRefused;
    refused.code = verdict.code();
    return context_.Send(refused);
  }
  if (*verdict == AppendVerdict::kWrite && message.epoch < replica.fenced) {
    context_.Violated("an append of an old epoch was accepted after the fence was answered");
  }
  Accepted(moved, replica, *verdict, /*copy=*/false);
}

void Chunkservers::OnCopyData(const Message& message, Replica& replica) {
  Result<AppendVerdict> verdict = replica.state.Copy(message.epoch, message.offset, message.bytes);
  if (verdict.ok()) Accepted(message, replica, *verdict, /*copy=*/true);
}

void Chunkservers::Accepted(const Message& message, Replica& replica, AppendVerdict verdict,
                            bool copy) {
  if (verdict == AppendVerdict::kHeld) return Acknowledge(message, replica, copy);
  replica.writes.push_back({.message = message, .copy = copy});
  if (context_.Percent(context_.knobs.slow_disk_percent) && !context_.quiet) return;
  while (!replica.writes.empty()) FinishWrite(replica);
}

void Chunkservers::FinishWrite(Replica& replica) {
  Write write = replica.writes.front();
  replica.writes.pop_front();
  const Message& message = write.message;
  uint64_t end = message.offset + message.bytes;
  std::copy_n(message.data.begin(), message.bytes, replica.disk.begin() + message.offset);
  if (!replica.state.OnWritten(message.epoch, end)) {
    ++context_.stats.cut_writes;
    if (context_.mutant != Mutant::kAckAfterFence) return;
    Message ack = message;
    ack.kind = Kind::kAck;
    ack.length = end;
    return context_.Send(ack);
  }
  Acknowledge(message, replica, write.copy);
}

void Chunkservers::Acknowledge(const Message& message, Replica& replica, bool copy) {
  Message answer = message;
  if (copy) {
    answer.kind = Kind::kCopied;
    ++context_.stats.copies;
    return context_.Send(answer);
  }
  bool lie = context_.mutant == Mutant::kSyncIsHeld;
  if (message.sync && !lie) replica.state.OnSynced(replica.state.held());
  answer.kind = Kind::kAck;
  answer.length = replica.state.held();
  answer.synced = lie && message.sync ? replica.state.held() : replica.state.synced();
  context_.Send(answer);
}

bool Chunkservers::FinishOneWrite() {
  std::vector<Replica*> busy;
  for (Chunk& chunk : context_.chunks) {
    for (size_t i = 0; i < chunk.replicas.size(); ++i) {
      if (chunk.replicas[i].writes.empty() || !context_.ServerOf(chunk, i).Answers()) continue;
      busy.push_back(&chunk.replicas[i]);
    }
  }
  if (busy.empty()) return false;
  FinishWrite(*context_.random.Pick(busy));
  return true;
}

void Chunkservers::OnFence(const Message& message, Replica& replica) {
  Message answer = message;
  Result<FenceAnswer> fenced = replica.state.Fence(message.epoch);
  if (!fenced.ok()) {
    answer.kind = Kind::kSealFailed;
    return context_.Send(answer);
  }
  replica.durable_epoch = replica.state.epoch();
  replica.fenced = std::max(replica.fenced, message.epoch);
  answer.kind = Kind::kFenceAnswer;
  answer.length = fenced->length;
  answer.synced = fenced->synced;
  answer.restarted = fenced->restarted && context_.mutant != Mutant::kRestartedVouches;
  context_.Send(answer);
}

void Chunkservers::OnHold(const Message& message, Replica& replica) {
  Message answer = message;
  Status status = replica.state.Hold(message.epoch, message.length);
  if (status.ok()) {
    if (context_.mutant != Mutant::kHoldWithoutSync) replica.state.OnSynced(message.length);
    answer.kind = Kind::kHeld;
  } else if (status.code() == Code::kWrongOffset) {
    answer.kind = Kind::kShort;
    answer.length = replica.state.held();
  } else {
    answer.kind = Kind::kSealFailed;
  }
  context_.Send(answer);
}

void Chunkservers::OnCopyFrom(const Message& message, Replica& replica) {
  Message data = message;
  if (replica.state.epoch() != message.epoch || replica.state.held() < message.length) return;
  data.kind = Kind::kCopyData;
  data.bytes = message.length - message.offset;
  std::copy_n(replica.disk.begin() + data.offset, data.bytes, data.data.begin());
  context_.Send(data);
}

void Chunkservers::OnSeal(const Message& message, Replica& replica) {
  while (!replica.writes.empty()) FinishWrite(replica);  // drained before the cut
  if (!replica.state.Seal(message.epoch, message.length).ok()) return;
  replica.state.OnSynced(message.length);
  replica.durable_epoch = replica.state.epoch();
  replica.durable_seal = message.length;
  std::fill(replica.disk.begin() + message.length, replica.disk.end(), 0);
}

void Chunkservers::Crash(int server, bool lose_unsynced) {
  context_.Trace(fmt::format("server {} crashes{}", server, lose_unsynced ? " with losses" : ""));
  context_.servers[server].up = false;
  context_.servers[server].frozen = false;
  for (size_t c = 0; c < context_.chunks.size(); ++c) {
    Chunk& chunk = context_.chunks[c];
    for (size_t i = 0; i < chunk.replicas.size(); ++i) {
      if (chunk.servers[i] != server) continue;
      Replica& replica = chunk.replicas[i];
      uint64_t kept = replica.state.held();
      if (lose_unsynced && !replica.durable_seal) {
        uint64_t synced = replica.state.synced();
        kept = context_.random.OneIn(2) ? synced : context_.random.Between(synced, kept);
      }
      if (kept < replica.state.held()) ++context_.stats.lossy_restarts;
      bool lossless = kept == replica.state.held();
      replica.state = AppendReplica::Reopened(replica.state.chunk(), replica.durable_epoch, kept,
                                              replica.durable_seal);
      if (context_.mutant == Mutant::kForgetFence && lossless && !replica.durable_seal) {
        ForgetFence(replica, kept);
      }
      std::fill(replica.disk.begin() + kept, replica.disk.end(), 0);
      replica.writes.clear();
      replica.restarted = true;
    }
  }
}

// The mutant: the replica is as on its first day, with its bytes.
void Chunkservers::ForgetFence(Replica& replica, uint64_t length) {
  replica.state = AppendReplica(replica.state.chunk(), Epoch(1));
  Result<AppendVerdict> verdict = replica.state.Append({.epoch = Epoch(1), .bytes = length});
  bool written = verdict.ok() && replica.state.OnWritten(Epoch(1), length);
  if (!written) context_.Violated("a fresh replica took no bytes");
  replica.state.OnSynced(length);
}

void Chunkservers::Read() {
  if (context_.chunks.empty()) return;
  Chunk& chunk = context_.random.Pick(context_.chunks);
  int replica = static_cast<int>(context_.random.Uniform(chunk.replicas.size()));
  if (!context_.ServerOf(chunk, replica).Answers()) return;
  bool fresh = !context_.random.OneIn(3);
  ReadAll(chunk, replica, fresh ? chunk.record : context_.random.Pick(chunk.history));
}

void Chunkservers::ReadAll(const Chunk& chunk, int index, const ChunkRecord& view) {
  const Replica& replica = chunk.replicas[index];
  uint64_t end = replica.state.readable();
  if (context_.mutant == Mutant::kReadPastCommitted) end = replica.state.held();
  if (view.state == ChunkState::kClosed) {
    end = std::max(end, std::min(view.length, replica.state.held()));
  }
  if (view.state == ChunkState::kSealed) {
    if (!view.good.Has(index)) return;
    end = view.length;
    if (replica.state.held() < end) return context_.Violated("a good replica is short of the seal");
  }
  ++context_.stats.reads;
  if (chunk.record.state == ChunkState::kSealed && end > chunk.record.length) {
    // Only where committed bytes were cut, which more failures than the policy bears may do.
    if (!chunk.cut) return context_.Violated("a reader sees bytes past the seal");
    end = chunk.record.length;
  }
  if (end > chunk.written) return context_.Violated("a reader sees bytes that nobody wrote");
  for (uint64_t i = 0; i < end; ++i) {
    uint64_t at = chunk.file_start + i;
    if (at >= seen.size()) seen.resize(at + 1, -1);
    if (replica.disk[i] != chunk.content[i]) {
      return context_.Violated(fmt::format("byte {} of the file was never written so", at));
    }
    if (seen[at] >= 0 && seen[at] != replica.disk[i]) {
      return context_.Violated(fmt::format("two different bytes were read at {}", at));
    }
    seen[at] = replica.disk[i];
  }
}

}  // namespace moraine::protocol::sim
