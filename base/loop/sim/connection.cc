#include "base/loop/sim/connection.h"

#include <algorithm>
#include <cstring>

#include "base/loop/sim/sim_stream.h"
#include "base/loop/sim/world.h"

namespace moraine::sim {

Connection::Connection(Network& network, uint64_t id, Machine& client, Machine& server,
                       uint16_t client_port, uint16_t server_port)
    : network_(network), id_(id) {
  sides_[0].machine = &client;
  sides_[0].port = client_port;
  sides_[1].machine = &server;
  sides_[1].port = server_port;
}

std::string Connection::name(int side) const {
  return sides_[side].machine->name() + ":" + std::to_string(sides_[side].port);
}

size_t Connection::room(int side) const {
  const uint64_t window = network_.world().options().net.window_bytes;
  return window > pipes_[side].occupied ? window - pipes_[side].occupied : 0;
}

size_t Connection::Read(int side, MutableBytes buffer) {
  Pipe& pipe = pipes_[1 - side];
  size_t done = 0;
  while (done < buffer.size() && pipe.unread_bytes > 0) {
    const std::vector<std::byte>& piece = pipe.unread.front();
    const size_t part = std::min(buffer.size() - done, piece.size() - pipe.front_read);
    std::memcpy(buffer.data() + done, piece.data() + pipe.front_read, part);
    done += part;
    pipe.front_read += part;
    pipe.unread_bytes -= part;
    if (pipe.front_read == piece.size()) {
      pipe.unread.pop_front();
      pipe.front_read = 0;
    }
  }
  pipe.to_acknowledge += done;
  Acknowledge(1 - side);
  return done;
}

void Connection::Send(int side, std::vector<std::byte> bytes) {
  pipes_[side].occupied += bytes.size();
  Fly(side, Kind::kBytes, std::move(bytes));
  if (network_.random().Chance(network_.world().options().net.reset_chance)) Break();
}

void Connection::Fly(int side, Kind kind, std::vector<std::byte> bytes) {
  Pipe& pipe = pipes_[side];
  const Duration delay =
      network_.Delay(*sides_[side].machine, *sides_[1 - side].machine, bytes.size());
  pipe.last_arrival = std::max(pipe.last_arrival, network_.world().now() + delay);
  pipe.flying.push_back({kind, pipe.last_arrival, std::move(bytes)});
  QueuePump(side);
}

void Connection::HoldBack(int side, Duration delay) {
  pipes_[side].last_arrival = std::max(pipes_[side].last_arrival, network_.world().now() + delay);
}

void Connection::QueuePump(int side) {
  Pipe& pipe = pipes_[side];
  if (pipe.pumping || pipe.stalled || pipe.flying.empty()) return;
  pipe.pumping = true;
  World& world = network_.world();
  const Flying& first = pipe.flying.front();
  const Duration delay = std::max(first.arrives - world.now(), Duration::zero());
  world.Push(delay, EventKind::kDeliver, sides_[1 - side].machine, first.bytes.size(),
             [self = shared_from_this(), side] {
               self->pipes_[side].pumping = false;
               self->Pump(side);
             });
}

void Connection::Pump(int side) {
  Pipe& pipe = pipes_[side];
  const Duration now = network_.world().now();
  while (!pipe.flying.empty() && !pipe.stalled && pipe.flying.front().arrives <= now) {
    if (network_.Lost(*sides_[side].machine, *sides_[1 - side].machine)) {
      pipe.stalled = true;
      Stall(side);
      return;
    }
    Flying flying = std::move(pipe.flying.front());
    pipe.flying.pop_front();
    Arrive(side, std::move(flying));
  }
  QueuePump(side);
  ForgetIfOver();
}

void Connection::Arrive(int side, Flying flying) {
  const int there = 1 - side;
  Pipe& pipe = pipes_[side];
  Side& receiver = sides_[there];
  if (flying.kind == Kind::kReset) return BreakSide(there);
  if (!receiver.open || receiver.broken) {
    // The kernel there does not know this connection any more.
    if (flying.kind == Kind::kBytes) Fly(there, Kind::kReset, {});
    return;
  }
  if (flying.kind == Kind::kEnd) {
    pipe.end_arrived = true;
  } else {
    pipe.unread_bytes += flying.bytes.size();
    pipe.unread.push_back(std::move(flying.bytes));
    if (network_.Lost(*receiver.machine, *sides_[side].machine)) {
      pipe.unheard = true;  // it arrived, but the sender does not hear of it
      Stall(side);
    }
  }
  Wake(there);
}

// Tells `side` that its bytes were read, in large steps as TCP moves its window.
void Connection::Acknowledge(int side) {
  Pipe& pipe = pipes_[side];
  World& world = network_.world();
  if (pipe.to_acknowledge < world.options().net.window_bytes / 2) return;
  const Machine& reader = *sides_[1 - side].machine;
  const Machine& sender = *sides_[side].machine;
  if (network_.Lost(reader, sender)) {
    pipe.unheard = true;
    Stall(side);
    return;
  }
  const uint64_t bytes = std::exchange(pipe.to_acknowledge, 0);
  world.Push(network_.Delay(reader, sender, 0), EventKind::kAck, &sender, bytes,
             [self = shared_from_this(), side, bytes] {
               self->pipes_[side].occupied -= bytes;
               self->Wake(side);
             });
}

void Connection::Close(int side) {
  sides_[side].stream = nullptr;
  Leave(side, /*reset=*/pipes_[1 - side].unread_bytes > 0);
}

void Connection::Leave(int side, bool reset) {
  Side& here = sides_[side];
  if (!here.open) return;
  here.open = false;
  if (!here.broken) {
    if (reset) CutShort(side);
    Fly(side, reset ? Kind::kReset : Kind::kEnd, {});
  }
  ForgetIfOver();
}

void Connection::Kill(int side, bool silently) {
  Side& here = sides_[side];
  here.stream = nullptr;
  if (!here.open) return;
  if (silently) {
    CutShort(side);
    here.open = false;
    ForgetIfOver();
    return;
  }
  Leave(side, pipes_[1 - side].unread_bytes > 0 || network_.random().OneIn(2));
}

void Connection::Break() {
  for (const int side : {0, 1}) {
    CutShort(side);
    Fly(side, Kind::kReset, {});
  }
}

void Connection::CutShort(int side) {
  Pipe& pipe = pipes_[side];
  if (pipe.flying.empty()) return;
  Random& random = network_.random();
  pipe.flying.resize(random.Uniform(pipe.flying.size() + 1));
  if (pipe.flying.empty() || pipe.flying.back().bytes.empty()) return;
  std::vector<std::byte>& last = pipe.flying.back().bytes;
  last.resize(1 + random.Uniform(last.size()));
}

void Connection::BreakSide(int side) {
  Side& here = sides_[side];
  if (here.broken) return;
  here.broken = true;
  // Of the bytes that had arrived, a random first part can still be read.
  Pipe& arrived = pipes_[1 - side];
  const size_t keep = network_.random().Uniform(arrived.unread.size() + 1);
  while (arrived.unread.size() > keep) {
    const size_t skipped = arrived.unread.size() == 1 ? arrived.front_read : 0;
    arrived.unread_bytes -= arrived.unread.back().size() - skipped;
    arrived.unread.pop_back();
  }
  if (arrived.unread.empty()) arrived.front_read = 0;
  // What it had sent is gone with it, but not the news that the connection is broken.
  std::erase_if(pipes_[side].flying, [](const Flying& f) { return f.kind != Kind::kReset; });
  Wake(side);
  ForgetIfOver();
}

void Connection::Stall(int side) {
  Pipe& pipe = pipes_[side];
  if (pipe.stall_number % 2 == 1) return;  // odd while a timer runs
  const uint64_t number = ++pipe.stall_number;
  World& world = network_.world();
  pipe.stalled_since = world.now();
  const NetOptions& options = world.options().net;
  const Duration patience(
      network_.random().Between(static_cast<uint64_t>(options.stall_reset_min.count()),
                                static_cast<uint64_t>(options.stall_reset_max.count())));
  world.Push(patience, EventKind::kStall, sides_[side].machine, 0,
             [self = shared_from_this(), side, number] {
               if (self->pipes_[side].stall_number == number) self->BreakSide(side);
             });
}

void Connection::Unstall(int side) {
  if (pipes_[side].stall_number % 2 == 1) ++pipes_[side].stall_number;
}

void Connection::Retry() {
  for (const int side : {0, 1}) {
    Pipe& pipe = pipes_[side];
    const Machine& sender = *sides_[side].machine;
    const Machine& receiver = *sides_[1 - side].machine;
    const bool there = !pipe.stalled || !network_.Lost(sender, receiver);
    const bool back = !pipe.unheard || !network_.Lost(receiver, sender);
    if ((!pipe.stalled && !pipe.unheard) || !there || !back) continue;
    Unstall(side);
    // The sender tries again in growing intervals, so a long cut ends late.
    World& world = network_.world();
    const Duration wait =
        std::min(world.now() - pipe.stalled_since, world.options().net.retransmit_max);
    const Duration delay(network_.random().Uniform(static_cast<uint64_t>(wait.count()) + 1));
    if (std::exchange(pipe.stalled, false) && !pipe.flying.empty()) {
      pipe.flying.front().arrives = std::max(pipe.flying.front().arrives, world.now() + delay);
      for (size_t i = 1; i < pipe.flying.size(); ++i) {
        pipe.flying[i].arrives = std::max(pipe.flying[i].arrives, pipe.flying[i - 1].arrives);
      }
      pipe.last_arrival = std::max(pipe.last_arrival, pipe.flying.back().arrives);
    }
    if (std::exchange(pipe.unheard, false)) Acknowledge(side);
    QueuePump(side);
  }
}

void Connection::ForgetIfOver() {
  for (const Side& side : sides_) {
    if (side.open && !side.broken) return;
    if (side.stream != nullptr) return;
  }
  if (pipes_[0].flying.empty() && pipes_[1].flying.empty()) network_.Forget(*this);
}

void Connection::Wake(int side) {
  if (sides_[side].stream != nullptr) sides_[side].stream->Wake();
}

}  // namespace moraine::sim
