// The options of moraine-chunkserver: one table for the command line, the configuration file, help
// and the man page.
#pragma once

#include <memory>
#include <string>

#include "base/loop/run_process.h"
#include "base/options.h"
#include "chunkserver/store/store_context.h"

namespace moraine::chunkserver {

struct ChunkserverOptions {
  StoreOptions store;
  std::string listen = "127.0.0.1:7420";
  std::string advertise;  // empty: the address that is listened on
  std::string metaserver;
  std::string location;  // empty: of its own
  Duration heartbeat = limits::kHeartbeatInterval;
  ProcessOptions process;
};

// The table points into `options`, which must outlive it.
std::unique_ptr<OptionTable> MakeChunkserverOptionTable(ChunkserverOptions* options);

}  // namespace moraine::chunkserver
