// A simulated machine: a clock, a disk that outlives processes, and at most one process at a time.
//
// The machine owns the process object and destroys things in the one safe order: the coroutines
// where they stand, then the process object, then its loop. So a process may be killed at any
// event.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/loop/sim/disk_image.h"
#include "base/loop/sim/sim_loop.h"
#include "base/loop/time.h"
#include "base/random.h"

namespace moraine::sim {

class World;

// What runs on a machine. Its constructor opens listeners and spawns coroutines on the loop it is
// given; its destructor runs after those coroutines have been destroyed, on a kill as well.
class Process {
 public:
  virtual ~Process() = default;
};

using ProcessFactory = std::function<std::unique_ptr<Process>(SimLoop&)>;

class Machine {
 public:
  Machine(World& world, uint32_t index, std::string name, Random random);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const std::string& name() const { return name_; }
  uint32_t index() const { return index_; }
  World& world() { return world_; }
  DiskImage& disk() { return disk_; }

  // Starts a process; switches the machine on if it is off. No process may be running.
  SimLoop& Start(ProcessFactory factory);
  SimLoop& Start();    // a bare loop, on which the test spawns
  SimLoop& Restart();  // with the factory of the last Start
  bool running() const { return loop_ != nullptr; }
  SimLoop& loop();
  Process* process() { return process_.get(); }
  template <class P>
  P& process_as() {
    return dynamic_cast<P&>(*process_);
  }

  // kill -9: nothing of the process runs any more, its sockets end (cleanly or with a reset, as the
  // seed has it), its file locks and open files go; what it has written stays. A write under way
  // may be done to any of its sectors. Not from inside the process itself. No effect without one.
  void Kill();
  // Kill without a farewell to the network, and unsynced bytes and names may be lost. Peers notice
  // nothing until they send; the machine answers nobody until it is switched on.
  void PowerCut();
  void SwitchOn();  // without a process: connections are refused and old ones reset
  bool powered() const { return powered_; }
  // SIGSTOP: the kernel still takes connections and bytes, the process does not run. Resumes by
  // itself after `duration`, if that is not zero.
  void Pause(Duration duration = Duration::zero());
  void Resume();
  bool paused() const { return paused_; }

  // Clocks. The monotonic one drifts, and begins anew after a power cut; the wall clock is off,
  // drifts and can be made to jump.
  Instant Monotonic() const;
  int64_t WallNanoseconds() const;
  void JumpWallClock(Duration by) { wall_offset_ += by; }
  // The world's time at which Monotonic() reaches `at`.
  Duration WorldTimeOf(Instant at) const;

 private:
  Duration Drifted(Duration since) const;

  World& world_;
  const uint32_t index_;
  const std::string name_;
  Random random_;
  DiskImage disk_;
  const int64_t drift_ppm_;
  Duration monotonic_offset_;
  Duration wall_offset_;
  ProcessFactory factory_;
  bool powered_ = true;
  bool paused_ = false;
  uint64_t pause_number_ = 0;
  // Destroyed in this order, see Kill.
  std::unique_ptr<SimLoop> loop_;
  std::unique_ptr<Process> process_;
};

}  // namespace moraine::sim
