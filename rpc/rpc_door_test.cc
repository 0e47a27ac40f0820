// What a server lets in, and what it does with peers that do not behave. On virtual time.
#include <vector>

#include "base/loop/task_group.h"
#include "base/sanitized.h"
#include "rpc/sim_test_support.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

#define ASSIGN_PEER(name, expression)                                   \
  auto name##_result = co_await (expression);                           \
  EXPECT_TRUE(name##_result.ok()) << name##_result.status().ToString(); \
  if (!name##_result.ok()) co_return;                                   \
  RawPeer& name = **name##_result

std::string Big32(uint32_t value) {
  std::string bytes(4, '\0');
  StoreBig32(bytes.data(), value);
  return bytes;
}

TEST(RpcDoor, ARefusedHandshakeGetsItsReasonAndThenTheEnd) {
  RpcWorld rig(1);
  struct Case {
    std::function<void(idl::HandshakeRequest&)> change;
    Code code;
  };
  const std::vector<Case> cases = {
      {[](auto& request) { request.cluster = "cluster-b"; }, Code::kWrongCluster},
      {[](auto& request) { request.version = 0; }, Code::kWrongVersion},
      {[](auto& request) { request.expect_server_id = 5; }, Code::kWrongRole},
      {[](auto& request) { request.role = static_cast<idl::Role::type>(77); }, Code::kWrongRole},
  };
  rig.Run([&]() -> Task<void> {
    for (const Case& c : cases) {
      ASSIGN_PEER(peer, RawPeer::Connect(&rig.loop(), rig.endpoint()));
      // Calls behind the handshake, which nobody will read.
      std::string bytes = peer.Handshake(c.change);
      for (int i = 1; i <= 100; ++i) bytes += peer.GetAttributes(i);
      RPC_ASSERT_OK(co_await peer.Send(bytes));
      const Instant start = rig.loop().Now();
      const Status error = co_await peer.ReceiveError();
      EXPECT_EQ(error.code(), c.code) << error.ToString();
      const bool ended = co_await peer.Ends();
      EXPECT_TRUE(ended);
      EXPECT_LT(rig.loop().Now() - start, limits::kFarewellTimeout + 1s);
    }
  });
}

TEST(RpcDoor, NothingIsAnsweredBeforeTheHandshake) {
  RpcWorld rig(2);
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(peer, RawPeer::Connect(&rig.loop(), rig.endpoint()));
    RPC_ASSERT_OK(co_await peer.Send(peer.GetAttributes(1)));
    const Status error = co_await peer.ReceiveError();
    EXPECT_EQ(error.code(), Code::kWrongRole);
    EXPECT_THAT(error.message(), HasSubstr("handshake"));
    EXPECT_TRUE(co_await peer.Ends());
    // Nor is a long frame taken from a stranger.
    ASSIGN_PEER(second, RawPeer::Connect(&rig.loop(), rig.endpoint()));
    RPC_ASSERT_OK(co_await second.Send(Big32(limits::kSmallFrameBytes + 1)));
    const Instant start = rig.loop().Now();
    EXPECT_TRUE(co_await second.Ends());
    EXPECT_LT(rig.loop().Now() - start, limits::kFarewellTimeout + 1s);
  });
}

TEST(RpcDoor, AHandshakeIsDoneOnce) {
  RpcWorld rig(3);
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
    RPC_ASSERT_OK(co_await peer.Send(
        peer.Handshake([](auto& request) { request.role = idl::Role::kMetaserver; })));
    const Status error = co_await peer.ReceiveError();
    EXPECT_EQ(error.code(), Code::kWrongRole);
    EXPECT_TRUE(co_await peer.Ends());
  });
}

