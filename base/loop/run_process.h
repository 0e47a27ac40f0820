// The life of a server process on a UringLoop: start, serve until a signal, stop in good order; and
// the options that each such process has.
//
//   AddProcessOptions(*table, &options.process, {.listen = &options.listen});
//   if (std::optional<int> code = table->ParseOrExit(argc, argv)) return *code;
//   return RunProcess(*table, options.process, [&](UringLoop& loop) {
//     return std::make_unique<Server>(loop, ...);   // Task<Status> Start(); Task<Status> Stop();
//   });
//
// A server that may find out by itself that it cannot go on has also Task<Status> Watch(Event*
// end): it returns when `end` is set, or before that with what has failed; then the process stops
// in good order and exits with 1.
//
// SIGTERM and SIGINT stop it; a second one, or the end of `stop_timeout`, ends it at once. SIGHUP
// opens the log anew, reads the configuration file again and takes over the level of the log. A
// failed Start, or a log that cannot be opened, is one line on standard error and exit code 1. Call
// it once, from main, before any thread exists.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/loop/sync.h"
#include "base/loop/uring_loop.h"
#include "base/options.h"

namespace moraine {

struct ProcessOptions {
  std::string http{};  // host:port of /metrics and /healthz; empty: none
  Duration stop_timeout = std::chrono::seconds(10);
  std::string log_level = "info";
  std::string log_file{};  // empty: standard error
};

// In what a process is not like the others.
struct ProcessWords {
  const std::string* listen = nullptr;  // the field of its --listen, which cannot share --http
  std::string_view stop_timeout = "How long an orderly stop may take.";
  Duration stop_timeout_min = std::chrono::milliseconds(100);
  Duration stop_timeout_max = std::chrono::hours(1);
  ReloadClass log_level = ReloadClass::kReload;
  std::string_view log_file = "File of the log; empty: standard error.";
};

// --http, --stop-timeout, --log-level, --log-file.
void AddProcessOptions(OptionTable& table, ProcessOptions* options, const ProcessWords& words = {});
// Opens the log that they name.
Status StartLog(const ProcessOptions& options);

// What RunProcess drives.
struct ProcessPart {
  std::function<Task<Status>()> start;
  std::function<Task<Status>()> stop;
  std::function<Task<Status>(Event* end)> watch;  // may be empty
};

int RunProcessPart(OptionTable& table, const ProcessOptions& options,
                   const std::function<ProcessPart(UringLoop&)>& make);

// `options` are fields of the table.
template <class Make>
int RunProcess(OptionTable& table, const ProcessOptions& options, Make make) {
  decltype(make(std::declval<UringLoop&>())) server;
  return RunProcessPart(table, options, [&](UringLoop& loop) {
    server = make(loop);
    ProcessPart part{[&] { return server->Start(); }, [&] { return server->Stop(); }, {}};
    if constexpr (requires(Event* end) { server->Watch(end); }) {
      part.watch = [&](Event* end) { return server->Watch(end); };
    }
    return part;
  });
}

}  // namespace moraine
