#include "fs/chunkio/chunk_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "fs/chunkio/checksums.h"
#include "idl/methods.h"

namespace moraine::fs {

struct ChunkReader::Attempt {
  explicit Attempt(Loop& loop) : changed(loop) {}
  ChunkPlace place;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t committed = 0;
  Instant deadline{};
  Condition changed;
  int under_way = 0;
  std::optional<OwnedBytes> bytes;  // of the first good answer
  Status error;                     // the most telling one so far
};

struct ChunkReader::Survey {
  explicit Survey(Loop& loop) : changed(loop) {}
  ChunkId chunk;
  Instant deadline{};
  Condition changed;
  size_t asked = 0;
  size_t ended = 0;
  std::vector<ReplicaAnswer> answers;
  Status error;
};

ChunkReader::ChunkReader(Loop& loop, rpc::Channels& channels, const ChunkIoOptions& options,
                         MetricRegistry& metrics, BadReplica bad)
    : loop_(loop),
      channels_(channels),
      options_(options),
      bad_(std::move(bad)),
      cache_(options.cache_bytes, metrics),
      hedges_(metrics.GetCounter("moraine_client_hedged_reads_total",
                                 "Reads that asked a second replica because the first was slow.")),
      mismatches_(metrics.GetCounter("moraine_client_checksum_mismatches_total",
                                     "Answers whose bytes did not match their checksums.")),
      tasks_(loop) {}

// The quickest first, among equals one by chance, so that load spreads. One replica of each chunk,
// the same for all clients, counts as twice as quick as it is: so a block that is read now and then
// is in the memory of one server and not of three.
void ChunkReader::OrderForReading(ChunkId chunk, std::vector<ReplicaPlace>* replicas) {
  if (replicas->empty()) return;
  const ServerId home = (*replicas)[chunk.value() % replicas->size()].server;
  loop_.random().Shuffle(*replicas);
  const auto rank = [&](const ReplicaPlace& replica) {
    return stats_.Rank(replica.server, replica.server == home);
  };
  std::ranges::sort(*replicas, {}, rank);
}

Task<Result<OwnedBytes>> ChunkReader::Read(ChunkPlace place, uint64_t offset, uint64_t length,
                                           uint64_t committed, Instant deadline) {
  MORAINE_CHECK(length > 0 && length <= limits::kReadBytesMax);
  if (offset + length <= committed && cache_.Serves(length)) {
    return ReadThroughCache(std::move(place), offset, length, committed, deadline);
  }
  return Fetch(std::move(place), offset, length, committed, deadline);
}

Task<Result<OwnedBytes>> ChunkReader::ReadThroughCache(ChunkPlace place, uint64_t offset,
                                                       uint64_t length, uint64_t committed,
                                                       Instant deadline) {
  if (auto known = cache_.Find(place.chunk, offset, length)) co_return std::move(*known);
  const BlockCache::Range range = cache_.RangeToRead(place.chunk, offset, length, committed);
  Result<OwnedBytes> bytes = co_await Fetch(place, range.offset, range.length, committed, deadline);
  if (!bytes.ok()) {
    // What is wrong may be wrong with the rest of the window only.
    if (range.length == length || loop_.Now() >= deadline) co_return bytes;
    co_return co_await Fetch(std::move(place), offset, length, committed, deadline);
  }
  cache_.Insert(place.chunk, range.offset, bytes->bytes);
  cache_.NoteRead(place.chunk, offset, length);
  bytes->bytes = bytes->bytes.subspan(offset - range.offset, length);
  co_return bytes;
}

Task<Result<OwnedBytes>> ChunkReader::Fetch(ChunkPlace place, uint64_t offset, uint64_t length,
                                            uint64_t committed, Instant deadline) {
  auto attempt = std::make_shared<Attempt>(loop_);
  attempt->offset = offset;
  attempt->length = length;
  attempt->committed = committed;
  attempt->deadline = deadline;
  attempt->error =
      Status(Code::kUnavailable, fmt::format("chunk {} has no replica", place.chunk.value()));
  std::vector<ReplicaPlace> replicas = place.replicas;
  attempt->place = std::move(place);
  OrderForReading(attempt->place.chunk, &replicas);
  for (size_t next = 0; next < replicas.size(); ++next) {
    if (next > 0 && attempt->under_way > 0) hedges_.Add();
    ++attempt->under_way;
    if (!tasks_.Spawn(AskReplica(attempt, replicas[next]))) {
      co_return Status(Code::kCanceled, "the client is stopping");
    }
    // Until it has answered, or for as long as it usually takes if another could be asked.
    const bool last = next + 1 == replicas.size();
    const Instant until =
        last ? deadline
             : std::min(deadline,
                        loop_.After(stats_.HedgeAfter(replicas[next].server, options_.hedge_min)));
    while (attempt->under_way > 0 && !attempt->bytes) {
      const bool woken = co_await attempt->changed.Wait(until);
      if (!woken) break;
    }
    if (attempt->bytes) co_return std::move(*attempt->bytes);
    if (loop_.Now() >= deadline) {
      co_return Status(Code::kTimeout, fmt::format("no replica of chunk {} answered in time",
                                                   attempt->place.chunk.value()));
    }
  }
  co_return attempt->error;
}

Task<void> ChunkReader::AskReplica(std::shared_ptr<Attempt> attempt, ReplicaPlace replica) {
  const Instant begin = loop_.Now();
  stats_.OnAsk(replica.server);
  Result<OwnedBytes> bytes = co_await AskOne(*attempt, replica);
  --attempt->under_way;
  if (bytes.ok()) {
    stats_.OnAnswer(replica.server, loop_.Now() - begin);
    if (!attempt->bytes) attempt->bytes = std::move(*bytes);
  } else {
    const Code code = bytes.code();
    stats_.OnFailure(replica.server, code == Code::kUnavailable || code == Code::kTimeout);
    if (code == Code::kCorruption || code == Code::kUnknownChunk || code == Code::kIo) {
      if (code == Code::kCorruption) mismatches_.Add();
      if (bad_) bad_(attempt->place.chunk, replica.server, bytes.status());
    }
    // "Not yet visible" is an answer about the chunk; the others are about one replica.
    if (attempt->error.code() != Code::kNotCommitted) {
      attempt->error = bytes.status().Prefixed("chunkserver " + replica.endpoint.ToString());
    }
  }
  attempt->changed.NotifyAll();
}

Task<Result<OwnedBytes>> ChunkReader::AskOne(const Attempt& attempt, const ReplicaPlace& replica) {
  idl::ReadRequest request;
  request.chunk = static_cast<int64_t>(attempt.place.chunk.value());
  request.offset = static_cast<int64_t>(attempt.offset);
  request.length = static_cast<int32_t>(attempt.length);
  request.committed = static_cast<int64_t>(attempt.committed);
  const uint64_t offset = attempt.offset;
  const uint64_t length = attempt.length;
  rpc::CallOptions options;
  options.deadline = std::min(attempt.deadline, loop_.After(options_.call_timeout));
  rpc::Channel& channel = channels_.To(replica.endpoint, replica.server);
  auto reply = co_await channel.Call(idl::kRead, std::move(request), std::move(options));
  if (!reply.ok()) co_return reply.status();
  const uint64_t first = static_cast<uint64_t>(reply->response.offset);
  const uint64_t size = reply->bulk.size();
  if (first > offset || first % limits::kBlockBytes != 0) {
    co_return Status(Code::kProtocol, fmt::format("asked for [{}, +{}), got [{}, +{})", offset,
                                                  length, first, size));
  }
  // It has no more: bytes that were never synced are lost there, and the chunk is about to be cut.
  if (first + size < offset + length) {
    co_return Status(Code::kNotCommitted, fmt::format("the replica has {} bytes, {} are wanted",
                                                      first + size, offset + length));
  }
  MORAINE_CO_RETURN_IF_ERROR(
      VerifyPieceChecksums(first, reply->bulk.bytes(), reply->response.checksums));
  OwnedBytes bytes;
  bytes.owner = std::move(reply->bulk).Share();
  bytes.bytes = bytes.owner->bytes().subspan(offset - first, length);
  co_return bytes;
}

Task<void> ChunkReader::StatReplica(std::shared_ptr<Survey> survey, ReplicaPlace replica) {
  idl::StatReplicaRequest request;
  request.chunk = static_cast<int64_t>(survey->chunk.value());
  rpc::CallOptions options;
  options.deadline = std::min(survey->deadline, loop_.After(options_.call_timeout));
  rpc::Channel& channel = channels_.To(replica.endpoint, replica.server);
  auto info = co_await channel.Ask(idl::kStatReplica, std::move(request), std::move(options));
  ++survey->ended;
  if (info.ok()) {
    survey->answers.push_back({.held = static_cast<uint64_t>(info->held),
                               .committed = static_cast<uint64_t>(info->committed),
                               .sealed = info->state == idl::ChunkState::kSealed,
                               .restarted = info->restarted,
                               .damaged = info->damaged});
  } else if (info.code() == Code::kUnknownChunk) {
    // It has not heard of the chunk: it holds nothing of it.
    survey->answers.emplace_back();
  } else {
    survey->error = info.status();
  }
  survey->changed.NotifyAll();
}

Task<Result<ChunkReader::Visible>> ChunkReader::VisibleLength(ChunkPlace place, Instant deadline) {
  const auto policy = place.policy.ForMade(static_cast<int>(place.replicas.size()));
  if (!policy.ok()) co_return policy.status();
  auto survey = std::make_shared<Survey>(loop_);
  survey->chunk = place.chunk;
  survey->deadline = deadline;
  for (const ReplicaPlace& replica : place.replicas) {
    if (!tasks_.Spawn(StatReplica(survey, replica))) {
      co_return Status(Code::kCanceled, "the client is stopping");
    }
    ++survey->asked;
  }
  // The others' answers come to nobody: one silent server must not hold up every reader.
  while (true) {
    if (const auto visible = VisibleFrom(survey->answers, *policy)) co_return *visible;
    if (survey->ended == survey->asked) break;
    const bool woken = co_await survey->changed.Wait(deadline);
    if (!woken) break;
  }
  co_return Status(
      Code::kUnavailable,
      fmt::format("{} of {} replicas of open chunk {} answer; how far it is written cannot be told",
                  survey->answers.size(), survey->asked, place.chunk.value()));
}

Task<void> ChunkReader::Drain() {
  const bool drained = co_await tasks_.Drain();
  MORAINE_CHECK(drained);
}

}  // namespace moraine::fs