TEST(RpcDoor, WhoSaysNothingIsLeftWhoHasShakenHandsMayBeIdle) {
  RpcWorld rig(4);
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(idle, RawPeer::Greet(&rig.loop(), rig.endpoint()));
    ASSIGN_PEER(silent, RawPeer::Connect(&rig.loop(), rig.endpoint()));
    Instant start = rig.loop().Now();
    EXPECT_TRUE(co_await silent.Ends());
    EXPECT_LT(rig.loop().Now() - start, limits::kHandshakeTimeout + limits::kFarewellTimeout + 1s);
    // One byte now and then does not help.
    ASSIGN_PEER(slow, RawPeer::Connect(&rig.loop(), rig.endpoint()));
    start = rig.loop().Now();
    const std::string handshake = slow.Handshake();
    for (const char c : handshake) {
      if (!(co_await slow.Send(std::string(1, c))).ok()) break;
      co_await rig.loop().Sleep(1s);
    }
    EXPECT_TRUE(co_await slow.Ends());
    EXPECT_LT(rig.loop().Now() - start, limits::kHandshakeTimeout + limits::kFarewellTimeout + 3s);

    co_await rig.loop().Sleep(1h);
    RPC_ASSERT_OK(co_await idle.Send(idle.GetAttributes(1)));
    const Status error = co_await idle.ReceiveError();
    EXPECT_TRUE(error.ok()) << error.ToString();
  });
}

TEST(RpcDoor, ABegunFrameMustEnd) {
  RpcWorld rig(5, {.listen = {}, .frame_timeout = 10s});
  rig.Run([&]() -> Task<void> {
    for (const size_t sent : {1, 3, 4, 10}) {
      ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
      RPC_ASSERT_OK(co_await peer.Send(peer.GetAttributes(1).substr(0, sent)));
      const Instant start = rig.loop().Now();
      EXPECT_TRUE(co_await peer.Ends());
      EXPECT_GE(rig.loop().Now() - start, 9s);
      EXPECT_LT(rig.loop().Now() - start, 12s);
    }
  });
}

// Bulk that trickles in holds room for as long as it takes: it has one deadline in all.
TEST(RpcDoor, BulkMustEndToo) {
  RpcWorld rig(6, {.listen = {}, .frame_timeout = 10s});
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
    idl::RequestHeader header;
    header.bulk_bytes = 100;
    RPC_ASSERT_OK(co_await peer.Send(peer.encoder.Call("append", 1, header, idl::AppendRequest())));
    const Instant start = rig.loop().Now();
    int sent = 0;
    for (; sent < 100; ++sent) {
      if (!(co_await peer.Send("x")).ok()) break;
      co_await rig.loop().Sleep(1s);
    }
    EXPECT_LT(sent, 100);
    EXPECT_TRUE(co_await peer.Ends());
    EXPECT_LT(rig.loop().Now() - start, 15s);
  });
}

TEST(RpcDoor, LengthsAndNumbersOutsideTheirBoundsEndTheConnection) {
  RpcWorld rig(7);
  rig.Run([&]() -> Task<void> {
    for (const uint32_t length :
         {0u, static_cast<uint32_t>(limits::kFrameBytesMax) + 1, 1u << 31, UINT32_MAX}) {
      ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
      RPC_ASSERT_OK(co_await peer.Send(Big32(length)));
      const Instant start = rig.loop().Now();
      EXPECT_TRUE(co_await peer.Ends());
      EXPECT_LT(rig.loop().Now() - start, limits::kFarewellTimeout + 1s);
    }
    const auto out_of_bounds = std::vector<std::pair<int32_t, int32_t>>{
        {-1, 0},         {limits::kBulkBytesMax + 1, 0}, {INT32_MIN, 0}, {100, -1}, {100, 4096},
        {100, INT32_MAX}};
    for (const auto& [bulk_bytes, alignment] : out_of_bounds) {
      ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
      idl::RequestHeader header;
      header.bulk_bytes = bulk_bytes;
      header.bulk_alignment = alignment;
      RPC_ASSERT_OK(
          co_await peer.Send(peer.encoder.Call("append", 1, header, idl::AppendRequest())));
      EXPECT_TRUE(co_await peer.Ends());
    }
  });
  EXPECT_TRUE(rig.service().appended.empty());
}

