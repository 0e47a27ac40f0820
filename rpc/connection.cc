#include "rpc/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/encoding.h"

namespace moraine::rpc {
namespace {

constexpr size_t kLengthBytes = 4;

}  // namespace

Connection::Connection(Loop& loop, std::unique_ptr<Stream> stream, Duration patience)
    : loop_(loop),
      patience_(patience),
      stream_(std::move(stream)),
      in_(Buffer::Allocate(limits::kReadAheadBytes)),
      queue_changed_(loop),
      room_(loop),
      sent_(loop) {}

Connection::~Connection() = default;

bool Connection::Start(TaskGroup& group) { return group.Spawn(RunWriter(shared_from_this())); }

void Connection::ProgressTimer::Fire() { connection->Close(Status(Code::kTimeout, complaint)); }

void Connection::ArmFrameTimer() {
  if (!frame_timer_.armed()) loop_.timers().Arm(frame_timer_, loop_.After(patience_));
}

void Connection::Close(Status why) {
  if (closed_) return;
  MORAINE_CHECK(!why.ok(), "a connection is closed for a reason");
  closed_ = true;
  why_ = std::move(why);
  stream_->Close();
  queue_changed_.NotifyAll();
  room_.NotifyAll();
  sent_.NotifyAll();
}

Task<void> Connection::Finish(Status why) {
  frame_timer_.Cancel();
  const Instant deadline = loop_.After(limits::kFarewellTimeout);
  while (!closed_ && !queue_.empty()) {
    const bool woken = co_await sent_.Wait(deadline);
    if (!woken) break;
  }
  // What still comes in is dropped.
  loop_.timers().Arm(frame_timer_, deadline);
  while (!closed_) {
    Result<size_t> got = co_await stream_->Read(in_.bytes());
    if (!got.ok() || *got == 0) break;
  }
  frame_timer_.Cancel();
  Close(std::move(why));
}

// Makes sure that bytes can be read behind end_, and that `needed` will fit in the end. An
// announced length costs memory only as its bytes arrive.
void Connection::MakeRoom(size_t needed) {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    if (in_.size() > limits::kReadAheadBytes && needed <= limits::kReadAheadBytes) {
      in_ = Buffer::Allocate(limits::kReadAheadBytes);
    }
  }
  if (begin_ + needed <= in_.size()) return;
  if (begin_ > 0) {
    std::memmove(in_.data(), in_.data() + begin_, unread());
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == in_.size()) {
    Buffer larger = Buffer::Allocate(std::min(needed, 2 * in_.size()));
    std::memcpy(larger.data(), in_.data(), end_);
    in_ = std::move(larger);
  }
}

// Reads until at least `needed` unconsumed bytes are in in_.
Task<Status> Connection::Fill(size_t needed) {
  while (unread() < needed) {
    MakeRoom(needed);
    if (closed_) co_return why_;
    Result<size_t> got = co_await stream_->Read(in_.bytes().subspan(end_));
    if (closed_) co_return why_;
    if (!got.ok()) co_return got.status();
    if (*got == 0) co_return Status(Code::kUnavailable, "connection closed by " + peer());
    end_ += *got;
    ++heard_count_;
  }
  co_return Status();
}

Task<Result<size_t>> Connection::ReadLength(size_t bytes_max) {
  if (closed_) co_return why_;
  if (unread() == 0) {
    frame_timer_.Cancel();
    MORAINE_CO_RETURN_IF_ERROR(co_await Fill(1));
  }
  if (unread() < kLengthBytes) {
    ArmFrameTimer();
    MORAINE_CO_RETURN_IF_ERROR(co_await Fill(kLengthBytes));
  }
  const size_t size = LoadBig32(in_.data() + begin_);
  if (size == 0 || size > bytes_max) {
    co_return Status(
        Code::kProtocol,
        fmt::format("announced a frame of {} bytes; from 1 to {} are allowed", size, bytes_max));
  }
  // The caller may wait before it reads on: that is not the peer's fault.
  frame_timer_.Cancel();
  co_return size;
}

