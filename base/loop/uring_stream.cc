#include "base/loop/uring_stream.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "base/loop/busy.h"
#include "base/loop/resolve.h"
#include "base/loop/socket.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

constexpr size_t kReadBytesMax = 1 << 30;  // of one kernel call

class UringStream : public Stream {
 public:
  UringStream(UringLoop& loop, Descriptor fd)
      : loop_(loop), fd_(std::move(fd)), peer_(PeerName(fd_.get())) {}
  ~UringStream() override {
    MORAINE_CHECK(!reading_ && !writing_, "a stream goes when it is idle");
  }

  Task<Result<size_t>> Read(MutableBytes buffer) override;
  Task<Status> Write(std::span<const ConstBytes> pieces) override;
  void Close() override {
    if (!std::exchange(closed_, true)) shutdown(fd_.get(), SHUT_RDWR);
  }
  std::string peer() const override { return peer_; }

 private:
  Task<Status> WriteRest(PieceCursor rest);

  UringLoop& loop_;
  const Descriptor fd_;
  const std::string peer_;
  bool closed_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool more_likely_ = false;  // the last read left bytes in the socket
};

Task<Result<size_t>> UringStream::Read(MutableBytes buffer) {
  MORAINE_CHECK(!buffer.empty(), "a read needs room");
  const Busy busy(reading_);
  if (closed_) co_return ClosedHere(peer_);
  const size_t bytes_max = std::min(buffer.size(), kReadBytesMax);
  ssize_t got = -EAGAIN;
  if (more_likely_) {
    got = recv(fd_.get(), buffer.data(), bytes_max, MSG_DONTWAIT);
    if (got < 0) got = -errno;
    more_likely_ = got == static_cast<ssize_t>(bytes_max);
  }
  while (got == -EAGAIN || got == -EINTR) {
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_recv(sqe, fd_.get(), buffer.data(), bytes_max, 0);
    });
    got = end.result;
    more_likely_ = got > 0 && (end.flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  }
  if (closed_) co_return ClosedHere(peer_);
  if (got < 0) co_return StreamError(static_cast<int>(-got), "read from", peer_);
  co_return static_cast<size_t>(got);
}

Task<Status> UringStream::Write(std::span<const ConstBytes> pieces) {
  MORAINE_CHECK(pieces.size() <= kPiecesMax, "too many pieces");
  const Busy busy(writing_);
  PieceCursor rest(pieces);
  if (!closed_ && !rest.done()) {
    const ssize_t sent = SendNow(fd_.get(), rest);
    if (sent >= 0) rest.Advance(static_cast<size_t>(sent));
    if (sent < 0 && sent != -EAGAIN && !closed_) {
      co_return StreamError(static_cast<int>(-sent), "write to", peer_);
    }
  }
  if (rest.done() && !closed_) co_return Status::Ok();
  co_return co_await WriteRest(rest);
}

Task<Status> UringStream::WriteRest(PieceCursor rest) {
  std::vector<iovec> vectors(rest.pieces_left());
  while (!closed_ && !rest.done()) {
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = rest.Fill(vectors.data(), vectors.size());
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      // With MSG_WAITALL the kernel goes on by itself after a short send.
      io_uring_prep_sendmsg(sqe, fd_.get(), &message, MSG_NOSIGNAL | MSG_WAITALL);
    });
    if (closed_ || end.result == -EINTR || end.result == -EAGAIN) continue;
    if (end.result < 0) co_return StreamError(-end.result, "write to", peer_);
    rest.Advance(static_cast<size_t>(end.result));
  }
  if (closed_) co_return ClosedHere(peer_);
  co_return Status::Ok();
}

class UringListener : public Listener {
 public:
  UringListener(UringLoop& loop, Descriptor fd)
      : loop_(loop), fd_(std::move(fd)), local_(LocalEndpoint(fd_.get())) {}
  ~UringListener() override { MORAINE_CHECK(!accepting_, "a listener goes when it is idle"); }

  Task<Result<std::unique_ptr<Stream>>> Accept() override;
  void Close() override {
    if (std::exchange(closed_, true)) return;
    shutdown(fd_.get(), SHUT_RDWR);
    if (!accepting_) fd_.Reset();
  }
  Endpoint local() const override { return local_; }

 private:
  UringLoop& loop_;
  Descriptor fd_;
  const Endpoint local_;
  bool closed_ = false;
  bool accepting_ = false;
};

Task<Result<std::unique_ptr<Stream>>> UringListener::Accept() {
  const Busy busy(accepting_);
  while (!closed_) {
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_accept(sqe, fd_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    });
    if (end.result >= 0) {
      Descriptor fd(end.result);
      if (closed_) break;
      PrepareStream(fd.get());
      co_return std::make_unique<UringStream>(loop_, std::move(fd));
    }
    if (closed_) break;
    if (!IsErrorOfOneConnection(-end.result)) {
      const Status status = StatusFromErrno(-end.result, "accept on " + local_.ToString());
      co_return Status(Code::kOverloaded, status.message());
    }
  }
  fd_.Reset();
  co_return Status(Code::kCanceled, "the listener on " + local_.ToString() + " was closed");
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> ConnectUringStream(UringLoop& loop, Endpoint to,
                                                         Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses,
                              co_await ResolveOn(loop, to, deadline));
  Status last(Code::kUnavailable, "host '" + to.host + "' has no address");
  for (const SocketAddress& address : addresses) {
    MORAINE_CO_ASSIGN_OR_RETURN(Descriptor fd, MakeStreamSocket(address, false));
    const RingEnd end = co_await loop.ring().Do(
        [&](io_uring_sqe* sqe) {
          io_uring_prep_connect(sqe, fd.get(), address.get(), address.length);
        },
        deadline);
    const int error = end.result == 0 && ConnectedToItself(fd.get()) ? ECONNREFUSED : -end.result;
    if (error == 0) co_return std::make_unique<UringStream>(loop, std::move(fd));
    last = ConnectError(error, to);
    if (loop.Now() >= deadline) break;
  }
  co_return last;
}

Result<std::unique_ptr<Listener>> ListenUring(UringLoop& loop, const Endpoint& at) {
  MORAINE_ASSIGN_OR_RETURN(Descriptor fd, MakeListeningSocket(at, false));
  return std::make_unique<UringListener>(loop, std::move(fd));
}

}  // namespace moraine
