// Calls while machines die, stop and lose each other, on virtual time from seeds.
#include <set>
#include <vector>

#include "base/loop/sim/faults.h"
#include "base/loop/task_group.h"
#include "base/random.h"
#include "base/sanitized.h"
#include "rpc/sim_test_support.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::Eq;

TEST(RpcFault, AKilledServerFailsItsCallsAndIsFoundAgain) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TellSeedOnAbort(seed);
    RpcWorld rig(seed);
    rig.RunWithChannel([&](Channel& channel) -> Task<void> {
      RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
      TaskGroup group(rig.loop());
      int unavailable = 0;
      auto sleep = [&]() -> Task<void> {
        idl::InodeRequest request;
        request.inode = 20'000;
        auto response = co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 60s));
        if (response.code() == Code::kUnavailable) ++unavailable;
      };
      for (int i = 0; i < 20; ++i) group.Spawn(sleep());
      rig.world.At(1s, [&] { rig.server_machine.Kill(); });
      const Instant start = rig.loop().Now();
      co_await group.Drain();
      EXPECT_EQ(unavailable, 20);
      EXPECT_LT(rig.loop().Now() - start, 1100ms);
      const Status down = co_await CheckEcho(&rig.loop(), &channel, 1, 5s);
      EXPECT_EQ(down.code(), Code::kUnavailable);
      rig.world.At(0s, [&] { rig.server_machine.Restart(); });
      co_await rig.loop().Sleep(100ms);
      RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 2, 5s));
    });
  }
}

TEST(RpcFault, APowerCutIsATimeoutUntilTheServerIsBack) {
  RpcWorld rig(2);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    rig.world.At(0s, [&] { rig.server_machine.PowerCut(); });
    co_await rig.loop().Sleep(10ms);
    const Instant start = rig.loop().Now();
    const Status lost = co_await CheckEcho(&rig.loop(), &channel, 2, 2s);
    EXPECT_EQ(lost.code(), Code::kTimeout);
    EXPECT_LT(rig.loop().Now() - start, 2100ms);
    rig.world.At(0s, [&] { rig.server_machine.Restart(); });
    co_await rig.loop().Sleep(10s);
    // The old connection may have to be found broken first.
    Status found = co_await CheckEcho(&rig.loop(), &channel, 3, 10s);
    if (!found.ok()) found = co_await CheckEcho(&rig.loop(), &channel, 4, 5s);
    EXPECT_TRUE(found.ok()) << found.ToString();
  });
}

// After a heal TCP may wait long before it tries again; a new connection does not.
TEST(RpcFault, ASilentConnectionIsGivenUp) {
  RpcWorld rig(3);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    rig.world.net().Partition({&rig.client}, {&rig.server_machine});
    const Status quick = co_await CheckEcho(&rig.loop(), &channel, 2, 1s);
    EXPECT_EQ(quick.code(), Code::kTimeout);
    EXPECT_TRUE(channel.connected());  // one impatient caller proves nothing
    const Status patient = co_await CheckEcho(&rig.loop(), &channel, 2, limits::kSilenceMax + 1s);
    EXPECT_EQ(patient.code(), Code::kTimeout);
    EXPECT_FALSE(channel.connected());
    const Instant start = rig.loop().Now();
    const Status cut = co_await CheckEcho(&rig.loop(), &channel, 3, 1s);
    EXPECT_THAT(cut.code(), AnyOf(Eq(Code::kTimeout), Eq(Code::kUnavailable)));
    EXPECT_LE(rig.loop().Now() - start, 1100ms);
    rig.world.net().MendAll();
    co_await rig.loop().Sleep(limits::kHandshakeTimeout);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 4, 2s));
  });
}

