#include "fs/chunkio/append_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace moraine::fs {
namespace {

constexpr size_t kFirstGatherBytes = 64 << 10;  // small streams do not take a whole piece
constexpr Duration kRetryMin = std::chrono::milliseconds(5);
constexpr Duration kRetryMax = std::chrono::milliseconds(500);
constexpr Duration kSoon = std::chrono::milliseconds(500);
constexpr Duration kTellAfter = std::chrono::milliseconds(500);
constexpr Duration kProbeAfter = std::chrono::seconds(20);
constexpr size_t kAvoidMax = 16;
constexpr int kSettlesAtOnce = 32;

}  // namespace

AppendStream::AppendStream(Loop& loop, rpc::Channels& channels, ChunkSource& source,
                           const ChunkIoOptions& options, uint64_t start,
                           std::optional<ChunkGrant> first)
    : loop_(loop),
      channels_(channels),
      source_(source),
      options_(options),
      start_(start),
      taken_(start),
      committed_(start),
      sync_wanted_(start),
      base_(start),
      sync_sent_(start),
      first_(std::move(first)),
      changed_(loop),
      progress_(loop),
      tasks_(loop) {
  MORAINE_CHECK(!first_ || first_->tail_offset == start || !first_->tail);
  tasks_.Spawn(Run());
}

AppendStream::~AppendStream() = default;

Task<Status> AppendStream::Append(ConstBytes bytes, Instant deadline) {
  MORAINE_CHECK(!finished_, "the stream is finished");
  bool taken = false;
  while (!bytes.empty()) {
    const ConstBytes part = bytes.first(std::min<uint64_t>(bytes.size(), options_.window_bytes));
    const bool room = co_await AwaitRoom(part.size(), deadline, /*may_give_up=*/!taken);
    if (!error_.ok()) co_return error_;
    if (!room) {
      const Status late = Late("the chunkservers do not take more bytes in time");
      // Half of it is on its way: nobody could tell which, so nothing may follow.
      if (taken) Fail(Status(Code::kIo, "the chunkservers took a part of a write in time"));
      co_return taken ? error_ : late;
    }
    Take(part);
    taken = true;
    bytes = bytes.subspan(part.size());
  }
  co_return error_;
}

// Until `bytes` more fit into the window, or half of it is free: few large writes shall not wait
// for each other. False: not by the deadline, or the disks are full and this may give up.
Task<bool> AppendStream::AwaitRoom(uint64_t bytes, Instant deadline, bool may_give_up) {
  const auto full = [&] {
    const uint64_t on_the_way = taken_ - committed_;
    return on_the_way > options_.window_bytes / 2 && on_the_way + bytes > options_.window_bytes;
  };
  const uint64_t refusals = refusals_;
  while (full() && error_.ok()) {
    Push();
    if (may_give_up && NoChunkSince(refusals)) co_return false;
    const bool woken = co_await progress_.Wait(deadline);
    if (!woken) co_return false;
  }
  co_return true;
}

void AppendStream::Take(ConstBytes bytes) {
  while (!bytes.empty()) {
    if (gather_ == nullptr || gather_end_ == gather_->size()) {
      EnqueueGathered();
      const size_t size = bytes.size() >= kFirstGatherBytes || taken_ - start_ >= kFirstGatherBytes
                              ? options_.piece_bytes
                              : kFirstGatherBytes;
      gather_ = std::make_shared<Buffer>(Buffer::Allocate(size));
      gather_begin_ = gather_end_ = 0;
    }
    const size_t part = std::min(bytes.size(), gather_->size() - gather_end_);
    std::memcpy(gather_->data() + gather_end_, bytes.data(), part);
    gather_end_ += part;
    taken_ += part;
    bytes = bytes.subspan(part);
    if (gather_end_ == gather_->size()) Push();
  }
}

