// One handshaken or not yet handshaken byte stream as a sequence of frames with their bulk bytes.
//
// Incoming: ReadFrame gives the next message, ReadBulk the raw bytes behind it. Outgoing: Send
// queues; one writer sends everything that is queued in one system call. Shared by client and server.
// Confined to one loop; owned by shared_ptr because the reader, the writer and callers hold it.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/buffer.h"
#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "rpc/bulk.h"
#include "rpc/codec.h"

namespace moraine::rpc {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Loop& loop, std::unique_ptr<Stream> stream);
  ~Connection();

  // Begins to send. Call once, after make_shared.
  void Start();

  // The next message without its length bytes; valid until the next read. A message must be
  // complete within limits::kFrameTimeout after its first byte; between messages the wait is
  // unbounded. Errors: kUnavailable (closed by the peer), kProtocol (too long), kTimeout, kCanceled.
  Task<Result<ConstBytes>> ReadFrame();
  // Exactly `size` bytes that begin `alignment` bytes into a page.
  Task<Result<Buffer>> ReadBulk(size_t size, size_t alignment);

  // Queues a frame (with length bytes) and its bulk. Never blocks; callers bound what they queue
  // through WaitForRoom.
  void Send(std::string frame, BulkOut bulk);
  // Waits until fewer than the bound of bytes are queued; in order of asking, so that calls go out
  // in the order in which they were made. False: closed, or the deadline came first.
  Task<bool> WaitForRoom(Instant deadline);

  // Ends the stream; readers and waiters get errors. Idempotent.
  void Close(Status why);
  bool closed() const { return closed_; }
  const Status& why_closed() const { return why_; }
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
  Task<Status> Fill(size_t needed);

  Loop& loop_;
  std::unique_ptr<Stream> stream_;
  Encoder encoder_;
  Decoder decoder_;

  // Incoming: bytes [begin_, end_) of in_ are received and not consumed.
  Buffer in_;
  size_t begin_ = 0;
  size_t end_ = 0;

  // Outgoing.
  std::deque<Outgoing> queue_;
  size_t queued_bytes_ = 0;
  Condition queue_changed_;
  Condition room_;
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
