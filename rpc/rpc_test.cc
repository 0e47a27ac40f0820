// Calls between one client and one server on virtual time, without faults.
#include <numeric>
#include <vector>

#include "base/loop/task_group.h"
#include "base/random.h"
#include "rpc/channels.h"
#include "rpc/sim_test_support.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(Rpc, AnswersAndErrors) {
  RpcWorld rig(1);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 42, 5s));
    idl::EntryRequest entry;
    entry.name = "lost";
    auto response = co_await channel.Ask(idl::kLookup, entry, Within(rig.loop(), 5s));
    EXPECT_EQ(response.code(), Code::kNotFound);
    EXPECT_EQ(response.status().message(), "no file 'lost'");
    EXPECT_EQ(channel.peer().cluster, "cluster-a");
    EXPECT_EQ(channel.peer().role, idl::Role::kMetaserver);
    EXPECT_EQ(channel.calls_in_flight(), 0u);
  });
  EXPECT_THAT(rig.service().metrics.PrometheusText(),
              HasSubstr("moraine_rpc_errors_total{method=\"lookup\"} 1"));
}

TEST(Rpc, ManyCallsInFlightAnswerInAnyOrder) {
  RpcWorld rig(2);
  constexpr int kCalls = 500;
  std::vector<int> ended;
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    auto sleep = [&](int i) -> Task<void> {
      idl::InodeRequest request;
      request.inode = 100 + (kCalls - i) * 20;
      auto response = co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 60s));
      EXPECT_TRUE(response.ok()) << response.status().ToString();
      ended.push_back(i);
    };
    for (int i = 0; i < kCalls; ++i) group.Spawn(sleep(i));
    co_await group.Drain();
  });
  EXPECT_EQ(rig.service().running_max, kCalls);
  std::vector<int> backwards(kCalls);
  std::iota(backwards.rbegin(), backwards.rend(), 0);
  EXPECT_EQ(ended, backwards);
}

TEST(Rpc, BulkGoesBothWaysAtTheRightPlaceInAPage) {
  RpcWorld rig(3);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    int64_t offset = 0;
    for (const size_t size : {1ul, 100ul, 4095ul, 4096ul, 4097ul, (1ul << 20) + 13, 8ul << 20}) {
      for (const size_t alignment : {0ul, 1ul, 4095ul}) {
        RPC_ASSERT_OK(co_await CheckAppend(&rig.loop(), &channel, offset, size, alignment, 60s));
        offset += 777;
      }
      const auto length = static_cast<int32_t>(std::min(size, size_t{limits::kReadBytesMax}));
      RPC_ASSERT_OK(co_await CheckRead(&rig.loop(), &channel, offset, length, 60s));
    }
    RPC_ASSERT_OK(co_await CheckRead(&rig.loop(), &channel, 5, 0, 60s));  // no bulk at all
  });
  EXPECT_EQ(rig.service().misaligned, 0u);
  EXPECT_EQ(*rig.service().answer_bytes, 0);
}

TEST(Rpc, BulkAndSmallCallsMixed) {
  RpcWorld rig(4);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    auto check = [](Task<Status> task) -> Task<void> {
      const Status status = co_await std::move(task);
      EXPECT_TRUE(status.ok()) << status.ToString();
    };
    Random random(4);
    for (int i = 0; i < 300; ++i) {
      const auto size = static_cast<int32_t>(1 + random.Uniform(200'000));
      switch (random.Uniform(3)) {
        case 0:
          group.Spawn(
              check(CheckAppend(&rig.loop(), &channel, i, static_cast<size_t>(size), 9, 60s)));
          break;
        case 1:
          group.Spawn(check(CheckRead(&rig.loop(), &channel, i, size, 60s)));
          break;
        default:
          group.Spawn(check(CheckEcho(&rig.loop(), &channel, i, 60s)));
      }
    }
    co_await group.Drain();
  });
  EXPECT_EQ(*rig.service().answer_bytes, 0);
}

