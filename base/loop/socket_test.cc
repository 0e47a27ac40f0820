// The options of every connected socket, on both real loops.
#include "base/loop/socket.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/limits.h"
#include "base/loop/driven_loop.h"
#include "base/loop/task_group.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

using namespace std::chrono_literals;

int OptionOf(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_EQ(getsockopt(fd, level, option, &value, &length), 0);
  return value;
}

// Checks every connected TCP socket of this process; returns how many there are.
int CheckConnected() {
  rlimit files{};
  EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  int connected = 0;
  for (int fd = 0; fd < static_cast<int>(std::min<rlim_t>(files.rlim_cur, 4096)); ++fd) {
    sockaddr_storage peer{};
    socklen_t length = sizeof(peer);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) != 0) continue;
    if (peer.ss_family != AF_INET) continue;
    ++connected;
    EXPECT_NE(OptionOf(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_NE(OptionOf(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(OptionOf(fd, IPPROTO_TCP, TCP_KEEPIDLE), limits::kKeepAliveIdle.count());
    EXPECT_EQ(OptionOf(fd, IPPROTO_TCP, TCP_KEEPINTVL), limits::kKeepAliveInterval.count());
    EXPECT_EQ(OptionOf(fd, IPPROTO_TCP, TCP_KEEPCNT), limits::kKeepAliveProbes);
    EXPECT_EQ(OptionOf(fd, IPPROTO_TCP, TCP_USER_TIMEOUT),
              std::chrono::milliseconds(limits::kPeerGone).count());
  }
  return connected;
}

Task<void> AcceptInto(Listener* listener, std::unique_ptr<Stream>* stream) {
  auto accepted = co_await listener->Accept();
  EXPECT_TRUE(accepted.ok()) << accepted.status().ToString();
  if (accepted.ok()) *stream = std::move(*accepted);
}

Task<void> CheckLoop(Loop* loop) {
  auto listener = loop->Listen({"127.0.0.1", 0});
  EXPECT_TRUE(listener.ok()) << listener.status().ToString();
  if (!listener.ok()) co_return;
  std::unique_ptr<Stream> accepted;
  TaskGroup group(*loop);
  group.Spawn(AcceptInto(listener->get(), &accepted));
  auto connected = co_await loop->Connect((*listener)->local(), loop->After(10s));
  EXPECT_TRUE(connected.ok()) << connected.status().ToString();
  co_await group.Drain();
  EXPECT_EQ(CheckConnected(), 2);
}

TEST(SocketTest, APeerThatIsGoneIsFoundOutOnAUringLoop) {
  auto loop = UringLoop::Create();
  ASSERT_TRUE(loop.ok()) << loop.status().ToString();
  bool ended = false;
  const auto run = [](Loop* on, bool* done) -> Task<void> {
    co_await CheckLoop(on);
    *done = true;
  };
  (*loop)->Spawn(run(loop->get(), &ended));
  (*loop)->RunUntil([&] { return ended; });
}

TEST(SocketTest, APeerThatIsGoneIsFoundOutOnADrivenLoop) {
  auto loop = DrivenLoop::Create({});
  ASSERT_TRUE(loop.ok()) << loop.status().ToString();
  (*loop)->Block([&]() -> Task<void> { return CheckLoop(loop->get()); });
}

}  // namespace
}  // namespace moraine