void AppendStream::EnqueueGathered() {
  if (gather_ == nullptr || gather_begin_ == gather_end_) return;
  Piece piece;
  piece.bytes.owner = gather_;
  piece.bytes.bytes =
      std::as_const(*gather_).bytes().subspan(gather_begin_, gather_end_ - gather_begin_);
  piece.offset = taken_ - piece.bytes.bytes.size();
  gather_begin_ = gather_end_;
  queue_.push_back(std::move(piece));
}

void AppendStream::Push() {
  EnqueueGathered();
  if (!queue_.empty() && !SendQueued()) changed_.NotifyAll();
}

// What to say to who has waited for too long: why, if that is known.
Status AppendStream::Late(const char* words) const {
  if (!trouble_.ok()) return trouble_;
  return Status(Code::kTimeout, between_chunks_ ? "no next chunk is granted in time" : words);
}

// There is no room on the cluster's disks, and it was asked for since. Whoever waits is told at
// once, and the bytes stay: there may be room when somebody asks the next time.
bool AppendStream::NoRoomSince(uint64_t refusals) const {
  return trouble_.code() == Code::kNoSpace && refusals_ > refusals;
}

// The same for those who need the next chunk, and not that older ones are settled.
bool AppendStream::NoChunkSince(uint64_t refusals) const {
  return between_chunks_ && NoRoomSince(refusals);
}

void AppendStream::NoteTrouble(Status status) {
  trouble_ = std::move(status);
  if (trouble_.code() != Code::kNoSpace) return;
  ++refusals_;
  progress_.NotifyAll();
}

Task<Status> AppendStream::Flush(Instant deadline) {
  const uint64_t target = taken_;
  const uint64_t refusals = refusals_;
  Push();
  while (committed_ < target && error_.ok()) {
    if (NoChunkSince(refusals)) co_return trouble_;
    const bool woken = co_await progress_.Wait(deadline);
    if (!woken) co_return Late("the chunkservers do not confirm in time");
  }
  co_return error_;
}

Task<Status> AppendStream::Sync(Instant deadline) {
  const uint64_t target = taken_;
  const uint64_t refusals = refusals_;
  sync_wanted_ = std::max(sync_wanted_, target);
  Push();
  SendSync();
  while (error_.ok()) {
    SettleBelow(target);
    if (committed_ >= target && SyncedNow() >= target) break;
    if (NoRoomSince(refusals)) co_return trouble_;
    const bool woken = co_await progress_.Wait(deadline);
    if (!woken) co_return Late("the chunkservers do not sync in time");
  }
  co_return error_;
}

Task<Result<std::optional<ChunkClose>>> AppendStream::Finish(Instant deadline) {
  const Status flushed = co_await Flush(deadline);
  if (!flushed.ok()) co_return flushed;
  // The next chunk of a roll is the file's already: it must be closed too.
  const uint64_t refusals = refusals_;
  while (between_chunks_ && error_.ok()) {
    if (NoChunkSince(refusals)) co_return trouble_;
    const bool woken = co_await progress_.Wait(deadline);
    if (!woken) co_return Late("no next chunk in time");
  }
  if (!error_.ok()) co_return error_;
  finished_ = true;
  if (writer_ == nullptr) {
    if (!first_) co_return std::optional<ChunkClose>();
    // Granted and never used: closed empty, so that the metaserver forgets it.
    co_return std::optional<ChunkClose>(ChunkClose{first_->chunk, first_->epoch, 0, {}});
  }
  co_return std::optional<ChunkClose>(writer_->Close());
}

std::optional<AppendStream::OpenChunk> AppendStream::open_chunk() const {
  if (writer_ == nullptr) return std::nullopt;
  return OpenChunk{writer_->grant(), base_, writer_->rules().committed()};
}

uint64_t AppendStream::SyncedNow() const {
  for (const auto& retired : retired_) {
    if (!retired->Synced()) return retired->base + retired->writer->rules().synced();
  }
  return writer_ == nullptr ? committed_ : base_ + writer_->rules().synced();
}

// ---- The actor that sends, takes answers and rolls.

