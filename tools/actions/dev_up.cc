#include <fmt/format.h>

#include <fstream>
#include <iostream>

#include "base/limits.h"
#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/dev_cluster.h"
#include "tools/terminal.h"

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
  table.AddDuration("repair-grace", &plan.repair_grace, limits::kRepairGraceMin, 24h,
                    "How long a chunkserver may be away before its chunks are copied.");
  table.AddDuration("session-ttl", &plan.session_ttl, 500ms, 1h,
                    "How long a client may be silent before its leases end.");
  table.AddBool("json", &json, "Print the content of cluster.json.");
  table.SetManual(CommandManual(
      Talks::kToADevCluster,
      "Each process listens on a free port of 127.0.0.1 that it keeps, has a directory and a log "
      "in "
      "DIR, and runs on after the command has ended. DIR must be missing or empty the first time. "
      "Called again, it starts what does not run.",
      {{"moraine dev up --dir /tmp/demo --mount /tmp/demo/mnt",
        "One metaserver, five chunkservers, a mount:"},
       {"moraine dev status --dir /tmp/demo", "What runs now:"},
       {"moraine dev down --dir /tmp/demo --delete", "The end of it:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;

  const auto agrees = [&](const DevCluster::Plan& made) -> Status {
    for (const auto& [option, same] :
         {std::pair{"chunkservers", made.chunkservers == plan.chunkservers},
          std::pair{"journal-bytes", made.journal_bytes == plan.journal_bytes},
          std::pair{"repair-grace", made.repair_grace == plan.repair_grace},
          std::pair{"session-ttl", made.session_ttl == plan.session_ttl}}) {
      if (same || table.Source(option) == "default") continue;
      return table.Bad(option,
                       "the cluster was made with another value; leave the option out, or remove "
                       "the cluster with moraine dev down --delete");
    }
    return Status::Ok();
  };
  Result<DevCluster> cluster = DevCluster::Make(dir, plan, agrees);
  if (!cluster.ok()) return Complain(table, cluster.status());
  Progress progress;
  const Status status = cluster->Up([&](std::string_view now) { progress.Show(now); });
  progress.Clear();
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
