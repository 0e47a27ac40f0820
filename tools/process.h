// Processes on this machine that we started: begin, look at, signal, wait for. A process is named
// by its pid and the time of its start, so that a number that was given out again is never
// signalled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/loop/time.h"
#include "base/status.h"

namespace moraine::tools {

struct ProcessId {
  int64_t pid = 0;
  uint64_t started = 0;  // clock ticks since boot
  bool operator==(const ProcessId&) const = default;
};

enum class ProcessState { kGone, kRunning, kPaused };

// In a session of its own, with output appended to `log`, and not waited for by us: it outlives the
// caller.
Result<ProcessId> StartProcess(const std::vector<std::string>& command, const std::string& log);
ProcessState StateOf(const ProcessId& process);
// Nothing happens to a process that is gone already.
Status Signal(const ProcessId& process, int signal);
// False: still there after `limit`.
bool WaitUntilGone(const ProcessId& process, Duration limit);
// The last line of a log that says something, for "it did not start because".
std::string LastLine(const std::string& log);
// A TCP port of 127.0.0.1 that is free now, and that no outgoing connection gets while a server
// that was killed is away: below the range of local ports.
Result<uint16_t> FreePort();

}  // namespace moraine::tools
