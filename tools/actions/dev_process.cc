// dev kill, start, pause and resume: one process of a local cluster, by name.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/dev_cluster.h"
#include "tools/json_text.h"

namespace moraine::tools {
namespace {

using Verb = Status (DevCluster::*)(DevProcess&);

// What a verb says about itself.
struct Words {
  const char* program;
  const char* sentence;
  const char* done;
  const char* description;
  std::vector<ManualEntry> examples;
};

int Apply(const Words& words, Verb verb, int argc, const char* const* argv) {
  OptionTable table(words.program, words.sentence);
  std::string dir;
  std::vector<std::string> names;
  bool json = false;
  table.AddPath("dir", &dir, "Directory of the cluster.", {.required = true});
  table.AddBool("json", &json, "Print JSON for programs.");
  table.AddArguments("process", &names, 1,
                     "chunkserver:N, metaserver or mount; several are done in order.");
  table.SetManual(CommandManual(Talks::kToADevCluster, words.description, words.examples));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<DevCluster> cluster = DevCluster::OpenToChange(dir);
  if (!cluster.ok()) return Complain(table, cluster.status());
  // A wrong name must not leave the right ones half done.
  std::vector<DevProcess*> processes;
  for (const std::string& name : names) {
    const Result<DevProcess*> process = cluster->Find(name);
    if (!process.ok()) return Complain(table, process.status());
    processes.push_back(*process);
  }
  nlohmann::json list = nlohmann::json::array();
  for (DevProcess* process : processes) {
    const Status status = ((*cluster).*verb)(*process);
    if (!status.ok()) return Complain(table, status);
    if (!json) fmt::print("{} {}\n", process->name, words.done);
    list.push_back({{"name", process->name}, {"pid", process->process.pid}});
  }
  if (json) fmt::print("{}\n", JsonText({{"processes", list}}));
  return 0;
}

}  // namespace

int DevKill(int argc, const char* const* argv) {
  return Apply({.program = "moraine dev kill",
                .sentence = "Ends processes with SIGKILL, as a crash would.",
                .done = "is killed",
                .description = "A process that does not run is left as it is.",
                .examples = {{"moraine dev kill --dir /tmp/demo chunkserver:2 chunkserver:4",
                              "Two of five chunkservers may die at any moment:"},
                             {"moraine dev start --dir /tmp/demo chunkserver:2 chunkserver:4",
                              "They come back:"}}},
               &DevCluster::Kill, argc, argv);
}

int DevStart(int argc, const char* const* argv) {
  return Apply({.program = "moraine dev start",
                .sentence = "Starts processes again and returns when they serve.",
                .done = "serves",
                .description = "A process that runs already is left as it is; one that is paused "
                               "must be resumed.",
                .examples = {{"moraine dev start --dir /tmp/demo chunkserver:2",
                              "Start one after `moraine dev kill`:"}}},
               &DevCluster::Start, argc, argv);
}

int DevPause(int argc, const char* const* argv) {
  return Apply({.program = "moraine dev pause",
                .sentence = "Stops processes with SIGSTOP, as a long pause would.",
                .done = "is paused",
                .description = "A paused process keeps its connections and answers nothing: the "
                               "others find out by their deadlines.",
                .examples = {{"moraine dev pause --dir /tmp/demo chunkserver:1",
                              "One chunkserver falls silent:"}}},
               &DevCluster::Pause, argc, argv);
}

int DevResume(int argc, const char* const* argv) {
  return Apply({.program = "moraine dev resume",
                .sentence = "Lets paused processes go on.",
                .done = "goes on",
                .description = "What a process has missed while it was paused, it finds out.",
                .examples = {{"moraine dev resume --dir /tmp/demo chunkserver:1",
                              "The end of `moraine dev pause`:"}}},
               &DevCluster::Resume, argc, argv);
}

}  // namespace moraine::tools
