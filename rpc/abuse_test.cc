// A server on a real port under abuse (goal X2 of the reliability goals): ten thousand bad peers,
// and a thousand that say a byte now and then, while a good client calls and must never fail.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

#include "base/encoding.h"
#include "base/loop/descriptor.h"
#include "base/loop/uring_loop.h"
#include "base/random.h"
#include "rpc/test_service.h"

namespace moraine::rpc {
namespace {

using namespace std::chrono_literals;

constexpr int kCases = 10'000;
constexpr size_t kSlowPeers = 1'000;
constexpr Duration kServerPatience = 2s;
constexpr uint64_t kGrowthMax = 512ULL << 20;

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t pages = 0;
  uint64_t resident = 0;
  file >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::unique_ptr<UringLoop> MakeLoop() {
  auto loop = UringLoop::Create();
  MORAINE_CHECK(loop.ok(), loop.status().ToString());
  return std::move(*loop);
}

// A blocking socket, as a stranger has it.
class PlainPeer {
 public:
  explicit PlainPeer(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = fd_.get() >= 0 && connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address),
                                           sizeof address) == 0;
    if (connected_) fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
  }
  bool connected() const { return connected_; }
  // Sends what the server takes within a second; false when the server has ended the connection.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0) {
        if (!Wait(POLLOUT, 1s)) return true;
        continue;
      }
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // What has come; empty when nothing comes in time or the server has ended the connection.
  std::string Receive(Duration time) {
    std::string bytes(1 << 16, '\0');
    if (!Wait(POLLIN, time)) return "";
    const ssize_t got = recv(fd_.get(), bytes.data(), bytes.size(), 0);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  // Whether the server ends the connection in time.
  bool Ends(Duration time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) {
      if (!Wait(POLLIN, 100ms)) continue;
      char bytes[4096];
      const ssize_t got = recv(fd_.get(), bytes, sizeof bytes, 0);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return true;
    }
    return false;
  }
  // A reset in place of an orderly end.
  void ResetAtClose() {
    const linger now{1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }

 private:
  bool Wait(short events, Duration time) {
    pollfd poll_for{fd_.get(), events, 0};
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
    return poll(&poll_for, 1, static_cast<int>(ms)) > 0;
  }
  Descriptor fd_;
  bool connected_ = false;
};

// The server and the good client, each on a thread of its own.
class Victim {
 public:
  Victim() : server_loop_(MakeLoop()), client_loop_(MakeLoop()) {
    std::promise<void> started;
    server_thread_ = std::thread([&] {
      ServerOptions options;
      options.listen = {"127.0.0.1", 0};
      options.handshake_timeout = kServerPatience;
      options.frame_timeout = kServerPatience;
      service_.emplace(*server_loop_, MetaserverIdentity(), options);
      const Status status = service_->server.Start();
      MORAINE_CHECK(status.ok(), status.ToString());
      endpoint_ = service_->server.local();
      started.set_value();
      server_loop_->Run();
      service_.reset();
    });
    started.get_future().wait();
    client_thread_ = std::thread([this] {
      client_loop_->Spawn(CallUntilStopped(this));
      client_loop_->Run();
    });
  }
  // Orderly; the client first.
  void Stop() {
    stopping_ = true;
    client_thread_.join();
    server_loop_->Post([this] { server_loop_->Spawn(ShutDown(this)); });
    server_thread_.join();
  }
  uint16_t port() const { return endpoint_.port; }
  int64_t good_calls() const { return good_calls_; }
  int64_t failed_calls() const { return failed_calls_; }
  int64_t connections() {
    return service_->metrics.GetGauge("moraine_rpc_connections", "").Value();
  }

