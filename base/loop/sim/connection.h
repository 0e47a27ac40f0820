// One simulated connection: two directions of bytes in flight and bytes that wait to be read, as
// two kernels hold them. Owned by the Network while it can still matter; the streams of the two
// processes (sim_stream.h) hang on it and may vanish at any event.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/loop/net.h"
#include "base/loop/time.h"

namespace moraine::sim {

class Machine;
class Network;
class SimStream;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Network& network, uint64_t id, Machine& client, Machine& server, uint16_t client_port,
             uint16_t server_port);

  uint64_t id() const { return id_; }
  Machine& machine(int side) const { return *sides_[side].machine; }
  std::string name(int side) const;

  // --- What a stream does on its side (0: the client, 1: the server).
  void Attach(int side, SimStream& stream) { sides_[side].stream = &stream; }
  bool broken(int side) const { return sides_[side].broken; }
  size_t unread(int side) const { return pipes_[1 - side].unread_bytes; }
  bool ended(int side) const { return pipes_[1 - side].end_arrived; }  // and all bytes were read
  size_t room(int side) const;
  size_t Read(int side, MutableBytes buffer);
  void Send(int side, std::vector<std::byte> bytes);
  // The stream closes: an end follows its bytes, or a reset if it leaves bytes unread.
  void Close(int side);

  // --- What the world does.
  // The process of this side was killed. With `silently` the peer is not told.
  void Kill(int side, bool silently);
  // Both sides see a reset, after some first part of what is in flight.
  void Break();
  // The server side was never accepted or the client is gone: this side answers with resets.
  void Refuse(int side) { Leave(side, /*reset=*/true); }
  // Nothing of `side`'s direction arrives before that much time has passed.
  void HoldBack(int side, Duration delay);
  void Retry();

 private:
  enum class Kind : uint8_t { kBytes, kEnd, kReset };
  struct Flying {
    Kind kind;
    Duration arrives;
    std::vector<std::byte> bytes;
  };
  // Bytes from one side to the other.
  struct Pipe {
    std::deque<Flying> flying;
    std::deque<std::vector<std::byte>> unread;
    size_t unread_bytes = 0;
    size_t front_read = 0;  // of the first unread piece
    uint64_t occupied = 0;  // sent and, as far as the sender knows, not read
    uint64_t to_acknowledge = 0;
    Duration last_arrival{0};
    bool pumping = false;  // an event will look at `flying`
    bool end_arrived = false;
    bool stalled = false;  // bytes wait for a cut link
    bool unheard = false;  // acknowledgements do
    uint64_t stall_number = 0;
    Duration stalled_since{0};
  };
  struct Side {
    Machine* machine;
    uint16_t port;
    SimStream* stream = nullptr;
    bool open = true;
    bool broken = false;  // by a reset or a lost patience
  };

  void Fly(int side, Kind kind, std::vector<std::byte> bytes);
  void Pump(int side);  // side's bytes arrive
  void QueuePump(int side);
  void Arrive(int side, Flying flying);
  void Acknowledge(int side);
  void Leave(int side, bool reset);
  void CutShort(int side);  // drops a random rest of what is in flight
  void BreakSide(int side);
  void Stall(int side);
  void Unstall(int side);
  void ForgetIfOver();
  void Wake(int side);

  Network& network_;
  const uint64_t id_;
  std::array<Side, 2> sides_;
  std::array<Pipe, 2> pipes_;  // pipes_[s]: from side s
};

}  // namespace moraine::sim
