// The options of moraine-metaserver: one table for the command line, the configuration file, help
// and the man page.
#pragma once

#include <memory>
#include <string>

#include "base/loop/run_process.h"
#include "base/options.h"
#include "metaserver/service/options.h"

namespace moraine::metaserver {

struct ProgramOptions {
  MetaserverOptions metaserver;
  std::string listen = "127.0.0.1:7440";
  ProcessOptions process{.http = "127.0.0.1:7441"};
};

// The table points into `options`, which must outlive it.
std::unique_ptr<OptionTable> MakeMetaserverOptionTable(ProgramOptions* options);

}  // namespace moraine::metaserver
