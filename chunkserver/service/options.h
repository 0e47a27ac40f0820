// The options of moraine-chunkserver: one table for the command line, the configuration file, help
// and the man page.
#pragma once

#include <memory>
#include <string>

#include "base/options.h"
#include "chunkserver/store/store_context.h"

namespace moraine::chunkserver {

struct ChunkserverOptions {
  StoreOptions store;
  std::string listen = "127.0.0.1:7420";
  std::string advertise;  // empty: the address that is listened on
  std::string metaserver;
  std::string location;  // empty: of its own
  std::string http;
  Duration heartbeat = limits::kHeartbeatInterval;
  Duration stop_timeout = std::chrono::seconds(10);
  std::string log_level = "info";
  std::string log_file;
};

// The table points into `options`, which must outlive it.
std::unique_ptr<OptionTable> MakeChunkserverOptionTable(ChunkserverOptions* options);

}  // namespace moraine::chunkserver
