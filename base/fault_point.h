// Named places where a test can make the program fail: crash between two writes, report a disk
// error, stop the process. Off, a point costs one relaxed load. The same points count how often a
// rare path was taken, so that a test campaign can show that it reached them.
//
//   MORAINE_FAULT_POINT("journal.before_sync");                  // may crash, stop or call back
//   MORAINE_RETURN_IF_ERROR(MORAINE_FAULT_STATUS("disk.write"));  // may also be an error
//
// Armed by a test in the process, or for a whole program by the environment variable
//   MORAINE_FAULTS="journal.before_sync=crash@3,disk.write=io@1x2"
// name=action, optionally @N (from the N-th hit on, first is 1) and xN (N times; default once;
// x* for ever). Actions: crash (a line, _exit(85)), stop (SIGSTOP), io (kIo), nospace (kNoSpace),
// none (only counts). The crash loses nothing that write() was given; losing unsynced bytes is the
// business of the simulated disk. Names are area.place; the same name may stand at several places.
// A point whose name begins with "mutant." leaves out a check or a promise when an error is armed
// there, so that a test can show that it would notice. Only a test can arm it, not the environment.
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace moraine {

inline constexpr int kFaultCrashExitCode = 85;
inline constexpr std::string_view kMutantPrefix = "mutant.";

namespace fault_internal {

// One per place in the source, in an ELF section of its own, so that all of them can be listed.
struct alignas(16) Site {
  const char* name;
  std::atomic<uint64_t> hits;
};

// 0: everything is off.
extern std::atomic<int> active;

// Ok unless an error is armed at the site. Counts the hit.
Status Hit(Site& site);

}  // namespace fault_internal

struct FaultSpec {
  enum class Action { kNone, kCrash, kStop, kIo, kNoSpace, kCall };
  std::string name;
  Action action = Action::kNone;
  uint64_t first_hit = 1;
  uint64_t times = 1;            // UINT64_MAX: for ever
  std::function<Status()> call;  // for kCall; must not arm or disarm
};

// Arms a point; several specs may be armed for one name, each with its own count of hits.
void ArmFault(FaultSpec spec);
// Reads the form of MORAINE_FAULTS. Errors: kInvalidArgument; nothing is armed then.
Status ArmFaults(std::string_view text);
// Does what MORAINE_FAULTS says, if it is set. Programs call this first in main; a bad value ends
// the program with exit code 2, so that no test runs without its faults. "list" prints the names of
// all points of the program and ends it, so that a test can show that it leaves none out.
void ArmFaultsFromEnvironment();
// Disarms everything, stops counting and sets all counts to zero.
void ResetFaults();
// Counts hits from now on, also where nothing is armed.
void CountFaultHits();

struct FaultHits {
  std::string name;
  uint64_t hits;
};
// Every point that is linked into the program, sorted by name, with its hits since counting began.
std::vector<FaultHits> ListFaultPoints();

}  // namespace moraine

#define MORAINE_FAULT_SITE(name)                                                                \
  ([]() -> ::moraine::fault_internal::Site& {                                                   \
    __attribute__((section("moraine_faults"), used,                                             \
                   retain)) static constinit ::moraine::fault_internal::Site moraine_site{name, \
                                                                                          {0}}; \
    return moraine_site;                                                                        \
  }())

// An expression of type Status.
#define MORAINE_FAULT_STATUS(name)                                        \
  (::moraine::fault_internal::active.load(std::memory_order_relaxed) == 0 \
       ? ::moraine::Status::Ok()                                          \
       : ::moraine::fault_internal::Hit(MORAINE_FAULT_SITE(name)))

// A statement. An error that is armed here is dropped: the place cannot fail.
#define MORAINE_FAULT_POINT(name)                                               \
  do {                                                                          \
    if (::moraine::fault_internal::active.load(std::memory_order_relaxed) != 0) \
      ::moraine::fault_internal::Hit(MORAINE_FAULT_SITE(name)).Ignore();        \
  } while (false)
