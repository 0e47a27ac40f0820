// The options of moraine-metaserver: one table for the command line, the configuration file, help
// and the man page.
#pragma once

#include <memory>
#include <string>

#include "base/options.h"
#include "metaserver/service/options.h"

namespace moraine::metaserver {

struct ProgramOptions {
  MetaserverOptions metaserver;
  std::string listen = "127.0.0.1:7440";
  std::string http = "127.0.0.1:7441";
  Duration stop_timeout = std::chrono::seconds(10);
  std::string log_level = "info";
  std::string log_file;
};

// The table points into `options`, which must outlive it.
std::unique_ptr<OptionTable> MakeMetaserverOptionTable(ProgramOptions* options);

}  // namespace moraine::metaserver
