#include "tools/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/random.h"

namespace moraine::tools {
namespace {

constexpr uint16_t kPortMin = 12000;
constexpr uint16_t kPortMax = 32000;  // Linux gives 32768 and above to outgoing connections
constexpr int kPortAttempts = 1000;

struct ProcStat {
  char state = 0;
  uint64_t started = 0;
};

// Fields 3 and 22 of /proc/PID/stat; the name in field 2 may hold blanks and brackets.
ProcStat ReadProcStat(int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return {};
  const size_t end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return {};
  std::istringstream fields(line.substr(end_of_name + 2));
  ProcStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.started;
  return stat;
}

[[noreturn]] void RunChild(const std::vector<std::string>& command, int log, int report) {
  setsid();
  // Two generations: the caller never has to wait for it.
  const pid_t child = fork();
  if (child != 0) _exit(child < 0 ? 1 : 0);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(nothing, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int64_t pid = getpid();
  if (write(report, &pid, sizeof pid) != sizeof pid) _exit(1);
  execv(arguments[0], arguments.data());
  const int64_t error = -static_cast<int64_t>(errno);
  (void)!write(report, &error, sizeof error);
  _exit(127);
}

}  // namespace

Result<ProcessId> StartProcess(const std::vector<std::string>& command, const std::string& log) {
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) return StatusFromErrno(errno, "open " + log);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    close(output);
    return StatusFromErrno(errno, "pipe");
  }
  const pid_t child = fork();
  if (child == 0) RunChild(command, output, report[1]);
  close(output);
  close(report[1]);
  int64_t said[2] = {0, 0};
  if (child > 0) {
    // The pid first; then nothing (exec closed the pipe), or why exec failed.
    size_t have = 0;
    ssize_t got = 0;
    while (have < sizeof said &&
           (got = read(report[0], reinterpret_cast<char*>(said) + have, sizeof said - have)) > 0) {
      have += static_cast<size_t>(got);
    }
    waitpid(child, nullptr, 0);
  }
  close(report[0]);
  if (child < 0 || said[0] <= 0) return Status(Code::kInternal, "cannot start " + command[0]);
  if (said[1] < 0) return StatusFromErrno(static_cast<int>(-said[1]), "start " + command[0]);
  return ProcessId{said[0], ReadProcStat(said[0]).started};
}

ProcessState StateOf(const ProcessId& process) {
  if (process.pid <= 0) return ProcessState::kGone;
  const ProcStat stat = ReadProcStat(process.pid);
  if (stat.state == 0 || stat.state == 'Z' || stat.state == 'X' ||
      stat.started != process.started) {
    return ProcessState::kGone;
  }
  return stat.state == 'T' ? ProcessState::kPaused : ProcessState::kRunning;
}

Status Signal(const ProcessId& process, int signal) {
  if (StateOf(process) == ProcessState::kGone) return {};
  if (kill(static_cast<pid_t>(process.pid), signal) != 0 && errno != ESRCH) {
    return StatusFromErrno(errno, fmt::format("signal process {}", process.pid));
  }
  return {};
}

bool WaitUntilGone(const ProcessId& process, Duration limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (StateOf(process) != ProcessState::kGone) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string LastLine(const std::string& log) {
  std::ifstream file(log);
  std::string line;
  std::string last;
  while (std::getline(file, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

Result<uint16_t> FreePort() {
  Random random(EntropySeed());
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    const auto port = static_cast<uint16_t>(random.Between(kPortMin, kPortMax));
    const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) return StatusFromErrno(errno, "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const bool free = bind(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    close(socket_fd);
    if (free) return port;
  }
  return Status(Code::kBusy, fmt::format("no free port between {} and {}", kPortMin, kPortMax));
}

}  // namespace moraine::tools
