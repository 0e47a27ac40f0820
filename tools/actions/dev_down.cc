#include <fmt/format.h>

#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/dev_cluster.h"

namespace moraine::tools {

int DevDown(int argc, const char* const* argv) {
  OptionTable table("moraine dev down",
                    "Unmounts and stops a local cluster; its data stays for the next dev up.");
  std::string dir;
  bool remove = false;
  table.AddPath("dir", &dir, "Directory of the cluster.", {.required = true});
  table.AddBool("delete", &remove, "Also remove the directory with all data.");
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<DevCluster> cluster = DevCluster::Open(dir);
  if (!cluster.ok()) return Complain(table, cluster.status());
  const Status down = cluster->Down();
  if (!down.ok()) return Complain(table, down);
  if (remove) {
    const Status removed = cluster->Delete();
    if (!removed.ok()) return Complain(table, removed);
  }
  fmt::print("The cluster in {} is stopped{}.\n", cluster->dir(),
             remove ? " and removed" : "; its data is kept");
  return 0;
}

}  // namespace moraine::tools
