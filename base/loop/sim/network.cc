#include "base/loop/sim/network.h"

#include <algorithm>

#include "base/loop/sim/pending.h"
#include "base/loop/sim/sim_stream.h"
#include "base/loop/sim/world.h"

namespace moraine::sim {
namespace {

constexpr uint16_t kEphemeralFirst = 32768;
constexpr uint16_t kEphemeralCount = 28000;

}  // namespace

// What a Connect is about. The client's coroutine may vanish or lose patience meanwhile.
struct Network::Call {
  using Connected = Result<std::unique_ptr<Stream>>;
  SimLoop* loop;  // valid while pending->Wanted()
  Machine* from;
  Machine* to;
  uint16_t port;
  Duration retry;
  PendingPtr<Connected> pending;
};

Network::Network(World& world, Random random) : world_(world), random_(std::move(random)) {}
Network::~Network() = default;

Network::Link& Network::LinkOf(const Machine& from, const Machine& to) {
  return links_[{from.index(), to.index()}];
}

const Network::Link* Network::FindLink(const Machine& from, const Machine& to) const {
  const auto it = links_.find({from.index(), to.index()});
  return it == links_.end() ? nullptr : &it->second;
}

void Network::Cut(const Machine& from, const Machine& to) {
  if (&from != &to) LinkOf(from, to).cut = true;
}

void Network::Mend(const Machine& from, const Machine& to) {
  LinkOf(from, to).cut = false;
  Retry();
}

void Network::CutOneWay(const Group& from, const Group& to) {
  for (const Machine* a : from) {
    for (const Machine* b : to) Cut(*a, *b);
  }
}

void Network::Partition(const Group& a, const Group& b) {
  CutOneWay(a, b);
  CutOneWay(b, a);
}

void Network::Isolate(const Machine& machine) {
  for (size_t i = 0; i < world_.machine_count(); ++i) {
    Cut(machine, world_.machine(i));
    Cut(world_.machine(i), machine);
  }
}

void Network::MendAll() {
  for (auto& [key, link] : links_) {
    link.cut = false;
    link.slowness = 1;
  }
  Retry();
}

bool Network::IsCut(const Machine& from, const Machine& to) const {
  const Link* link = FindLink(from, to);
  return link != nullptr && link->cut;
}

bool Network::Lost(const Machine& from, const Machine& to) const {
  return !to.powered() || IsCut(from, to);
}

void Network::SetSlowness(const Machine& a, const Machine& b, double factor) {
  LinkOf(a, b).slowness = factor;
  LinkOf(b, a).slowness = factor;
}

std::vector<std::shared_ptr<Connection>> Network::Connections() const {
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  return all;
}

void Network::ResetConnections(const Machine& a, const Machine& b) {
  for (const auto& connection : Connections()) {
    const Machine& client = connection->machine(0);
    const Machine& server = connection->machine(1);
    if ((&client == &a && &server == &b) || (&client == &b && &server == &a)) connection->Break();
  }
}

bool Network::ResetSomeConnection() {
  if (connections_.empty()) return false;
  auto it = connections_.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random_.Uniform(connections_.size())));
  const std::shared_ptr<Connection> connection = it->second;
  connection->Break();
  return true;
}

void Network::Retry() {
  for (const auto& connection : Connections()) connection->Retry();
}

Duration Network::Delay(const Machine& from, const Machine& to, uint64_t bytes) {
  const NetOptions& options = world_.options().net;
  if (&from == &to) {
    const auto loopback = static_cast<uint64_t>(options.loopback_latency.count());
    return Duration(loopback / 2 + random_.Uniform(loopback + 1));
  }
  Link& link = LinkOf(from, to);
  Duration delay = options.latency_min;
  delay += Duration(random_.Uniform(static_cast<uint64_t>(options.latency_spread.count()) + 1));
  if (random_.Chance(options.tail_chance)) {
    delay += Duration(random_.Uniform(static_cast<uint64_t>(options.tail.count()) + 1));
  }
  delay = Duration(static_cast<int64_t>(static_cast<double>(delay.count()) * link.slowness));
  if (options.bytes_per_second > 0 && bytes > 0) {
    const double seconds =
        static_cast<double>(bytes) * link.slowness / static_cast<double>(options.bytes_per_second);
    link.busy_until =
        std::max(link.busy_until, world_.now()) + Duration(static_cast<int64_t>(seconds * 1e9));
    delay += link.busy_until - world_.now();
  }
  return delay;
}

Machine* Network::Resolve(Machine& from, const std::string& host) {
  if (host == "localhost" || host == "127.0.0.1" || host == "::1") return &from;
  return world_.Find(host);
}