Task<void> AppendStream::Run() {
  while (!tasks_.closed() && error_.ok()) {
    TakeAnswers();
    if (writer_ == nullptr && !queue_.empty()) {
      if (first_) {
        Begin(*std::exchange(first_, std::nullopt));
      } else {
        Result<ChunkGrant> grant = co_await AskForChunk(std::nullopt);
        if (!grant.ok()) {
          Fail(grant.status());
          break;
        }
        Begin(std::move(*grant));
      }
      continue;
    }
    if (writer_ != nullptr && MustRoll()) {
      co_await Roll();
      continue;
    }
    if (SendQueued()) continue;
    const Instant tell_at = TellAt();
    if (tell_at <= loop_.Now()) {
      // Nothing new is told with a sync, which costs little then. Refused: MustRoll sees why.
      const bool told = writer_->rules().told() == writer_->rules().committed();
      writer_->Append({}, told).status().Ignore();
      continue;
    }
    const bool degraded =
        writer_ != nullptr && writer_->rules().roll() == protocol::Roll::kSoon && !finished_;
    co_await changed_.Wait(std::min(tell_at, degraded ? loop_.After(kSoon) : kNever));
    if (degraded && writer_->rules().roll() == protocol::Roll::kSoon && !finished_ && error_.ok()) {
      // Fewer replicas than the policy wants: go on in a chunk that has them all.
      co_await Roll();
    }
  }
}

// When the replicas are to be told what was committed after the last append: a reader of a tail who
// cannot reach all of them needs their word for it (visible_length.h). Later it only finds replicas
// that were lost while nothing was sent: an open chunk is its writer's, nobody else repairs it.
Instant AppendStream::TellAt() const {
  if (writer_ == nullptr || finished_) return kNever;
  const protocol::AppendWriter& rules = writer_->rules();
  const bool untold = writer_->grant().tail && rules.told() < rules.committed();
  return writer_->last_append() + (untold ? kTellAfter : kProbeAfter);
}

bool AppendStream::MustRoll() const {
  if (finished_) return false;
  return writer_->rules().fenced() || writer_->rules().roll() == protocol::Roll::kNow ||
         (!queue_.empty() && writer_->rules().remaining() == 0);
}

// Sends what the open chunk takes; true if it sent anything.
bool AppendStream::SendQueued() {
  bool sent = false;
  while (writer_ != nullptr && !queue_.empty() && !MustRoll()) {
    Piece piece = queue_.front();
    const uint64_t size =
        std::min({piece.bytes.bytes.size(), writer_->rules().remaining(), limits::kAppendBytesMax});
    if (size < piece.bytes.bytes.size()) {
      piece.bytes.bytes = piece.bytes.bytes.first(size);
      Piece& rest = queue_.front();
      rest.offset += size;
      rest.bytes.bytes = rest.bytes.bytes.subspan(size);
    } else {
      queue_.pop_front();
    }
    // One sync at the end of what was asked for, not one for every piece.
    const bool sync = sync_wanted_ > base_ && piece.end() <= sync_wanted_ &&
                      (queue_.empty() || queue_.front().offset >= sync_wanted_ ||
                       writer_->rules().remaining() == size);
    auto ticket = writer_->Append(piece.bytes, sync);
    if (!ticket.ok()) {
      queue_.push_front(std::move(piece));
      changed_.NotifyAll();
      return sent;
    }
    MORAINE_CHECK(base_ + ticket->offset == piece.offset, "the stream lost its place");
    if (sync) sync_sent_ = piece.end();
    in_flight_.push_back(std::move(piece));
    sent = true;
  }
  return sent;
}

// A plain sync for bytes that were sent without one.
void AppendStream::SendSync() {
  if (writer_ == nullptr || MustRoll() || !queue_.empty()) return;
  const uint64_t sent = base_ + writer_->rules().submitted();
  if (sync_wanted_ <= sync_sent_ || sent <= sync_sent_ || sent == base_) return;
  if (writer_->Append({}, true).ok()) {
    sync_sent_ = sent;
  } else {
    changed_.NotifyAll();
  }
}