// Also calls that wait for the connection, and those that come at the moment when it is there.
TEST(Rpc, CallsBeginInTheOrderInWhichTheyWereMade) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    TellSeedOnAbort(seed);
    RpcWorld rig(seed);
    std::vector<int64_t> made;
    rig.RunWithChannel([&](Channel& channel) -> Task<void> {
      TaskGroup group(rig.loop());
      int64_t next = 0;
      auto append = [&]() -> Task<void> {
        const int64_t offset = next++;
        made.push_back(offset);
        const Status status = co_await CheckAppend(&rig.loop(), &channel, offset, 3000, 0, 60s);
        EXPECT_TRUE(status.ok()) << status.ToString();
      };
      // One call at each turn of the loop, before, while and after it connects.
      for (int i = 0; i < 400; ++i) {
        group.Spawn(append());
        if (i % 3 == 0) co_await rig.loop().Yield();
        if (i % 7 == 0) co_await rig.loop().Sleep(10us);
      }
      co_await group.Drain();
    });
    EXPECT_EQ(rig.service().appended, made) << rig.world.Describe();
  }
}

// More than may be queued: senders wait, in order.
TEST(Rpc, CallsThatWaitForRoomKeepTheirOrder) {
  RpcWorld rig(6);
  std::vector<int64_t> made;
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    auto append = [&](int64_t offset) -> Task<void> {
      made.push_back(offset);
      const size_t size = offset % 5 == 0 ? (4 << 20) : 100;
      const Status status = co_await CheckAppend(&rig.loop(), &channel, offset, size, 0, 60s);
      EXPECT_TRUE(status.ok()) << status.ToString();
    };
    for (int64_t i = 0; i < 150; ++i) group.Spawn(append(i));
    co_await group.Drain();
  });
  EXPECT_EQ(rig.service().appended, made);
}

TEST(Rpc, ACallEndsAtItsDeadlineAndItsLateAnswerHurtsNobody) {
  RpcWorld rig(7);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    const Instant start = rig.loop().Now();
    idl::InodeRequest request;
    request.inode = 3000;
    auto response = co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 1s));
    EXPECT_EQ(response.code(), Code::kTimeout);
    EXPECT_GE(rig.loop().Now() - start, 1s);
    EXPECT_LT(rig.loop().Now() - start, 1100ms);
    EXPECT_EQ(channel.calls_in_flight(), 0u);
    for (int i = 0; i < 50; ++i) {  // past the late answer
      RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, i, 5s));
      co_await rig.loop().Sleep(100ms);
    }
    // A deadline that has passed: nothing is sent.
    auto late = co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), -1s));
    EXPECT_EQ(late.code(), Code::kTimeout);
  });
  EXPECT_EQ(rig.service().running_max, 1);
}

// The late answer of a read brings bulk, which has to be read past.
TEST(Rpc, BulkOfACallerThatHasGoneIsDropped) {
  RpcWorld rig(8);
  rig.world.net().SetSlowness(rig.server_machine, rig.client, 50);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 60s));
    int timeouts = 0;
    for (int i = 1; i <= 40; ++i) {
      const Status status =
          co_await CheckRead(&rig.loop(), &channel, i, 1 << 20, std::chrono::milliseconds(8 * i));
      if (status.code() == Code::kTimeout) ++timeouts;
      EXPECT_TRUE(status.ok() || status.code() == Code::kTimeout) << status.ToString();
      RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, i, 60s));
    }
    EXPECT_GT(timeouts, 5);
    EXPECT_LT(timeouts, 40);
  });
}

TEST(Rpc, UnknownMethodsAndWrongRolesAreRefusedAndTheConnectionStays) {
  RpcWorld rig(9);
  auto body = [&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    // With bulk, which the server has to read past.
    CallOptions options = Within(rig.loop(), 5s);
    options.bulk.Add(PatternBuffer(0, 100'000).Share());
    auto unknown = co_await channel.Call(idl::kAcquireDirectory, {}, std::move(options));
    EXPECT_EQ(unknown.code(), Code::kNotSupported);
    EXPECT_THAT(unknown.status().message(), HasSubstr("acquireDirectory"));
    auto refused = co_await channel.Ask(idl::kDeleteReplica, {}, Within(rig.loop(), 5s));
    EXPECT_EQ(refused.code(), Code::kWrongRole);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 2, 5s));
    auto status = rig.service().metrics.PrometheusText();
    EXPECT_THAT(status, HasSubstr("moraine_rpc_connections 1"));
  };
  rig.RunWithChannel(body);
  rig.RunWithChannel(
      [&](Channel& channel) -> Task<void> {
        auto allowed = co_await channel.Ask(idl::kDeleteReplica, {}, Within(rig.loop(), 5s));
        EXPECT_TRUE(allowed.ok()) << allowed.status().ToString();
      },
      Identity{idl::Role::kMetaserver, "cluster-a", "other", ServerId()});
}

