// The life of a server process on a UringLoop: start, serve until a signal, stop in good order.
//
//   return RunProcess("moraine-x", stop_timeout, [&](UringLoop& loop) {
//     return std::make_unique<Server>(loop, ...);   // Task<Status> Start(); Task<Status> Stop();
//   });
//
// A server that may find out by itself that it cannot go on has also Task<Status> Watch(Event*
// end): it returns when `end` is set, or before that with what has failed; then the process stops
// in good order and exits with 1.
//
// SIGTERM and SIGINT stop it; a second one, or the end of `stop_timeout`, ends it at once. SIGHUP
// opens the log anew and calls `reload`. A failed Start is one line on standard error and exit
// code 1. Call it once, from main, before any thread exists.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/loop/sync.h"
#include "base/loop/uring_loop.h"

namespace moraine {

// What RunProcess drives; ServerPart below makes one of any class with Start and Stop.
struct ProcessPart {
  std::function<Task<Status>()> start;
  std::function<Task<Status>()> stop;
  std::function<void()> reload;
  std::function<Task<Status>(Event* end)> watch;  // may be empty
};

int RunProcessPart(const std::string& program, Duration stop_timeout,
                   const std::function<ProcessPart(UringLoop&)>& make);

template <class Make>
int RunProcess(const std::string& program, Duration stop_timeout, Make make,
               std::function<void()> reload = {}) {
  decltype(make(std::declval<UringLoop&>())) server;
  return RunProcessPart(program, stop_timeout, [&](UringLoop& loop) {
    server = make(loop);
    ProcessPart part{[&] { return server->Start(); }, [&] { return server->Stop(); }, reload, {}};
    if constexpr (requires(Event* end) { server->Watch(end); }) {
      part.watch = [&](Event* end) { return server->Watch(end); };
    }
    return part;
  });
}

}  // namespace moraine
