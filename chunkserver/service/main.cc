// moraine-chunkserver: keeps replicas of chunks on a disk of this machine.
#include <cstdio>

#include "base/fault_point.h"
#include "base/log.h"
#include "base/loop/run_process.h"
#include "chunkserver/service/chunkserver.h"

int main(int argc, char** argv) {
  using namespace moraine;
  using namespace moraine::chunkserver;
  ArmFaultsFromEnvironment();
  ChunkserverOptions options;
  const std::unique_ptr<OptionTable> table = MakeChunkserverOptionTable(&options);
  if (const auto code = table->ParseOrExit(argc, argv)) return *code;
  LogOptions log;
  const Result<LogLevel> level = ParseLogLevel(options.log_level);
  log.level = level.ok() ? *level : LogLevel::kInfo;
  log.file = options.log_file;
  const Status ready = StartLog(log);
  if (!ready.ok()) {
    std::fprintf(stderr, "%s: %s\n", table->program().c_str(), ready.message().c_str());
    return 1;
  }
  return RunProcess(
      table->program(), options.stop_timeout,
      [&](UringLoop& loop) {
        return std::make_unique<Chunkserver>(loop, options, ProcessMetrics());
      },
      [&] {
        const ReloadReport report = table->Reload();
        if (!report.status.ok()) LogWarning("configuration: {}", report.status.ToString());
        const Result<LogLevel> changed = ParseLogLevel(options.log_level);
        if (changed.ok()) SetLogLevel(*changed);
      });
}
