// moraine-chunkserver: keeps replicas of chunks on a disk of this machine.
#include "base/fault_point.h"
#include "base/loop/run_process.h"
#include "chunkserver/service/chunkserver.h"

int main(int argc, char** argv) {
  using namespace moraine;
  using namespace moraine::chunkserver;
  ArmFaultsFromEnvironment();
  ChunkserverOptions options;
  const std::unique_ptr<OptionTable> table = MakeChunkserverOptionTable(&options);
  if (const auto code = table->ParseOrExit(argc, argv)) return *code;
  return RunProcess(*table, options.process, [&](UringLoop& loop) {
    return std::make_unique<Chunkserver>(loop, options, ProcessMetrics());
  });
}
