// The same calls over real sockets: servers' loop on both sides, and the loop of a library.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <thread>

#include "base/loop/driven_loop.h"
#include "base/loop/task_group.h"
#include "base/loop/uring_loop.h"
#include "rpc/test_service.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;
constexpr Duration kPatience = 60s;

std::unique_ptr<UringLoop> MakeLoop() {
  auto loop = UringLoop::Create();
  MORAINE_CHECK(loop.ok(), loop.status().ToString());
  return std::move(*loop);
}

// A server on a thread of its own.
class ThreadServer {
 public:
  explicit ThreadServer(uint16_t port = 0) : loop_(MakeLoop()) {
    std::promise<Status> started;
    auto status = started.get_future();
    thread_ = std::thread([this, port, &started] {
      ServerOptions options;
      options.listen = {"127.0.0.1", port};
      service_.emplace(*loop_, MetaserverIdentity(), options);
      const Status status = service_->server.Start();
      if (status.ok()) endpoint_ = service_->server.local();
      started.set_value(status);
      if (status.ok()) loop_->Run();
      service_.reset();
    });
    status_ = status.get();
  }
  ~ThreadServer() {
    loop_->Post([this] { loop_->Spawn(ShutDown(this)); });
    thread_.join();
  }
  const Status& status() const { return status_; }
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  static Task<void> ShutDown(ThreadServer* self) {
    self->service_->server.Close();
    co_await self->service_->server.Drain();
    self->loop_->Stop();
  }
  std::unique_ptr<UringLoop> loop_;
  std::thread thread_;
  std::optional<TestService> service_;  // on its thread only
  Endpoint endpoint_;
  Status status_;
};

Task<void> Count(Task<Status> task, int* good) {
  const Status status = co_await std::move(task);
  EXPECT_TRUE(status.ok()) << status.ToString();
  if (status.ok()) ++*good;
}

// Everything at once, then one by one.
Task<int> Converse(Loop* loop, Endpoint server) {
  Channel channel(*loop, server, ClientIdentity(), Expectation());
  int good = 0;
  {
    TaskGroup group(*loop);
    for (int i = 0; i < 50; ++i) {
      group.Spawn(Count(CheckEcho(loop, &channel, i, kPatience), &good));
      group.Spawn(
          Count(CheckAppend(loop, &channel, i, static_cast<size_t>(1 + i * 20'000), 100, kPatience),
                &good));
      group.Spawn(Count(CheckRead(loop, &channel, i, 1 + i * 20'000, kPatience), &good));
    }
    co_await group.Drain();
  }
  for (int i = 0; i < 100; ++i) co_await Count(CheckEcho(loop, &channel, i, kPatience), &good);
  co_await Count(CheckAppend(loop, &channel, 1, limits::kBulkBytesMax, 4095, kPatience), &good);
  co_await Count(CheckRead(loop, &channel, 7, limits::kReadBytesMax, kPatience), &good);
  channel.Close();
  co_await channel.Drain();
  co_return good;
}
constexpr int kGoodCalls = 50 * 3 + 100 + 2;

template <class T>
Task<void> Keep(Task<T> task, std::optional<T>* kept) {
  kept->emplace(co_await std::move(task));
}

template <class T>
T RunOn(UringLoop& loop, Task<T> task) {
  std::optional<T> kept;
  loop.Spawn(Keep(std::move(task), &kept));
  loop.RunUntil([&] { return kept.has_value(); });
  return std::move(*kept);
}

TEST(RpcSocket, AServersLoop) {
  ThreadServer server;
  ASSERT_TRUE(server.status().ok()) << server.status().ToString();
  auto loop = MakeLoop();
  EXPECT_EQ(RunOn(*loop, Converse(loop.get(), server.endpoint())), kGoodCalls);
}

TEST(RpcSocket, ALibrarysLoopFromSeveralThreads) {
  ThreadServer server;
  ASSERT_TRUE(server.status().ok()) << server.status().ToString();
  auto loop = DrivenLoop::Create();
  ASSERT_TRUE(loop.ok());
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back(
        [&] { good += (*loop)->Block([&] { return Converse(loop->get(), server.endpoint()); }); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 3 * kGoodCalls);
}

TEST(RpcSocket, ATakenPortIsBusy) {
  ThreadServer server;
  ASSERT_TRUE(server.status().ok()) << server.status().ToString();
  auto loop = MakeLoop();
  MetricRegistry metrics;
  ServerOptions options;
  options.listen = server.endpoint();
  Server second(*loop, MetaserverIdentity(), options, metrics);
  EXPECT_EQ(second.Start().code(), Code::kBusy);
}

Task<Status> CallAcrossARestart(Loop* loop, std::optional<ThreadServer>* server) {
  const Endpoint endpoint = (*server)->endpoint();
  Channel channel(*loop, endpoint, ClientIdentity(), Expectation());
  Status status = co_await CheckEcho(loop, &channel, 1, kPatience);
  if (status.ok()) {
    server->reset();
    const Status down = co_await CheckEcho(loop, &channel, 2, kPatience);
    EXPECT_EQ(down.code(), Code::kUnavailable) << down.ToString();
    // The port stays taken for a moment after its server has gone.
    for (int i = 0; i < 100 && (!*server || !(*server)->status().ok()); ++i) {
      server->reset();
      co_await loop->Sleep(20ms);
      server->emplace(endpoint.port);
    }
    status = co_await CheckEcho(loop, &channel, 3, kPatience);
  }
  channel.Close();
  co_await channel.Drain();
  co_return status;
}

TEST(RpcSocket, AServerThatCameBackIsFound) {
  std::optional<ThreadServer> server;
  server.emplace();
  ASSERT_TRUE(server->status().ok()) << server->status().ToString();
  auto loop = MakeLoop();
  const Status status = RunOn(*loop, CallAcrossARestart(loop.get(), &server));
  EXPECT_TRUE(status.ok()) << status.ToString();
}

}  // namespace
}  // namespace moraine::rpc
