// moraine-metaserver: the names, the chunks and the sessions of one cluster.
#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <optional>

#include "base/fault_point.h"
#include "base/http_status.h"
#include "base/log.h"
#include "base/loop/descriptor.h"
#include "base/loop/uring_loop.h"
#include "base/options.h"
#include "metaserver/service/metaserver.h"

namespace moraine::metaserver {
namespace {

constexpr int kExitFailed = 1;
constexpr Duration kHealthTick = std::chrono::seconds(1);

struct ProgramOptions {
  MetaserverOptions metaserver;
  std::string listen = "127.0.0.1:7440";
  std::string http = "127.0.0.1:7441";
  std::string log_level = "info";
  std::string log_file;
};

void Describe(OptionTable& table, ProgramOptions& options) {
  MetaserverOptions& meta = options.metaserver;
  table.AddPath(
      "dir", &meta.store.directory,
      "Directory of the metaserver's state; made, with a new cluster, when it is missing.",
      {.required = true});
  table.AddEndpoint("listen", &options.listen,
                    "Where clients and chunkservers call; port 0 takes a free one.");
  table.AddEndpoint("http", &options.http,
                    "Where /metrics and /healthz are; port 0 takes a free one.");
  table.AddString("cluster", &meta.cluster,
                  "Id of the cluster that the directory must belong to; empty: any.");
  table.AddDuration("session-ttl", &meta.session_ttl, 500ms, 1h,
                    "A client that is silent for so long loses its leases and directories.",
                    {.reload = ReloadClass::kRestart});
  table.AddDuration("alive-for", &meta.registry.alive_for, 500ms, 1h,
                    "A chunkserver that is silent for longer gets no new chunks.");
  table.AddDuration(
      "repair-grace", &meta.registry.repair_grace, 100ms, 24h * 30,
      "A chunkserver that is silent for longer is dead: its replicas are made anew elsewhere.");
  table.AddBytes("server-reserve-bytes", &meta.registry.reserve_bytes, 0, 1ULL << 50,
                 "A chunkserver with less free space gets no new chunks.");
  table.AddInt("repair-copies", &meta.caretaker.repair.copies_max, 1, 1024,
               "Most copies under way in the cluster to replace lost replicas.");
  table.AddInt("repair-copies-per-server", &meta.caretaker.repair.per_server_max, 1, 256,
               "Most copies in which one chunkserver takes part.");
  table.AddBytes("block-cache-bytes", &meta.store.block_cache_bytes, 1 << 20, 1ULL << 40,
                 "Memory for blocks of the state that are read often.");
  table.AddBytes("write-buffer-bytes", &meta.store.write_buffer_bytes, 1 << 20, 1ULL << 34,
                 "Memory for changes that are in the log but not in tables yet.");
  table.AddBytes("reserve-bytes", &meta.reserve_bytes, 0, 1ULL << 50,
                 "With less free space on its own disk nothing new is made; deletes go on.");
  table.AddDuration(
      "lazy-sync", &meta.store.lazy_sync, 1ms, 10s,
      "Longest time that a change of names waits for the disk when nobody asks for it.");
  table.AddString("log-level", &options.log_level, "debug, info, warning, error or off.");
  table.AddPath("log-file", &options.log_file, "File of the log; empty: standard error.");
  table.AddRule([&table, &options] {
    const auto level = ParseLogLevel(options.log_level);
    return level.ok() ? Status::Ok() : table.Bad("log-level", level.status().message());
  });
}

int Fail(const Status& status) {
  fmt::print(stderr, "moraine-metaserver: {}\n", status.message());
  return kExitFailed;
}

// Everything that lives while the process runs.
struct Program {
  Program(UringLoop& loop, Descriptor signals)
      : loop(loop), signals(std::move(signals)), end(loop) {}
  UringLoop& loop;
  Descriptor signals;
  std::unique_ptr<Metaserver> metaserver;
  std::unique_ptr<HttpStatusServer> http;
  Event end;
  int exit_code = 0;
};

Task<void> WatchSignals(Program* program) {
  signalfd_siginfo info;
  const auto read = co_await program->loop.ReadDescriptor(
      program->signals.get(), std::as_writable_bytes(std::span(&info, 1)));
  if (read.ok()) LogInfo("signal {}: stopping", info.ssi_signo);
  program->end.Set();
}

// A store that has failed cannot be trusted until it has been read again from the disk.
Task<void> WatchHealth(Program* program) {
  while (!program->end.is_set()) {
    if (!program->metaserver->health().ok()) {
      LogError("the state cannot be written; ending, to be started again");
      program->exit_code = kExitFailed;
      program->end.Set();
      co_return;
    }
    co_await program->end.Wait(program->loop.After(kHealthTick));
  }
}

Task<void> StopAtTheEnd(Program* program) {
  co_await program->end.Wait();
  program->http->Close();
  co_await program->metaserver->Stop();
  co_await program->http->Drain();
  program->loop.Stop();
}

Result<Descriptor> CatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) {
    return Status(Code::kInternal, "cannot block signals");
  }
  const int fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (fd < 0) return StatusFromErrno(errno, "signalfd");
  return Descriptor(fd);
}