// No caller waits as long as that, but all of them together have heard nothing.
TEST(RpcFault, ASilentConnectionIsGivenUpByImpatientCallers) {
  RpcWorld rig(13);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    co_await rig.loop().Sleep(60s);  // nobody asked: that is no silence
    rig.world.net().Partition({&rig.client}, {&rig.server_machine});
    const Instant start = rig.loop().Now();
    int calls = 0;
    while (channel.connected() && calls < 100) {
      const Status lost = co_await CheckEcho(&rig.loop(), &channel, ++calls, 500ms);
      EXPECT_EQ(lost.code(), Code::kTimeout);
    }
    EXPECT_GT(calls, 1);
    EXPECT_GE(rig.loop().Now() - start, limits::kSilenceMax);
    EXPECT_LE(rig.loop().Now() - start, limits::kSilenceMax + 500ms);
    rig.world.net().MendAll();
    co_await rig.loop().Sleep(limits::kHandshakeTimeout);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 2s));
  });
}

// The server is busy with one long call but talks otherwise: the connection stays.
TEST(RpcFault, AConnectionThatTalksIsKept) {
  RpcWorld rig(4);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    Status slow;
    auto sleep = [&]() -> Task<void> {
      idl::InodeRequest request;
      request.inode = 60'000;
      slow = (co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 20s))).status();
    };
    group.Spawn(sleep());
    for (int i = 0; i < 25; ++i) {
      RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, i, 1s));
      co_await rig.loop().Sleep(1s);
    }
    co_await group.Drain();
    EXPECT_EQ(slow.code(), Code::kTimeout);
    EXPECT_TRUE(channel.connected());
  });
}

TEST(RpcFault, APausedServerTimesOutAndGoesOn) {
  RpcWorld rig(5);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    rig.world.At(0s, [&] { rig.server_machine.Pause(3s); });
    co_await rig.loop().Sleep(1ms);
    const Status paused = co_await CheckEcho(&rig.loop(), &channel, 2, 1s);
    EXPECT_EQ(paused.code(), Code::kTimeout);
    co_await rig.loop().Sleep(3s);
    EXPECT_TRUE(channel.connected());
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 3, 1s));
  });
}

// Only the way back is cut: the server hears, and works, but its answers do not come.
TEST(RpcFault, AOneWayCutIsATimeout) {
  RpcWorld rig(6);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    rig.world.net().Cut(rig.server_machine, rig.client);
    const Status cut = co_await CheckAppend(&rig.loop(), &channel, 77, 100, 0, 1s);
    EXPECT_EQ(cut.code(), Code::kTimeout);
    EXPECT_THAT(rig.service().appended, testing::ElementsAre(77));
    rig.world.net().MendAll();
    co_await rig.loop().Sleep(5s);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 3, 2s));
  });
}

// A client process that calls for as long as it lives.
class BusyClient : public sim::Process {
 public:
  BusyClient(sim::SimLoop& loop, Endpoint server)
      : loop_(loop), channel_(loop, std::move(server), ClientIdentity(), Expectation()) {
    for (int64_t i = 0; i < 12; ++i) loop.Spawn(Work(this, i));
  }
  int64_t answered() const { return answered_; }

