// Machines, clocks, the life of processes, and whole small clusters under a plan of faults.
#include "base/loop/sim/world.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/loop/sim/faults.h"
#include "base/loop/sim/test_support.h"
#include "base/loop/task_group.h"
#include "base/random.h"

namespace moraine::sim {
namespace {

Task<void> Tick(SimLoop* loop, Duration every, int* ticks) {
  while (true) {
    co_await loop->Sleep(every);
    ++*ticks;
  }
}

TEST(WorldTest, TimeIsVirtualAndPassesWithoutEvents) {
  World world(1);
  EXPECT_FALSE(world.Step());
  world.RunFor(1000h);
  EXPECT_EQ(world.now(), 1000h);
  EXPECT_FALSE(world.RunUntil([] { return false; }, 1s));
}

TEST(WorldTest, ClocksDifferDriftAndJump) {
  WorldOptions options;
  options.clock.drift_ppm_max = 100;
  World world(3, options);
  Machine& a = world.AddMachine("a");
  Machine& b = world.AddMachine("b");
  const auto wall_gap = [&] { return a.WallNanoseconds() - b.WallNanoseconds(); };
  EXPECT_NE(a.Monotonic(), b.Monotonic());
  EXPECT_NE(wall_gap(), 0);
  EXPECT_LE(std::abs(wall_gap()), 2 * options.clock.wall_skew_max.count());
  const Instant before_a = a.Monotonic();
  const Instant before_b = b.Monotonic();
  world.RunFor(100h);
  const Duration passed_a = a.Monotonic() - before_a;
  EXPECT_NE(passed_a, b.Monotonic() - before_b);
  EXPECT_NEAR(static_cast<double>(passed_a.count()), 100.0 * 3600e9, 100.0 * 3600e9 * 101e-6);
  const int64_t wall = a.WallNanoseconds();
  const Instant monotonic = a.Monotonic();
  a.JumpWallClock(-1h);
  EXPECT_EQ(a.WallNanoseconds(), wall - Duration(1h).count());
  EXPECT_EQ(a.Monotonic(), monotonic);
  for (const Duration ahead : {Duration(1), Duration(1s), Duration(1000h)}) {
    const Instant at = a.Monotonic() + ahead;
    world.RunFor(a.WorldTimeOf(at) - world.now());
    EXPECT_GE(a.Monotonic(), at);
    EXPECT_LE(a.Monotonic(), at + 2ns);
  }
}

TEST(WorldTest, APausedProcessDoesNothingAndThenIsLate) {
  World world(1);
  Machine& a = world.AddMachine("a");
  int ticks = 0;
  SimLoop& loop = a.Start();
  loop.Spawn(Tick(&loop, 100ms, &ticks));
  world.RunFor(1050ms);
  EXPECT_NEAR(ticks, 10, 1);
  a.Pause(10s);
  const int before = ticks;
  world.RunFor(9s);
  EXPECT_EQ(ticks, before);
  world.RunFor(1s + 50ms);
  EXPECT_EQ(ticks, before + 1) << "one late tick, then every 100 ms again";
}

TEST(WorldTest, ATimerThatIsAlwaysDueDoesNotStopTime) {
  World world(1);
  Machine& a = world.AddMachine("a");
  int ticks = 0;
  SimLoop& loop = a.Start();
  loop.Spawn(Tick(&loop, Duration::zero(), &ticks));
  world.RunFor(1ms);
  EXPECT_EQ(world.now(), 1ms);
  EXPECT_GT(ticks, 100);
}

// A process whose parts note their ends.
class Ending : public Process {
 public:
  Ending(SimLoop& loop, std::vector<std::string>* ends) : ends_(ends), group_(loop) {
    group_.Spawn(Work(&loop));
    (void)loop.RunBlocking([] {});
  }
  ~Ending() override { ends_->push_back("process"); }

