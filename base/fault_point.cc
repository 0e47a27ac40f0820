#include "base/fault_point.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "base/check.h"
#include "base/mutex.h"

// The linker makes these for every section whose name is a C identifier. Weak: a program without
// any fault point has no such section.
// NOLINTBEGIN(bugprone-reserved-identifier): the names are the linker's
extern "C" {
extern moraine::fault_internal::Site __start_moraine_faults[] __attribute__((weak));
extern moraine::fault_internal::Site __stop_moraine_faults[] __attribute__((weak));
}
// NOLINTEND(bugprone-reserved-identifier)

namespace moraine {
namespace {

using Action = FaultSpec::Action;

struct Armed {
  FaultSpec spec;
  uint64_t hits = 0;
};

struct State {
  Mutex mutex;
  std::vector<Armed> armed MORAINE_GUARDED_BY(mutex);
};

State& GlobalState() {
  static State* state = new State;
  return *state;
}

Status Perform(const FaultSpec& spec) {
  switch (spec.action) {
    case Action::kNone:
      return Status::Ok();
    case Action::kCrash:
      // A test must be able to tell this end from any other.
      dprintf(STDERR_FILENO, "fault point %s: crash\n", spec.name.c_str());
      _exit(kFaultCrashExitCode);
    case Action::kStop:
      std::raise(SIGSTOP);
      return Status::Ok();
    case Action::kIo:
      return {Code::kIo, fmt::format("fault point {}", spec.name)};
    case Action::kNoSpace:
      return {Code::kNoSpace, fmt::format("fault point {}", spec.name)};
    case Action::kCall:
      return spec.call();
  }
  return Status::Ok();
}

bool TakeNumber(std::string_view* text, uint64_t* number) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc() || *number == 0) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

// "name=action[@N][xN]"
bool ParseSpec(std::string_view text, FaultSpec* spec) {
  static constexpr std::pair<std::string_view, Action> kActions[] = {{"none", Action::kNone},
                                                                     {"crash", Action::kCrash},
                                                                     {"stop", Action::kStop},
                                                                     {"io", Action::kIo},
                                                                     {"nospace", Action::kNoSpace}};
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  spec->name = text.substr(0, equals);
  text.remove_prefix(equals + 1);
  const auto* found = std::find_if(std::begin(kActions), std::end(kActions),
                                   [text](const auto& a) { return text.starts_with(a.first); });
  if (found == std::end(kActions)) return false;
  spec->action = found->second;
  text.remove_prefix(found->first.size());
  if (text.starts_with('@')) {
    text.remove_prefix(1);
    if (!TakeNumber(&text, &spec->first_hit)) return false;
  }
  if (text == "x*") {
    spec->times = UINT64_MAX;
    return true;
  }
  if (text.starts_with('x')) {
    text.remove_prefix(1);
    if (!TakeNumber(&text, &spec->times)) return false;
  }
  return text.empty();
}

template <class Visit>
void ForEachSite(Visit visit) {
  for (auto* site = __start_moraine_faults; site != __stop_moraine_faults; ++site) visit(*site);
}

}  // namespace

namespace fault_internal {

std::atomic<int> active{0};

Status Hit(Site& site) {
  site.hits.fetch_add(1, std::memory_order_relaxed);
  std::vector<FaultSpec> due;
  {
    State& state = GlobalState();
    MutexLock lock(state.mutex);
    for (Armed& armed : state.armed) {
      if (armed.spec.name != site.name) continue;
      ++armed.hits;
      const uint64_t first = armed.spec.first_hit;
      if (armed.hits >= first && armed.hits - first < armed.spec.times) due.push_back(armed.spec);
    }
  }
  for (const FaultSpec& spec : due) MORAINE_RETURN_IF_ERROR(Perform(spec));
  return Status::Ok();
}

}  // namespace fault_internal

void ArmFault(FaultSpec spec) {
  MORAINE_CHECK(spec.action != Action::kCall || spec.call != nullptr, spec.name);
  State& state = GlobalState();
  MutexLock lock(state.mutex);
  state.armed.push_back({std::move(spec), 0});
  fault_internal::active.store(1, std::memory_order_relaxed);
}

Status ArmFaults(std::string_view text) {
  std::vector<FaultSpec> specs;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view one = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    FaultSpec spec;
    if (!ParseSpec(one, &spec)) {
      return {
          Code::kInvalidArgument,
          fmt::format("MORAINE_FAULTS: '{}' is not name=action[@N][xN] with action crash, stop, "
                      "io, nospace or none",
                      one)};
    }
    if (spec.name.starts_with(kMutantPrefix)) {
      return {Code::kInvalidArgument,
              fmt::format("MORAINE_FAULTS: '{}' leaves out a check; only a test may arm it, in its "
                          "own process",
                          spec.name)};
    }
    specs.push_back(std::move(spec));
  }
  for (FaultSpec& spec : specs) ArmFault(std::move(spec));
  return Status::Ok();
}

void ArmFaultsFromEnvironment() {
  const char* text = std::getenv("MORAINE_FAULTS");
  if (text == nullptr) return;
  if (std::string_view(text) == "list") {
    for (const FaultHits& point : ListFaultPoints()) std::puts(point.name.c_str());
    std::exit(0);
  }
  const Status status = ArmFaults(text);
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  std::exit(2);
}

void ResetFaults() {
  fault_internal::active.store(0, std::memory_order_relaxed);
  State& state = GlobalState();
  MutexLock lock(state.mutex);
  state.armed.clear();
  ForEachSite([](fault_internal::Site& site) { site.hits.store(0, std::memory_order_relaxed); });
}

void CountFaultHits() { fault_internal::active.store(1, std::memory_order_relaxed); }

std::vector<FaultHits> ListFaultPoints() {
  std::map<std::string, uint64_t> by_name;
  ForEachSite([&by_name](fault_internal::Site& site) {
    by_name[site.name] += site.hits.load(std::memory_order_relaxed);
  });
  std::vector<FaultHits> list;
  for (const auto& [name, hits] : by_name) list.push_back({name, hits});
  return list;
}

}  // namespace moraine
