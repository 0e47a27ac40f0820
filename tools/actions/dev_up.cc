#include <fmt/format.h>

#include <fstream>
#include <iostream>

#include "base/limits.h"
#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/dev_cluster.h"

namespace moraine::tools {

int DevUp(int argc, const char* const* argv) {
  OptionTable table("moraine dev up",
                    "Starts a local cluster of real processes, or what is missing of it, "
                    "and returns when it serves.");
  std::string dir;
  bool json = false;
  DevCluster::Plan plan;
  table.AddPath("dir", &dir, "Directory for everything that belongs to the cluster.",
                {.required = true});
  table.AddInt("chunkservers", &plan.chunkservers, 1, 64,
               "How many chunkservers a new cluster gets.");
  table.AddPath("mount", &plan.mount, "Also mount the file system here.");
  table.AddBytes("journal-bytes", &plan.journal_bytes, 4 << 20, uint64_t{64} << 30,
                 "Size of each chunkserver's journal.");
  table.AddDuration("repair-grace", &plan.repair_grace, 100ms, 24h,
                    "How long a chunkserver may be away before its chunks are copied.");
  table.AddDuration("session-ttl", &plan.session_ttl, 500ms, 1h,
                    "How long a client may be silent before its leases end.");
  table.AddBool("json", &json, "Print the content of cluster.json.");
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;

  Result<DevCluster> cluster = DevCluster::Make(dir, plan);
  if (!cluster.ok()) return Complain(table, cluster.status());
  const Status status = cluster->Up();
  if (!status.ok()) return Complain(table, status);
  if (json) {
    std::cout << std::ifstream(cluster->cluster_file()).rdbuf();
    return 0;
  }
  fmt::print("The cluster in {} serves.\n  metaserver  {}\n  RocksDB     {}\n", cluster->dir(),
             cluster->metaserver(), cluster->uri());
  if (!cluster->mount().empty()) fmt::print("  mount       {}\n", cluster->mount());
  fmt::print("Stop it with: moraine dev down --dir {}\n", cluster->dir());
  return 0;
}

}  // namespace moraine::tools
