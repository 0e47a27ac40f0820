#include "tools/dev_cluster.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/limits.h"
#include "tools/cluster_choice.h"
#include "tools/json_text.h"
#include "tools/metaserver_link.h"

namespace moraine::tools {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr Duration kStartLimit = std::chrono::seconds(30);
constexpr Duration kStopLimit = std::chrono::seconds(15);
constexpr Duration kLockLimit = std::chrono::seconds(60);
constexpr Duration kPoll = std::chrono::milliseconds(20);

std::string ProgramDir() { return fs::read_symlink("/proc/self/exe").parent_path().string(); }

bool IsMounted(const std::string& mount) {
  const auto above = FindMountAbove(mount);
  return above && above->mount_point == fs::path(mount).lexically_normal().string();
}

// Whether there is nothing in `dir` but the empty directories that lead to `mount`.
bool HoldsOnlyTheWayTo(const fs::path& mount, const fs::path& dir) {
  std::error_code error;
  for (fs::directory_iterator at(dir, error), end; !error && at != end; at.increment(error)) {
    const std::string below = at->path().string() + "/";
    if (!(mount.string() + "/").starts_with(below)) return false;
    if (at->is_symlink(error) || !HoldsOnlyTheWayTo(mount, at->path())) return false;
  }
  return !error;
}

}  // namespace

std::string DevCluster::plugin() const {
  return (fs::path(ProgramDir()).parent_path() / "lib" / "libmoraine_rocksdb.so").string();
}

DevCluster::DevCluster(const std::string& dir) : dir_(fs::absolute(dir).lexically_normal()) {
  while (dir_.size() > 1 && dir_.ends_with('/')) dir_.pop_back();
}

Result<DevCluster> DevCluster::Open(const std::string& dir) {
  DevCluster cluster(dir);
  std::error_code error;
  if (!fs::exists(cluster.cluster_file(), error)) {
    if (error && error != std::errc::not_a_directory) {
      return StatusFromErrno(error.value(), cluster.cluster_file());
    }
    return Status(
        Code::kNotFound,
        fmt::format("no dev cluster in {}; make one with: moraine dev up --dir {}", dir, dir));
  }
  MORAINE_RETURN_IF_ERROR(cluster.Load());
  return cluster;
}

Result<DevCluster> DevCluster::OpenToChange(const std::string& dir) {
  MORAINE_RETURN_IF_ERROR(Open(dir).status());
  DevCluster cluster(dir);
  MORAINE_RETURN_IF_ERROR(cluster.TakeLock());
  MORAINE_RETURN_IF_ERROR(cluster.Load());
  return cluster;
}

Status DevCluster::TakeLock() {
  const std::string path = dir_ + "/lock";
  Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return StatusFromErrno(errno, path);
  const auto end = std::chrono::steady_clock::now() + kLockLimit;
  while (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return StatusFromErrno(errno, "lock " + path);
    if (std::chrono::steady_clock::now() >= end) {
      return {Code::kBusy, fmt::format("another moraine dev command is at work in {}; try again "
                                       "when it has ended",
                                       dir_)};
    }
    std::this_thread::sleep_for(kPoll);
  }
  lock_ = std::move(file);
  return {};
}

