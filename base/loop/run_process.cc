#include "base/loop/run_process.h"

#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "base/loop/sync.h"

namespace moraine {
namespace {

Result<Descriptor> CatchSignals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
    return StatusFromErrno(errno, "block signals");
  }
  Descriptor descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!descriptor.valid()) return StatusFromErrno(errno, "make a signalfd");
  return descriptor;
}

// Every connection and every open chunk file takes a descriptor; the usual soft limit of 1,024 is
// there for programs that still use select().
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    LogWarning("the limit of open files stays: {}", std::strerror(errno));
  }
}

// The table lets nothing else through.
LogLevel LevelOf(const ProcessOptions& options) {
  const Result<LogLevel> level = ParseLogLevel(options.log_level);
  MORAINE_CHECK(level.ok(), options.log_level);
  return *level;
}

// Everything of one run, on the loop.
struct Run {
  Run(UringLoop& loop, OptionTable& table, const ProcessOptions& options, Descriptor signals,
      ProcessPart part)
      : loop(loop),
        table(table),
        options(options),
        signals(std::move(signals)),
        part(std::move(part)),
        end(loop) {}
  UringLoop& loop;
  OptionTable& table;
  const ProcessOptions& options;
  const Descriptor signals;
  const ProcessPart part;
  Event end;
  int ends = 0;
  bool stopped = false;
  Status started;
  Status stop_status;
  Status failed;

  Task<void> WatchSignals();
  void Reload();
  Task<void> Live();
  Task<void> DoStop(Event* done);
  Task<void> DoWatch(Event* done);
};

void Run::Reload() {
  const Status reopened = ReopenLog();
  if (!reopened.ok()) LogWarning("{}", reopened.ToString());
  const ReloadReport report = table.Reload();
  if (!report.status.ok()) LogWarning("configuration: {}", report.status.message());
  SetLogLevel(LevelOf(options));
}

Task<void> Run::WatchSignals() {
  while (true) {
    signalfd_siginfo info{};
    const Result<size_t> got =
        co_await loop.ReadDescriptor(signals.get(), std::as_writable_bytes(std::span(&info, 1)));
    if (!got.ok() || *got != sizeof info) co_return;
    if (info.ssi_signo == SIGHUP) {
      Reload();
      continue;
    }
    LogInfo("signal {}: {}", info.ssi_signo, ends == 0 ? "stopping" : "ending at once");
    if (++ends > 1) loop.Stop();
    end.Set();
  }
}

Task<void> Run::DoStop(Event* done) {
  stop_status = co_await part.stop();
  stopped = true;
  done->Set();
}

Task<void> Run::DoWatch(Event* done) {
  failed = co_await part.watch(&end);
  end.Set();
  done->Set();
}

Task<void> Run::Live() {
  started = co_await part.start();
  if (started.ok() && part.watch) {
    Event watched(loop);
    loop.Spawn(DoWatch(&watched));
    co_await watched.Wait();
  } else if (started.ok()) {
    co_await end.Wait();
  }
  Event done(loop);
  loop.Spawn(DoStop(&done));
  const bool in_time = co_await done.Wait(loop.After(options.stop_timeout));
  if (!in_time) LogWarning("the stop takes longer than it may; ending at once");
  loop.Stop();
}

int Complain(const std::string& program, const Status& status) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(), status.message().c_str());
  return 1;
}

}  // namespace

void AddProcessOptions(OptionTable& table, ProcessOptions* options, const ProcessWords& words) {
  table.AddEndpoint("http", &options->http,
                    options->http.empty()
                        ? "Address where /metrics and /healthz are served; empty: none."
                        : "Address where /metrics and /healthz are served.",
                    {.zero_port = true});
  table.AddDuration("stop-timeout", &options->stop_timeout, words.stop_timeout_min,
                    words.stop_timeout_max, words.stop_timeout);
  table.AddChoice("log-level", &options->log_level, {"debug", "info", "warning", "error", "off"},
                  "The least important level that is logged.", {.reload = words.log_level});
  table.AddPath("log-file", &options->log_file, words.log_file);
  if (words.listen == nullptr) return;
  table.AddRule([&table, options, listen = words.listen]() -> Status {
    if (options->http != *listen || options->http.ends_with(":0")) return {};
    return table.Bad("http", "must be another address than --listen");
  });
}

Status StartLog(const ProcessOptions& options) {
  return StartLog(LogOptions{.level = LevelOf(options), .file = options.log_file});
}

int RunProcessPart(OptionTable& table, const ProcessOptions& options,
                   const std::function<ProcessPart(UringLoop&)>& make) {
  const std::string& program = table.program();
  if (const Status log = StartLog(options); !log.ok()) return Complain(program, log);
  RaiseDescriptorLimit();
  Result<Descriptor> signals = CatchSignals();
  if (!signals.ok()) return Complain(program, signals.status());
  Result<std::unique_ptr<UringLoop>> loop = UringLoop::Create();
  if (!loop.ok()) return Complain(program, loop.status());
  Run run(**loop, table, options, std::move(*signals), make(**loop));
  (*loop)->Spawn(run.WatchSignals());
  (*loop)->Spawn(run.Live());
  (*loop)->Run();
  int code = 0;
  if (!run.started.ok()) {
    code = Complain(program, run.started);
  } else if (!run.failed.ok()) {
    code = Complain(program, run.failed);
  } else if (!run.stopped) {
    code = 1;
  } else if (!run.stop_status.ok()) {
    code = Complain(program, run.stop_status);
  }
  // What did not stop in order cannot be taken apart in order either.
  if (!run.stopped) {
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}

}  // namespace moraine