void AppendStream::TakeAnswers() {
  if (writer_ == nullptr) return;
  while (writer_->rules().PopDone()) {
  }
  const uint64_t committed = base_ + writer_->rules().committed();
  committed_ = std::max(committed_, committed);
  while (!in_flight_.empty() && in_flight_.front().end() <= committed_) in_flight_.pop_front();
  progress_.NotifyAll();
}

Task<void> AppendStream::DrainFullChunk(Instant deadline) {
  protocol::AppendWriter& rules = writer_->rules();
  while (rules.committed() < rules.submitted() && rules.live().Count() >= rules.policy().w &&
         !rules.fenced()) {
    const bool woken = co_await changed_.Wait(deadline);
    TakeAnswers();
    if (!woken) break;
  }
}

// Puts everything sent and not committed in front of the queue again.
void AppendStream::Requeue(uint64_t from) {
  while (!in_flight_.empty()) {
    Piece piece = std::move(in_flight_.back());
    in_flight_.pop_back();
    if (piece.end() <= from) continue;
    if (piece.offset < from) {
      piece.bytes.bytes = piece.bytes.bytes.subspan(from - piece.offset);
      piece.offset = from;
    }
    queue_.push_front(std::move(piece));
  }
}

// Servers are found for each next chunk, and none takes a byte: they will soon be known better. The
// first such roll goes on at once.
Task<void> AppendStream::PauseIfFruitless() {
  if (writer_->rules().committed() > 0) {
    fruitless_rolls_ = 0;
    co_return;
  }
  if (fruitless_rolls_ > 0) {
    const Duration pause = kRetryMin * (1 << std::min(fruitless_rolls_, 7));
    co_await loop_.Sleep(std::min(pause, kRetryMax));
  }
  ++fruitless_rolls_;
}

Task<void> AppendStream::Roll() {
  co_await DrainFullChunk(loop_.After(options_.timeout));
  co_await PauseIfFruitless();
  // Finished meanwhile: the chunk is closed by whoever did that, and none follows.
  if (tasks_.closed() || !error_.ok() || finished_) co_return;
  if (writer_->rules().fenced()) {
    Fail(Status(Code::kFenced,
                fmt::format("chunk {} has a new owner", writer_->grant().chunk.value())));
    co_return;
  }
  const ChunkClose close = writer_->Close();
  TakeAnswers();
  const uint64_t next = base_ + close.length;
  for (ServerId server : writer_->FailedServers()) {
    if (std::find(avoid_.begin(), avoid_.end(), server) == avoid_.end()) avoid_.push_back(server);
  }
  if (avoid_.size() > kAvoidMax) avoid_.erase(avoid_.begin(), avoid_.end() - kAvoidMax);
  const Status last_failure = writer_->last_failure();
  auto retired = std::make_unique<Retired>();
  retired->base = base_;
  retired->length = close.length;
  closed_.push_back({writer_->grant(), base_, close.length});
  retired->writer = std::move(writer_);
  Retired& left = *retired;  // kept until its close was answered, see DropSettled
  retired_.push_back(std::move(retired));
  Requeue(next);
  base_ = next;
  sync_sent_ = next;
  Result<ChunkGrant> grant = co_await AskForChunk(close);
  if (!grant.ok()) {
    Fail(last_failure.ok() ? grant.status()
                           : grant.status().Prefixed("after " + last_failure.ToString()));
    co_return;
  }
  // Not before: the metaserver would take an open chunk for one whose writer is gone.
  left.closed = true;
  if (tasks_.closed()) co_return;
  Begin(std::move(*grant));
  // Sync callers look again: what was closed may have to settle.
  progress_.NotifyAll();
  DropSettled();
}

