#include "base/loop/driven_loop.h"

#include <atomic>
#include <thread>
#include <vector>

#include "base/loop/conformance.h"
#include "base/loop/silent_server_for_test.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

std::unique_ptr<DrivenLoop> MakeLoop(DrivenLoop::Options options = {}) {
  auto loop = DrivenLoop::Create(options);
  MORAINE_CHECK(loop.ok(), loop.status().ToString());
  return std::move(*loop);
}

class DrivenHarness : public LoopHarness {
 public:
  explicit DrivenHarness(DrivenLoop::Options options = {}) : loop_(MakeLoop(options)) {}
  Loop& loop() override { return *loop_; }
  void Run(std::function<Task<void>()> body) override { loop_->Block(std::move(body)); }
  std::string host() override { return "127.0.0.1"; }
  Endpoint silent() override { return silent_.endpoint(); }

 protected:
  const SilentServerForTest silent_;
  std::unique_ptr<DrivenLoop> loop_;
};

// Nobody waits in Block: all of it is the keeper's work.
class KeptHarness : public DrivenHarness {
 public:
  void Run(std::function<Task<void>()> body) override {
    std::atomic<bool> ended = false;
    loop_->Post([&] { loop_->Spawn(RunThen(&body, &ended)); });
    ended.wait(false);
  }

 private:
  static Task<void> RunThen(std::function<Task<void>()>* body, std::atomic<bool>* ended) {
    co_await (*body)();
    ended->store(true);
    ended->notify_one();
  }
};

std::unique_ptr<LoopHarness> Plain() { return std::make_unique<DrivenHarness>(); }
std::unique_ptr<LoopHarness> NeverSpinning() {
  return std::make_unique<DrivenHarness>(DrivenLoop::Options{.spin = 0us, .seed = 1});
}
std::unique_ptr<LoopHarness> Kept() { return std::make_unique<KeptHarness>(); }

std::string Name(const testing::TestParamInfo<HarnessFactory>& info) {
  if (info.param == &Plain) return "Plain";
  return info.param == &Kept ? "Kept" : "NeverSpinning";
}
INSTANTIATE_TEST_SUITE_P(Driven, LoopConformance, testing::Values(&Plain, &NeverSpinning, &Kept),
                         Name);

TEST(DrivenLoopTest, BlockReturnsWhatTheTaskReturns) {
  const auto loop = MakeLoop();
  const int value = loop->Block([]() -> Task<int> { co_return 7; });
  EXPECT_EQ(value, 7);
  const auto owned =
      loop->Block([]() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(8); });
  EXPECT_EQ(*owned, 8);
  const auto refused =
      loop->Block([]() -> Task<Result<int>> { co_return Status(Code::kNotFound, "nothing"); });
  EXPECT_EQ(refused.code(), Code::kNotFound);
  bool ran = false;
  loop->Block([&]() -> Task<void> {
    ran = true;
    co_return;
  });
  EXPECT_TRUE(ran);
}

