#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/dev_cluster.h"
#include "tools/json_text.h"

namespace moraine::tools {

int DevDown(int argc, const char* const* argv) {
  OptionTable table("moraine dev down",
                    "Unmounts and stops a local cluster; its data stays for the next dev up.");
  std::string dir;
  bool remove = false;
  bool json = false;
  table.AddPath("dir", &dir, "Directory of the cluster.", {.required = true});
  table.AddBool("delete", &remove, "Also remove the directory with all data.");
  table.AddBool("json", &json, "Print JSON for programs.");
  table.SetManual(CommandManual(
      Talks::kToADevCluster,
      "The mount goes first, then the chunkservers, the metaserver last, each with SIGTERM, and "
      "with SIGKILL when it has not ended in time. Programs that still use the mount get errors.",
      {{"moraine dev down --dir /tmp/demo", "Stop it; the data stays:"},
       {"moraine dev up --dir /tmp/demo\nmoraine dev down --dir /tmp/demo --delete",
        "Go on with it, then remove everything:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<DevCluster> cluster = DevCluster::OpenToChange(dir);
  if (!cluster.ok()) return Complain(table, cluster.status());
  const Status down = cluster->Down();
  if (!down.ok()) return Complain(table, down);
  if (remove) {
    const Status removed = cluster->Delete();
    if (!removed.ok()) return Complain(table, removed);
  }
  if (json) {
    fmt::print("{}\n", JsonText({{"dir", cluster->dir()}, {"stopped", true}, {"removed", remove}}));
    return 0;
  }
  fmt::print("The cluster in {} is stopped{}.\n", cluster->dir(),
             remove ? " and removed" : "; its data is kept");
  return 0;
}

}  // namespace moraine::tools
