// Streams under faults: cuts, resets, pauses, kills, power cuts.
#include <string>
#include <vector>

#include "base/loop/sim/network.h"
#include "base/loop/sim/test_support.h"
#include "base/loop/task_group.h"

namespace moraine::sim {
namespace {

constexpr uint16_t kPort = 7000;

// Sends back what it gets; also counts.
class EchoServer : public Process {
 public:
  explicit EchoServer(SimLoop& loop) : group_(loop) {
    listener_ = std::move(*loop.Listen({"", kPort}));
    group_.Spawn(AcceptAll());
  }
  uint64_t received() const { return received_; }
  int ended() const { return ended_; }
  int broken() const { return broken_; }

 private:
  Task<void> AcceptAll() {
    while (true) {
      auto stream = co_await listener_->Accept();
      if (!stream.ok()) co_return;
      group_.Spawn(Echo(std::move(*stream)));
    }
  }
  Task<void> Echo(std::unique_ptr<Stream> stream) {
    std::string buffer(1024, '\0');
    while (true) {
      const Result<size_t> got = co_await stream->Read(Writable(buffer));
      if (!got.ok()) ++broken_;
      if (got.ok() && *got == 0) ++ended_;
      if (!got.ok() || *got == 0) co_return;
      received_ += *got;
      if (!(co_await SendText(*stream, buffer.substr(0, *got))).ok()) co_return;
    }
  }

  TaskGroup group_;
  std::unique_ptr<Listener> listener_;
  uint64_t received_ = 0;
  int ended_ = 0;
  int broken_ = 0;
};

class SimNetTest : public testing::Test {
 protected:
  explicit SimNetTest(WorldOptions options = {})
      : world_(1, options),
        client_(world_.AddMachine("client")),
        server_(world_.AddMachine("server")),
        bridge_(world_.AddMachine("bridge")) {
    client_.Start();
    for (Machine* machine : {&server_, &bridge_}) {
      machine->Start([](SimLoop& loop) { return std::make_unique<EchoServer>(loop); });
    }
  }
  void Run(std::function<Task<void>()> body) { RunOn(world_, client_, std::move(body)); }
  Task<Result<std::unique_ptr<Stream>>> Connect(std::string host = "server",
                                                Duration patience = 5s) {
    SimLoop& loop = client_.loop();
    return loop.Connect({std::move(host), kPort}, loop.After(patience));
  }
  // An open connection to the server, used once.
  std::unique_ptr<Stream> Connected() {
    std::unique_ptr<Stream> stream;
    Run([&]() -> Task<void> {
      auto made = co_await Connect();
      EXPECT_TRUE(made.ok()) << made.status().ToString();
      stream = std::move(*made);
      EXPECT_EQ(co_await Exchange(stream.get()), Code::kOk);
    });
    return stream;
  }
  static Task<Code> Exchange(Stream* stream) {
    const Status sent = co_await SendText(*stream, "ping");
    if (!sent.ok()) co_return sent.code();
    const Result<std::string> got = co_await ReceiveText(*stream, 4);
    if (got.ok()) EXPECT_TRUE(*got == "ping" || got->size() < 4);
    co_return got.ok() && got->size() < 4 ? Code::kUnavailable : got.code();
  }
  // Starts an exchange that the test watches from outside.
  std::shared_ptr<std::optional<Code>> StartExchange(Stream* stream) {
    auto code = std::make_shared<std::optional<Code>>();
    client_.loop().Spawn(world_internal::Keep<Code>(code, Exchange(stream)));
    return code;
  }
  EchoServer& server() { return server_.process_as<EchoServer>(); }