 private:
  struct Noting {
    std::vector<std::string>* ends;
    ~Noting() { ends->push_back("coroutine"); }
  };
  Task<void> Work(SimLoop* loop) {
    const Noting noting{ends_};
    auto file = co_await OpenFile(loop->disk(), "f");
    while (true) {
      EXPECT_TRUE((co_await WriteText(**file, 0, std::string(100'000, 'x'))).ok());
      co_await loop->RunBlocking([ends = ends_] { EXPECT_EQ(ends->size(), 0u); });
    }
  }
  std::vector<std::string>* const ends_;
  TaskGroup group_;
};

TEST(WorldTest, AProcessDiesAtAnyEventInTheRightOrder) {
  for (int steps = 0; steps < 60; ++steps) {
    World world(static_cast<uint64_t>(steps) + 1);
    Machine& a = world.AddMachine("a");
    std::vector<std::string> ends;
    a.Start([&](SimLoop& loop) { return std::make_unique<Ending>(loop, &ends); });
    for (int i = 0; i < steps; ++i) world.Step();
    a.Kill();
    if (steps > 1) EXPECT_THAT(ends, testing::ElementsAre("coroutine", "process"));
    EXPECT_FALSE(a.running());
    world.RunFor(1s);
    EXPECT_EQ(ends.back(), "process");
  }
}

TEST(WorldTest, AwaitTellsWhenTheProcessDies) {
  World world(1);
  Machine& a = world.AddMachine("a");
  SimLoop& loop = a.Start();
  int ticks = 0;
  world.At(1s, [&] { a.Kill(); });
  EXPECT_FALSE(world.Await(loop, Tick(&loop, 10ms, &ticks)));
  EXPECT_EQ(world.now(), 1s);
}

// A register of numbers: keeps each on disk before it acknowledges it.
class Register : public Process {
 public:
  static constexpr uint16_t kPort = 1;
  explicit Register(SimLoop& loop) : loop_(loop), group_(loop) { group_.Spawn(Run()); }

 private:
  Task<void> Run() {
    auto file = co_await loop_.disk().Open("numbers", {.write = true, .create = true});
    if (!file.ok()) co_return;
    file_ = std::move(*file);
    if (!(co_await loop_.disk().SyncDirectory("/")).ok()) co_return;
    auto listener = loop_.Listen({"", kPort});
    MORAINE_CHECK(listener.ok());
    while (true) {
      auto stream = co_await (*listener)->Accept();
      if (!stream.ok()) co_return;
      group_.Spawn(Serve(std::move(*stream)));
    }
  }
  Task<void> Serve(std::unique_ptr<Stream> stream) {
    while (true) {
      const Result<std::string> got = co_await ReceiveText(*stream, 4);
      if (!got.ok() || got->size() < 4) co_return;
      const uint64_t number = std::stoul(*got);
      if (!(co_await WriteText(*file_, number * 4, *got)).ok()) co_return;
      if (!(co_await file_->Sync()).ok()) co_return;
      if (!(co_await SendText(*stream, *got)).ok()) co_return;
    }
  }

  SimLoop& loop_;
  TaskGroup group_;
  std::unique_ptr<File> file_;
};

// Sends every server its own numbers, again and again until each is acknowledged.
class RegisterClient : public Process {
 public:
  using Acknowledged = std::map<std::string, std::set<std::string>>;
  RegisterClient(SimLoop& loop, std::vector<std::string> servers, Acknowledged* acknowledged)
      : loop_(loop), acknowledged_(acknowledged), group_(loop) {
    for (std::string& server : servers) {
      links_.push_back(std::make_unique<Link>());
      group_.Spawn(Run(links_.back().get(), std::move(server)));
      group_.Spawn(Watch(links_.back().get()));
    }
  }

 private:
  struct Link {
    std::unique_ptr<Stream> stream;
    uint64_t steps = 0;
  };
  // A server that lost its power says nothing, not even that.
  Task<void> Watch(Link* link) {
    while (true) {
      const uint64_t steps = link->steps;
      co_await loop_.Sleep(1s);
      if (link->steps == steps && link->stream != nullptr) link->stream->Close();
    }
  }
  Task<void> Run(Link* link, std::string server) {
    std::unique_ptr<Stream>& stream = link->stream;
    for (int number = 1000;;) {
      if (stream == nullptr) {
        auto made = co_await loop_.Connect({server, Register::kPort}, loop_.After(500ms));
        if (made.ok()) {
          stream = std::move(*made);
        } else {
          co_await loop_.Sleep(50ms);
        }
        continue;
      }
      const std::string text = std::to_string(number);
      if (!(co_await SendText(*stream, text)).ok()) {
        stream.reset();
        continue;
      }
      const Result<std::string> got = co_await ReceiveText(*stream, 4);
      if (!got.ok() || got->size() < 4) {
        stream.reset();
        continue;
      }
      EXPECT_EQ(*got, text);
      (*acknowledged_)[server].insert(text);
      ++link->steps;
      co_await loop_.Sleep(2ms);
      number = number == 9999 ? 1000 : number + 1;
    }
  }

  SimLoop& loop_;
  Acknowledged* const acknowledged_;
  std::vector<std::unique_ptr<Link>> links_;
  TaskGroup group_;
};

struct Outcome {
  uint64_t hash = 0;
  uint64_t events = 0;
  size_t faults = 0;
  RegisterClient::Acknowledged acknowledged;
};

Outcome RunCluster(uint64_t seed) {
  World world(seed);
  SCOPED_TRACE(world.Describe());
  const std::vector<std::string> names = {"a", "b", "c"};
  std::vector<Machine*> servers;
  for (const std::string& name : names) {
    Machine& machine = world.AddMachine(name);
    machine.Start([](SimLoop& loop) { return std::make_unique<Register>(loop); });
    servers.push_back(&machine);
  }
  Outcome outcome;
  Machine& client = world.AddMachine("client");
  client.Start([&](SimLoop& loop) {
    return std::make_unique<RegisterClient>(loop, names, &outcome.acknowledged);
  });
  FaultPlan plan(world, {.machines = servers, .hurt_max = 2, .quiet_max = 300ms});
  plan.Start();
  for (int i = 0; i < 100; ++i) {
    world.RunFor(100ms);
    EXPECT_LE(plan.hurt(), 2u);
  }
  plan.Stop();
  EXPECT_EQ(plan.hurt(), 0u);
  for (Machine* machine : servers) {
    EXPECT_TRUE(machine->running() && machine->powered() && !machine->paused());
    // All that was ever acknowledged is there, and the cluster goes on.
    const std::string numbers = machine->disk().Contents("numbers").value_or("");
    auto& acknowledged = outcome.acknowledged[machine->name()];
    for (const std::string& text : acknowledged) {
      const uint64_t at = std::stoul(text) * 4;
      EXPECT_TRUE(at + 4 <= numbers.size() && numbers.compare(at, 4, text) == 0)
          << text << " was lost at " << machine->name() << "\n"
          << world.Trace();
    }
    const size_t before = acknowledged.size();
    EXPECT_TRUE(world.RunUntil([&] { return acknowledged.size() > before; }, 120s))
        << machine->name() << " makes no progress\n"
        << world.Trace();
  }
  outcome.hash = world.TraceHash();
  outcome.events = world.event_count();
  outcome.faults = plan.fault_count();
  return outcome;
}

TEST(WorldTest, TheSameSeedGivesTheSameRunUnderFaults) {
  std::set<uint64_t> hashes;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Outcome first = RunCluster(seed);
    const Outcome second = RunCluster(seed);
    EXPECT_EQ(first.hash, second.hash);
    EXPECT_EQ(first.events, second.events);
    EXPECT_EQ(first.acknowledged, second.acknowledged);
    EXPECT_GT(first.faults, 20u);
    hashes.insert(first.hash);
    ASSERT_FALSE(testing::Test::HasFailure());
  }
  EXPECT_EQ(hashes.size(), 20u) << "different seeds are different runs";
}

// The cluster again, with a server that acknowledges before it syncs: the simulation must notice.
TEST(WorldTest, AForgottenSyncIsNoticed) {
  int lost = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TellSeedOnAbort(seed);
    World world(seed);
    Machine& a = world.AddMachine("a");
    a.Start();
    RunOn(world, a, [&]() -> Task<void> {
      auto file = co_await OpenFile(a.loop().disk(), "f");
      EXPECT_TRUE((co_await a.loop().disk().SyncDirectory("/")).ok());
      EXPECT_TRUE((co_await WriteText(**file, 0, "acknowledged")).ok());
    });
    a.PowerCut();
    lost += a.disk().Contents("f").value_or("") != "acknowledged";
  }
  EXPECT_GT(lost, 10);
}

TEST(WorldDeathTest, AProcessDoesNotKillItself) {
  EXPECT_DEATH(
      {
        World world(1);
        Machine& a = world.AddMachine("a");
        a.Start();
        a.loop().Post([&] { a.Kill(); });
        world.RunFor(1s);
      },
      "cannot kill itself");
}

}  // namespace
}  // namespace moraine::sim
