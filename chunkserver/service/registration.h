// The chunkserver's line to the metaserver: registers, tells all replicas once (inventory), then
// sends a heartbeat with what has changed. Begins again whenever the metaserver asks for it. A
// metaserver that is away changes nothing for writers and readers here.
// Confined to one loop. Close, then Drain.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "chunkserver/store/store.h"
#include "idl/metaserver_types.h"
#include "rpc/client.h"

namespace moraine::chunkserver {

struct RegistrationOptions {
  Endpoint metaserver;
  std::string endpoint;  // where others reach this server
  std::string location;
  Duration heartbeat = limits::kHeartbeatInterval;
};

class Registration {
 public:
  // `joined` is told when the store has got its cluster and id, before anything is served under
  // them.
  Registration(Loop& loop, Store& store, RegistrationOptions options, std::function<void()> joined);

  // One attempt to register, for a first error that an operator should see; then keeps trying in
  // the background. Errors that no time mends: kWrongCluster, kWrongVersion, kWrongRole.
  Task<Status> Start();
  bool registered() const { return registered_; }
  // For /healthz: ok, or since when and why the metaserver does not answer.
  Status health() const;

  void Close();
  Task<void> Drain();

 private:
  Task<void> Run();
  Task<Status> Register();
  Task<Status> SendInventory();
  Task<Status> SendHeartbeat();
  // The metaserver could not take what was told of these.
  void TellAgain(const std::vector<int64_t>& chunks);
  rpc::CallOptions Options() const;

  Loop& loop_;
  Store& store_;
  const RegistrationOptions options_;
  const std::function<void()> joined_;
  const uint64_t start_id_;
  rpc::Channel channel_;
  bool registered_ = false;
  Status last_;
  Event closing_;
  TaskGroup tasks_;
};

}  // namespace moraine::chunkserver