 private:
  static Task<void> CallUntilStopped(Victim* self) {
    Loop* loop = self->client_loop_.get();
    Channel channel(*loop, self->endpoint_, ClientIdentity(), Expectation());
    for (int64_t i = 0; !self->stopping_; ++i) {
      Status status;
      switch (i % 3) {
        case 0:
          status = co_await CheckEcho(loop, &channel, i, 30s);
          break;
        case 1:
          status = co_await CheckAppend(loop, &channel, i, 100'000, 77, 30s);
          break;
        default:
          status = co_await CheckRead(loop, &channel, i, 100'000, 30s);
      }
      EXPECT_TRUE(status.ok()) << "the good client: " << status.ToString();
      ++(status.ok() ? self->good_calls_ : self->failed_calls_);
      co_await loop->Sleep(1ms);
    }
    channel.Close();
    co_await channel.Drain();
    self->client_loop_->Stop();
  }
  static Task<void> ShutDown(Victim* self) {
    self->service_->server.Close();
    co_await self->service_->server.Drain();
    self->server_loop_->Stop();
  }
  std::unique_ptr<UringLoop> server_loop_;
  std::unique_ptr<UringLoop> client_loop_;
  std::optional<TestService> service_;
  Endpoint endpoint_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> good_calls_ = 0;
  std::atomic<int64_t> failed_calls_ = 0;
  std::thread server_thread_;
  std::thread client_thread_;
};

std::string Big32(uint32_t value) {
  std::string bytes(4, '\0');
  StoreBig32(bytes.data(), value);
  return bytes;
}

// What honest peers say, to be cut, damaged and said again.
struct Recording {
  Recording() {
    Encoder encoder;
    idl::HandshakeRequest request;
    request.version = 1;
    request.role = idl::Role::kClient;
    handshake = encoder.Call("handshake", 0, {}, request);
    calls.push_back(encoder.Call("getAttributes", 1, {}, idl::InodeRequest()));
    idl::EntryRequest entry;
    entry.name = "a name";
    calls.push_back(encoder.Call("lookup", 2, {}, entry));
    idl::RequestHeader header;
    header.bulk_bytes = 5000;
    header.bulk_alignment = 7;
    calls.push_back(encoder.Call("append", 3, header, idl::AppendRequest()) +
                    std::string(5000, 'b'));
    idl::ReadRequest read;
    read.length = 100'000;
    calls.push_back(encoder.Call("read", 4, {}, read));
    calls.push_back(encoder.Call("frobnicate", 5, {}, read));
  }
  std::string Session(Random& random, uint64_t calls_max) const {
    std::string bytes = handshake;
    const uint64_t count = random.Uniform(calls_max + 1);
    for (uint64_t i = 0; i < count; ++i) bytes += calls[random.Uniform(calls.size())];
    return bytes;
  }
  std::string handshake;
  std::vector<std::string> calls;
};

std::string Garbage(Random& random, size_t bytes_max) {
  std::string bytes(1 + random.Uniform(bytes_max), '\0');
  for (char& c : bytes) c = static_cast<char>(random.Next());
  return bytes;
}

// One bad peer. Returns what the server must end by itself, if anything.
bool OneCase(const Recording& recording, Random& random, PlainPeer& peer) {
  bool must_end = false;
  switch (random.Uniform(8)) {
    case 0: {  // cut short anywhere
      const std::string session = recording.Session(random, 5);
      peer.Send(session.substr(0, random.Uniform(session.size())));
      break;
    }
    case 1: {  // impossible lengths
      const uint32_t lengths[] = {UINT32_MAX, 1u << 31, 0,
                                  static_cast<uint32_t>(limits::kFrameBytesMax) + 1};
      const std::string before = random.OneIn(2) ? recording.handshake : "";
      peer.Send(before + Big32(lengths[random.Uniform(4)]) + Garbage(random, 100));
      must_end = true;
      break;
    }
    case 2:  // noise
      peer.Send(Garbage(random, 2000));
      break;
    case 3:  // noise from somebody who has shaken hands
      peer.Send(recording.handshake + Garbage(random, 2000));
      break;
    case 4: {  // a frame of noise
      const std::string noise = Garbage(random, 300);
      peer.Send(recording.handshake + Big32(static_cast<uint32_t>(noise.size())) + noise);
      break;
    }
    case 5: {  // an old session, damaged
      std::string session = recording.Session(random, 8);
      for (uint64_t i = 1 + random.Uniform(4); i > 0; --i) {
        session[random.Uniform(session.size())] ^= static_cast<char>(1 << random.Uniform(8));
      }
      peer.Send(session);
      break;
    }
    case 6:  // an old session, twice
      peer.Send(recording.Session(random, 4) + recording.Session(random, 4));
      must_end = true;
      break;
    default:  // an old session, whose answers nobody reads
      peer.Send(recording.Session(random, 40));
  }
  if (random.OneIn(4)) peer.ResetAtClose();
  return must_end;
}

// Opens connections and keeps each alive with a byte now and then; those that were ended are made
// anew.
void SlowPeers(uint16_t port, const Recording& recording, const std::atomic<bool>& stop,
               std::atomic<size_t>& open, std::atomic<int64_t>& ended, Random random) {
  struct Slow {
    std::unique_ptr<PlainPeer> peer;
    std::string bytes;
    size_t next = 0;
  };
  std::vector<Slow> slow(kSlowPeers);
  while (!stop) {
    size_t alive = 0;
    for (Slow& one : slow) {
      if (one.peer == nullptr) {
        one.peer = std::make_unique<PlainPeer>(port);
        one.bytes = recording.Session(random, 3);
        one.next = random.OneIn(2) ? recording.handshake.size() : 0;
        if (!one.peer->connected() || !one.peer->Send(one.bytes.substr(0, one.next)))
          one.peer = nullptr;
        if (one.peer == nullptr) continue;
      }
      ++alive;
      const bool said =
          one.next < one.bytes.size() && one.peer->Send(one.bytes.substr(one.next, 1));
      ++one.next;
      if (!said) {
        one.peer = nullptr;
        ++ended;
      }
      if (stop) return;
    }
    open = alive;
    std::this_thread::sleep_for(100ms);  // their slowness is the case, not a wait for something
  }
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  MORAINE_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = limit.rlim_max;
  MORAINE_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

template <class F>
bool Until(F done, Duration time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

TEST(RpcAbuse, AServerSurvivesAndServesOthers) {
  RaiseDescriptorLimit();
  const uint64_t seed = AnnouncedSeed();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  const Recording recording;
  Victim victim;
  ASSERT_TRUE(Until([&] { return victim.good_calls() > 50; }, 60s));
  std::atomic<bool> stop = false;
  std::atomic<size_t> slow_open = 0;
  std::atomic<int64_t> slow_ended = 0;
  std::thread slow([&, fork = random.Fork()] {
    SlowPeers(victim.port(), recording, stop, slow_open, slow_ended, fork);
  });
  EXPECT_TRUE(Until([&] { return slow_open > kSlowPeers * 9 / 10; }, 60s)) << slow_open;

  const uint64_t resident_before = ResidentBytes();
  uint64_t resident_max = 0;
  const int64_t good_before = victim.good_calls();
  for (int i = 0; i < kCases && !testing::Test::HasFailure(); ++i) {
    PlainPeer peer(victim.port());
    ASSERT_TRUE(peer.connected()) << "case " << i;
    const bool must_end = OneCase(recording, random, peer);
    // Looking at each would take long: the server may take its time with an end.
    if (must_end && i % 200 == 0) EXPECT_TRUE(peer.Ends(60s)) << "case " << i;
    if (i % 50 == 0) resident_max = std::max(resident_max, ResidentBytes());
  }
  EXPECT_TRUE(Until([&] { return victim.good_calls() > good_before + 100; }, 60s));
  // Those of the slow ones that say too little in time were ended by the server.
  EXPECT_TRUE(Until([&] { return slow_ended > 100; }, 60s)) << slow_ended;
  stop = true;
  slow.join();
  EXPECT_TRUE(Until([&] { return victim.connections() == 1; }, 60s))
      << victim.connections() << " connections are left";
  const uint64_t growth = resident_max > resident_before ? resident_max - resident_before : 0;
  EXPECT_LT(growth, kGrowthMax) << "memory under abuse";
  EXPECT_EQ(victim.failed_calls(), 0);
  victim.Stop();
}

}  // namespace
}  // namespace moraine::rpc
