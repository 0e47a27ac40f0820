#include "base/loop/run_process.h"

#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

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

// Everything of one run, on the loop.
struct Run {
  Run(UringLoop& loop, Descriptor signals, ProcessPart part)
      : loop(loop), signals(std::move(signals)), part(std::move(part)), end(loop) {}
  UringLoop& loop;
  const Descriptor signals;
  const ProcessPart part;
  Event end;
  int ends = 0;
  bool stopped = false;
  Status started;
  Status stop_status;
  Status failed;

  Task<void> WatchSignals();
  Task<void> Live(Duration stop_timeout);
  Task<void> DoStop(Event* done);
  Task<void> DoWatch(Event* done);
};

Task<void> Run::WatchSignals() {
  while (true) {
    signalfd_siginfo info{};
    const Result<size_t> got =
        co_await loop.ReadDescriptor(signals.get(), std::as_writable_bytes(std::span(&info, 1)));
    if (!got.ok() || *got != sizeof info) co_return;
    if (info.ssi_signo == SIGHUP) {
      const Status reopened = ReopenLog();
      if (!reopened.ok()) LogWarning("{}", reopened.ToString());
      if (part.reload) part.reload();
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

Task<void> Run::Live(Duration stop_timeout) {
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
  const bool in_time = co_await done.Wait(loop.After(stop_timeout));
  if (!in_time) LogWarning("the stop takes longer than it may; ending at once");
  loop.Stop();
}

int Complain(const std::string& program, const Status& status) {
  std::fprintf(stderr, "%s: %s\n", program.c_str(), status.message().c_str());
  return 1;
}

}  // namespace

int RunProcessPart(const std::string& program, Duration stop_timeout,
                   const std::function<ProcessPart(UringLoop&)>& make) {
  RaiseDescriptorLimit();
  Result<Descriptor> signals = CatchSignals();
  if (!signals.ok()) return Complain(program, signals.status());
  Result<std::unique_ptr<UringLoop>> loop = UringLoop::Create();
  if (!loop.ok()) return Complain(program, loop.status());
  Run run(**loop, std::move(*signals), make(**loop));
  (*loop)->Spawn(run.WatchSignals());
  (*loop)->Spawn(run.Live(stop_timeout));
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
