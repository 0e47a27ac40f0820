// One command of `moraine`: its words, one sentence, and what it does.
#pragma once

#include <span>
#include <string_view>

namespace moraine::tools {

struct Action {
  std::string_view words;                         // for example "dev up"
  std::string_view sentence;                      // for `moraine --help`
  int (*run)(int argc, const char* const* argv);  // argv[0] is the last word; gives the exit code
};

int DevUp(int argc, const char* const* argv);
int DevDown(int argc, const char* const* argv);
int DevStatus(int argc, const char* const* argv);
int DevKill(int argc, const char* const* argv);
int DevStart(int argc, const char* const* argv);
int DevPause(int argc, const char* const* argv);
int DevResume(int argc, const char* const* argv);
int ShowStatus(int argc, const char* const* argv);
int Locate(int argc, const char* const* argv);
int PolicyGet(int argc, const char* const* argv);
int PolicySet(int argc, const char* const* argv);
int PolicyList(int argc, const char* const* argv);
int PolicyDefine(int argc, const char* const* argv);

inline constexpr Action kActions[] = {
    {"dev up", "Start a local cluster of real processes, or what is missing of it.", DevUp},
    {"dev down", "Stop a local cluster.", DevDown},
    {"dev status", "Show the processes of a local cluster.", DevStatus},
    {"dev kill", "End a process of a local cluster with SIGKILL.", DevKill},
    {"dev start", "Start a process of a local cluster again.", DevStart},
    {"dev pause", "Stop a process of a local cluster with SIGSTOP.", DevPause},
    {"dev resume", "Let a paused process go on.", DevResume},
    {"status", "Show servers, space and the health of chunks.", ShowStatus},
    {"locate", "Show where a file's chunks are and how good their replicas are.", Locate},
    {"policy list", "List the redundancy policies.", PolicyList},
    {"policy get", "Show the policy of a file, or the rules of a directory.", PolicyGet},
    {"policy set", "Set a rule of a directory: which new files get which policy.", PolicySet},
    {"policy define", "Make or change a policy.", PolicyDefine},
};

}  // namespace moraine::tools
