// The chunkservers of the cluster: who they are, whether they live, how full they are.
//
// Identity is the store's incarnation, a random number in its superblock: a wiped disk is another
// server. Who is registered is durable; who is alive is known from heartbeats only, and after a
// restart everybody counts as heard a moment ago.
//
//   alive      heard within `alive_for`: gets new chunks
//   silent     reads and copies from it are tried; gets nothing new
//   dead       silent for `repair_grace`: declared durably; its replicas count as missing until it
//              has registered again and told what it has
//
// Confined to the loop.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/loop/loop.h"
#include "metaserver/chunks/placement.h"
#include "metaserver/store/store.h"
#include "metaserver/store/transaction.h"
#include "protocol/missed_time.h"

namespace moraine::metaserver {

struct RegistryOptions {
  Duration alive_for = std::chrono::milliseconds(2500);
  Duration repair_grace = std::chrono::seconds(10);
  uint64_t reserve_bytes = 1ULL << 30;  // a server with less free space gets no new chunks
};

struct ServerSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

class Registry {
 public:
  Registry(Loop& loop, const RegistryOptions& options)
      : loop_(loop), options_(options), missed_(loop.Now().time_since_epoch()) {}

  Status Load(Store& store);

  struct Registration {
    ServerId claimed;  // what its superblock says; none at the first time
    std::string incarnation;
    std::string endpoint;
    std::string location;
    ServerSpace space;
    uint64_t start_id = 0;
  };
  // Puts the record into the transaction; Registered takes effect after the commit.
  // kWrongCluster: it claims an id that was never given to this incarnation here.
  Result<ServerId> Register(Transaction& transaction, const Registration& registration);
  void Registered(ServerId id, const ServerRecord& record);
  Result<ServerRecord> RecordFor(const Registration& registration) const;

  // False: unknown, restarted since, or declared dead; it must register again.
  bool Heartbeat(ServerId id, uint64_t start_id, ServerSpace space, bool quarantined);

  // Another sign of life. False: unknown or declared dead.
  bool NoteHeard(ServerId id);

  // Servers that have been silent for the grace time and are not declared dead yet. To be asked
  // every `tick`: time in which this process did not run does not count (protocol/missed_time.h).
  std::vector<ServerId> Overdue(Duration tick);
  Status DeclareDead(Transaction& transaction, ServerId id);
  void DeclaredDead(ServerId id);

  const ServerRecord* Find(ServerId id) const;
  bool IsAlive(ServerId id) const;
  bool IsDead(ServerId id) const;
  Duration Silence(ServerId id) const;
  // A snapshot for placement; `start_id` is 0 for those that are not alive.
  std::span<const ServerView> Views();
  // The server got a new chunk: it is a little less likely to get the next one.
  void NotePlaced(ServerId id);
  std::vector<ServerId> All() const;
  size_t AliveCount() const;

 private:
  struct Server {
    ServerRecord record;
    Location location;
    Instant heard{};
    uint64_t load = 0;
  };

  Loop& loop_;
  const RegistryOptions options_;
  std::map<ServerId, Server> servers_;
  protocol::MissedTime missed_;  // between calls of Overdue
  std::vector<ServerView> views_;
};

}  // namespace moraine::metaserver