TEST(RpcDoor, ConnectionsAreLimitedAndRoomComesBack) {
  RpcWorld rig(8, {.listen = {}, .connections_max = 10});
  rig.Run([&]() -> Task<void> {
    std::vector<std::unique_ptr<RawPeer>> peers;
    for (int i = 0; i < 10; ++i) {
      auto peer = co_await RawPeer::Greet(&rig.loop(), rig.endpoint());
      EXPECT_TRUE(peer.ok()) << peer.status().ToString();
      if (!peer.ok()) co_return;
      peers.push_back(std::move(*peer));
    }
    auto refused = co_await RawPeer::Greet(&rig.loop(), rig.endpoint());
    EXPECT_FALSE(refused.ok());
    peers.pop_back();
    co_await rig.loop().Sleep(1s);
    auto admitted = co_await RawPeer::Greet(&rig.loop(), rig.endpoint());
    EXPECT_TRUE(admitted.ok()) << admitted.status().ToString();
  });
  EXPECT_THAT(rig.service().metrics.PrometheusText(),
              HasSubstr("moraine_rpc_refused_connections_total 1"));
}

TEST(RpcDoor, CallsOfOneConnectionAreLimitedAndWaitInTheSocket) {
  RpcWorld rig(9);
  constexpr int kCalls = 3000;
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
    std::string bytes;
    idl::InodeRequest request;
    request.inode = 1000;
    for (int i = 0; i < kCalls; ++i) bytes += peer.encoder.Call("syncMetadata", i, {}, request);
    RPC_ASSERT_OK(co_await peer.Send(bytes));
    for (int i = 0; i < kCalls; ++i) {
      const Status error = co_await peer.ReceiveError();
      EXPECT_TRUE(error.ok()) << error.ToString();
      if (!error.ok()) co_return;
    }
  });
  EXPECT_EQ(rig.service().running_max, limits::kCallsPerConnectionMax);
}

// Peers that ask for much and read nothing: what waits for them is bounded, one by one and in all,
// others are served meanwhile, and in the end they are left.
TEST(RpcDoor, AnswersThatNobodyReadsAreBounded) {
  RpcWorld rig(10, {.listen = {}, .frame_timeout = 20s});
  rig.RunWithChannel([&](Channel& good) -> Task<void> {
    std::vector<std::unique_ptr<RawPeer>> peers;
    for (int i = 0; i < 4; ++i) {
      auto peer = co_await RawPeer::Greet(&rig.loop(), rig.endpoint());
      EXPECT_TRUE(peer.ok());
      if (!peer.ok()) co_return;
      std::string bytes;
      idl::ReadRequest request;
      request.length = limits::kReadBytesMax;
      request.chunk = 500;  // as from a slow disk: many are under way before the first is answered
      for (int call = 0; call < 500; ++call)
        bytes += (*peer)->encoder.Call("read", call, {}, request);
      RPC_ASSERT_OK(co_await (*peer)->Send(bytes));
      peers.push_back(std::move(*peer));
    }
    for (int i = 0; i < 10; ++i) {
      RPC_ASSERT_OK(co_await CheckRead(&rig.loop(), &good, i, limits::kReadBytesMax, 5s));
      co_await rig.loop().Sleep(1s);
    }
    EXPECT_LE(rig.service().answer_bytes_max, 5 * static_cast<int64_t>(limits::kPeerBulkBytesMax));
    EXPECT_GE(rig.service().answer_bytes_max, 4 * static_cast<int64_t>(limits::kQueuedBytesMax));
    co_await rig.loop().Sleep(30s);
    EXPECT_EQ(*rig.service().answer_bytes, 0);
    RPC_ASSERT_OK(co_await CheckRead(&rig.loop(), &good, 1, limits::kReadBytesMax, 5s));
  });
}