TEST(Rpc, WhatDoesNotFitIntoAFrameIsRefusedAndTheConnectionStays) {
  RpcWorld rig(10);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    idl::EntryRequest large;
    large.name.assign(limits::kFrameBytesMax, 'x');
    auto sent = co_await channel.Ask(idl::kLookup, large, Within(rig.loop(), 5s));
    EXPECT_EQ(sent.code(), Code::kTooLarge);
    large.name.resize(limits::kFrameBytesMax - 1000);
    auto echoed = co_await channel.Ask(idl::kLookup, large, Within(rig.loop(), 5s));
    EXPECT_EQ(echoed.code(), Code::kNotFound);

    idl::GetXattrRequest value;
    value.inode = limits::kFrameBytesMax - 1000;
    auto fits = co_await channel.Ask(idl::kGetXattr, value, Within(rig.loop(), 5s));
    EXPECT_TRUE(fits.ok()) << fits.status().ToString();
    value.inode = limits::kFrameBytesMax;
    auto answered = co_await channel.Ask(idl::kGetXattr, value, Within(rig.loop(), 5s));
    EXPECT_EQ(answered.code(), Code::kTooLarge);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 2, 5s));
  });
}

// A call too many was refused at once, which a writer took for a dead server.
TEST(Rpc, ACallTooManyWaitsForAnotherToEnd) {
  RpcWorld rig(11);
  int answered = 0;
  int refused = 0;
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    auto sleep = [&](int64_t duration_ms, Duration patience) -> Task<void> {
      idl::InodeRequest request;
      request.inode = duration_ms;
      auto response =
          co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), patience));
      if (response.ok()) ++answered;
      if (response.code() == Code::kOverloaded) ++refused;
    };
    for (int i = 0; i < limits::kCallsPerConnectionMax + 50; ++i) group.Spawn(sleep(1000, 60s));
    // Nobody ends in this one's time.
    group.Spawn(sleep(1000, 100ms));
    co_await group.Drain();
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 2, 5s));
  });
  EXPECT_EQ(answered, limits::kCallsPerConnectionMax + 50);
  EXPECT_EQ(refused, 1);
}

TEST(Rpc, CloseEndsCallsAtOnce) {
  RpcWorld rig(12);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    TaskGroup group(rig.loop());
    int canceled = 0;
    auto sleep = [&]() -> Task<void> {
      idl::InodeRequest request;
      request.inode = 50'000;
      auto response = co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 60s));
      if (response.code() == Code::kCanceled) ++canceled;
    };
    for (int i = 0; i < 10; ++i) group.Spawn(sleep());
    co_await rig.loop().Sleep(1s);
    const Instant start = rig.loop().Now();
    channel.Close();
    co_await group.Drain();
    co_await channel.Drain();
    EXPECT_LT(rig.loop().Now() - start, 1ms);
    EXPECT_EQ(canceled, 10);
    const Status after = co_await CheckEcho(&rig.loop(), &channel, 1, 5s);
    EXPECT_EQ(after.code(), Code::kCanceled);
  });
}

// Accepts and says nothing.
TEST(Rpc, CloseEndsAHandshakeUnderWay) {
  RpcWorld rig(13);
  rig.server_machine.Pause();
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    TaskGroup group(rig.loop());
    Status status;
    auto echo = [&]() -> Task<void> { status = co_await CheckEcho(&rig.loop(), &channel, 1, 60s); };
    group.Spawn(echo());
    co_await rig.loop().Sleep(500ms);
    const Instant start = rig.loop().Now();
    channel.Close();
    co_await channel.Drain();
    co_await group.Drain();
    EXPECT_LT(rig.loop().Now() - start, 1ms);
    EXPECT_EQ(status.code(), Code::kCanceled);
  });
}

