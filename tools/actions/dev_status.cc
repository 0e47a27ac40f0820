#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/options.h"
#include "tools/action.h"
#include "tools/cluster_choice.h"
#include "tools/command_manual.h"
#include "tools/dev_cluster.h"
#include "tools/json_text.h"
#include "tools/terminal.h"

namespace moraine::tools {
namespace {

const char* Words(ProcessState state) {
  switch (state) {
    case ProcessState::kGone:
      return "stopped";
    case ProcessState::kRunning:
      return "running";
    case ProcessState::kPaused:
      return "paused";
  }
  return "";
}

Tone ToneOf(ProcessState state) {
  switch (state) {
    case ProcessState::kGone:
      return Tone::kBad;
    case ProcessState::kRunning:
      return Tone::kGood;
    case ProcessState::kPaused:
      return Tone::kWarning;
  }
  return Tone::kPlain;
}

}  // namespace

int DevStatus(int argc, const char* const* argv) {
  OptionTable table("moraine dev status", "Shows the processes of a local cluster.");
  std::string dir;
  bool json = false;
  table.AddPath("dir", &dir, "Directory of the cluster.", {.required = true});
  table.AddBool("json", &json, "Print JSON for programs.");
  table.SetManual(CommandManual(
      Talks::kToADevCluster,
      "Asks the operating system which processes of the cluster run, and nobody else: it answers "
      "also when the cluster is dead. What the cluster knows of itself, `moraine status` shows.",
      {{"moraine dev status --dir /tmp/demo", "What runs:"}}));
  if (const auto code = table.ParseOrExit(argc, argv)) return *code;
  Result<DevCluster> cluster = DevCluster::Open(dir);
  if (!cluster.ok()) return Complain(table, cluster.status());
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const DevProcess& process : cluster->processes()) {
      list.push_back({{"name", process.name},
                      {"state", Words(StateOf(process.process))},
                      {"pid", process.process.pid},
                      {"endpoint", process.endpoint},
                      {"http", process.http},
                      {"dir", process.dir}});
    }
    fmt::print("{}\n", JsonText({{"dir", cluster->dir()}, {"processes", list}}));
    return 0;
  }
  fmt::print("{:<16} {:<8} {:>8}  {:<21} {}\n", "PROCESS", "STATE", "PID", "ENDPOINT", "DIRECTORY");
  for (const DevProcess& process : cluster->processes()) {
    const ProcessState state = StateOf(process.process);
    fmt::print("{:<16} {} {:>8}  {:<21} {}\n", process.name,
               Toned(ToneOf(state), fmt::format("{:<8}", Words(state))),
               state == ProcessState::kGone ? "-" : std::to_string(process.process.pid),
               process.endpoint, process.dir);
  }
  return 0;
}

}  // namespace moraine::tools
