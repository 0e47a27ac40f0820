#include "base/loop/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "base/limits.h"

namespace moraine {
namespace {

constexpr auto kBusyPortPatience = std::chrono::milliseconds(300);
constexpr auto kBusyPortPause = std::chrono::milliseconds(5);

constexpr int kBacklog = 1024;

SocketAddress FromSockaddr(const sockaddr* address, socklen_t length) {
  SocketAddress result;
  std::memcpy(&result.storage, address, length);
  result.length = length;
  return result;
}

Endpoint ToEndpoint(const sockaddr_storage& storage) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return {text, ntohs(v4.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    return {text, ntohs(v6.sin6_port)};
  }
  return {text, 0};
}

Status ListenError(int error, const Endpoint& at) {
  const Status status = StatusFromErrno(error, "listen on " + at.ToString());
  const char* hint = error == EADDRINUSE ? "stop the process that has the port, or choose another"
                     : error == EADDRNOTAVAIL ? "no interface of this machine has this address"
                     : error == EACCES        ? "ports below 1024 need privileges"
                                              : nullptr;
  if (hint == nullptr) return status;
  return {status.code(), status.message() + "; " + hint};
}

}  // namespace

std::optional<SocketAddress> AddressWithoutLookup(const Endpoint& endpoint) {
  const std::string host = endpoint.host == "localhost" ? "127.0.0.1" : endpoint.host;
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(endpoint.port);
  if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(endpoint.port);
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    return FromSockaddr(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
  }
  return std::nullopt;
}

Result<std::vector<SocketAddress>> Resolve(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (error != 0) {
    return Status(Code::kUnavailable,
                  "look up host '" + endpoint.host + "': " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* item = list; item != nullptr; item = item->ai_next) {
    addresses.push_back(FromSockaddr(item->ai_addr, item->ai_addrlen));
  }
  return addresses;
}

void PrepareStream(int fd) {
  const auto set = [fd](int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof(value));
  };
  using std::chrono::milliseconds;
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(limits::kKeepAliveIdle.count()));
  set(IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(limits::kKeepAliveInterval.count()));
  set(IPPROTO_TCP, TCP_KEEPCNT, limits::kKeepAliveProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(milliseconds(limits::kPeerGone).count()));
}

Result<Descriptor> MakeStreamSocket(const SocketAddress& address, bool nonblocking) {
  const int type = SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
  Descriptor fd(socket(address.storage.ss_family, type, 0));
  if (!fd.valid()) return StatusFromErrno(errno, "make a socket");
  PrepareStream(fd.get());
  return fd;
}

Result<Descriptor> MakeListeningSocket(const Endpoint& at, bool nonblocking) {
  std::optional<SocketAddress> address = AddressWithoutLookup(at);
  if (!address) {
    MORAINE_ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, Resolve(at));
    address = found.front();
  }
  MORAINE_ASSIGN_OR_RETURN(Descriptor fd, MakeStreamSocket(*address, nonblocking));
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // The kernel lets go of the port of a process that was killed some 20 ms after its death.
  const auto patience = std::chrono::steady_clock::now() + kBusyPortPatience;
  while (bind(fd.get(), address->get(), address->length) != 0) {
    if (errno != EADDRINUSE || std::chrono::steady_clock::now() >= patience) {
      return ListenError(errno, at);
    }
    std::this_thread::sleep_for(kBusyPortPause);
  }
  if (listen(fd.get(), kBacklog) != 0) {
    return ListenError(errno, at);
  }
  return fd;
}

Endpoint LocalEndpoint(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  return ToEndpoint(storage);
}

std::string PeerName(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return "?";
  return ToEndpoint(storage).ToString();
}

bool ConnectedToItself(int fd) { return LocalEndpoint(fd).ToString() == PeerName(fd); }

Status ConnectError(int error, const Endpoint& to) {
  Status status = StatusFromErrno(error, "connect to " + to.ToString());
  if (status.code() == Code::kTimeout || status.code() == Code::kUnavailable) return status;
  return {Code::kUnavailable, status.message()};
}

Status StreamError(int error, std::string_view what, const std::string& peer) {
  return {Code::kUnavailable, std::string(what) + " " + peer + ": " + std::strerror(error)};
}

Status ClosedHere(const std::string& peer) {
  return {Code::kCanceled, "the connection with " + peer + " was closed here"};
}

bool IsErrorOfOneConnection(int error) {
  switch (error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

void PieceCursor::SkipEmpty() {
  while (index_ < pieces_.size() && offset_ == pieces_[index_].size()) {
    ++index_;
    offset_ = 0;
  }
}

size_t PieceCursor::Fill(iovec* vectors, size_t count_max) const {
  size_t count = 0;
  size_t offset = offset_;
  for (size_t i = index_; i < pieces_.size() && count < count_max; ++i, offset = 0) {
    const ConstBytes rest = pieces_[i].subspan(offset);
    if (rest.empty()) continue;
    vectors[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
  }
  return count;
}

void PieceCursor::Advance(size_t bytes) {
  while (bytes > 0) {
    MORAINE_CHECK(!done(), "the kernel took more than it was given");
    const size_t step = std::min(bytes, pieces_[index_].size() - offset_);
    offset_ += step;
    bytes -= step;
    SkipEmpty();
  }
}

ssize_t SendNow(int fd, const PieceCursor& pieces) {
  iovec vectors[Stream::kPiecesMax];
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = pieces.Fill(vectors, Stream::kPiecesMax);
  while (true) {
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace moraine