TEST(DrivenLoopTest, ManyThreadsBlockAndSleepAtOnce) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  const auto loop = MakeLoop();
  constexpr int kThreads = 8;
  constexpr int kCalls = 300;
  int64_t on_loop = 0;  // no lock: that is what the loop promises
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(seed + static_cast<uint64_t>(t));
      for (int i = 0; i < kCalls; ++i) {
        const Duration delay{random.Uniform(200'000)};
        const int got = loop->Block([&]() -> Task<int> {
          ++on_loop;
          if (delay.count() % 3 != 0) co_await loop->Sleep(delay);
          ++on_loop;
          co_return i;
        });
        EXPECT_EQ(got, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const int64_t counted = loop->Block([&]() -> Task<int64_t> { co_return on_loop; });
  EXPECT_EQ(counted, 2 * kThreads * kCalls);
}

TEST(DrivenLoopTest, ThreadsMeetOnTheLoop) {
  const auto loop = MakeLoop();
  for (int i = 0; i < 300; ++i) {
    std::unique_ptr<Event> event;
    loop->Block([&]() -> Task<void> {
      event = std::make_unique<Event>(*loop);
      co_return;
    });
    std::thread setter([&] {
      loop->Block([&]() -> Task<void> {
        event->Set();
        co_return;
      });
    });
    const bool set = loop->Block([&] { return event->Wait(loop->After(20s)); });
    EXPECT_TRUE(set);
    setter.join();
  }
}

// An echo server on a loop and a thread of its own.
class EchoServer {
 public:
  EchoServer() {
    auto loop = UringLoop::Create();
    MORAINE_CHECK(loop.ok());
    loop_ = std::move(*loop);
    auto listener = loop_->Listen({"127.0.0.1", 0});
    MORAINE_CHECK(listener.ok());
    listener_ = std::move(*listener);
    loop_->Spawn(AcceptAll());
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~EchoServer() {
    loop_->Stop();
    thread_.join();
  }
  Endpoint endpoint() const { return listener_->local(); }

 private:
  Task<void> AcceptAll() {
    while (true) {
      auto stream = co_await listener_->Accept();
      if (!stream.ok()) co_return;
      loop_->Spawn(Echo(std::move(*stream)));
    }
  }
  static Task<void> Echo(std::unique_ptr<Stream> stream) {
    std::string buffer(1000, '\0');
    while (true) {
      const auto got = co_await stream->Read(AsWritable(buffer));
      if (!got.ok() || *got == 0) co_return;
      const ConstBytes piece = AsBytes(buffer).first(*got);
      const Status written = co_await stream->Write(std::span(&piece, 1));
      if (!written.ok()) co_return;
    }
  }

  std::unique_ptr<UringLoop> loop_;
  std::unique_ptr<Listener> listener_;
  std::thread thread_;
};

Task<bool> RoundTrip(Stream* stream, int number) {
  const std::string said = "number " + std::to_string(100000 + number);
  const ConstBytes piece = AsBytes(said);
  const Status written = co_await stream->Write(std::span(&piece, 1));
  if (!written.ok()) co_return false;
  std::string heard(said.size(), '\0');
  for (size_t done = 0; done < heard.size();) {
    const auto got = co_await stream->Read(AsWritable(heard).subspan(done));
    if (!got.ok() || *got == 0) co_return false;
    done += *got;
  }
  co_return heard == said;
}

TEST(DrivenLoopTest, ManyThreadsTalkThroughOneLoop) {
  const EchoServer server;
  const auto loop = MakeLoop();
  constexpr int kThreads = 8;
  constexpr int kCalls = 500;
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      std::unique_ptr<Stream> stream;
      loop->Block([&]() -> Task<void> {
        auto connected = co_await loop->Connect(server.endpoint(), loop->After(20s));
        CO_ASSERT_OK(connected.status());
        stream = std::move(*connected);
      });
      for (int i = 0; i < kCalls && stream != nullptr; ++i) {
        if (loop->Block([&] { return RoundTrip(stream.get(), i); })) ++right;
      }
      loop->Block([&]() -> Task<void> {
        stream.reset();
        co_return;
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kCalls);
}

// Work that nobody waits for goes on between and after the calls.
TEST(DrivenLoopTest, TheKeeperDrivesWhatCallersLeaveBehind) {
  const EchoServer server;
  const auto loop = MakeLoop();
  std::atomic<int> beats = 0;
  std::unique_ptr<Stream> stream;
  auto heartbeat = [&]() -> Task<void> {
    for (int i = 0; i < 50; ++i) {
      co_await loop->Sleep(500us);
      const bool right = co_await RoundTrip(stream.get(), i);
      EXPECT_TRUE(right);
      ++beats;
      beats.notify_one();
    }
  };
  loop->Block([&]() -> Task<void> {
    auto connected = co_await loop->Connect(server.endpoint(), loop->After(20s));
    CO_ASSERT_OK(connected.status());
    stream = std::move(*connected);
    loop->Spawn(heartbeat());
  });
  for (int seen = 0; (seen = beats.load()) < 50;) beats.wait(seen);
  loop->Block([&]() -> Task<void> {
    stream.reset();
    co_return;
  });
}

// A long call parks the keeper; what comes after must wake it again.
TEST(DrivenLoopTest, AParkedKeeperComesBack) {
  const auto loop = MakeLoop({.grace = 100us});
  std::atomic<bool> late = false;
  auto after = [&]() -> Task<void> {
    co_await loop->Sleep(30ms);
    late = true;
    late.notify_one();
  };
  loop->Block([&]() -> Task<void> {
    co_await loop->Yield();
    co_return;
  });
  loop->Post([] {});  // there is a keeper from now on
  loop->Block([&]() -> Task<void> {
    loop->Spawn(after());
    co_await loop->Sleep(20ms);  // many graces
  });
  late.wait(false);
}

TEST(DrivenLoopTest, PostsReachAnIdleLoop) {
  const auto loop = MakeLoop();
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> ran = false;
    loop->Post([&] {
      ran = true;
      ran.notify_one();
    });
    ran.wait(false);
    if (i % 20 == 0) loop->Block([&]() -> Task<void> { co_await loop->Sleep(2ms); });
  }
}

TEST(DrivenLoopTest, DestructionDropsWhatIsUnderWay) {
  const EchoServer server;
  for (int i = 0; i < 20; ++i) {
    const auto loop = MakeLoop();
    auto read_forever = [](std::unique_ptr<Stream> stream) -> Task<void> {
      std::string buffer(10, '\0');
      const auto got = co_await stream->Read(AsWritable(buffer));
      ADD_FAILURE() << "nobody writes";
    };
    loop->Block([&]() -> Task<void> {
      auto connected = co_await loop->Connect(server.endpoint(), loop->After(20s));
      CO_ASSERT_OK(connected.status());
      loop->Spawn(read_forever(std::move(*connected)));
      co_await loop->Sleep(1ms);
    });
    EXPECT_EQ(loop->spawned(), 1u);
  }
}

TEST(DrivenLoopDeathTest, MisuseIsSaid) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(MakeLoop()->disk(), "no disk");
  EXPECT_DEATH(
      {
        const auto loop = MakeLoop();
        loop->Block([&]() -> Task<void> {
          loop->Block([]() -> Task<void> { co_return; });
          co_return;
        });
      },
      "would wait for itself");
}

}  // namespace
}  // namespace moraine
