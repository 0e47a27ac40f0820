#include "base/loop/uring_loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/loop/conformance.h"
#include "base/loop/silent_server_for_test.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"

namespace moraine {
namespace {

std::string MakeScratchDirectory() {
  std::string pattern = testing::TempDir() + "moraine-loop-XXXXXX";
  MORAINE_CHECK(mkdtemp(pattern.data()) != nullptr);
  return pattern;
}

class UringHarness : public LoopHarness {
 public:
  explicit UringHarness(UringLoop::Options options = {}) {
    auto loop = UringLoop::Create(options);
    MORAINE_CHECK(loop.ok(), loop.status().ToString());
    loop_ = std::move(*loop);
  }
  ~UringHarness() override { std::filesystem::remove_all(directory_); }
  Loop& loop() override { return *loop_; }
  void Run(std::function<Task<void>()> body) override {
    bool ended = false;
    loop_->Spawn(RunThen(&body, &ended));
    loop_->RunUntil([&] { return ended; });
  }
  std::string host() override { return "127.0.0.1"; }
  Endpoint silent() override { return silent_.endpoint(); }
  std::string directory() override { return directory_; }

 private:
  static Task<void> RunThen(std::function<Task<void>()>* body, bool* ended) {
    co_await (*body)();
    *ended = true;
  }