 private:
  static Task<void> Work(BusyClient* self, int64_t number) {
    while (true) {
      Status status;
      switch (number % 4) {
        case 0:
          status = co_await CheckEcho(&self->loop_, &self->channel_, number, 3s);
          break;
        case 1:
          status = co_await CheckAppend(&self->loop_, &self->channel_, number, 70'000, 5, 3s);
          break;
        case 2:
          status = co_await CheckRead(&self->loop_, &self->channel_, number, 70'000, 3s);
          break;
        default:
          status = co_await CheckRead(&self->loop_, &self->channel_, number, 3000, 200us);
      }
      EXPECT_NE(status.code(), Code::kCorruption);
      EXPECT_NE(status.code(), Code::kInternal) << status.ToString();
      EXPECT_NE(status.code(), Code::kProtocol) << status.ToString();
      if (status.ok()) ++self->answered_;
      if (!status.ok()) co_await self->loop_.Sleep(1ms);
    }
  }
  sim::SimLoop& loop_;
  Channel channel_;
  int64_t answered_ = 0;
};

// Frames of callers, readers, writers and handlers are destroyed wherever they stand.
TEST(RpcFault, EitherSideMayBeKilledAtAnyEvent) {
  for (uint64_t seed = 1; seed <= Rounds(60, 15); ++seed) {
    TellSeedOnAbort(seed);
    RpcWorld rig(seed);
    SCOPED_TRACE(rig.world.Describe());
    rig.client.Kill();
    const Endpoint server = rig.endpoint();
    rig.client.Start(
        [server](sim::SimLoop& loop) { return std::make_unique<BusyClient>(loop, server); });
    Random random(seed);
    for (int kill = 0; kill < 6; ++kill) {
      const uint64_t events = random.Uniform(1500);
      for (uint64_t i = 0; i < events; ++i) ASSERT_TRUE(rig.world.Step());
      sim::Machine& victim = random.OneIn(2) ? rig.client : rig.server_machine;
      if (random.OneIn(4)) {
        victim.PowerCut();
      } else {
        victim.Kill();
      }
      victim.Restart();
    }
    BusyClient& client = rig.client.process_as<BusyClient>();
    const int64_t before = client.answered();
    EXPECT_TRUE(rig.world.RunUntil([&] { return client.answered() > before + 20; }, 5min))
        << rig.world.Trace();
  }
}

// A client that dies leaves nothing behind in the server.
TEST(RpcFault, ADeadClientIsForgotten) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    TellSeedOnAbort(seed);
    RpcWorld rig(seed);
    SCOPED_TRACE(rig.world.Describe());
    rig.client.Kill();
    const Endpoint server = rig.endpoint();
    rig.client.Start(
        [server](sim::SimLoop& loop) { return std::make_unique<BusyClient>(loop, server); });
    rig.world.RunFor(30ms);
    Gauge& connections = rig.service().metrics.GetGauge("moraine_rpc_connections", "");
    EXPECT_EQ(connections.Value(), 1);
    rig.client.Kill();
    EXPECT_TRUE(rig.world.RunUntil([&] { return connections.Value() == 0; }, 10s));
    EXPECT_TRUE(rig.world.RunUntil([&] { return *rig.service().answer_bytes == 0; }, 10s));
  }
}

uint64_t RunWithFaults(uint64_t seed, bool* progressed) {
  RpcWorld rig(seed);
  SCOPED_TRACE(rig.world.Describe());
  rig.client.Kill();
  const Endpoint server = rig.endpoint();
  rig.client.Start(
      [server](sim::SimLoop& loop) { return std::make_unique<BusyClient>(loop, server); });
  sim::FaultPlan plan(rig.world, {.machines = {&rig.client, &rig.server_machine}, .hurt_max = 2});
  plan.Start();
  rig.world.RunFor(5s);
  plan.Stop();
  BusyClient& client = rig.client.process_as<BusyClient>();
  const int64_t before = client.answered();
  *progressed = rig.world.RunUntil([&] { return client.answered() > before + 100; }, 30s);
  EXPECT_TRUE(*progressed) << rig.world.Trace();
  return rig.world.TraceHash();
}

TEST(RpcFault, CallsGoOnWhenFaultsEnd) {
  const uint64_t first = AnnouncedSeed();
  for (uint64_t i = 0; i < Rounds(8, 2); ++i) {
    TellSeedOnAbort(first + i);
    SCOPED_TRACE("MORAINE_SEED=" + std::to_string(first + i));
    bool progressed = false;
    RunWithFaults(first + i, &progressed);
    if (!progressed) break;
  }
}

TEST(RpcFault, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= Rounds(2, 1); ++seed) {
    TellSeedOnAbort(seed);
    bool progressed = false;
    EXPECT_EQ(RunWithFaults(seed, &progressed), RunWithFaults(seed, &progressed));
  }
}

}  // namespace
}  // namespace moraine::rpc
