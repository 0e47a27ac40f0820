// A seeded sequence of faults for cluster tests: kills, power cuts, pauses, cuts of the network,
// slow links and disks, broken connections, clock jumps, damaged disks; one after another and
// overlapping, within bounds, and healed at the end.
//
//   FaultPlan plan(world, {.machines = {&a, &b, &c}, .hurt_max = 1});
//   plan.Start();
//   world.RunUntil(workload_done, 60s);
//   plan.Stop();   // everything runs, every link works; the disks keep their damage
//
// A machine is hurt by one thing at a time: dead, stopped or cut off. At most `hurt_max` are hurt
// at once. Everything else (slowness, resets, clocks, disks) is not counted.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop/sim/world.h"
#include "base/random.h"

namespace moraine::sim {

struct FaultPlanOptions {
  std::vector<Machine*> machines;  // that may be hurt; others only lose links to these
  size_t hurt_max = 1;
  Duration quiet_min = 50ms;  // from one fault to the next
  Duration quiet_max = 2s;
  Duration hurt_time_min = 20ms;  // until it is healed
  Duration hurt_time_max = 5s;
  double slowness_max = 100;
  Duration wall_jump_max = 1h;
  std::string disk_pattern = "*";  // files that disk errors and flipped bits may meet

  // How often each comes, relative to the others; 0: never.
  uint64_t kill = 4;
  uint64_t power_cut = 3;
  uint64_t pause = 3;
  uint64_t isolate = 3;  // from everybody, both ways
  uint64_t one_way = 3;  // hears nobody, or is heard by nobody
  uint64_t bridge = 2;   // reaches one machine only
  uint64_t slow_link = 3;
  uint64_t slow_disk = 2;
  uint64_t reset = 5;  // of one connection
  uint64_t wall_jump = 1;
  uint64_t disk_error = 0;  // one read, write or sync fails
  uint64_t bit_flip = 0;    // in one stored file

  // Brings a dead machine back; Machine::Restart if empty.
  std::function<void(Machine&)> restart = nullptr;
};

class FaultPlan {
 public:
  // Takes its seed from the world.
  FaultPlan(World& world, FaultPlanOptions options);
  ~FaultPlan();
  FaultPlan(const FaultPlan&) = delete;
  FaultPlan& operator=(const FaultPlan&) = delete;

  void Start();
  // No more faults; heals and restarts. Not from inside a process.
  void Stop();
  size_t fault_count() const { return fault_count_; }
  size_t hurt() const { return hurt_.size(); }

 private:
  using Links = std::vector<std::pair<const Machine*, const Machine*>>;
  struct Kind {
    uint64_t weight;
    const char* name;
    void (FaultPlan::*strike)();
    bool hurts;  // needs a machine that is well
  };

  std::vector<Kind> Kinds() const;
  void Next();
  void Strike();
  Machine* PickWell();
  std::vector<Machine*> Others(const Machine& machine) const;
  void Hurt(Machine& machine, Links links, std::function<void()> heal);
  void Heal(uint32_t machine);
  // Runs `heal` after a random time or at Stop.
  void Passing(std::function<void()> heal);
  Duration Between(Duration low, Duration high);
  void Note(const std::string& what, const Machine& machine);
  void Revive(Machine& machine);

  void Kill();
  void CutPower();
  void Pause();
  void Isolate();
  void CutOneWay();
  void Bridge();
  void SlowLink();
  void SlowDisk();
  void Reset();
  void JumpWall();
  void DiskError();
  void FlipBit();

  World& world_;
  const FaultPlanOptions options_;
  Random random_;
  bool active_ = false;
  size_t fault_count_ = 0;
  struct Wound {
    uint64_t number;
    Links links;
    std::function<void()> heal;
  };
  std::map<uint32_t, Wound> hurt_;  // by machine
  std::map<uint64_t, std::function<void()>> passing_;
  uint64_t next_number_ = 0;
  std::shared_ptr<int> life_;  // events look whether it is still there
};

}  // namespace moraine::sim
