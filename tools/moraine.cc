// The `moraine` command: finds the action that the words name and runs it.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/options.h"
#include "tools/action.h"

namespace moraine::tools {
namespace {

int Words(std::string_view words) {
  int count = 1;
  for (char c : words) count += c == ' ' ? 1 : 0;
  return count;
}

void PrintHelp(std::FILE* to) {
  fmt::print(to,
             "Usage: moraine COMMAND [OPTION...]\n\n"
             "Looks after a Moraine file system.\n\nCommands:\n");
  for (const Action& action : kActions)
    fmt::print(to, "  {:<14} {}\n", action.words, action.sentence);
  fmt::print(to,
             "\nThe cluster that is meant: --dir DIR (of `moraine dev up`), --metaserver "
             "HOST:PORT, a path\n"
             "below a mount, or the environment variable MORAINE_METASERVER.\n"
             "`moraine COMMAND --help` explains one command.\n\n"
             "Try it:\n  moraine dev up --dir /tmp/demo --mount /tmp/demo/mnt\n"
             "  cp README.md /tmp/demo/mnt/ && moraine locate /tmp/demo/mnt/README.md\n"
             "  moraine dev down --dir /tmp/demo --delete\n");
}

// The longest common beginning counts: enough for a typing error in two words.
std::string_view Nearest(const std::string& said) {
  std::string_view best;
  size_t best_length = 0;
  for (const Action& action : kActions) {
    size_t length = 0;
    while (length < said.size() && length < action.words.size() &&
           said[length] == action.words[length]) {
      ++length;
    }
    if (length > best_length) {
      best = action.words;
      best_length = length;
    }
  }
  return best;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    PrintHelp(stderr);
    return 2;
  }
  const std::string first = argv[1];
  if (first == "--help" || first == "-h" || first == "help") {
    PrintHelp(stdout);
    return 0;
  }
  if (first == "--version") {
    fmt::print("moraine {}\n", ProgramVersion());
    return 0;
  }
  for (const Action& action : kActions) {
    const int words = Words(action.words);
    if (argc <= words) continue;
    std::string said = argv[1];
    for (int i = 2; i <= words; ++i) said += std::string(" ") + argv[i];
    if (said == action.words) return action.run(argc - words, argv + words);
  }
  const std::string said = argc > 2 && argv[2][0] != '-' ? first + " " + argv[2] : first;
  const std::string_view nearest = Nearest(said);
  fmt::print(stderr, "moraine: no command '{}'{}; see moraine --help\n", said,
             nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest));
  return 2;
}

}  // namespace
}  // namespace moraine::tools

int main(int argc, char** argv) { return moraine::tools::Main(argc, argv); }