Status Serve(Program& program, ProgramOptions& options) {
  MORAINE_ASSIGN_OR_RETURN(options.metaserver.listen, ParseEndpoint(options.listen, true));
  MORAINE_ASSIGN_OR_RETURN(const Endpoint http, ParseEndpoint(options.http, true));
  // A port that is taken must be known before anything is made on the disk.
  for (const Endpoint& endpoint : {options.metaserver.listen, http}) {
    MORAINE_RETURN_IF_ERROR(program.loop.Listen(endpoint).status());
  }
  MORAINE_ASSIGN_OR_RETURN(program.metaserver,
                           Metaserver::Open(program.loop, options.metaserver, ProcessMetrics()));
  program.http =
      std::make_unique<HttpStatusServer>(program.loop, HttpStatusOptions{.listen = http});
  program.http->ServeMetrics(ProcessMetrics());
  program.http->ServeHealth([&program] { return program.metaserver->health(); });
  MORAINE_RETURN_IF_ERROR(program.http->Start());
  MORAINE_RETURN_IF_ERROR(program.metaserver->Start());
  LogInfo("cluster {} on {}, status on {}", program.metaserver->cluster(),
          program.metaserver->local().ToString(), program.http->local().ToString());
  return Status::Ok();
}

int Main(int argc, char** argv) {
  ArmFaultsFromEnvironment();
  ProgramOptions options;
  OptionTable table("moraine-metaserver",
                    "Keeps the names, the chunks and the sessions of one Moraine cluster.");
  Describe(table, options);
  if (const std::optional<int> code = table.ParseOrExit(argc, argv)) return *code;
  LogOptions log{.level = *ParseLogLevel(options.log_level), .file = options.log_file};
  if (const Status status = StartLog(log); !status.ok()) return Fail(status);
  Result<Descriptor> signals = CatchSignals();
  if (!signals.ok()) return Fail(signals.status());
  Result<std::unique_ptr<UringLoop>> loop = UringLoop::Create();
  if (!loop.ok()) return Fail(loop.status());
  Program program(**loop, std::move(*signals));
  const Status served = Serve(program, options);
  if (!served.ok()) {
    (*loop)->Stop();
    (*loop)->Run();
    return Fail(served);
  }
  (*loop)->Spawn(WatchSignals(&program));
  (*loop)->Spawn(WatchHealth(&program));
  (*loop)->Spawn(StopAtTheEnd(&program));
  (*loop)->Run();
  return program.exit_code;
}

}  // namespace
}  // namespace moraine::metaserver

int main(int argc, char** argv) { return moraine::metaserver::Main(argc, argv); }
