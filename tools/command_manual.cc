#include "tools/command_manual.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/options.h"
#include "tools/action.h"

namespace moraine::tools {
namespace {

constexpr std::string_view kSentence = "Looks after a Moraine file system.";
constexpr std::string_view kTryIt =
    "moraine dev up --dir /tmp/demo --mount /tmp/demo/mnt\n"
    "cp /etc/os-release /tmp/demo/mnt/\n"
    "moraine locate /tmp/demo/mnt/os-release\n"
    "moraine status --dir /tmp/demo\n"
    "moraine dev down --dir /tmp/demo --delete";

const std::vector<ManualEntry>& Environment() {
  static const std::vector<ManualEntry> entries = {
      {"`MORAINE_METASERVER`", "HOST:PORT of the metaserver, when nothing else names a cluster."},
      {"`NO_COLOR`", "When set, no colours; they are used on a terminal only in any case."}};
  return entries;
}

std::string PageOf(const Action& action) {
  std::string name = fmt::format("moraine-{}(1)", action.words);
  std::ranges::replace(name, ' ', '-');
  return name;
}

}  // namespace

Manual CommandManual(Talks talks, std::string_view description, std::vector<ManualEntry> examples) {
  Manual manual;
  manual.section = 1;
  manual.description = description;
  manual.examples = std::move(examples);
  manual.see_also = {"moraine(1)", "moraine-metaserver(8)", "moraine-chunkserver(8)",
                     "moraine-mount(8)"};
  if (talks == Talks::kToADevCluster) {
    manual.environment = {Environment().back()};
    manual.files = {{"DIR/cluster.json", "What runs where; programs may read it."},
                    {"DIR/*.log", "What the processes say."}};
    manual.errors = {
        {"no dev cluster in DIR",
         "`--dir` is wrong, or the cluster was deleted; make one with `moraine dev up`."},
        {"NAME did not start: ...",
         "The last line of the process's log; the rest is in the log in DIR."}};
    return manual;
  }
  manual.environment = Environment();
  manual.errors = {
      {"which cluster? ...",
       "Nothing names one: give `--metaserver`, `--dir`, a path below a mount, or set "
       "MORAINE_METASERVER."},
      {"metaserver ADDRESS does not answer: ...",
       "It does not run, the address is wrong, or the network is cut. Of a dev cluster, `moraine "
       "dev status` tells which, and `moraine dev start` starts it."},
      {"PATH: ...", "No such file in the file system, or no right to see it."}};
  return manual;
}

std::string MoraineHelp() {
  std::string out = fmt::format("usage: moraine COMMAND [OPTION]...\n{}\n\nCommands:\n", kSentence);
  for (const Action& action : kActions) {
    out += fmt::format("  {:<14} {}\n", action.words, action.sentence);
  }
  out +=
      "\n`moraine COMMAND --help` explains one command, `moraine --man` is the manual page,\n"
      "`moraine --version` prints the version. Each command prints JSON with --json.\n\n"
      "The cluster that is meant: --dir DIR (of `moraine dev up`), --metaserver HOST:PORT,\n"
      "a path below a mount, or MORAINE_METASERVER.\n\nEnvironment:\n";
  for (const ManualEntry& entry : Environment()) {
    std::string term(entry.term);
    std::erase(term, '`');
    out += fmt::format("  {:<20} {}\n", term, entry.text);
  }
  out += "\nTry it:\n";
  for (size_t at = 0; at < kTryIt.size();) {
    const size_t end = std::min(kTryIt.find('\n', at), kTryIt.size());
    out += fmt::format("  {}\n", kTryIt.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::string MoraineManPage() {
  ManPage page("moraine", 1, kSentence);
  page.Section("SYNOPSIS");
  page.Paragraph("`moraine` COMMAND [OPTION]...");
  page.Section("DESCRIPTION");
  page.Paragraph(
      "`moraine` talks to the servers of a cluster: it shows what they know, changes policies, and "
      "runs clusters of real processes on one machine for development.\n\n"
      "Which cluster is meant, is found in this order: `--metaserver` HOST:PORT, `--dir` DIR of a "
      "cluster that `moraine dev up` made, a mount above the path that the command is about, the "
      "environment variable MORAINE_METASERVER. Each command prints one JSON value with `--json`.");
  page.Section("COMMANDS");
  for (const Action& action : kActions) {
    page.Entry(fmt::format("`{}`", action.words),
               fmt::format("{} See {}.", action.sentence, PageOf(action)));
  }
  page.Section("OPTIONS");
  page.Entry("`--help`", "Lists the commands; after a command, explains it.");
  page.Entry("`--man`", "Prints this page; after a command, the page of the command.");
  page.Entry("`--version`", "Prints the version.");
  page.Entries("ENVIRONMENT", Environment());
  page.Entries(
      "EXIT STATUS",
      {{"`0`", "Done."},
       {"`1`", "It failed; one line on standard error says why and what can be done."},
       {"`2`", "The command or its options are wrong; one line on standard error says how."}});
  page.Section("EXAMPLES");
  page.Example(kTryIt, "A cluster with five chunkservers and a mount, for a look:");
  std::vector<std::string> names;
  for (const Action& action : kActions) names.push_back(PageOf(action));
  std::vector<std::string_view> see(names.begin(), names.end());
  see.insert(see.end(), {"moraine-metaserver(8)", "moraine-chunkserver(8)", "moraine-mount(8)",
                         "moraine_rocksdb(7)", "moraine_metrics(7)"});
  page.SeeAlso(see);
  return page.text();
}

}  // namespace moraine::tools