// `dev down --delete` takes away everything in the directory, so it must be the cluster's alone.
Status DevCluster::CheckIsEmpty(const Plan& plan) const {
  std::error_code error;
  for (fs::directory_iterator at(dir_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    const bool more_options =
        name == "metaserver.toml" || name == "chunkserver.toml" || name == "mount.toml";
    const bool ours = name == "lock" || name == "cluster.json.next" || more_options;
    if (ours) continue;
    const fs::path mount = plan.mount.empty() ? "" : fs::absolute(plan.mount).lexically_normal();
    const bool leads = !plan.mount.empty() && !at->is_symlink(error) &&
                       (mount.string() + "/").starts_with(at->path().string() + "/");
    if (leads && HoldsOnlyTheWayTo(mount, at->path())) continue;
    return {Code::kNotEmpty, fmt::format("{} is not empty (it has {}in '{}') and no dev cluster: "
                                         "give a directory that is missing or empty",
                                         dir_, leads ? "files " : "", name)};
  }
  if (error) return StatusFromErrno(error.value(), dir_);
  return {};
}

Result<DevCluster> DevCluster::Make(const std::string& dir, const Plan& plan,
                                    const Agrees& agrees) {
  DevCluster cluster(dir);
  MORAINE_RETURN_IF_ERROR(CheckJsonHolds(dir, cluster.dir_));
  if (!plan.mount.empty()) {
    MORAINE_RETURN_IF_ERROR(CheckJsonHolds(plan.mount, fs::absolute(plan.mount).string()));
  }
  std::error_code error;
  fs::create_directories(cluster.dir_, error);
  if (error) return StatusFromErrno(error.value(), "make " + dir);
  if (!fs::exists(cluster.cluster_file())) MORAINE_RETURN_IF_ERROR(cluster.CheckIsEmpty(plan));
  MORAINE_RETURN_IF_ERROR(cluster.TakeLock());
  if (fs::exists(cluster.cluster_file())) {
    MORAINE_RETURN_IF_ERROR(cluster.Load());
    MORAINE_RETURN_IF_ERROR(agrees(cluster.plan_));
  } else {
    cluster.plan_ = plan;
    cluster.plan_.mount.clear();
  }
  if (!plan.mount.empty()) {
    const std::string mount = fs::absolute(plan.mount).lexically_normal().string();
    if (!cluster.plan_.mount.empty() && cluster.plan_.mount != mount) {
      return Status(Code::kBusy,
                    fmt::format("this cluster has its mount at {}; stop it with dev down first",
                                cluster.plan_.mount));
    }
    cluster.plan_.mount = mount;
  }
  MORAINE_RETURN_IF_ERROR(cluster.AddProcesses());
  MORAINE_RETURN_IF_ERROR(cluster.Save());
  return cluster;
}

Status DevCluster::AddProcesses() {
  std::set<std::string> names;
  std::set<uint16_t> taken;
  for (const DevProcess& process : processes_) names.insert(process.name);
  const auto port = [&]() -> Result<std::string> {
    while (true) {
      MORAINE_ASSIGN_OR_RETURN(const uint16_t free, FreePort());
      if (taken.insert(free).second) return fmt::format("127.0.0.1:{}", free);
    }
  };
  const auto add = [&](std::string name, std::string dir, bool listens) -> Status {
    if (names.contains(name)) return {};
    DevProcess process;
    process.name = std::move(name);
    process.dir = std::move(dir);
    if (listens) {
      MORAINE_ASSIGN_OR_RETURN(process.endpoint, port());
    } else {
      process.endpoint = metaserver();
    }
    MORAINE_ASSIGN_OR_RETURN(process.http, port());
    processes_.push_back(std::move(process));
    return {};
  };
  MORAINE_RETURN_IF_ERROR(add("metaserver", dir_ + "/metaserver", true));
  for (int i = 1; i <= plan_.chunkservers; ++i) {
    MORAINE_RETURN_IF_ERROR(
        add(fmt::format("chunkserver:{}", i), fmt::format("{}/chunkserver-{}", dir_, i), true));
  }
  if (!plan_.mount.empty()) MORAINE_RETURN_IF_ERROR(add("mount", plan_.mount, false));
  return {};
}

// A value of another type than the one that Save wrote is thrown about by the library.
Status DevCluster::Load() try {
  std::ifstream file(cluster_file());
  const Json json = Json::parse(file);
  plan_.mount = json.value("mount", "");
  plan_.journal_bytes = json.value("journal_bytes", plan_.journal_bytes);
  plan_.repair_grace = std::chrono::milliseconds(json.value("repair_grace_ms", int64_t{5000}));
  plan_.session_ttl = std::chrono::milliseconds(json.value("session_ttl_ms", int64_t{10000}));
  plan_.chunkservers = 0;
  for (const Json& entry : json.at("processes")) {
    DevProcess process;
    process.name = entry.value("name", "");
    process.endpoint = entry.value("endpoint", "");
    process.http = entry.value("http", "");
    process.dir = entry.value("dir", "");
    process.process = {entry.value("pid", int64_t{0}), entry.value("started", uint64_t{0})};
    if (process.name.starts_with("chunkserver:")) ++plan_.chunkservers;
    processes_.push_back(std::move(process));
  }
  if (processes_.empty() || processes_.front().name != "metaserver") {
    return {Code::kCorruption, cluster_file() + " names no metaserver"};
  }
  return {};
} catch (const Json::exception&) {
  return {Code::kCorruption,
          cluster_file() + " is damaged; remove the directory and make the cluster anew"};
}

Status DevCluster::Save() const {
  Json json;
  json["metaserver"] = metaserver();
  json["uri"] = uri();
  json["mount"] = plan_.mount;
  json["plugin"] = plugin();
  json["journal_bytes"] = plan_.journal_bytes;
  json["repair_grace_ms"] =
      std::chrono::duration_cast<std::chrono::milliseconds>(plan_.repair_grace).count();
  json["session_ttl_ms"] =
      std::chrono::duration_cast<std::chrono::milliseconds>(plan_.session_ttl).count();
  json["processes"] = Json::array();
  for (const DevProcess& process : processes_) {
    json["processes"].push_back({{"name", process.name},
                                 {"pid", process.process.pid},
                                 {"started", process.process.started},
                                 {"endpoint", process.endpoint},
                                 {"http", process.http},
                                 {"dir", process.dir}});
  }
  const std::string next = cluster_file() + ".next";
  {
    std::ofstream file(next);
    file << JsonText(json) << "\n";
    if (!file.flush()) return {Code::kIo, "cannot write " + next};
  }
  if (rename(next.c_str(), cluster_file().c_str()) != 0)
    return StatusFromErrno(errno, "rename " + next);
  return {};
}

std::vector<std::string> DevCluster::CommandOf(const DevProcess& process) const {
  const std::string kind = process.name.substr(0, process.name.find(':'));
  std::vector<std::string> command = {ProgramDir() + "/moraine-" + kind};
  if (kind == "metaserver") {
    command.insert(command.end(),
                   {"--dir=" + process.dir, "--listen=" + process.endpoint,
                    "--http=" + process.http, "--repair-grace=" + ExactDuration(plan_.repair_grace),
                    "--session-ttl=" + ExactDuration(plan_.session_ttl)});
  } else if (kind == "mount") {
    command.insert(command.end(),
                   {metaserver(), process.dir, "--foreground", "--http=" + process.http});
  } else {
    const std::string number = process.name.substr(process.name.find(':') + 1);
    command.insert(command.end(), {"--dir=" + process.dir, "--listen=" + process.endpoint,
                                   "--metaserver=" + metaserver(), "--http=" + process.http,
                                   "--location=dev/rack" + number + "/host" + number,
                                   "--journal-bytes=" + ExactBytes(plan_.journal_bytes)});
  }
  const std::string config = fmt::format("{}/{}.toml", dir_, kind);
  if (fs::exists(config)) command.push_back("--config=" + config);
  return command;
}

std::string DevCluster::LogOf(const DevProcess& process) const {
  std::string name = process.name;
  std::replace(name.begin(), name.end(), ':', '-');
  return fmt::format("{}/{}.log", dir_, name);
}

Status DevCluster::Launch(DevProcess& process) {
  const ProcessState state = StateOf(process.process);
  if (state == ProcessState::kPaused) {
    return {Code::kBusy,
            fmt::format("{} is paused; let it go on with: moraine dev resume --dir {} {}",
                        process.name, dir_, process.name)};
  }
  if (state == ProcessState::kRunning) return {};
  std::error_code error;
  fs::create_directories(process.dir, error);
  // A mount whose process was killed refuses every look at it until it is unmounted.
  if (error && process.name != "mount")
    return StatusFromErrno(error.value(), "make " + process.dir);
  if (process.name == "mount" && IsMounted(process.dir)) MORAINE_RETURN_IF_ERROR(Unmount());
  Result<ProcessId> started = StartProcess(CommandOf(process), LogOf(process));
  if (!started.ok()) return started.status();
  process.process = *started;
  return Save();
}

Status DevCluster::AwaitMetaserver(size_t chunkservers, DevProcess* watched) {
  const auto end = std::chrono::steady_clock::now() + kStartLimit;
  MORAINE_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(metaserver()));
  MORAINE_ASSIGN_OR_RETURN(auto link, MetaserverLink::Create(endpoint, std::chrono::seconds(2)));
  std::string waiting_for = "the metaserver";
  while (std::chrono::steady_clock::now() < end) {
    if (watched != nullptr && StateOf(watched->process) == ProcessState::kGone) {
      return {Code::kUnavailable,
              fmt::format("{} did not start: {}", watched->name, LastLine(LogOf(*watched)))};
    }
    const auto asked = std::chrono::steady_clock::now();
    Result<idl::ClusterStatus> status = link->Ask(idl::kClusterStatus, idl::Empty());
    if (status.ok()) {
      size_t alive = 0;
      bool watched_alive = watched == nullptr || !watched->name.starts_with("chunkserver:");
      for (const idl::ServerStatus& server : status->servers) {
        if (!server.alive) continue;
        ++alive;
        if (watched == nullptr || server.endpoint != watched->endpoint) continue;
        // One that was killed a moment ago still counts as alive: it must have been heard since.
        watched_alive = std::chrono::milliseconds(server.silent_ms + 1) < asked - starting_since_;
      }
      if (alive >= chunkservers && watched_alive) return {};
      waiting_for = fmt::format("chunkservers ({} of {} are there)", alive, chunkservers);
    }
    std::this_thread::sleep_for(kPoll);
  }
  return {Code::kTimeout, fmt::format("waited {} for {}; see the logs in {}",
                                      FormatDuration(kStartLimit), waiting_for, dir_)};
}

