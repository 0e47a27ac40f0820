#include "base/loop/sim/faults.h"

#include <algorithm>

#include "base/glob.h"

namespace moraine::sim {

FaultPlan::FaultPlan(World& world, FaultPlanOptions options)
    : world_(world),
      options_(std::move(options)),
      random_(world.random().Fork()),
      life_(std::make_shared<int>(0)) {
  MORAINE_CHECK(!options_.machines.empty(), "a plan needs machines");
}

FaultPlan::~FaultPlan() = default;

std::vector<FaultPlan::Kind> FaultPlan::Kinds() const {
  return {
      {options_.kill, "kill", &FaultPlan::Kill, true},
      {options_.power_cut, "power cut", &FaultPlan::CutPower, true},
      {options_.pause, "pause", &FaultPlan::Pause, true},
      {options_.isolate, "isolate", &FaultPlan::Isolate, true},
      {options_.one_way, "one way", &FaultPlan::CutOneWay, true},
      {options_.bridge, "bridge", &FaultPlan::Bridge, true},
      {options_.slow_link, "slow link", &FaultPlan::SlowLink, false},
      {options_.slow_disk, "slow disk", &FaultPlan::SlowDisk, false},
      {options_.reset, "reset", &FaultPlan::Reset, false},
      {options_.wall_jump, "wall jump", &FaultPlan::JumpWall, false},
      {options_.disk_error, "disk error", &FaultPlan::DiskError, false},
      {options_.bit_flip, "bit flip", &FaultPlan::FlipBit, false},
  };
}

void FaultPlan::Start() {
  MORAINE_CHECK(!active_, "the plan runs");
  active_ = true;
  Next();
}

void FaultPlan::Stop() {
  active_ = false;
  while (!hurt_.empty()) Heal(hurt_.begin()->first);
  while (!passing_.empty()) {
    const std::function<void()> heal = std::move(passing_.begin()->second);
    passing_.erase(passing_.begin());
    heal();
  }
}

void FaultPlan::Next() {
  world_.At(Between(options_.quiet_min, options_.quiet_max),
            [this, life = std::weak_ptr<int>(life_)] {
              if (life.expired() || !active_) return;
              Strike();
              Next();
            });
}

void FaultPlan::Strike() {
  const bool may_hurt = hurt_.size() < options_.hurt_max && PickWell() != nullptr;
  const std::vector<Kind> kinds = Kinds();
  uint64_t total = 0;
  for (const Kind& kind : kinds) {
    if (may_hurt || !kind.hurts) total += kind.weight;
  }
  if (total == 0) return;
  uint64_t at = random_.Uniform(total);
  for (const Kind& kind : kinds) {
    if (!may_hurt && kind.hurts) continue;
    if (at >= kind.weight) {
      at -= kind.weight;
      continue;
    }
    world_.Note(std::string("fault: ") + kind.name);
    ++fault_count_;
    return (this->*kind.strike)();
  }
}

// A machine that runs and is not hurt, or null.
Machine* FaultPlan::PickWell() {
  std::vector<Machine*> well;
  for (Machine* machine : options_.machines) {
    if (machine->running() && !machine->paused() && !hurt_.contains(machine->index())) {
      well.push_back(machine);
    }
  }
  return well.empty() ? nullptr : random_.Pick(well);
}

std::vector<Machine*> FaultPlan::Others(const Machine& machine) const {
  std::vector<Machine*> others;
  for (size_t i = 0; i < world_.machine_count(); ++i) {
    if (i != machine.index()) others.push_back(&world_.machine(i));
  }
  return others;
}

void FaultPlan::Hurt(Machine& machine, Links links, std::function<void()> heal) {
  const uint64_t number = next_number_++;
  for (const auto& [from, to] : links) world_.net().Cut(*from, *to);
  hurt_[machine.index()] = Wound{number, std::move(links), std::move(heal)};
  Note("hurt", machine);
  world_.At(Between(options_.hurt_time_min, options_.hurt_time_max),
            [this, life = std::weak_ptr<int>(life_), index = machine.index(), number] {
              if (life.expired()) return;
              const auto it = hurt_.find(index);
              if (it != hurt_.end() && it->second.number == number) Heal(index);
            });
}

void FaultPlan::Heal(uint32_t machine) {
  const auto it = hurt_.find(machine);
  const Wound wound = std::move(it->second);
  hurt_.erase(it);
  for (const auto& link : wound.links) {
    const bool cut_by_other = std::ranges::any_of(hurt_, [&](const auto& other) {
      return std::ranges::find(other.second.links, link) != other.second.links.end();
    });
    if (!cut_by_other) world_.net().Mend(*link.first, *link.second);
  }
  Note("heal", world_.machine(machine));
  if (wound.heal) wound.heal();
}

void FaultPlan::Passing(std::function<void()> heal) {
  const uint64_t number = next_number_++;
  passing_.emplace(number, std::move(heal));
  world_.At(Between(options_.hurt_time_min, options_.hurt_time_max),
            [this, life = std::weak_ptr<int>(life_), number] {
              if (life.expired()) return;
              const auto it = passing_.find(number);
              if (it == passing_.end()) return;
              const std::function<void()> heal = std::move(it->second);
              passing_.erase(it);
              heal();
            });
}

Duration FaultPlan::Between(Duration low, Duration high) {
  return Duration(
      random_.Between(static_cast<uint64_t>(low.count()), static_cast<uint64_t>(high.count())));
}

void FaultPlan::Note(const std::string& what, const Machine& machine) {
  world_.Note(what + " " + machine.name());
}

void FaultPlan::Revive(Machine& machine) {
  if (machine.running()) return;  // the test was faster
  if (options_.restart) {
    options_.restart(machine);
  } else {
    machine.Restart();
  }
}

void FaultPlan::Kill() {
  Machine& machine = *PickWell();
  machine.Kill();
  Hurt(machine, {}, [this, &machine] { Revive(machine); });
}

void FaultPlan::CutPower() {
  Machine& machine = *PickWell();
  machine.PowerCut();
  Hurt(machine, {}, [this, &machine] { Revive(machine); });
}

void FaultPlan::Pause() {
  Machine& machine = *PickWell();
  machine.Pause();
  Hurt(machine, {}, [&machine] { machine.Resume(); });
}

void FaultPlan::Isolate() {
  Machine& machine = *PickWell();
  Links links;
  for (const Machine* other : Others(machine)) {
    links.emplace_back(&machine, other);
    links.emplace_back(other, &machine);
  }
  Hurt(machine, std::move(links), nullptr);
}

void FaultPlan::CutOneWay() {
  Machine& machine = *PickWell();
  const bool deaf = random_.OneIn(2);
  Links links;
  for (const Machine* other : Others(machine)) {
    if (deaf) {
      links.emplace_back(other, &machine);
    } else {
      links.emplace_back(&machine, other);
    }
  }
  Hurt(machine, std::move(links), nullptr);
}

void FaultPlan::Bridge() {
  Machine& machine = *PickWell();
  std::vector<Machine*> others = Others(machine);
  if (others.empty()) return;
  const Machine* bridge = random_.Pick(others);
  Links links;
  for (const Machine* other : others) {
    if (other == bridge) continue;
    links.emplace_back(&machine, other);
    links.emplace_back(other, &machine);
  }
  Hurt(machine, std::move(links), nullptr);
}

void FaultPlan::SlowLink() {
  Machine& machine = *options_.machines[random_.Uniform(options_.machines.size())];
  std::vector<Machine*> others = Others(machine);
  if (others.empty()) return;
  Machine& other = *random_.Pick(others);
  world_.net().SetSlowness(machine, other, 1 + random_.NextDouble() * (options_.slowness_max - 1));
  Passing([this, &machine, &other] { world_.net().SetSlowness(machine, other, 1); });
}

void FaultPlan::SlowDisk() {
  Machine& machine = *options_.machines[random_.Uniform(options_.machines.size())];
  machine.disk().SetSlowness(1 + random_.NextDouble() * (options_.slowness_max - 1));
  Passing([&machine] { machine.disk().SetSlowness(1); });
}

void FaultPlan::Reset() { world_.net().ResetSomeConnection(); }

void FaultPlan::JumpWall() {
  Machine& machine = *options_.machines[random_.Uniform(options_.machines.size())];
  const Duration by = Between(Duration::zero(), options_.wall_jump_max);
  machine.JumpWallClock(random_.OneIn(2) ? by : -by);
}

void FaultPlan::DiskError() {
  Machine& machine = *options_.machines[random_.Uniform(options_.machines.size())];
  constexpr DiskOp kOps[] = {DiskOp::kRead, DiskOp::kWrite, DiskOp::kSync};
  machine.disk().FailNext(kOps[random_.Uniform(std::size(kOps))], options_.disk_pattern);
  Note("disk error at", machine);
}

void FaultPlan::FlipBit() {
  Machine& machine = *options_.machines[random_.Uniform(options_.machines.size())];
  std::vector<std::string> paths = machine.disk().Files();
  std::erase_if(paths,
                [&](const std::string& path) { return !GlobMatch(options_.disk_pattern, path); });
  if (paths.empty()) return;
  const std::string& path = random_.Pick(paths);
  const uint64_t bytes = machine.disk().SizeOf(path).value_or(0);
  if (bytes == 0) return;
  machine.disk().FlipBit(path, random_.Uniform(bytes * 8)).Ignore();
  Note("flipped a bit of " + path + " at", machine);
}

}  // namespace moraine::sim