SimListener* Network::FindListener(const Machine& machine, uint16_t port) {
  const auto it = listeners_.find({machine.index(), port});
  return it == listeners_.end() ? nullptr : it->second;
}

Result<std::unique_ptr<Listener>> Network::Listen(SimLoop& loop, Endpoint at) {
  Machine& machine = loop.machine();
  if (at.host.empty() || at.host == "0.0.0.0" || at.host == "::") at.host = machine.name();
  if (Resolve(machine, at.host) != &machine) {
    return Status(Code::kInvalidArgument, "'" + at.host + "' is not an address of this machine");
  }
  if (at.port == 0) {
    do {
      at.port = static_cast<uint16_t>(kEphemeralFirst + next_port_++ % kEphemeralCount);
    } while (FindListener(machine, at.port) != nullptr);
  }
  if (FindListener(machine, at.port) != nullptr) {
    return Status(Code::kBusy, at.ToString() + " is taken");
  }
  auto listener = std::make_unique<SimListener>(loop, *this, at);
  listeners_[{machine.index(), at.port}] = listener.get();
  return std::unique_ptr<Listener>(std::move(listener));
}

void Network::Forget(const SimListener& listener) {
  const auto it = listeners_.find({listener.loop().machine().index(), listener.local().port});
  if (it != listeners_.end() && it->second == &listener) listeners_.erase(it);
}

void Network::Forget(const Connection& connection) { connections_.erase(connection.id()); }

Task<Result<std::unique_ptr<Stream>>> Network::Connect(SimLoop& loop, Endpoint to,
                                                       Instant deadline) {
  Machine& from = loop.machine();
  Machine* target = Resolve(from, to.host);
  if (target == nullptr) co_return Status(Code::kUnavailable, "no host '" + to.host + "'");
  auto call = std::make_shared<Call>();
  call->loop = &loop;
  call->from = &from;
  call->to = target;
  call->port = to.port;
  call->retry = world_.options().net.connect_retry;
  call->pending = std::make_shared<Pending<Call::Connected>>(loop);
  Knock(call);
  co_return co_await Await<Call::Connected>(
      call->pending, deadline, Status(Code::kTimeout, to.ToString() + ": no answer in time"));
}

// Sends the request to connect; again later when it is lost.
void Network::Knock(std::shared_ptr<Call> call) {
  const Duration delay = Delay(*call->from, *call->to, 0);
  world_.Push(delay, EventKind::kConnect, call->to, 0, [this, call] {
    if (!call->pending->Wanted()) return;
    SimListener* listener = FindListener(*call->to, call->port);
    const bool lost = Lost(*call->from, *call->to) || Lost(*call->to, *call->from);
    if (lost || (listener != nullptr && listener->waiting() >= world_.options().net.backlog_max)) {
      const Duration retry = call->retry;
      call->retry *= 2;
      world_.Push(retry, EventKind::kConnect, call->from, 1, [this, call] {
        if (call->pending->Wanted()) Knock(call);
      });
      return;
    }
    if (listener == nullptr) {
      return Answer(call, Status(Code::kUnavailable, call->to->name() + ":" +
                                                         std::to_string(call->port) + ": refused"));
    }
    Answer(call, {});
  });
}

void Network::Answer(const std::shared_ptr<Call>& call, Status refused) {
  const Duration delay = Delay(*call->to, *call->from, 0);
  if (!refused.ok()) {
    world_.Push(delay, EventKind::kConnect, call->from, 2,
                [call, refused] { call->pending->Complete(refused); });
    return;
  }
  const uint64_t id = next_connection_++;
  const auto port = static_cast<uint16_t>(kEphemeralFirst + id % kEphemeralCount);
  auto connection =
      std::make_shared<Connection>(*this, id, *call->from, *call->to, port, call->port);
  connections_.emplace(id, connection);
  connection->HoldBack(1, delay);
  FindListener(*call->to, call->port)->Offer(connection);
  world_.Push(delay, EventKind::kConnect, call->from, 3, [call, connection] {
    if (!call->pending->Wanted()) return connection->Refuse(0);
    call->pending->Complete(std::make_unique<SimStream>(*call->loop, connection, 0));
  });
}

void Network::DropProcess(Machine& machine, bool power_cut) {
  // Listeners first: what waits in their backlogs ends with the other connections below.
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    it = it->first.first == machine.index() ? listeners_.erase(it) : std::next(it);
  }
  for (const auto& connection : Connections()) {
    for (const int side : {0, 1}) {
      if (&connection->machine(side) == &machine) connection->Kill(side, power_cut);
    }
  }
}

}  // namespace moraine::sim
