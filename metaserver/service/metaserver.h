// One metaserver: opens its store, serves its calls, keeps sessions, chunks and servers in order.
//
// Open blocks (it replays the log); everything else is on the loop. When the store has failed
// (health() is not ok) the process should end: a restart reads from the disk what really is there.
// Shutdown: Stop, then destruction. A killed simulated process may be destroyed without Stop.
#pragma once

#include <memory>

#include "metaserver/service/core.h"
#include "metaserver/service/options.h"
#include "metaserver/service/rpc_calls.h"
#include "rpc/server.h"

namespace moraine::metaserver {

class Metaserver {
 public:
  // Errors: Store::Open's; kWrongCluster.
  static Result<std::unique_ptr<Metaserver>> Open(Loop& loop, MetaserverOptions options,
                                                  MetricRegistry& metrics);
  ~Metaserver();

  // Listens, and begins the work that a restart has interrupted. kBusy: the port is taken.
  Status Start();
  // Answers no more, ends the work under way, syncs the store.
  Task<void> Stop();

  Endpoint local() const { return server_.local(); }
  const std::string& cluster() const { return store_->cluster(); }
  const Status& health() const { return store_->health(); }
  Store& store() { return *store_; }

 private:
  Metaserver(Loop& loop, MetaserverOptions options, MetricRegistry& metrics,
             std::unique_ptr<Store> store);
  Status Load();
  Task<void> RunTicks();
  void ExpireSessions();
  void LookAtSpace();
  void SetGauges();

  Loop& loop_;
  const MetaserverOptions options_;
  MetricRegistry& metrics_;
  std::unique_ptr<Store> store_;
  SessionTable sessions_;
  Answers answers_;
  Registry registry_;
  RpcCalls calls_;
  Sealer sealer_;
  FileRecovery recovery_;
  Caretaker caretaker_;
  TaskGroup tasks_;
  rpc::Server server_;
  Core core_;
  bool stopping_ = false;
  Event stop_;
};

}  // namespace moraine::metaserver
