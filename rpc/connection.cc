#include "rpc/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/encoding.h"
#include "base/limits.h"

namespace moraine::rpc {
namespace {

constexpr size_t kReadAhead = 64 << 10;       // small frames arrive many at a time
constexpr size_t kQueuedBytesMax = 32 << 20;  // then senders wait
constexpr size_t kWriteBytesMax = 4 << 20;    // of one system call

}  // namespace

Connection::Connection(Loop& loop, std::unique_ptr<Stream> stream)
    : loop_(loop),
      stream_(std::move(stream)),
      in_(Buffer::Allocate(kReadAhead)),
      queue_changed_(loop),
      room_(loop) {}

Connection::~Connection() = default;

void Connection::Start() { loop_.Spawn(RunWriter(shared_from_this())); }

void Connection::ProgressTimer::Fire() { connection->Close(Status(Code::kTimeout, complaint)); }

void Connection::Close(Status why) {
  if (closed_) return;
  closed_ = true;
  why_ = std::move(why);
  stream_->Close();
  queue_changed_.NotifyAll();
  room_.NotifyAll();
}

// Reads until at least `needed` unconsumed bytes are in in_.
Task<Status> Connection::Fill(size_t needed) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ + needed > in_.size()) {
    Buffer larger = Buffer::Allocate(std::max(needed, kReadAhead));
    std::memcpy(larger.data(), in_.data() + begin_, end_ - begin_);
    in_ = std::move(larger);
    end_ -= begin_;
    begin_ = 0;
  }
  while (end_ - begin_ < needed) {
    if (closed_) co_return why_;
    Result<size_t> got = co_await stream_->Read(in_.bytes().subspan(end_));
    if (closed_) co_return why_;
    if (!got.ok()) co_return got.status();
    if (*got == 0) co_return Status(Code::kUnavailable, "connection closed by " + peer());
    end_ += *got;
  }
  co_return Status();
}

Task<Result<ConstBytes>> Connection::ReadFrame() {
  if (begin_ == end_) {
    frame_timer_.Cancel();
    MORAINE_CO_RETURN_IF_ERROR(co_await Fill(1));
  }
  if (!frame_timer_.armed()) loop_.timers().Arm(frame_timer_, loop_.After(limits::kFrameTimeout));
  MORAINE_CO_RETURN_IF_ERROR(co_await Fill(4));
  const size_t size = LoadBig32(in_.data() + begin_);
  if (size == 0 || size > limits::kFrameBytesMax) {
    co_return Status(Code::kProtocol, fmt::format("{} announced a frame of {} bytes; from 1 to {} are allowed",
                                                  peer(), size, limits::kFrameBytesMax));
  }
  MORAINE_CO_RETURN_IF_ERROR(co_await Fill(4 + size));
  const ConstBytes frame = ConstBytes(in_.data() + begin_ + 4, size);
  begin_ += 4 + size;
  frame_timer_.Cancel();
  co_return frame;
}

Task<Result<Buffer>> Connection::ReadBulk(size_t size, size_t alignment) {
  Buffer bulk = Buffer::Allocate(size, alignment);
  size_t have = std::min(size, end_ - begin_);
  std::memcpy(bulk.data(), in_.data() + begin_, have);
  begin_ += have;
  while (have < size) {
    loop_.timers().Arm(frame_timer_, loop_.After(limits::kFrameTimeout));
    Result<size_t> got = co_await stream_->Read(bulk.bytes().subspan(have));
    if (closed_) co_return why_;
    if (!got.ok()) co_return got.status();
    if (*got == 0) co_return Status(Code::kUnavailable, "connection closed by " + peer());
    have += *got;
  }
  frame_timer_.Cancel();
  co_return bulk;
}

void Connection::Send(std::string frame, BulkOut bulk) {
  if (closed_) return;
  Outgoing outgoing{std::move(frame), std::move(bulk), 0};
  outgoing.bytes = outgoing.frame.size() + outgoing.bulk.size();
  queued_bytes_ += outgoing.bytes;
  queue_.push_back(std::move(outgoing));
  queue_changed_.NotifyOne();
}

Task<bool> Connection::WaitForRoom(Instant deadline) {
  if (closed_) co_return false;
  if (queued_bytes_ < kQueuedBytesMax && waiting_for_room_ == 0) co_return true;
  struct Place {
    explicit Place(Connection* connection) : connection(connection) { ++connection->waiting_for_room_; }
    ~Place() {
      --connection->waiting_for_room_;
      // One woken waiter wakes the next: it sends before that one runs.
      connection->room_.NotifyOne();
    }
    Connection* connection;
  } place(this);
  while (true) {
    const bool woken = co_await room_.Wait(deadline);
    if (closed_ || !woken) co_return false;
    if (queued_bytes_ < kQueuedBytesMax) co_return true;
  }
}

Task<void> Connection::RunWriter(std::shared_ptr<Connection> self) {
  std::vector<ConstBytes> pieces;
  while (true) {
    while (self->queue_.empty() && !self->closed_) co_await self->queue_changed_.Wait();
    if (self->closed_) break;
    // Everything that is queued, up to the bounds of one call; the queue keeps the bytes alive.
    pieces.clear();
    size_t messages = 0;
    size_t bytes = 0;
    for (const Outgoing& outgoing : self->queue_) {
      if (messages > 0 && (pieces.size() + 1 + outgoing.bulk.pieces.size() > Stream::kPiecesMax ||
                           bytes + outgoing.bytes > kWriteBytesMax)) {
        break;
      }
      pieces.emplace_back(reinterpret_cast<const std::byte*>(outgoing.frame.data()), outgoing.frame.size());
      pieces.insert(pieces.end(), outgoing.bulk.pieces.begin(), outgoing.bulk.pieces.end());
      bytes += outgoing.bytes;
      ++messages;
    }
    MORAINE_CHECK(pieces.size() <= Stream::kPiecesMax, "bulk in too many pieces");
    self->loop_.timers().Arm(self->write_timer_, self->loop_.After(limits::kFrameTimeout));
    const Status sent = co_await self->stream_->Write(pieces);
    self->write_timer_.Cancel();
    if (!sent.ok()) {
      self->Close(sent);
      break;
    }
    for (size_t i = 0; i < messages; ++i) self->queue_.pop_front();
    self->queued_bytes_ -= bytes;
    self->room_.NotifyOne();
  }
  self->queue_.clear();
}

}  // namespace moraine::rpc