  const std::string directory_ = MakeScratchDirectory();
  const SilentServerForTest silent_;
  std::unique_ptr<UringLoop> loop_;
};

std::unique_ptr<LoopHarness> Plain() { return std::make_unique<UringHarness>(); }
// A ring that is always full, and a loop that polls.
std::unique_ptr<LoopHarness> TinyAndSpinning() {
  return std::make_unique<UringHarness>(
      UringLoop::Options{.entries = 2, .blocking_threads = 1, .spin = 50us, .seed = 1});
}

std::string Name(const testing::TestParamInfo<HarnessFactory>& info) {
  return info.param == &Plain ? "Plain" : "TinyAndSpinning";
}
INSTANTIATE_TEST_SUITE_P(Uring, LoopConformance, testing::Values(&Plain, &TinyAndSpinning), Name);
INSTANTIATE_TEST_SUITE_P(Uring, DiskConformance, testing::Values(&Plain, &TinyAndSpinning), Name);

std::unique_ptr<UringLoop> MakeLoop() {
  auto loop = UringLoop::Create();
  MORAINE_CHECK(loop.ok(), loop.status().ToString());
  return std::move(*loop);
}

TEST(UringLoopTest, StopFromAnotherThreadEndsRun) {
  for (int i = 0; i < 50; ++i) {
    const auto loop = MakeLoop();
    std::thread thread([&] { loop->Run(); });
    loop->Stop();
    thread.join();
  }
}

// What Run drops at its end: each kind of operation that a coroutine may hang in.
TEST(UringLoopTest, RunDropsWhatIsStillUnderWay) {
  const auto loop = MakeLoop();
  auto listener = loop->Listen({"127.0.0.1", 0});
  ASSERT_TRUE(listener.ok());
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const Descriptor read_end(pipe_ends[0]);
  const Descriptor write_end(pipe_ends[1]);
  std::unique_ptr<Stream> client;
  std::unique_ptr<Stream> server;
  int started = 0;
  std::atomic<bool> blocking_ended = false;
  auto accept_forever = [&]() -> Task<void> {
    auto first = co_await (*listener)->Accept();
    if (first.ok()) server = std::move(*first);
    ++started;
    const auto second = co_await (*listener)->Accept();
    ADD_FAILURE() << "nobody else connects";
  };
  auto read_forever = [&]() -> Task<void> {
    auto connected = co_await loop->Connect((*listener)->local(), loop->After(10s));
    CO_ASSERT_OK(connected.status());
    client = std::move(*connected);
    std::string buffer(100, '\0');
    ++started;
    const auto got = co_await client->Read(AsWritable(buffer));
    ADD_FAILURE() << "nobody writes";
  };
  auto read_pipe = [&]() -> Task<void> {
    std::string buffer(100, '\0');
    ++started;
    const auto got = co_await loop->ReadDescriptor(read_end.get(), AsWritable(buffer));
    ADD_FAILURE() << "nobody writes";
  };
  auto block = [&]() -> Task<void> {
    ++started;
    co_await loop->RunBlocking([&] {
      std::this_thread::sleep_for(20ms);  // the work itself: something that takes time
      blocking_ended = true;
    });
  };
  auto sleep = [&]() -> Task<void> {
    ++started;
    co_await loop->Sleep(1h);
  };
  auto stop = [&]() -> Task<void> {
    while (started < 5) co_await loop->Sleep(1ms);
    loop->Stop();
  };
  loop->Spawn(accept_forever());
  loop->Spawn(read_forever());
  loop->Spawn(read_pipe());
  loop->Spawn(block());
  loop->Spawn(sleep());
  loop->Spawn(stop());
  std::thread thread([&] { loop->Run(); });
  thread.join();
  EXPECT_EQ(loop->spawned(), 0u);
  EXPECT_EQ(loop->ring().in_kernel(), 0u);
  EXPECT_TRUE(blocking_ended);
}

TEST(UringLoopTest, ReadDescriptorReadsPipes) {
  UringHarness harness;
  auto& loop = static_cast<UringLoop&>(harness.loop());
  for (const int flags : {0, O_NONBLOCK}) {
    int pipe_ends[2];
    ASSERT_EQ(pipe2(pipe_ends, flags), 0);
    const Descriptor read_end(pipe_ends[0]);
    Descriptor write_end(pipe_ends[1]);
    harness.Run([&]() -> Task<void> {
      std::string buffer(100, '\0');
      const auto late =
          co_await loop.ReadDescriptor(read_end.get(), AsWritable(buffer), loop.After(2ms));
      EXPECT_EQ(late.code(), Code::kTimeout) << late.status().ToString();
      auto write_later = [&]() -> Task<void> {
        co_await loop.Sleep(2ms);
        EXPECT_EQ(write(write_end.get(), "hello", 5), 5);
      };
      TaskGroup group(loop);
      group.Spawn(write_later());
      const auto got = co_await loop.ReadDescriptor(read_end.get(), AsWritable(buffer));
      CO_ASSERT_OK(got.status());
      EXPECT_EQ(buffer.substr(0, *got), "hello");
      co_await group.Drain();
      EXPECT_EQ((co_await loop.PollReadable(read_end.get(), loop.After(1ms))).code(),
                Code::kTimeout);
      write_end.Reset();
      CO_ASSERT_OK(co_await loop.PollReadable(read_end.get()));
      const auto end = co_await loop.ReadDescriptor(read_end.get(), AsWritable(buffer));
      CO_ASSERT_OK(end.status());
      EXPECT_EQ(*end, 0u);
    });
  }
}

// Work in many parts let nobody in, however often it yielded, until thousands of parts were done.
TEST(UringLoopTest, WorkThatYieldsLetsTimersAndInputIn) {
  UringHarness harness;
  auto& loop = static_cast<UringLoop&>(harness.loop());
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_NONBLOCK), 0);
  const Descriptor read_end(pipe_ends[0]);
  const Descriptor write_end(pipe_ends[1]);
  constexpr int kParts = 200;
  int parts = 0;
  int parts_at_timer = kParts;
  int parts_at_input = kParts;
  harness.Run([&]() -> Task<void> {
    auto work = [&]() -> Task<void> {
      for (; parts < kParts; ++parts) {
        const Instant end = loop.After(1ms);
        while (loop.Now() < end) {
        }
        if (parts == 10) EXPECT_EQ(write(write_end.get(), "x", 1), 1);
        co_await loop.Yield();
      }
    };
    auto sleep = [&]() -> Task<void> {
      co_await loop.Sleep(5ms);
      parts_at_timer = parts;
    };
    auto read = [&]() -> Task<void> {
      std::string buffer(1, '\0');
      const auto got = co_await loop.ReadDescriptor(read_end.get(), AsWritable(buffer));
      CO_ASSERT_OK(got.status());
      parts_at_input = parts;
    };
    TaskGroup group(loop);
    group.Spawn(sleep());
    group.Spawn(read());
    group.Spawn(work());
    co_await group.Drain();
  });
  EXPECT_EQ(parts, kParts);
  EXPECT_LT(parts_at_timer, kParts / 2);
  EXPECT_LT(parts_at_input, kParts / 2);
}

TEST(UringLoopTest, AFullDeviceIsNoSpace) {
  UringHarness harness;
  harness.Run([&]() -> Task<void> {
    auto file = co_await harness.loop().disk().Open("/dev/full", {.write = true});
    CO_ASSERT_OK(file.status());
    const ConstBytes piece = AsBytes("x");
    const Status status = co_await (*file)->WriteAt(0, std::span(&piece, 1));
    EXPECT_EQ(status.code(), Code::kNoSpace);
    EXPECT_THAT(status.message(), testing::HasSubstr("/dev/full"));
  });
}

}  // namespace
}  // namespace moraine
