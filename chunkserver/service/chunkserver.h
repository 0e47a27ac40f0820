// A whole chunkserver: store, calls, registration, /metrics. The same on a real loop and in the
// simulation. Confined to one loop. Life: Start, then Stop; a killed process just drops it.
#pragma once

#include <memory>

#include "base/http_status.h"
#include "chunkserver/service/copier.h"
#include "chunkserver/service/options.h"
#include "chunkserver/service/registration.h"
#include "chunkserver/service/service.h"
#include "chunkserver/store/store.h"
#include "rpc/channels.h"
#include "rpc/server.h"

namespace moraine::chunkserver {

class Chunkserver {
 public:
  Chunkserver(Loop& loop, ChunkserverOptions options, MetricRegistry& metrics);
  ~Chunkserver();

  // Opens the store, serves, registers. Errors are one line for an operator: those of Store::Open,
  // kBusy (port taken), kWrongCluster. A metaserver that does not answer yet is no error.
  Task<Status> Start();
  // Stops admitting, lets calls end, makes everything held durable.
  Task<Status> Stop();

  Endpoint endpoint() const { return server_->local(); }
  // For /healthz: ok, or why this server is not of full use. Only after Start.
  Status health() const;
  Store& store() { return *store_; }

 private:
  Status CheckAddresses();
  Task<Status> StartServing();

  Loop& loop_;
  const ChunkserverOptions options_;
  MetricRegistry& metrics_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<rpc::Channels> channels_;
  std::unique_ptr<Copier> copier_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Registration> registration_;
  std::unique_ptr<HttpStatusServer> http_;
};

}  // namespace moraine::chunkserver