Task<Result<ConstBytes>> Connection::ReadFrame() {
  MORAINE_CO_ASSIGN_OR_RETURN(const size_t size, co_await ReadLength());
  if (unread() < kLengthBytes + size) {
    ArmFrameTimer();
    MORAINE_CO_RETURN_IF_ERROR(co_await Fill(kLengthBytes + size));
    frame_timer_.Cancel();
  }
  const ConstBytes frame = ConstBytes(in_.data() + begin_ + kLengthBytes, size);
  begin_ += kLengthBytes + size;
  co_return frame;
}

Task<Result<Buffer>> Connection::ReadBulk(size_t size, size_t alignment) {
  Buffer bulk = Buffer::Allocate(size, alignment);
  size_t have = std::min(size, unread());
  if (have > 0) std::memcpy(bulk.data(), in_.data() + begin_, have);
  begin_ += have;
  if (have < size) ArmFrameTimer();
  while (have < size) {
    if (closed_) co_return why_;
    Result<size_t> got = co_await stream_->Read(bulk.bytes().subspan(have));
    if (closed_) co_return why_;
    if (!got.ok()) co_return got.status();
    if (*got == 0) co_return Status(Code::kUnavailable, "connection closed by " + peer());
    have += *got;
    ++heard_count_;
  }
  frame_timer_.Cancel();
  co_return bulk;
}

void Connection::Send(std::string frame, BulkOut bulk) {
  if (closed_) return;
  MORAINE_CHECK(1 + bulk.pieces.size() <= Stream::kPiecesMax, "bulk in too many pieces");
  Outgoing outgoing{std::move(frame), std::move(bulk), 0};
  outgoing.bytes = outgoing.frame.size() + outgoing.bulk.size();
  if (queued_bytes_ + outgoing.bytes > limits::kUnreadBytesMax) {
    Close(Status(Code::kOverloaded, "the peer asks for more than it reads"));
    return;
  }
  queued_bytes_ += outgoing.bytes;
  queue_.push_back(std::move(outgoing));
  queue_changed_.NotifyOne();
}

Task<bool> Connection::WaitForRoom(Instant deadline) {
  if (closed_) co_return false;
  if (has_room()) co_return true;
  struct Place {
    explicit Place(Connection* connection) : connection(connection) {
      ++connection->waiting_for_room_;
    }
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
    if (queued_bytes_ < limits::kQueuedBytesMax) co_return true;
  }
}

// The pieces of as many queued messages as one write takes, at least one; returns how many.
size_t Connection::GatherBatch(std::vector<ConstBytes>* pieces) const {
  pieces->clear();
  size_t messages = 0;
  size_t bytes = 0;
  for (const Outgoing& outgoing : queue_) {
    if (messages > 0 && (pieces->size() + 1 + outgoing.bulk.pieces.size() > Stream::kPiecesMax ||
                         bytes + outgoing.bytes > limits::kWriteBatchBytesMax)) {
      break;
    }
    pieces->emplace_back(reinterpret_cast<const std::byte*>(outgoing.frame.data()),
                         outgoing.frame.size());
    pieces->insert(pieces->end(), outgoing.bulk.pieces.begin(), outgoing.bulk.pieces.end());
    bytes += outgoing.bytes;
    ++messages;
  }
  return messages;
}

Task<void> Connection::RunWriter(std::shared_ptr<Connection> self) {
  std::vector<ConstBytes> pieces;
  while (true) {
    while (self->queue_.empty() && !self->closed_) co_await self->queue_changed_.Wait();
    if (self->closed_) break;
    const size_t messages = self->GatherBatch(&pieces);
    self->loop_.timers().Arm(self->write_timer_, self->loop_.After(self->patience_));
    const Status sent = co_await self->stream_->Write(pieces);  // the queue keeps the bytes alive
    self->write_timer_.Cancel();
    if (!sent.ok()) {
      self->Close(sent);
      break;
    }
    for (size_t i = 0; i < messages; ++i) {
      self->queued_bytes_ -= self->queue_.front().bytes;
      self->queue_.pop_front();
    }
    self->room_.NotifyOne();
    self->sent_.NotifyAll();
  }
  self->queue_.clear();
}

}  // namespace moraine::rpc