  World world_;
  Machine& client_;
  Machine& server_;
  Machine& bridge_;
};

TEST_F(SimNetTest, ADeadProcessRefusesAnOffMachineIsSilent) {
  server_.Kill();
  Run([&]() -> Task<void> { EXPECT_EQ((co_await Connect()).code(), Code::kUnavailable); });
  server_.PowerCut();
  Run([&]() -> Task<void> {
    const Instant before = client_.loop().Now();
    EXPECT_EQ((co_await Connect()).code(), Code::kTimeout);
    EXPECT_GE(client_.loop().Now() - before, 5s);
  });
  server_.SwitchOn();
  Run([&]() -> Task<void> { EXPECT_EQ((co_await Connect()).code(), Code::kUnavailable); });
}

TEST_F(SimNetTest, AConnectWaitsForTheHeal) {
  world_.net().Partition({&client_}, {&server_});
  world_.At(2s, [&] { world_.net().MendAll(); });
  Run([&]() -> Task<void> { EXPECT_TRUE((co_await Connect()).ok()); });
  EXPECT_GE(world_.now(), 2s);
}

TEST_F(SimNetTest, AKilledServerEndsItsConnectionsOneWayOrTheOther) {
  int ended = 0;
  int reset = 0;
  for (int i = 0; i < 40; ++i) {
    auto stream = Connected();
    server_.Kill();
    Run([&]() -> Task<void> {
      std::string text(1, '?');
      const Result<size_t> got = co_await stream->Read(Writable(text));
      EXPECT_TRUE(got.ok() ? *got == 0 : got.code() == Code::kUnavailable);
      (got.ok() ? ended : reset) += 1;
    });
    // What is sent now is answered with a reset.
    Run([&]() -> Task<void> {
      while ((co_await SendText(*stream, "x")).ok()) co_await client_.loop().Sleep(1ms);
    });
    server_.Restart();
  }
  EXPECT_GT(ended, 5);
  EXPECT_GT(reset, 5);
}

TEST_F(SimNetTest, BytesWaitForTheHealAndArriveInOrder) {
  auto stream = Connected();
  world_.net().Partition({&client_, &bridge_}, {&server_});
  auto code = StartExchange(stream.get());
  world_.RunFor(5s);
  EXPECT_FALSE(code->has_value());
  EXPECT_EQ(server().received(), 4u);
  world_.net().MendAll();
  EXPECT_TRUE(world_.RunUntil([&] { return code->has_value(); }, 5s));
  EXPECT_EQ(*code, Code::kOk);
}

TEST_F(SimNetTest, ALongCutBreaksTheConnectionOfWhoSends) {
  auto stream = Connected();
  world_.net().Partition({&client_}, {&server_});
  auto code = StartExchange(stream.get());
  EXPECT_TRUE(world_.RunUntil([&] { return code->has_value(); }, 61s));
  EXPECT_EQ(*code, Code::kUnavailable);
  EXPECT_EQ(server().broken() + server().ended(), 0) << "nobody told the server";
}

TEST_F(SimNetTest, ACutOfOneDirectionLetsTheOtherThroughUntilItsWindowIsFull) {
  auto stream = Connected();
  world_.net().Cut(server_, client_);
  auto code = StartExchange(stream.get());
  world_.RunFor(5s);
  EXPECT_EQ(server().received(), 8u) << "the request arrives";
  EXPECT_FALSE(code->has_value()) << "the answer does not";
  EXPECT_TRUE(world_.RunUntil([&] { return code->has_value(); }, 61s));
  EXPECT_EQ(*code, Code::kUnavailable) << "the client never heard that its bytes arrived";
}

TEST_F(SimNetTest, ABridgeReachesBothSides) {
  world_.net().Partition({&client_}, {&server_});
  Run([&]() -> Task<void> {
    EXPECT_TRUE((co_await Connect("bridge")).ok());
    EXPECT_EQ((co_await Connect("server")).code(), Code::kTimeout);
  });
  RunOn(world_, bridge_, [&]() -> Task<void> {
    SimLoop& loop = bridge_.loop();
    EXPECT_TRUE((co_await loop.Connect({"server", kPort}, loop.After(1s))).ok());
  });
}

TEST_F(SimNetTest, AfterAPowerCutTheConnectionIsHalfOpen) {
  auto stream = Connected();
  server_.PowerCut();
  auto read = std::make_shared<std::optional<Code>>();
  struct Reader {
    static Task<Code> Go(Stream* stream) {
      std::string text(1, '?');
      co_return (co_await stream->Read(Writable(text))).code();
    }
  };
  client_.loop().Spawn(world_internal::Keep<Code>(read, Reader::Go(stream.get())));
  world_.RunFor(1h);
  EXPECT_FALSE(read->has_value()) << "nobody told the client";
  server_.Restart();
  world_.RunFor(1h);
  EXPECT_FALSE(read->has_value()) << "nor now";
  Run([&]() -> Task<void> { EXPECT_TRUE((co_await SendText(*stream, "x")).ok()); });
  EXPECT_TRUE(world_.RunUntil([&] { return read->has_value(); }, 1s));
  EXPECT_EQ(*read, Code::kUnavailable);
}

TEST_F(SimNetTest, APausedReaderFillsTheWindowAndBlocksTheWriter) {
  auto stream = Connected();
  server_.Pause();
  const std::string text(1 << 20, 'x');
  auto code = std::make_shared<std::optional<Status>>();
  client_.loop().Spawn(world_internal::Keep<Status>(code, SendText(*stream, text)));
  world_.RunFor(10s);
  EXPECT_FALSE(code->has_value());
  server_.Resume();
  // Echoes must be read, or both block for ever.
  Run([&]() -> Task<void> {
    EXPECT_EQ((co_await ReceiveText(*stream, text.size())).value_or(""), text);
  });
  EXPECT_TRUE(code->has_value() && (*code)->ok());
}

TEST_F(SimNetTest, APausedServerTakesConnectionsAndAnswersLater) {
  server_.Pause(3s);
  Run([&]() -> Task<void> {
    auto stream = co_await Connect();
    EXPECT_TRUE(stream.ok());
    EXPECT_LT(world_.now(), 1s);
    EXPECT_EQ(co_await Exchange(stream->get()), Code::kOk);
  });
  EXPECT_GE(world_.now(), 3s);
}

TEST_F(SimNetTest, SlowLinksAreSlow) {
  auto stream = Connected();
  auto time_of_exchange = [&] {
    const Duration before = world_.now();
    Run([&]() -> Task<void> { EXPECT_EQ(co_await Exchange(stream.get()), Code::kOk); });
    return world_.now() - before;
  };
  Duration fast = time_of_exchange();
  for (int i = 0; i < 10; ++i) fast = std::min(fast, time_of_exchange());
  world_.net().SetSlowness(client_, server_, 100);
  EXPECT_GT(time_of_exchange(), 10 * fast);
}

TEST_F(SimNetTest, AResetLeavesSomeFirstPartOfWhatWasSent) {
  bool part = false;
  for (int i = 0; i < 60; ++i) {
    auto stream = Connected();
    const uint64_t before = server().received();
    Run([&]() -> Task<void> {
      EXPECT_TRUE((co_await SendText(*stream, std::string(200'000, 'x'))).ok());
    });
    world_.net().ResetConnections(client_, server_);
    auto code = StartExchange(stream.get());
    EXPECT_TRUE(world_.RunUntil([&] { return code->has_value(); }, 5s));
    world_.RunFor(1s);
    const uint64_t arrived = server().received() - before;
    EXPECT_LE(arrived, 200'000u);
    part |= arrived > 0 && arrived < 200'000;
  }
  EXPECT_TRUE(part);
  EXPECT_EQ(world_.net().connection_count(), 0u) << "all were forgotten";
}

TEST_F(SimNetTest, AResetIsNoticedAlsoByWhoOnlyListens) {
  for (int i = 0; i < 60; ++i) {
    auto stream = Connected();
    world_.At(1ms, [&] { world_.net().ResetConnections(client_, server_); });
    Run([&]() -> Task<void> {
      std::string byte(1, '?');
      EXPECT_EQ((co_await stream->Read(Writable(byte))).code(), Code::kUnavailable);
    });
  }
}

TEST_F(SimNetTest, DifferentConnectionsOvertakeEachOther) {
  auto first = Connected();
  auto second = Connected();
  bool overtaken = false;
  for (int i = 0; i < 100 && !overtaken; ++i) {
    auto a = StartExchange(first.get());
    auto b = StartExchange(second.get());
    EXPECT_TRUE(world_.RunUntil([&] { return a->has_value() || b->has_value(); }, 5s));
    overtaken = b->has_value();
    EXPECT_TRUE(world_.RunUntil([&] { return a->has_value() && b->has_value(); }, 5s));
  }
  EXPECT_TRUE(overtaken);
}

TEST_F(SimNetTest, APortBelongsToItsProcess) {
  EXPECT_EQ(server_.loop().Listen({"", kPort}).code(), Code::kBusy);
  EXPECT_EQ(server_.loop().Listen({"client", 1}).code(), Code::kInvalidArgument);
  server_.Kill();
  server_.Start();
  EXPECT_TRUE(server_.loop().Listen({"", kPort}).ok());
}

}  // namespace
}  // namespace moraine::sim
