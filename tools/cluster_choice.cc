#include "tools/cluster_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/dev_cluster.h"

namespace moraine::tools {
namespace {

constexpr std::string_view kMountType = "fuse.moraine";
constexpr const char* kMountInfo = "/proc/self/mountinfo";

// mountinfo writes blanks and backslashes as three octal digits.
std::string Unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain.push_back(static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

// Not through the file system itself: a dead mount must not hang the command that asks about it.
std::string Absolute(const std::string& path) {
  return (path.starts_with('/') ? std::filesystem::path(path)
                                : std::filesystem::current_path() / path)
      .lexically_normal()
      .string();
}

bool IsAbove(const std::string& directory, const std::string& path) {
  return path == directory || directory == "/" ||
         (path.size() > directory.size() && path.starts_with(directory) &&
          path[directory.size()] == '/');
}

struct MountLine {
  std::string point;
  std::string type;
  std::string source;
};

// id parent major:minor root MOUNT-POINT options fields... - TYPE SOURCE options
std::optional<MountLine> ParseMount(const std::string& line) {
  const size_t dash = line.find(" - ");
  if (dash == std::string::npos) return std::nullopt;
  MountLine mount;
  std::string skipped;
  std::istringstream words(line);
  words >> skipped >> skipped >> skipped >> skipped >> mount.point;
  std::istringstream rest(line.substr(dash + 3));
  rest >> mount.type >> mount.source;
  mount.point = Unescape(mount.point);
  mount.source = Unescape(mount.source);
  return mount;
}

}  // namespace

std::optional<MountAbove> FindMountAbove(const std::string& path) {
  std::ifstream mounts(kMountInfo);
  const std::string absolute = Absolute(path);
  std::optional<MountAbove> best;
  std::string line;
  while (std::getline(mounts, line)) {
    const std::optional<MountLine> mount = ParseMount(line);
    if (!mount || mount->type != kMountType || !IsAbove(mount->point, absolute)) continue;
    if (!best || mount->point.size() >= best->mount_point.size())
      best = MountAbove{mount->point, mount->source};
  }
  return best;
}

std::vector<std::string> FindMountsBelow(const std::string& directory, std::istream& mountinfo) {
  std::vector<std::string> points;
  std::string line;
  while (std::getline(mountinfo, line)) {
    const std::optional<MountLine> mount = ParseMount(line);
    if (mount && mount->point != directory && IsAbove(directory, mount->point)) {
      points.push_back(mount->point);
    }
  }
  return points;
}

Result<std::vector<std::string>> FindMountsBelow(const std::string& directory) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(directory, error).string();
  if (error) return StatusFromErrno(error.value(), "look at " + directory);
  std::ifstream mounts(kMountInfo);
  if (!mounts) return Status(Code::kIo, fmt::format("cannot read {}", kMountInfo));
  return FindMountsBelow(real, mounts);
}

ClusterChoice::ClusterChoice(OptionTable& table) {
  table.AddPath("dir", &dir_, "Directory of a cluster that moraine dev up made.");
  table.AddEndpoint("metaserver", &metaserver_, "The metaserver's address.");
  table.AddDuration("timeout", &timeout_, 100ms, 1h, "How long to wait for an answer.");
  table.AddBool("json", &json, "Print JSON for programs.");
  table.AddRule([this]() -> Status {
    if (dir_.empty() || metaserver_.empty()) return {};
    return {Code::kInvalidArgument, "--dir and --metaserver both name a cluster: give one of them"};
  });
}

Result<Endpoint> ClusterChoice::Metaserver(const std::optional<std::string>& path) const {
  if (!metaserver_.empty()) return ParseEndpoint(metaserver_);
  if (!dir_.empty()) {
    Result<DevCluster> cluster = DevCluster::Open(dir_);
    if (!cluster.ok()) return cluster.status();
    return ParseEndpoint(cluster->metaserver());
  }
  if (path) {
    if (const auto mount = FindMountAbove(*path)) return ParseEndpoint(mount->metaserver);
  }
  const char* environment = std::getenv("MORAINE_METASERVER");
  if (environment != nullptr && *environment != '\0') {
    Result<Endpoint> endpoint = ParseEndpoint(environment);
    if (!endpoint.ok()) return endpoint.status().Prefixed("MORAINE_METASERVER");
    return endpoint;
  }
  return Status(
      Code::kInvalidArgument,
      "which cluster? Give --metaserver HOST:PORT, --dir DIR of a dev cluster, a path below a "
      "mount, or set MORAINE_METASERVER");
}

Result<std::unique_ptr<MetaserverLink>> ClusterChoice::Connect(
    const std::optional<std::string>& path) const {
  MORAINE_ASSIGN_OR_RETURN(Endpoint endpoint, Metaserver(path));
  return MetaserverLink::Create(std::move(endpoint), timeout_);
}

Result<std::string> ClusterChoice::InsidePath(const std::string& path) const {
  if (const auto mount = FindMountAbove(path)) {
    const std::string inside =
        Absolute(path).substr(mount->mount_point == "/" ? 0 : mount->mount_point.size());
    return inside.empty() ? "/" : inside;
  }
  // moraine://HOST:PORT/path, as RocksDB programs write it.
  constexpr std::string_view kScheme = "moraine://";
  if (path.starts_with(kScheme)) {
    const size_t slash = path.find('/', kScheme.size());
    return slash == std::string::npos ? "/" : path.substr(slash);
  }
  if (!path.starts_with('/')) {
    return Status(Code::kInvalidArgument,
                  fmt::format("'{}' is neither below a mount nor an absolute path in the "
                              "file system",
                              path));
  }
  return path;
}

Status AboutPath(const std::string& path, const Status& status) {
  if (status.code() != Code::kNotFound) return status.Prefixed(path);
  return {Code::kNotFound, path + ": no such file or directory in the file system"};
}

int Complain(const OptionTable& table, const Status& status) {
  // One line, whatever a server or a path had in it.
  std::string message = status.message();
  std::ranges::replace_if(
      message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  fmt::print(stderr, "{}: {}\n", table.program(), message);
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace moraine::tools