Status DevCluster::AwaitServing(DevProcess& process) {
  if (process.name == "metaserver") return AwaitMetaserver(0, &process);
  if (process.name != "mount") return AwaitMetaserver(0, &process);
  const auto end = std::chrono::steady_clock::now() + kStartLimit;
  while (!IsMounted(process.dir)) {
    if (StateOf(process.process) == ProcessState::kGone) {
      return {Code::kUnavailable, "the mount did not start: " + LastLine(LogOf(process))};
    }
    if (std::chrono::steady_clock::now() >= end) {
      return {Code::kTimeout,
              fmt::format("the mount at {} is not there after {}; see {}", process.dir,
                          FormatDuration(kStartLimit), LogOf(process))};
    }
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

Status DevCluster::Up(const Tell& progress) {
  starting_since_ = std::chrono::steady_clock::now();
  for (DevProcess& process : processes_) {
    if (process.name == "mount") continue;
    MORAINE_RETURN_IF_ERROR(Launch(process));
  }
  for (DevProcess& process : processes_) {
    if (process.name == "mount") continue;
    progress("waiting for " + process.name);
    MORAINE_RETURN_IF_ERROR(AwaitServing(process));
    // When it starts it takes all that it knows for alive: only what it hears from now on counts.
    if (process.name == "metaserver") starting_since_ = std::chrono::steady_clock::now();
  }
  MORAINE_RETURN_IF_ERROR(AwaitMetaserver(static_cast<size_t>(plan_.chunkservers), nullptr));
  for (DevProcess& process : processes_) {
    if (process.name != "mount") continue;
    progress("waiting for the mount");
    MORAINE_RETURN_IF_ERROR(Launch(process));
    MORAINE_RETURN_IF_ERROR(AwaitServing(process));
  }
  return {};
}

Status DevCluster::Unmount() {
  if (plan_.mount.empty() || !IsMounted(plan_.mount)) return {};
  // Lazily: a dead or busy mount must not hold us.
  if (umount2(plan_.mount.c_str(), MNT_DETACH) != 0 && errno != EINVAL) {
    return StatusFromErrno(errno, "unmount " + plan_.mount);
  }
  return {};
}

Status DevCluster::Down() {
  // Clients before servers, the metaserver last: each can still say goodbye to the next.
  std::vector<DevProcess*> order;
  for (DevProcess& process : processes_) order.push_back(&process);
  std::reverse(order.begin(), order.end());
  Status first;
  const auto stop = [&](const std::vector<DevProcess*>& group) {
    for (DevProcess* process : group) {
      Signal(process->process, SIGCONT).Ignore();
      Signal(process->process, SIGTERM).Ignore();
    }
    for (DevProcess* process : group) {
      if (WaitUntilGone(process->process, kStopLimit)) continue;
      Signal(process->process, SIGKILL).Ignore();
      if (!WaitUntilGone(process->process, kStopLimit) && first.ok()) {
        first = Status(Code::kTimeout, fmt::format("{} (pid {}) does not end", process->name,
                                                   process->process.pid));
      }
    }
  };
  std::vector<DevProcess*> mounts;
  std::vector<DevProcess*> chunkservers;
  std::vector<DevProcess*> metaservers;
  for (DevProcess* process : order) {
    (process->name == "mount"        ? mounts
     : process->name == "metaserver" ? metaservers
                                     : chunkservers)
        .push_back(process);
  }
  stop(mounts);
  const Status unmounted = Unmount();
  if (!unmounted.ok() && first.ok()) first = unmounted;
  stop(chunkservers);
  stop(metaservers);
  for (DevProcess& process : processes_) process.process = {};
  // A mount that is not asked for again must not come back at the next `up`.
  std::erase_if(processes_, [](const DevProcess& process) { return process.name == "mount"; });
  plan_.mount.clear();
  const Status saved = Save();
  return first.ok() ? saved : first;
}

Status DevCluster::Delete() {
  // Whatever else is mounted there is somebody's, and would be emptied on the way.
  MORAINE_ASSIGN_OR_RETURN(const std::vector<std::string> mounts, FindMountsBelow(dir_));
  if (!mounts.empty()) {
    return Status(Code::kBusy, fmt::format("{} is not removed: a file system is mounted on {}; "
                                           "unmount it first",
                                           dir_, mounts.front()));
  }
  std::error_code error;
  fs::remove_all(dir_, error);
  if (error) return StatusFromErrno(error.value(), "remove " + dir_);
  return {};
}

Result<DevProcess*> DevCluster::Find(const std::string& name) {
  std::string names;
  for (DevProcess& process : processes_) {
    if (process.name == name) return &process;
    names += (names.empty() ? "" : ", ") + process.name;
  }
  return Status(Code::kNotFound, fmt::format("no process '{}' here; there are {}", name, names));
}

Status DevCluster::Kill(DevProcess& process) {
  MORAINE_RETURN_IF_ERROR(Signal(process.process, SIGKILL));
  if (!WaitUntilGone(process.process, kStopLimit)) {
    return {Code::kTimeout,
            fmt::format("{} (pid {}) does not end", process.name, process.process.pid)};
  }
  process.process = {};
  return Save();
}

Status DevCluster::Start(DevProcess& process) {
  starting_since_ = std::chrono::steady_clock::now();
  MORAINE_RETURN_IF_ERROR(Launch(process));
  return AwaitServing(process);
}

Status DevCluster::CheckRuns(const DevProcess& process) const {
  if (StateOf(process.process) != ProcessState::kGone) return {};
  return {Code::kNotFound,
          fmt::format("{} does not run; start it with: moraine dev start --dir {} {}", process.name,
                      dir_, process.name)};
}

Status DevCluster::Pause(DevProcess& process) {
  MORAINE_RETURN_IF_ERROR(CheckRuns(process));
  return Signal(process.process, SIGSTOP);
}

Status DevCluster::Resume(DevProcess& process) {
  MORAINE_RETURN_IF_ERROR(CheckRuns(process));
  return Signal(process.process, SIGCONT);
}

}  // namespace moraine::tools
