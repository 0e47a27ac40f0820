// The `moraine` command: finds the action that the words name and runs it.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/options.h"
#include "tools/action.h"
#include "tools/command_manual.h"

namespace moraine::tools {
namespace {

int Words(std::string_view words) {
  int count = 1;
  for (char c : words) count += c == ' ' ? 1 : 0;
  return count;
}

// The command that was probably meant; empty when none is near.
std::string_view Nearest(const std::string& said) {
  std::vector<std::string_view> known;
  for (const Action& action : kActions) known.push_back(action.words);
  const std::string_view nearest = NearestName(said, known);
  if (!nearest.empty()) return nearest;
  for (const std::string_view words : known) {
    if (words.starts_with(said + " ")) return words;  // `dev`: its first command
  }
  return {};
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "moraine: which command? moraine --help lists all\n");
    return 2;
  }
  const std::string first = argv[1];
  if (first == "--help" || first == "-h" || first == "help") {
    fmt::print("{}", MoraineHelp());
    return 0;
  }
  if (first == "--man") {
    fmt::print("{}", MoraineManPage());
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
