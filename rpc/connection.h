// One handshaken or not yet handshaken byte stream as a sequence of frames with their bulk bytes.
//
// Incoming: ReadFrame gives the next message, ReadBulk the raw bytes behind it. Outgoing: Send
// queues; one writer sends everything that is queued in one system call. Shared by client and
// server. Confined to one loop; owned by shared_ptr because the reader, the writer and callers hold
// it.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/limits.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "rpc/bulk.h"
#include "rpc/codec.h"

namespace moraine::rpc {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `patience` is how long the peer may take for a message that it has begun, for the bulk behind
  // it, and to take one batch of what we send.
  Connection(Loop& loop, std::unique_ptr<Stream> stream, Duration patience = limits::kFrameTimeout);
  ~Connection();

  // Begins to send, inside `group`, whose owner closes this connection before it drains. Call
  // once, after make_shared. False: the group is closed.
  bool Start(TaskGroup& group);

  // How long the next message is, once that is known; a message over `bytes_max` is kProtocol.
  // ReadFrame then gives it.
  Task<Result<size_t>> ReadLength(size_t bytes_max = limits::kFrameBytesMax);
  // The next message without its length bytes; valid until the next read. Between messages the
  // wait is unbounded; room is made as the bytes arrive, not as they are announced.
  // Errors: kUnavailable (closed by the peer), kProtocol (too long), kTimeout, kCanceled.
  Task<Result<ConstBytes>> ReadFrame();
  // Exactly `size` bytes that begin `alignment` bytes into a page.
  Task<Result<Buffer>> ReadBulk(size_t size, size_t alignment);

  // Queues a frame (with length bytes) and its bulk. Never blocks; callers bound what they queue
  // through WaitForRoom, and a peer that lets limits::kUnreadBytesMax pile up is left.
  void Send(std::string frame, BulkOut bulk);
  bool has_room() const {
    return !closed_ && queued_bytes_ < limits::kQueuedBytesMax && waiting_for_room_ == 0;
  }
  // Waits until fewer than limits::kQueuedBytesMax are queued; in order of asking. False: closed,
  // or the deadline came first.
  Task<bool> WaitForRoom(Instant deadline);

  // Ends the stream; readers and waiters get errors. Idempotent.
  void Close(Status why);
  // Close, but what is queued goes out first, and the peer has limits::kFarewellTimeout to take it
  // and to end the stream itself: a reset in its place would cost it what it has not yet read.
  // Instead of a read: no other may be under way.
  Task<void> Finish(Status why);
  bool closed() const { return closed_; }
  const Status& why_closed() const { return why_; }
  // Grows whenever bytes come in.
  uint64_t heard_count() const { return heard_count_; }
  std::string peer() const { return stream_->peer(); }
  Encoder& encoder() { return encoder_; }
  Decoder& decoder() { return decoder_; }

 private:
  struct Outgoing {
    std::string frame;
    BulkOut bulk;
    size_t bytes = 0;
  };
  static Task<void> RunWriter(std::shared_ptr<Connection> self);
  size_t GatherBatch(std::vector<ConstBytes>* pieces) const;
  Task<Status> Fill(size_t needed);
  void MakeRoom(size_t needed);
  size_t unread() const { return end_ - begin_; }
  void ArmFrameTimer();

  Loop& loop_;
  const Duration patience_;
  std::unique_ptr<Stream> stream_;
  Encoder encoder_;
  Decoder decoder_;

  // Incoming: bytes [begin_, end_) of in_ are received and not consumed.
  Buffer in_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t heard_count_ = 0;

  // Outgoing.
  std::deque<Outgoing> queue_;
  size_t queued_bytes_ = 0;
  Condition queue_changed_;
  Condition room_;
  Condition sent_;
  int waiting_for_room_ = 0;  // also those that are woken and have not yet run

  // Closes a peer that begins a frame and does not finish it, or does not take what we send.
  struct ProgressTimer : Timer {
    ProgressTimer(Connection* connection, const char* complaint)
        : connection(connection), complaint(complaint) {}
    void Fire() override;
    Connection* connection;
    const char* complaint;
  };
  ProgressTimer frame_timer_{this, "the peer began a frame and did not finish it"};
  ProgressTimer write_timer_{this, "the peer does not take what is sent to it"};

  bool closed_ = false;
  Status why_;
};

}  // namespace moraine::rpc
