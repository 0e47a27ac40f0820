#include "base/loop/driven_stream.h"

#include <sys/epoll.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/loop/busy.h"
#include "base/loop/driven_loop.h"
#include "base/loop/resolve.h"
#include "base/loop/socket.h"
#include "base/loop/sync.h"

namespace moraine {
namespace {

// A socket, what epoll last said about it, and who waits for that.
class WatchedSocket final : public driven_internal::Watched {
 public:
  WatchedSocket(DrivenLoop& loop, Descriptor fd)
      : loop_(loop), fd_(std::move(fd)), readers_(loop), writers_(loop) {
    loop_.Watch(fd_.get(), *this);
  }
  ~WatchedSocket() { CloseNow(); }

  void OnReady(uint32_t events) override {
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = true;
    if ((events & EPOLLIN) != 0 || ended_) {
      readable_ = true;
      readers_.WakeAll();
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
      writable_ = true;
      writers_.WakeAll();
    }
  }

  // False: the deadline came first. True also when the socket was shut down here.
  Task<bool> Readable() {
    while (!readable_ && !shut_down_) co_await readers_.Wait();
    co_return true;
  }
  Task<bool> Writable(Instant deadline) {
    while (!writable_ && !shut_down_) {
      const bool woken = co_await writers_.Wait(deadline);
      if (!woken && !writable_ && !shut_down_) co_return false;
    }
    co_return true;
  }
  bool readable() const { return readable_; }
  // The kernel had nothing more; it will report anew. The end of a stream stays readable.
  void Drained() { readable_ = ended_; }
  void Full() { writable_ = false; }

  bool shut_down() const { return shut_down_; }
  void ShutDown() {
    if (std::exchange(shut_down_, true)) return;
    shutdown(fd_.get(), SHUT_RDWR);
    readers_.WakeAll();
    writers_.WakeAll();
  }
  void CloseNow() {
    if (!fd_.valid()) return;
    loop_.Unwatch(fd_.get());
    fd_.Reset();
  }
  int fd() const { return fd_.get(); }
  DrivenLoop& loop() { return loop_; }

 private:
  DrivenLoop& loop_;
  Descriptor fd_;
  WaitList readers_;
  WaitList writers_;
  bool readable_ = false;
  bool writable_ = false;
  bool ended_ = false;
  bool shut_down_ = false;
};

class DrivenStream : public Stream {
 public:
  explicit DrivenStream(std::unique_ptr<WatchedSocket> socket)
      : socket_(std::move(socket)), peer_(PeerName(socket_->fd())) {}
  ~DrivenStream() override {
    MORAINE_CHECK(!reading_ && !writing_, "a stream goes when it is idle");
  }

  Task<Result<size_t>> Read(MutableBytes buffer) override;
  Task<Status> Write(std::span<const ConstBytes> pieces) override;
  void Close() override { socket_->ShutDown(); }
  std::string peer() const override { return peer_; }

 private:
  const std::unique_ptr<WatchedSocket> socket_;
  const std::string peer_;
  bool reading_ = false;
  bool writing_ = false;
};

Task<Result<size_t>> DrivenStream::Read(MutableBytes buffer) {
  MORAINE_CHECK(!buffer.empty(), "a read needs room");
  const Busy busy(reading_);
  while (true) {
    if (!socket_->readable()) co_await socket_->Readable();
    if (socket_->shut_down()) co_return ClosedHere(peer_);
    const ssize_t got = recv(socket_->fd(), buffer.data(), buffer.size(), 0);
    if (got >= 0) {
      // Fewer than asked for means that nothing is left (epoll(7), question 9).
      if (static_cast<size_t>(got) < buffer.size()) socket_->Drained();
      co_return static_cast<size_t>(got);
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return StreamError(errno, "read from", peer_);
    socket_->Drained();
    if (socket_->readable()) co_await socket_->loop().Yield();
  }
}

Task<Status> DrivenStream::Write(std::span<const ConstBytes> pieces) {
  MORAINE_CHECK(pieces.size() <= kPiecesMax, "too many pieces");
  const Busy busy(writing_);
  PieceCursor rest(pieces);
  while (!socket_->shut_down()) {
    if (rest.done()) co_return Status::Ok();
    const ssize_t sent = SendNow(socket_->fd(), rest);
    if (sent >= 0) {
      rest.Advance(static_cast<size_t>(sent));
    } else if (sent != -EAGAIN) {
      co_return StreamError(static_cast<int>(-sent), "write to", peer_);
    } else {
      socket_->Full();
      co_await socket_->Writable(kNever);
    }
  }
  co_return ClosedHere(peer_);
}

class DrivenListener : public Listener {
 public:
  explicit DrivenListener(std::unique_ptr<WatchedSocket> socket)
      : socket_(std::move(socket)), local_(LocalEndpoint(socket_->fd())) {}
  ~DrivenListener() override { MORAINE_CHECK(!accepting_, "a listener goes when it is idle"); }

  Task<Result<std::unique_ptr<Stream>>> Accept() override;
  void Close() override {
    socket_->ShutDown();
    socket_->CloseNow();
  }
  Endpoint local() const override { return local_; }

 private:
  const std::unique_ptr<WatchedSocket> socket_;
  const Endpoint local_;
  bool accepting_ = false;
};

Task<Result<std::unique_ptr<Stream>>> DrivenListener::Accept() {
  const Busy busy(accepting_);
  while (!socket_->shut_down()) {
    Descriptor fd(accept4(socket_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) {
      PrepareStream(fd.get());
      auto watched = std::make_unique<WatchedSocket>(socket_->loop(), std::move(fd));
      co_return std::make_unique<DrivenStream>(std::move(watched));
    }
    if (errno == EAGAIN) {
      socket_->Drained();
      co_await socket_->Readable();
    } else if (!IsErrorOfOneConnection(errno)) {
      const Status status = StatusFromErrno(errno, "accept on " + local_.ToString());
      co_return Status(Code::kOverloaded, status.message());
    }
  }
  co_return Status(Code::kCanceled, "the listener on " + local_.ToString() + " was closed");
}

// 0, or the errno of a connect that has come to its end.
int ConnectOutcome(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error == 0 && ConnectedToItself(fd) ? ECONNREFUSED : error;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> ConnectDrivenStream(DrivenLoop& loop, Endpoint to,
                                                          Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses,
                              co_await ResolveOn(loop, to, deadline));
  Status last(Code::kUnavailable, "host '" + to.host + "' has no address");
  for (const SocketAddress& address : addresses) {
    MORAINE_CO_ASSIGN_OR_RETURN(Descriptor fd, MakeStreamSocket(address, true));
    if (connect(fd.get(), address.get(), address.length) != 0 && errno != EINPROGRESS) {
      last = ConnectError(errno, to);
      continue;
    }
    auto socket = std::make_unique<WatchedSocket>(loop, std::move(fd));
    const bool ended = co_await socket->Writable(deadline);
    if (!ended) co_return ConnectError(ETIMEDOUT, to);
    const int error = ConnectOutcome(socket->fd());
    if (error == 0) co_return std::make_unique<DrivenStream>(std::move(socket));
    last = ConnectError(error, to);
  }
  co_return last;
}

Result<std::unique_ptr<Listener>> ListenDriven(DrivenLoop& loop, const Endpoint& at) {
  MORAINE_ASSIGN_OR_RETURN(Descriptor fd, MakeListeningSocket(at, true));
  return std::make_unique<DrivenListener>(std::make_unique<WatchedSocket>(loop, std::move(fd)));
}

}  // namespace moraine
