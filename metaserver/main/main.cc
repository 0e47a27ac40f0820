// moraine-metaserver: the names, the chunks and the sessions of one cluster.
#include <memory>
#include <optional>

#include "base/fault_point.h"
#include "base/http_status.h"
#include "base/log.h"
#include "base/loop/run_process.h"
#include "metaserver/main/options.h"
#include "metaserver/service/metaserver.h"

namespace moraine::metaserver {
namespace {

constexpr Duration kHealthTick = std::chrono::seconds(1);

// Everything that lives while the process runs.
class Program {
 public:
  Program(UringLoop& loop, const ProgramOptions& options) : loop_(loop), options_(options) {}

  Task<Status> Start() { co_return Serve(); }
  // A store that has failed cannot be trusted until it has been read again from the disk.
  Task<Status> Watch(Event* end) {
    while (!end->is_set()) {
      const Status health = metaserver_->health();
      if (!health.ok()) {
        co_return health.Prefixed("the state cannot be written; start the metaserver again");
      }
      co_await end->Wait(loop_.After(kHealthTick));
    }
    co_return Status();
  }
  Task<Status> Stop() {
    if (http_ != nullptr) http_->Close();
    if (metaserver_ != nullptr) co_await metaserver_->Stop();
    if (http_ != nullptr) co_await http_->Drain();
    co_return Status();
  }

 private:
  Status Serve();

  UringLoop& loop_;
  const ProgramOptions& options_;
  std::unique_ptr<Metaserver> metaserver_;
  std::unique_ptr<HttpStatusServer> http_;
};

Status Program::Serve() {
  MetaserverOptions meta = options_.metaserver;
  MORAINE_ASSIGN_OR_RETURN(meta.listen, ParseEndpoint(options_.listen, true));
  Endpoint http;
  if (!options_.process.http.empty()) {
    MORAINE_ASSIGN_OR_RETURN(http, ParseEndpoint(options_.process.http, true));
  }
  // A port that is taken must be known before anything is made on the disk.
  MORAINE_RETURN_IF_ERROR(loop_.Listen(meta.listen).status().Prefixed("--listen"));
  if (!options_.process.http.empty()) {
    MORAINE_RETURN_IF_ERROR(loop_.Listen(http).status().Prefixed("--http"));
  }
  MORAINE_ASSIGN_OR_RETURN(metaserver_, Metaserver::Open(loop_, meta, ProcessMetrics()));
  if (!options_.process.http.empty()) {
    http_ = std::make_unique<HttpStatusServer>(loop_, HttpStatusOptions{.listen = http});
    http_->ServeMetrics(ProcessMetrics());
    http_->ServeHealth([this] { return metaserver_->health(); });
    MORAINE_RETURN_IF_ERROR(http_->Start().Prefixed("--http"));
  }
  MORAINE_RETURN_IF_ERROR(metaserver_->Start().Prefixed("--listen"));
  LogInfo("cluster {} on {}, status on {}", metaserver_->cluster(), metaserver_->local().ToString(),
          http_ == nullptr ? "no address" : http_->local().ToString());
  return Status::Ok();
}

int Main(int argc, char** argv) {
  ArmFaultsFromEnvironment();
  ProgramOptions options;
  const std::unique_ptr<OptionTable> table = MakeMetaserverOptionTable(&options);
  if (const std::optional<int> code = table->ParseOrExit(argc, argv)) return *code;
  return RunProcess(*table, options.process,
                    [&](UringLoop& loop) { return std::make_unique<Program>(loop, options); });
}

}  // namespace
}  // namespace moraine::metaserver

int main(int argc, char** argv) { return moraine::metaserver::Main(argc, argv); }
