#include "base/loop/sim/machine.h"

#include "base/loop/sim/world.h"

namespace moraine::sim {
namespace {

Duration Spread(Random& random, Duration max) {
  const auto wide = static_cast<uint64_t>(max.count());
  return Duration(static_cast<int64_t>(random.Uniform(2 * wide + 1)) - static_cast<int64_t>(wide));
}

// Clocks of different machines must not be comparable by accident.
Duration FreshMonotonicOffset(Random& random) {
  constexpr Duration kUptimeMax = 1000h;
  return Duration(random.Between(1, static_cast<uint64_t>(kUptimeMax.count())));
}

}  // namespace

Machine::Machine(World& world, uint32_t index, std::string name, Random random)
    : world_(world),
      index_(index),
      name_(std::move(name)),
      random_(std::move(random)),
      disk_(world, *this, world.options().disk, random_.Fork()),
      drift_ppm_(Spread(random_, Duration(world.options().clock.drift_ppm_max)).count()),
      monotonic_offset_(FreshMonotonicOffset(random_)),
      wall_offset_(Spread(random_, world.options().clock.wall_skew_max)) {}

Machine::~Machine() { Kill(); }

SimLoop& Machine::Start(ProcessFactory factory) {
  MORAINE_CHECK(loop_ == nullptr, "a machine runs one process at a time");
  factory_ = std::move(factory);
  return Restart();
}

SimLoop& Machine::Start() { return Start(ProcessFactory()); }

SimLoop& Machine::Restart() {
  MORAINE_CHECK(loop_ == nullptr, "a machine runs one process at a time");
  SwitchOn();
  paused_ = false;
  loop_ = std::make_unique<SimLoop>(*this, random_.Fork());
  if (factory_) process_ = factory_(*loop_);
  return *loop_;
}

SimLoop& Machine::loop() {
  MORAINE_CHECK(loop_ != nullptr, "no process runs on this machine");
  return *loop_;
}

void Machine::Kill() {
  if (loop_ == nullptr) return;
  MORAINE_CHECK(world_.running() != this, "a process cannot kill itself; use World::At");
  world_.net().DropProcess(*this, /*power_cut=*/false);
  disk_.Interrupt();
  loop_->Die();
  process_.reset();
  loop_.reset();
  paused_ = false;
}

void Machine::PowerCut() {
  if (!powered_) return;
  MORAINE_CHECK(world_.running() != this, "a process cannot cut its own power; use World::At");
  powered_ = false;
  world_.net().DropProcess(*this, /*power_cut=*/true);
  Kill();
  disk_.PowerCut();
  monotonic_offset_ = FreshMonotonicOffset(random_) - Drifted(world_.now());
}

void Machine::SwitchOn() {
  if (powered_) return;
  powered_ = true;
  world_.net().Retry();
}

void Machine::Pause(Duration duration) {
  paused_ = true;
  const uint64_t number = ++pause_number_;
  if (duration == Duration::zero()) return;
  world_.At(duration, [this, number] {
    if (pause_number_ == number) Resume();
  });
}

void Machine::Resume() { paused_ = false; }

Duration Machine::Drifted(Duration since) const {
  // Split so that a long run does not overflow.
  const int64_t whole = since.count() / 1'000'000;
  const int64_t rest = since.count() % 1'000'000;
  return since + Duration(whole * drift_ppm_ + rest * drift_ppm_ / 1'000'000);
}

Instant Machine::Monotonic() const { return Instant(monotonic_offset_ + Drifted(world_.now())); }

int64_t Machine::WallNanoseconds() const {
  return world_.options().clock.wall_start_ns + (wall_offset_ + Drifted(world_.now())).count();
}

Duration Machine::WorldTimeOf(Instant at) const {
  const Duration target = at.time_since_epoch() - monotonic_offset_;
  if (target <= Drifted(world_.now())) return world_.now();
  // A first guess is off by parts per billion; walk the rest.
  const int64_t whole = target.count() / 1'000'000;
  Duration guess = target - Duration(whole * drift_ppm_);
  for (int i = 0; i < 8; ++i) guess += target - Drifted(guess);
  while (Drifted(guess) < target) guess += 1ns;
  return guess;
}

}  // namespace moraine::sim
