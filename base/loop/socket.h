// TCP sockets for the loops of real processes: names to addresses, sockets with our options, errors
// as statuses. Nothing here waits except Resolve.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <optional>
#include <string>
#include <vector>

#include "base/loop/descriptor.h"
#include "base/loop/net.h"
#include "base/status.h"

namespace moraine {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The address of a numeric host or of "localhost"; nothing if the name has to be looked up.
std::optional<SocketAddress> AddressWithoutLookup(const Endpoint& endpoint);
// getaddrinfo: may block for seconds. kUnavailable: no such name, or no answer.
Result<std::vector<SocketAddress>> Resolve(const Endpoint& endpoint);

// A TCP socket, prepared and not yet connected.
Result<Descriptor> MakeStreamSocket(const SocketAddress& address, bool nonblocking);
// A bound, listening socket with SO_REUSEADDR. kBusy: the port is taken. May look the host up.
// Blocks for some 0.3 s before it gives kBusy: a killed process keeps its port for a moment.
Result<Descriptor> MakeListeningSocket(const Endpoint& at, bool nonblocking);
// TCP_NODELAY, and the end of a connection whose peer is gone without a word: one that is idle is
// asked (limits::kKeepAliveIdle), and one that does not confirm what was sent, ends after
// limits::kPeerGone with an error for whoever reads or writes.
void PrepareStream(int fd);
Endpoint LocalEndpoint(int fd);
std::string PeerName(int fd);
// A connect to a free port of this machine can be given that very port as its source and so meet
// itself; such a connection counts as refused.
bool ConnectedToItself(int fd);

// The statuses that the contracts of Connect and Stream allow.
Status ConnectError(int error, const Endpoint& to);
Status StreamError(int error, std::string_view what, const std::string& peer);
Status ClosedHere(const std::string& peer);

// accept(2): what the network reports for one connection that is gone again; the listener is well.
bool IsErrorOfOneConnection(int error);

// Walks over pieces of bytes as the kernel takes them.
class PieceCursor {
 public:
  explicit PieceCursor(std::span<const ConstBytes> pieces) : pieces_(pieces) { SkipEmpty(); }
  bool done() const { return index_ == pieces_.size(); }
  // Writes at most `count_max` vectors of what is left; returns how many.
  size_t Fill(iovec* vectors, size_t count_max) const;
  void Advance(size_t bytes);
  size_t pieces_left() const { return pieces_.size() - index_; }

 private:
  void SkipEmpty();

  std::span<const ConstBytes> pieces_;
  size_t index_ = 0;
  size_t offset_ = 0;  // within the piece
};

// One sendmsg that does not wait. Bytes taken, or -errno.
ssize_t SendNow(int fd, const PieceCursor& pieces);

}  // namespace moraine
