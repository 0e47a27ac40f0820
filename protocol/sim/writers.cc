#include "protocol/sim/writers.h"

#include <fmt/format.h>

#include <algorithm>

namespace moraine::protocol::sim {

using Kind = Message::Kind;

int Writers::Begin(int chunk) {
  writers_.emplace_back();
  Open(writers_.back(), chunk);
  return count() - 1;
}

void Writers::Open(Writer& writer, int chunk) {
  MadePolicy policy = context_.chunks[chunk].record.policy;
  if (context_.mutant == Mutant::kCommitOneFewer && policy.w > 1) {
    --policy.w;
    policy.floor = std::min(policy.floor, policy.w);
  }
  writer.streams.emplace(chunk, Stream(AppendWriter(ChunkId(static_cast<uint64_t>(chunk) + 1),
                                                    Epoch(1), policy, context_.knobs.capacity)));
  writer.current = chunk;
}

void Writers::SendAppend(int id, int chunk, const AppendHeader& header, int replica) {
  Message message{.kind = Kind::kAppend,
                  .chunk = chunk,
                  .replica = replica,
                  .writer = id,
                  .epoch = header.epoch,
                  .offset = header.offset,
                  .bytes = header.bytes,
                  .sync = header.sync,
                  .committed = header.committed};
  for (uint64_t i = 0; i < header.bytes; ++i) {
    message.data[i] = ByteAt(id, context_.chunks[chunk].file_start + header.offset + i);
  }
  context_.Send(message);
}

void Writers::Append(int id, uint64_t bytes, bool sync) {
  Writer& writer = writers_[id];
  int chunk = writer.current;
  Stream& stream = writer.streams.at(chunk);
  Result<AppendWriter::Submitted> submitted = stream.append.Submit(bytes, sync);
  if (!submitted.ok()) return;
  const AppendHeader& header = submitted->header;
  stream.sent.push_back(header);
  Chunk& truth = context_.chunks[chunk];
  for (uint64_t i = header.offset; i < header.end(); ++i) {
    truth.content[i] = ByteAt(id, truth.file_start + i);
  }
  truth.written = std::max(truth.written, header.end());
  for (int i = 0; i < truth.record.policy.made; ++i) {
    if (stream.append.live().Has(i)) SendAppend(id, chunk, header, i);
  }
}

void Writers::Resend(int id, int chunk, int replica) {
  Stream& stream = writers_[id].streams.at(chunk);
  uint64_t held = stream.append.held(replica);
  uint64_t end = stream.append.closed() ? stream.append.committed() : stream.append.submitted();
  for (AppendHeader header : stream.sent) {
    if (header.end() > end) break;
    bool sync_waits = header.sync && header.end() > stream.append.synced(replica);
    if (header.end() <= held && !sync_waits) continue;
    header.committed = stream.append.committed();
    SendAppend(id, chunk, header, replica);
  }
  // Tells how far readers may see.
  SendAppend(
      id, chunk,
      {.epoch = stream.append.epoch(), .offset = held, .committed = stream.append.committed()},
      replica);
}

void Writers::SendClose(int id, int chunk) {
  CloseRequest request = writers_[id].streams.at(chunk).append.Close();
  context_.Send({.kind = Kind::kClose,
                 .chunk = chunk,
                 .writer = id,
                 .epoch = request.epoch,
                 .length = request.length,
                 .holders = request.holders});
}

void Writers::MaybeRoll(int id) {
  Writer& writer = writers_[id];
  Roll roll = writer.streams.at(writer.current).append.roll();
  if (roll == Roll::kNow || (roll == Roll::kSoon && context_.random.OneIn(3))) {
    SendClose(id, writer.current);
  }
}

void Writers::Deliver(const Message& message) {
  Writer& writer = writers_[message.writer];
  if (writer.crashed) return;
  switch (message.kind) {
    case Kind::kAck: {
      Stream& stream = writer.streams.at(message.chunk);
      stream.append.OnAck(message.replica, message.length, message.synced);
      if (context_.mutant == Mutant::kCommitAfterClose && stream.append.closed() &&
          message.length > stream.append.committed()) {
        // What a writer that does not freeze would have told its callers.
        Chunk& chunk = context_.chunks[message.chunk];
        int holders = 0;
        for (int i = 0; i < chunk.record.policy.made; ++i) {
          if (stream.append.held(i) >= message.length) ++holders;
        }
        if (holders >= chunk.record.policy.w) chunk.committed = message.length;
      }
      break;
    }
    case Kind::kRefused:
      OnRefused(message);
      break;
    case Kind::kClosed:
      OnClosed(message);
      break;
    case Kind::kCloseRefused:
      writer.fenced = true;
      break;
    case Kind::kSettled:
      writer.streams.at(message.chunk).append.OnSealed(message.length, message.holders.Count());
      break;
    default:
      context_.Violated("a message for someone else");
  }
  TellCallers(message.writer, message.chunk);
}

void Writers::OnRefused(const Message& message) {
  Writer& writer = writers_[message.writer];
  Stream& stream = writer.streams.at(message.chunk);
  if (message.code == Code::kWrongOffset) return;  // out of order on the way: sent again later
  stream.append.OnFailure(message.replica, message.code);
  if (stream.append.fenced()) writer.fenced = true;
}

void Writers::OnClosed(const Message& message) {
  Writer& writer = writers_[message.writer];
  Stream& stream = writer.streams.at(message.chunk);
  if (stream.moved) return;
  stream.moved = true;
  Open(writer, message.next);
  while (std::optional<AppendWriter::Ticket> ticket = stream.append.PopUnfinished()) {
    uint64_t from = std::max(ticket->offset, stream.append.committed());
    Append(message.writer, ticket->end - from, ticket->sync);
  }
}

void Writers::TellCallers(int id, int chunk) {
  Stream& stream = writers_[id].streams.at(chunk);
  while (stream.append.PopDone()) ++context_.stats.acks;
  Chunk& truth = context_.chunks[chunk];
  truth.committed = std::max(truth.committed, stream.append.committed());
  truth.synced = std::max(truth.synced, stream.append.synced());
}

void Writers::Act() {
  int id = static_cast<int>(context_.random.Uniform(writers_.size()));
  Writer& writer = writers_[id];
  if (writer.paused || writer.crashed) return;
  Stream& stream = writer.streams.at(writer.current);
  int replica = static_cast<int>(context_.random.Uniform(stream.append.policy().made));
  uint64_t dice = context_.random.Uniform(100);
  if (dice < 55) {
    bool sync = context_.random.OneIn(3);
    uint64_t bytes = sync && context_.random.OneIn(3) ? 0 : context_.random.Between(1, 3);
    Append(id, bytes, sync);
  } else if (dice < 85) {
    for (auto& [chunk, old] : writer.streams) {
      if (chunk != writer.current && !old.append.has_waiting()) continue;
      Resend(id, chunk, replica % old.append.policy().made);
    }
  } else if (dice < 85 + static_cast<uint64_t>(context_.knobs.give_up)) {
    stream.append.OnFailure(replica, Code::kTimeout);
  } else if (dice < 90 + static_cast<uint64_t>(context_.knobs.close)) {
    if (!writer.fenced) SendClose(id, writer.current);
  }
  MaybeRoll(id);
  if (stream.append.closed() && !stream.moved && !writer.fenced) SendClose(id, writer.current);
}

void Writers::PauseOrResume() {
  Writer& writer = context_.random.Pick(writers_);
  writer.paused = !writer.paused;
}

void Writers::CrashOne() { context_.random.Pick(writers_).crashed = true; }

void Writers::ResumeAll() {
  for (Writer& writer : writers_) writer.paused = false;
}

void Writers::RetryAll() {
  for (int id = 0; id < count(); ++id) {
    Writer& writer = writers_[id];
    if (writer.crashed || writer.fenced) continue;
    for (auto& [chunk, stream] : writer.streams) {
      const Chunk& truth = context_.chunks[chunk];
      for (int i = 0; i < truth.record.policy.made; ++i) {
        if (context_.servers[truth.servers[i]].dead) stream.append.OnFailure(i, Code::kUnavailable);
        if (stream.append.live().Has(i)) Resend(id, chunk, i);
      }
      if (stream.append.closed() && !stream.moved) SendClose(id, chunk);
      if (stream.moved && truth.record.state == ChunkState::kSealed) {  // the metaserver is asked
        stream.append.OnSealed(truth.record.length, truth.record.good.Count());
        TellCallers(id, chunk);
      }
    }
    MaybeRoll(id);
  }
}

bool Writers::Idle(int id) const {
  for (const auto& [chunk, stream] : writers_[id].streams) {
    if (!stream.append.has_waiting() || stream.append.cut()) continue;
    // Syncs of a closed chunk that is sealed on fewer replicas than its floor wait for repair.
    const ChunkRecord& record = context_.chunks[chunk].record;
    bool for_repair = stream.moved && record.state == ChunkState::kSealed &&
                      record.good.Count() < record.policy.floor;
    if (!for_repair) return false;
  }
  return true;
}

std::string Writers::Describe(int id) const {
  std::string text;
  for (const auto& [chunk, stream] : writers_[id].streams) {
    const AppendWriter& append = stream.append;
    const ChunkRecord& record = context_.chunks[chunk].record;
    text += fmt::format(
        " [chunk {}: submitted {} committed {} synced {} live {:b}{}{}{}; record state {} length "
        "{} "
        "epoch {} good {:b}]",
        chunk, append.submitted(), append.committed(), append.synced(), append.live().mask(),
        append.closed() ? " closed" : "", stream.moved ? " moved" : "",
        append.has_waiting() ? " waiting" : "", static_cast<int>(record.state), record.length,
        record.epoch.value(), record.good.mask());
  }
  return text;
}

}  // namespace moraine::protocol::sim
