#include "fs/mount/background.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace moraine::fs::mount {
namespace {

constexpr char kOk = '+';
constexpr char kFailed = '-';

void WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    done += static_cast<size_t>(written);
  }
}

std::string ReadAll(int fd) {
  std::string text;
  std::array<char, 1024> buffer{};
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

void DetachStandardStreams() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
  close(null);
}

}  // namespace

Status Background::Fork() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return StatusFromErrno(errno, "make a pipe");
  Descriptor from_child(ends[0]);
  Descriptor to_parent(ends[1]);
  const pid_t child = fork();
  if (child < 0) return StatusFromErrno(errno, "fork");
  if (child > 0) {
    to_parent.Reset();
    RunParent(from_child.get());
  }
  forked_ = true;
  to_parent_ = std::move(to_parent);
  setsid();
  if (chdir("/") != 0) return StatusFromErrno(errno, "go to /");
  return Status::Ok();
}

void Background::RunParent(int from_child) {
  const std::string report = ReadAll(from_child);
  if (!report.empty() && report[0] == kOk) _exit(0);
  const std::string why = report.empty() ? "ended before the mount was ready" : report.substr(1);
  std::fprintf(stderr, "%s: %s\n", program_.c_str(), why.c_str());
  _exit(1);
}

void Background::Report(const Status& status) {
  if (!forked_) {
    if (!status.ok()) std::fprintf(stderr, "%s: %s\n", program_.c_str(), status.message().c_str());
    return;
  }
  if (status.ok()) DetachStandardStreams();
  WriteAll(to_parent_.get(), status.ok() ? std::string(1, kOk) : kFailed + status.message());
  to_parent_.Reset();
}

}  // namespace moraine::fs::mount
