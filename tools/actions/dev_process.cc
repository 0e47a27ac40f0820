// dev kill, start, pause and resume: one process of a local cluster, by name.
#include <fmt/format.h>

#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/dev_cluster.h"

namespace moraine::tools {
namespace {

using Verb = Status (DevCluster::*)(DevProcess&);

int Apply(const char* program, const char* sentence, const char* done, Verb verb, int argc,
          const char* const* argv) {
  OptionTable table(program, sentence);
  std::string dir;
  std::vector<std::string> names;
  table.AddPath("dir", &dir, "Directory of the cluster.", {.required = true});
  table.AddArguments("process", &names, 1,
                     "chunkserver:N, metaserver or mount; several are done in order.");
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<DevCluster> cluster = DevCluster::Open(dir);
  if (!cluster.ok()) return Complain(table, cluster.status());
  for (const std::string& name : names) {
    Result<DevProcess*> process = cluster->Find(name);
    if (!process.ok()) return Complain(table, process.status());
    const Status status = ((*cluster).*verb)(**process);
    if (!status.ok()) return Complain(table, status);
    fmt::print("{} {}\n", name, done);
  }
  return 0;
}

}  // namespace

int DevKill(int argc, const char* const* argv) {
  return Apply("moraine dev kill", "Ends processes with SIGKILL, as a crash would.", "is killed",
               &DevCluster::Kill, argc, argv);
}

int DevStart(int argc, const char* const* argv) {
  return Apply("moraine dev start", "Starts processes again and returns when they serve.", "serves",
               &DevCluster::Start, argc, argv);
}

int DevPause(int argc, const char* const* argv) {
  return Apply("moraine dev pause", "Stops processes with SIGSTOP, as a long pause would.",
               "is paused", &DevCluster::Pause, argc, argv);
}

int DevResume(int argc, const char* const* argv) {
  return Apply("moraine dev resume", "Lets paused processes go on.", "goes on", &DevCluster::Resume,
               argc, argv);
}

}  // namespace moraine::tools