Task<Result<ChunkGrant>> AppendStream::AskForChunk(std::optional<ChunkClose> previous) {
  Duration delay = kRetryMin;
  Instant deadline = loop_.After(options_.timeout);
  between_chunks_ = true;
  while (true) {
    auto grant =
        co_await source_.NextChunk(previous, base_, avoid_, [this] { return !tasks_.closed(); });
    NoteTrouble(grant.status());
    const bool refused = grant.code() == Code::kTooFewServers || grant.code() == Code::kNoSpace;
    const bool may_pass = refused || grant.status().advice() == Advice::kRetry;
    if (grant.ok() || !may_pass || tasks_.closed()) co_return grant;
    if (refused) {
      // For certain, and servers or room may come at any time: the bytes wait for that. Who waits
      // for the bytes has a deadline. A server that was avoided may be all there is now.
      avoid_.clear();
      deadline = loop_.After(options_.timeout);
    } else if (loop_.Now() + delay >= deadline) {
      co_return grant;
    }
    co_await loop_.Sleep(delay);
    if (tasks_.closed()) co_return grant;  // nobody would close what is granted now
    delay = std::min(delay * 2, kRetryMax);
  }
}

bool AppendStream::Begin(ChunkGrant grant) {
  between_chunks_ = false;
  const auto policy = grant.policy.ForMade(static_cast<int>(grant.replicas.size()));
  if (!policy.ok()) {
    Fail(policy.status());
    return false;
  }
  writer_ = std::make_unique<ChunkWriter>(loop_, channels_, std::move(grant), *policy, options_,
                                          changed_);
  return true;
}

// ---- Chunks that are closed and whose bytes somebody wants on disk.

// The oldest first, some at a time: a long stream that was never synced has left thousands. Whoever
// waits looks again when one has settled.
void AppendStream::SettleBelow(uint64_t offset) {
  for (const auto& retired : retired_) {
    const bool done = retired->settling || retired->Synced();
    if (retired->base >= offset || !retired->closed || done) continue;
    if (settling_ >= kSettlesAtOnce) return;
    retired->settling = true;
    ++settling_;
    tasks_.Spawn(Settle(retired.get()));
  }
}

Task<void> AppendStream::Settle(Retired* retired) {
  const ChunkId chunk = retired->writer->grant().chunk;
  auto length = co_await source_.AwaitSealed(chunk, loop_.After(options_.timeout));
  retired->settling = false;
  --settling_;
  if (length.ok() && *length == retired->length) {
    retired->settled = true;
    if (!between_chunks_) trouble_ = Status();
  } else if (length.ok()) {
    Fail(Status(Code::kIo, fmt::format("chunk {} lost unsynced bytes: {} of {} are left",
                                       chunk.value(), *length, retired->length)));
  } else if (length.code() == Code::kNoSpace) {
    NoteTrouble(length.status());
  } else if (length.status().advice() != Advice::kRetry) {
    Fail(length.status());
  }
  progress_.NotifyAll();
}

void AppendStream::DropSettled() {
  while (!retired_.empty() && !tasks_.closed()) {
    const Retired& oldest = *retired_.front();
    if (!oldest.closed || oldest.settling || !oldest.Synced()) return;
    oldest.writer->Abandon();
    // In the background: a server that is silent would hold up the chunk that follows.
    tasks_.Spawn(DrainRetired(std::move(retired_.front())));
    retired_.erase(retired_.begin());
  }
}

Task<void> AppendStream::DrainRetired(std::unique_ptr<Retired> retired) {
  co_await retired->writer->Drain();
}

void AppendStream::Fail(Status status) {
  if (!error_.ok()) return;
  error_ = std::move(status);
  progress_.NotifyAll();
  changed_.NotifyAll();
}

void AppendStream::Abandon() {
  tasks_.Close();
  Fail(Status(Code::kCanceled, "the stream was abandoned"));
  if (writer_ != nullptr) writer_->Abandon();
  for (const auto& retired : retired_) retired->writer->Abandon();
}

Task<void> AppendStream::Drain() {
  MORAINE_CHECK(tasks_.closed(), "Abandon comes before Drain");
  const bool drained = co_await tasks_.Drain();
  MORAINE_CHECK(drained);
  if (writer_ != nullptr) co_await writer_->Drain();
  for (const auto& retired : retired_) co_await retired->writer->Drain();
}

}  // namespace moraine::fs