TEST(RpcDoor, SmallAnswersThatNobodyReadsAreBounded) {
  RpcWorld rig(11, {.listen = {}, .frame_timeout = 20s});
  rig.Run([&]() -> Task<void> {
    ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
    // Each asks for 64 KiB with some 30 bytes. The server stops to read, and so our sending stops.
    idl::GetXattrRequest request;
    request.inode = 64 << 10;
    std::string bytes;
    for (int i = 0; i < 500; ++i) bytes += peer.encoder.Call("getXattr", i, {}, request);
    Status sent;
    int rounds = 0;
    while (sent.ok() && rounds < 1000) {
      sent = co_await peer.Send(bytes);
      ++rounds;
    }
    EXPECT_FALSE(sent.ok());
    EXPECT_TRUE(co_await peer.Ends());
  });
  Counter& calls =
      rig.service().metrics.GetCounter("moraine_rpc_calls_total", "", {{"method", "getXattr"}});
  const uint64_t queued_max =
      limits::kQueuedBytesMax + limits::kCallsPerConnectionMax * (65ULL << 10);
  EXPECT_LT(calls.Value() * (64 << 10), 2 * queued_max);
}

// Calls that bring and fetch raw bytes at once, from many: nobody waits for ever for room that
// others hold while they wait.
TEST(RpcDoor, RoomForBulkBothWaysDoesNotLock) {
  RpcWorld rig(12);
  constexpr int kPeers = Rounds(160, 80);
  static_assert(kPeers * limits::kBulkBytesMax > limits::kServerBulkBytesMax);
  const std::string quarter(limits::kBulkBytesMax / 4, 'x');
  int done = 0;
  rig.Run([&]() -> Task<void> {
    TaskGroup group(rig.loop());
    auto work = [&]() -> Task<void> {
      ASSIGN_PEER(peer, RawPeer::Greet(&rig.loop(), rig.endpoint()));
      idl::RequestHeader header;
      header.bulk_bytes = limits::kBulkBytesMax;
      idl::ReadRequest request;
      request.length = limits::kReadBytesMax;
      RPC_ASSERT_OK(co_await peer.Send(peer.encoder.Call("read", 1, header, request)));
      for (int i = 0; i < 4; ++i) RPC_ASSERT_OK(co_await peer.Send(quarter));
      RPC_ASSERT_OK((co_await peer.Receive()).status());
      RPC_ASSERT_OK((co_await peer.Read(limits::kReadBytesMax)).status());
      ++done;
    };
    for (int i = 0; i < kPeers; ++i) group.Spawn(work());
    co_await group.Drain();
  });
  EXPECT_EQ(done, kPeers);
}

// Frames over limits::kSmallFrameBytes share a bound: who announces them and does not send them
// makes others wait for no longer than the time for a frame.
TEST(RpcDoor, AnnouncedFramesDoNotStopOthersForLong) {
  RpcWorld rig(13, {.listen = {}, .frame_timeout = 5s});
  rig.RunWithChannel([&](Channel& good) -> Task<void> {
    std::vector<std::unique_ptr<RawPeer>> peers;
    for (size_t i = 0; i < 2 * limits::kServerFrameBytesMax / limits::kFrameBytesMax; ++i) {
      auto peer = co_await RawPeer::Greet(&rig.loop(), rig.endpoint());
      EXPECT_TRUE(peer.ok());
      if (!peer.ok()) co_return;
      RPC_ASSERT_OK(co_await (*peer)->Send(Big32(limits::kFrameBytesMax)));
      peers.push_back(std::move(*peer));
    }
    RPC_ASSERT_OK(co_await CheckEcho(&rig.loop(), &good, 1, 1s));  // small ones do not wait at all
    idl::EntryRequest large;
    large.name.assign(1 << 20, 'x');
    auto answer = co_await good.Ask(idl::kLookup, large, Within(rig.loop(), 20s));
    EXPECT_EQ(answer.code(), Code::kNotFound) << answer.status().ToString();
  });
}

}  // namespace
}  // namespace moraine::rpc
