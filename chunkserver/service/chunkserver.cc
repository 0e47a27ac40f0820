#include "chunkserver/service/chunkserver.h"

#include "base/log.h"

namespace moraine::chunkserver {

Chunkserver::Chunkserver(Loop& loop, ChunkserverOptions options, MetricRegistry& metrics)
    : loop_(loop), options_(std::move(options)), metrics_(metrics) {}

Chunkserver::~Chunkserver() = default;

// A port that is taken must be known before anything is made on the disk.
Status Chunkserver::CheckAddresses() {
  MORAINE_ASSIGN_OR_RETURN(const Endpoint listen, ParseEndpoint(options_.listen, true));
  MORAINE_RETURN_IF_ERROR(loop_.Listen(listen).status().Prefixed("--listen"));
  if (options_.process.http.empty()) return {};
  MORAINE_ASSIGN_OR_RETURN(const Endpoint http, ParseEndpoint(options_.process.http, true));
  return loop_.Listen(http).status().Prefixed("--http");
}

Task<Status> Chunkserver::Start() {
  MORAINE_CO_RETURN_IF_ERROR(CheckAddresses());
  auto store = co_await Store::Open(loop_, options_.store, metrics_);
  if (!store.ok()) co_return store.status();
  store_ = std::move(*store);
  co_return co_await StartServing();
}

Task<Status> Chunkserver::StartServing() {
  MORAINE_CO_ASSIGN_OR_RETURN(const Endpoint listen, ParseEndpoint(options_.listen, true));
  MORAINE_CO_ASSIGN_OR_RETURN(const Endpoint metaserver, ParseEndpoint(options_.metaserver));
  const auto identity = [this] {
    const Superblock& superblock = store_->superblock();
    return rpc::Identity{idl::Role::kChunkserver, superblock.cluster, "chunkserver",
                         superblock.server};
  };
  channels_ = std::make_unique<rpc::Channels>(loop_, identity());
  copier_ = std::make_unique<Copier>(loop_, *store_, *channels_);
  service_ = std::make_unique<Service>(*store_, *copier_);
  rpc::ServerOptions server;
  server.listen = listen;
  server_ = std::make_unique<rpc::Server>(loop_, identity(), server, metrics_);
  service_->Register(*server_);
  MORAINE_CO_RETURN_IF_ERROR(server_->Start().Prefixed("--listen"));

  RegistrationOptions registration;
  registration.metaserver = metaserver;
  registration.endpoint =
      options_.advertise.empty() ? server_->local().ToString() : options_.advertise;
  registration.location = options_.location;
  registration.heartbeat = options_.heartbeat;
  registration_ = std::make_unique<Registration>(
      loop_, *store_, registration, [this, identity] { server_->SetIdentity(identity()); });
  MORAINE_CO_RETURN_IF_ERROR(
      (co_await registration_->Start()).Prefixed("metaserver " + options_.metaserver));

  if (!options_.process.http.empty()) {
    HttpStatusOptions http;
    MORAINE_CO_ASSIGN_OR_RETURN(http.listen, ParseEndpoint(options_.process.http, true));
    http_ = std::make_unique<HttpStatusServer>(loop_, http);
    http_->ServeMetrics(metrics_);
    http_->ServeHealth([this] { return health(); });
    MORAINE_CO_RETURN_IF_ERROR(http_->Start().Prefixed("--http"));
  }
  LogInfo("serving on {}", server_->local().ToString());
  co_return Status();
}

Status Chunkserver::health() const {
  if (store_->GetStatus().quarantined) return {Code::kQuarantined, "the disk has failed"};
  return registration_->health();
}

Task<Status> Chunkserver::Stop() {
  if (store_ != nullptr) store_->EndWaits();
  if (registration_ != nullptr) registration_->Close();
  if (server_ != nullptr) server_->Close();
  if (channels_ != nullptr) channels_->Close();
  if (http_ != nullptr) http_->Close();
  if (registration_ != nullptr) co_await registration_->Drain();
  if (server_ != nullptr) co_await server_->Drain();
  if (channels_ != nullptr) co_await channels_->Drain();
  if (http_ != nullptr) co_await http_->Drain();
  if (store_ == nullptr) co_return Status();
  co_return co_await store_->Close();
}

}  // namespace moraine::chunkserver
