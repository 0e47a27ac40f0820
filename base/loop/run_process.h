// The life of a server process on a UringLoop: start, serve until a signal, stop in good order.
//
//   return RunProcess("moraine-x", stop_timeout, [&](UringLoop& loop) {
//     return std::make_unique<Server>(loop, ...);   // Task<Status> Start(); Task<Status> Stop();
//   });
//
// SIGTERM and SIGINT stop it; a second one, or the end of `stop_timeout`, ends it at once. SIGHUP
// opens the log anew and calls `reload`. A failed Start is one line on standard error and exit
// code 1. Call it once, from main, before any thread exists.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>

#include "base/loop/uring_loop.h"

namespace moraine {

// What RunProcess drives; ServerPart below makes one of any class with Start and Stop.
struct ProcessPart {
  std::function<Task<Status>()> start;
  std::function<Task<Status>()> stop;
  std::function<void()> reload;
};

int RunProcessPart(const std::string& program, Duration stop_timeout,
                   const std::function<ProcessPart(UringLoop&)>& make);

template <class Make>
int RunProcess(const std::string& program, Duration stop_timeout, Make make,
               std::function<void()> reload = {}) {
  decltype(make(std::declval<UringLoop&>())) server;
  return RunProcessPart(program, stop_timeout, [&](UringLoop& loop) {
    server = make(loop);
    return ProcessPart{[&] { return server->Start(); }, [&] { return server->Stop(); }, reload};
  });
}

}  // namespace moraine
