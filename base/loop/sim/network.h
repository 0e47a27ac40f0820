// The simulated network: TCP-like streams between processes, and everything that can go wrong with
// them. A stream is first in, first out, and loses, doubles or swaps nothing: TCP does not.
// Messages of different connections overtake each other freely, bytes arrive in pieces, a
// connection may break at any byte, and what was sent before the break may or may not have arrived.
//
// A cut link does not break connections. Bytes wait, and arrive some time after the heal, unless
// the sender loses patience before (NetOptions::stall_reset_*). A link is directed: with only one
// direction cut, bytes of the other arrive, but their sender learns nothing and its window fills.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/loop/loop.h"
#include "base/loop/sim/connection.h"
#include "base/random.h"

namespace moraine::sim {

class Machine;
class SimListener;
class SimLoop;
class World;

class Network {
 public:
  Network(World& world, Random random);
  ~Network();

  // --- Faults. All may be called at any time; a machine always reaches itself.
  using Group = std::vector<const Machine*>;
  void Cut(const Machine& from, const Machine& to);
  void Mend(const Machine& from, const Machine& to);
  // Every link from one group to the other. Machines in neither group reach both: a bridge.
  void CutOneWay(const Group& from, const Group& to);
  void Partition(const Group& a, const Group& b);  // both ways
  void Isolate(const Machine& machine);
  void MendAll();  // links and slowness
  bool IsCut(const Machine& from, const Machine& to) const;
  // Multiplies the delays between two machines, both ways.
  void SetSlowness(const Machine& a, const Machine& b, double factor);
  // Breaks every connection between two machines, or one that the seed picks (false: there is
  // none).
  void ResetConnections(const Machine& a, const Machine& b);
  bool ResetSomeConnection();
  size_t connection_count() const { return connections_.size(); }

  // --- For SimLoop and Machine.
  Task<Result<std::unique_ptr<Stream>>> Connect(SimLoop& loop, Endpoint to, Instant deadline);
  Result<std::unique_ptr<Listener>> Listen(SimLoop& loop, Endpoint at);
  // The process of this machine ended.
  void DropProcess(Machine& machine, bool power_cut);
  // Links may have become better: waiting bytes try again.
  void Retry();

  // --- For Connection and SimListener.
  World& world() { return world_; }
  Random& random() { return random_; }
  // Whether something sent now would be lost: the link is cut, or nobody is at home.
  bool Lost(const Machine& from, const Machine& to) const;
  // How long `bytes` take; reserves the link's bandwidth.
  Duration Delay(const Machine& from, const Machine& to, uint64_t bytes);
  void Forget(const Connection& connection);
  void Forget(const SimListener& listener);

 private:
  struct Link {
    bool cut = false;
    double slowness = 1;
    Duration busy_until{0};
  };
  struct Call;  // a connection being made
  using LinkKey = std::pair<uint32_t, uint32_t>;

  Link& LinkOf(const Machine& from, const Machine& to);
  const Link* FindLink(const Machine& from, const Machine& to) const;
  Machine* Resolve(Machine& from, const std::string& host);
  SimListener* FindListener(const Machine& machine, uint16_t port);
  // Every connection, safe against those that end meanwhile.
  std::vector<std::shared_ptr<Connection>> Connections() const;
  void Knock(std::shared_ptr<Call> call);
  void Answer(const std::shared_ptr<Call>& call, Status refused);

  World& world_;
  Random random_;
  std::map<LinkKey, Link> links_;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  std::map<std::pair<uint32_t, uint16_t>, SimListener*> listeners_;
  uint64_t next_connection_ = 1;
  uint16_t next_port_ = 0;
};

}  // namespace moraine::sim
