#include "fs/mount/mount_point.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "base/log.h"
#include "base/loop/descriptor.h"

extern char** environ;

namespace moraine::fs::mount {
namespace {

constexpr std::string_view kType = "fuse.moraine";

// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string UnescapeOctal(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

Result<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), std::free);
  if (real != nullptr) return std::string(real.get());
  if (errno == ENOENT) return {Code::kNotFound, path + ": no such directory"};
  if (errno == ENOTDIR) return {Code::kNotDirectory, path + ": not a directory"};
  return StatusFromErrno(errno, path);
}

// The last part of a path cannot be looked at when a dead mount lies on it.
Result<std::string> RealPathBesideDeadMount(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  MORAINE_ASSIGN_OR_RETURN(std::string real, RealPath(parent));
  if (real != "/") real += '/';
  return real + path.substr(slash + 1);
}

Status WriteFile(const std::string& path, const std::string& text) {
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return StatusFromErrno(errno, path);
  if (write(file.get(), text.data(), text.size()) < 0) return StatusFromErrno(errno, path);
  return Status::Ok();
}

Status RunFusermount(const std::string& path) {
  std::vector<std::string> words = {"fusermount3", "-u", "-z", "-q", "--", path};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  if (const int error =
          posix_spawnp(&child, "fusermount3", nullptr, nullptr, argv.data(), environ)) {
    return StatusFromErrno(error, "start fusermount3");
  }
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return StatusFromErrno(errno, "wait for fusermount3");
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return Status::Ok();
  return {Code::kNotPermitted, fmt::format("fusermount3 could not unmount {}", path)};
}

}  // namespace

std::optional<MountLine> ParseMountLine(std::string_view line) {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
  std::istringstream words{std::string(line)};
  std::string skipped;
  std::string device;
  std::string path;
  if (!(words >> skipped >> skipped >> device >> skipped >> path)) return std::nullopt;
  std::string word;
  while (words >> word && word != "-") {
  }
  MountLine mount;
  std::string source;
  if (!(words >> mount.type >> source)) return std::nullopt;
  mount.path = UnescapeOctal(path);
  mount.source = UnescapeOctal(source);
  if (std::sscanf(device.c_str(), "%u:%u", &mount.major, &mount.minor) != 2) return std::nullopt;
  return mount;
}

std::optional<MountLine> FindMount(const std::string& path) {
  std::ifstream file("/proc/self/mountinfo");
  std::optional<MountLine> found;
  for (std::string line; std::getline(file, line);) {
    std::optional<MountLine> mount = ParseMountLine(line);
    if (mount && mount->path == path) found = std::move(mount);  // later lines lie on top
  }
  return found;
}

Result<std::string> PrepareMountPoint(const std::string& path) {
  struct stat found{};
  if (stat(path.c_str(), &found) != 0 && errno == ENOTCONN) {
    MORAINE_ASSIGN_OR_RETURN(const std::string real, RealPathBesideDeadMount(path));
    LogWarning("{}: taking away a mount whose process has died", real);
    MORAINE_RETURN_IF_ERROR(DetachMount(real));
  }
  MORAINE_ASSIGN_OR_RETURN(std::string real, RealPath(path));
  if (stat(real.c_str(), &found) != 0) return StatusFromErrno(errno, path);
  if (!S_ISDIR(found.st_mode)) return {Code::kNotDirectory, path + ": not a directory"};
  const std::optional<MountLine> mount = FindMount(real);
  if (mount && mount->type == kType) {
    return {Code::kAlreadyExists,
            fmt::format("{}: {} is mounted there already", path, mount->source)};
  }
  return real;
}

Status CheckFuseDevice() {
  const Descriptor device(open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device.valid()) return Status::Ok();
  if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
    return {Code::kNotFound,
            "/dev/fuse is missing: load the kernel module fuse, or give the "
            "container the device"};
  }
  // fusermount3 opens it for those who may not.
  if (errno == EACCES || errno == EPERM) return Status::Ok();
  return StatusFromErrno(errno, "open /dev/fuse");
}

Status DetachMount(const std::string& path, std::optional<unsigned> device_minor) {
  const std::optional<MountLine> mount = FindMount(path);
  if (!mount || mount->type != kType || (device_minor && mount->minor != *device_minor)) {
    return {Code::kNotFound, path + ": nothing of ours is mounted there"};
  }
  if (geteuid() != 0) return RunFusermount(path);
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
    return StatusFromErrno(errno, "unmount " + path);
  }
  return Status::Ok();
}

Status SetReadAhead(const std::string& path, uint64_t bytes) {
  const std::optional<MountLine> mount = FindMount(path);
  if (!mount) return {Code::kNotFound, path + ": not mounted"};
  return WriteFile(fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", mount->major, mount->minor),
                   std::to_string(bytes >> 10));
}

}  // namespace moraine::fs::mount
