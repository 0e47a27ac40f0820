// moraine-mount: mounts a Moraine file system. Also mount(8)'s helper under the names
// mount.fuse.moraine and mount.moraine.
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "fs/mount/mount_point.h"
#include "fs/mount/mount_process.h"

namespace moraine::fs::mount {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

Status Prepare(MountOptions* options) {
  MORAINE_RETURN_IF_ERROR(CheckFuseDevice());
  MORAINE_ASSIGN_OR_RETURN(options->mountpoint, PrepareMountPoint(options->mountpoint));
  if (std::string& log_file = options->process.log_file; !log_file.empty()) {
    std::error_code error;
    const auto absolute = std::filesystem::absolute(log_file, error);
    if (error) return StatusFromErrno(error.value(), log_file);
    log_file = absolute;
  }
  return StartLog(options->process);
}

// The signals of MountProcess come through a descriptor; before any thread starts, so that all
// block them.
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

Result<int> Serve(MountOptions options, Background& background) {
  MORAINE_ASSIGN_OR_RETURN(Descriptor signals, CatchSignals());
  MORAINE_ASSIGN_OR_RETURN(const std::unique_ptr<UringLoop> loop, UringLoop::Create());
  MountProcess process(*loop, std::move(options), std::move(signals), background);
  loop->Spawn(process.Run());
  loop->Run();
  if (!process.stopped_in_order()) {
    // What did not stop in order cannot be taken apart in order either.
    std::fflush(nullptr);
    std::_Exit(kExitFailed);
  }
  return process.exit_code();
}

int Main(int argc, char** argv) {
  MountOptions options;
  const std::unique_ptr<OptionTable> table = MakeMountOptionTable(&options);
  Result<std::vector<std::string>> args = TranslateArguments(
      argc > 0 ? argv[0] : "", std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
  if (!args.ok()) {
    std::fprintf(stderr, "%s: %s\n", table->program().c_str(), args.status().message().c_str());
    return kExitUsage;
  }
  const ParseResult parsed = table->Parse(*args);
  if (parsed.exit_code) {
    std::fputs(parsed.text.c_str(), *parsed.exit_code == 0 ? stdout : stderr);
    return *parsed.exit_code;
  }
  Background background(table->program());
  Status ready = Prepare(&options);
  if (!ready.ok()) {
    background.Report(ready);
    return kExitFailed;
  }
  if (!options.foreground) ready = background.Fork();
  if (ready.ok()) {
    const Result<int> code = Serve(std::move(options), background);
    if (code.ok()) return *code;
    ready = code.status();
  }
  background.Report(ready);
  return kExitFailed;
}

}  // namespace
}  // namespace moraine::fs::mount

int main(int argc, char** argv) { return moraine::fs::mount::Main(argc, argv); }
