// A local cluster of real processes on loopback, all of its state under one directory:
//
//   DIR/cluster.json         what runs where (written by rename, so it is never half there)
//   DIR/metaserver/          the metaserver's directory, and DIR/metaserver.log
//   DIR/chunkserver-N/       a chunkserver's directory, and DIR/chunkserver-N.log
//   DIR/mount.log
//   DIR/metaserver.toml, DIR/chunkserver.toml, DIR/mount.toml
//                            more options of each kind of process, read at its start if they exist
//
// Ports are chosen at the first `up` and kept, so that a process that is started again is found
// where it was. One command at a time per directory (a lock sees to that).
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop/descriptor.h"
#include "base/status.h"
#include "tools/process.h"

namespace moraine::tools {

struct DevProcess {
  std::string name;      // metaserver, chunkserver:N or mount
  std::string endpoint;  // host:port; of a mount: the metaserver's
  std::string http;      // host:port of /metrics and /healthz
  std::string dir;       // its directory; of a mount: the mount point
  ProcessId process;
};

class DevCluster {
 public:
  struct Plan {
    int chunkservers = 5;
    std::string mount;  // empty: no mount
    uint64_t journal_bytes = 64 << 20;
    Duration repair_grace = std::chrono::seconds(5);
    Duration session_ttl = std::chrono::seconds(10);
  };

  // Makes the directory and the plan of a cluster, or opens the one that is there if `agrees` says
  // that its plan is what was asked for; then `plan` may only add a mount. Nothing is started.
  // A new cluster's directory must be missing or empty (but for its mount point): kNotEmpty.
  using Agrees = std::function<Status(const Plan& made)>;
  static Result<DevCluster> Make(const std::string& dir, const Plan& plan, const Agrees& agrees);
  // To look at it. kNotFound: no cluster in this directory.
  static Result<DevCluster> Open(const std::string& dir);
  // To change it, which one process at a time does. kBusy: another one does, for long.
  static Result<DevCluster> OpenToChange(const std::string& dir);

  // Starts everything that does not run and waits until the cluster serves; tells `progress` what
  // it waits for.
  using Tell = std::function<void(std::string_view)>;
  Status Up(const Tell& progress);
  // Unmounts, stops in good order, kills what does not stop. The data stays.
  Status Down();
  // Everything below the directory. kBusy: something is mounted there.
  Status Delete();

  // `name` as in DevProcess; kNotFound lists the names.
  Result<DevProcess*> Find(const std::string& name);
  Status Kill(DevProcess& process);
  Status Start(DevProcess& process);
  Status Pause(DevProcess& process);
  Status Resume(DevProcess& process);

  const std::vector<DevProcess>& processes() const { return processes_; }
  std::string metaserver() const { return processes_.front().endpoint; }
  std::string uri() const { return "moraine://" + metaserver(); }
  const std::string& mount() const { return plan_.mount; }
  const Plan& plan() const { return plan_; }
  std::string plugin() const;
  std::string cluster_file() const { return dir_ + "/cluster.json"; }
  const std::string& dir() const { return dir_; }

 private:
  explicit DevCluster(const std::string& dir);
  Status TakeLock();
  Status CheckIsEmpty(const Plan& plan) const;
  Status Load();
  Status Save() const;
  Status AddProcesses();
  std::vector<std::string> CommandOf(const DevProcess& process) const;
  std::string LogOf(const DevProcess& process) const;
  Status Launch(DevProcess& process);
  Status CheckRuns(const DevProcess& process) const;
  Status AwaitServing(DevProcess& process);
  Status AwaitMetaserver(size_t chunkservers, DevProcess* watched);
  Status Unmount();

  std::string dir_;
  Plan plan_;
  std::vector<DevProcess> processes_;  // the metaserver first
  std::optional<Descriptor> lock_;     // of DIR/lock, while a command changes the cluster
  std::chrono::steady_clock::time_point starting_since_;
};

}  // namespace moraine::tools