TEST(Rpc, AHandshakeThatIsRefusedNamesTheReason) {
  Identity chunkserver{idl::Role::kChunkserver, "cluster-a", "server", ServerId(7)};
  RpcWorld rig(14, {}, chunkserver);
  struct Case {
    Identity self;
    Expectation expectation;
    Code code;
    std::string words;
  };
  const std::vector<Case> cases = {
      {{idl::Role::kClient, "cluster-b", "c", ServerId()},
       {idl::Role::kChunkserver, ServerId(7)},
       Code::kWrongCluster,
       "cluster-b"},
      {{idl::Role::kClient, "cluster-a", "c", ServerId()},
       {idl::Role::kChunkserver, ServerId(8)},
       Code::kWrongRole,
       "this is chunkserver 7, not 8"},
      {{idl::Role::kClient, "", "c", ServerId()},
       {idl::Role::kMetaserver, ServerId()},
       Code::kWrongRole,
       "a chunkserver, not a metaserver"},
      {{idl::Role::kClient, "", "c", ServerId()},
       {idl::Role::kChunkserver, ServerId(7)},
       Code::kOk,
       ""},
      {{idl::Role::kClient, "cluster-a", "c", ServerId()},
       {idl::Role::kChunkserver, ServerId()},
       Code::kOk,
       ""},
  };
  rig.Run([&]() -> Task<void> {
    for (const Case& c : cases) {
      Channel channel(rig.loop(), rig.endpoint(), c.self, c.expectation);
      const Status status = co_await CheckEcho(&rig.loop(), &channel, 1, 5s);
      EXPECT_EQ(status.code(), c.code) << status.ToString();
      EXPECT_THAT(status.message(), HasSubstr(c.words));
      channel.Close();
      co_await channel.Drain();
    }
  });
}

// All who wait for a connection that cannot be had are told together, not one attempt after
// another.
TEST(Rpc, AFailedAttemptToConnectFailsAllWhoWaitedForIt) {
  RpcWorld rig(15);
  rig.server_machine.Kill();
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    const Instant start = rig.loop().Now();
    TaskGroup group(rig.loop());
    int unavailable = 0;
    auto echo = [&]() -> Task<void> {
      const Status status = co_await CheckEcho(&rig.loop(), &channel, 1, 60s);
      if (status.code() == Code::kUnavailable) ++unavailable;
    };
    for (int i = 0; i < 100; ++i) group.Spawn(echo());
    co_await group.Drain();
    EXPECT_EQ(unavailable, 100);
    EXPECT_LT(rig.loop().Now() - start, 1s);
  });
}

TEST(Rpc, ChannelsAreKeptByEndpointAndServer) {
  RpcWorld rig(16, {}, Identity{idl::Role::kChunkserver, "cluster-a", "server", ServerId(7)});
  rig.Run([&]() -> Task<void> {
    Channels channels(rig.loop(), ClientIdentity());
    Channel& seven = channels.To(rig.endpoint(), ServerId(7));
    EXPECT_EQ(&seven, &channels.To(rig.endpoint(), ServerId(7)));
    Channel& eight = channels.To(rig.endpoint(), ServerId(8));
    EXPECT_NE(&seven, &eight);
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &seven, 1, 5s));
    const Status wrong = co_await CheckEcho(&rig.loop(), &eight, 1, 5s);
    EXPECT_EQ(wrong.code(), Code::kWrongRole);
    channels.Close();
    const Status closed =
        co_await CheckEcho(&rig.loop(), &channels.To(rig.endpoint(), ServerId(9)), 1, 5s);
    EXPECT_EQ(closed.code(), Code::kCanceled);
    co_await channels.Drain();
  });
}

TEST(Rpc, AServerThatShutsDownEndsItsConnectionsAndDrains) {
  RpcWorld rig(17);
  rig.RunWithChannel([&](Channel& channel) -> Task<void> {
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &channel, 1, 5s));
    TaskGroup group(rig.loop());
    Status asleep;
    auto sleep = [&]() -> Task<void> {
      idl::InodeRequest request;
      request.inode = 2000;
      asleep =
          (co_await channel.Ask(idl::kSyncMetadata, request, Within(rig.loop(), 60s))).status();
    };
    group.Spawn(sleep());
    co_await rig.loop().Sleep(100ms);
    bool drained = false;
    auto shut_down = [](TestService* service, bool* drained) -> Task<void> {
      service->server.Close();
      co_await service->server.Drain();
      *drained = true;
    };
    rig.server_machine.loop().Spawn(shut_down(&rig.service(), &drained));
    co_await group.Drain();
    EXPECT_EQ(asleep.code(), Code::kUnavailable);
    const Status refused = co_await CheckEcho(&rig.loop(), &channel, 1, 5s);
    EXPECT_EQ(refused.code(), Code::kUnavailable);
    co_await rig.loop().Sleep(3s);  // the handler that slept
    EXPECT_TRUE(drained);
  });
}

}  // namespace
}  // namespace moraine::rpc
