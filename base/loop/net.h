// Byte streams between processes, as a loop provides them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/loop/task.h"
#include "base/loop/time.h"
#include "base/status.h"

namespace moraine {

struct Endpoint {
  std::string host;  // a name or address; in the simulation a machine's name
  uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
  std::string ToString() const { return host + ":" + std::to_string(port); }
};

// Parses "host:port"; port 0 is allowed only when `zero_port_ok`.
Result<Endpoint> ParseEndpoint(std::string_view text, bool zero_port_ok = false);

using ConstBytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

// One connection. At most one Read and one Write are under way at a time, and the buffers must stay
// until they end. Destroying a Stream closes it; no operation may be under way then.
class Stream {
 public:
  virtual ~Stream() = default;
  // Reads at least one byte; 0 means that the peer has closed. Errors: kUnavailable (reset),
  // kCanceled (closed here).
  virtual Task<Result<size_t>> Read(MutableBytes buffer) = 0;
  // Writes every byte of all pieces, in order (at most kPiecesMax).
  static constexpr size_t kPiecesMax = 256;
  virtual Task<Status> Write(std::span<const ConstBytes> pieces) = 0;
  // Ends both directions; operations under way end with kCanceled soon.
  virtual void Close() = 0;
  virtual std::string peer() const = 0;
};

class Listener {
 public:
  virtual ~Listener() = default;
  // The next connection. kCanceled after Close.
  virtual Task<Result<std::unique_ptr<Stream>>> Accept() = 0;
  virtual void Close() = 0;
  virtual Endpoint local() const = 0;  // with the port that was really taken
};

}  // namespace moraine
