// How fast two processes talk over the loops: round trips of 100 bytes, one at a time and 64 at
// once, and answers of 1 MiB. The server is a UringLoop, the client each kind of loop in turn.
//
//   loop_bench [round trips] [client spin us] [server spin us]
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/loop/driven_loop.h"
#include "base/loop/task_group.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

constexpr size_t kSmallBytes = 100;
constexpr size_t kLargeBytes = 1 << 20;
constexpr int kConnections = 64;
constexpr int kLargePart = 100;  // one large answer for so many small ones

template <class T>
T Must(Result<T> result) {
  MORAINE_CHECK(result.ok(), result.status().ToString());
  return std::move(*result);
}

Task<bool> ReadAll(Stream* stream, MutableBytes buffer) {
  while (!buffer.empty()) {
    const auto got = co_await stream->Read(buffer);
    if (!got.ok() || *got == 0) co_return false;
    buffer = buffer.subspan(*got);
  }
  co_return true;
}

// The first byte of a question says whether the answer is large.
Task<void> Answer(std::unique_ptr<Stream> stream) {
  std::vector<std::byte> question(kSmallBytes);
  const std::vector<std::byte> answer(kLargeBytes);
  while (true) {
    const bool got = co_await ReadAll(stream.get(), question);
    if (!got) co_return;
    const size_t bytes = question[0] == std::byte{1} ? kLargeBytes : kSmallBytes;
    const ConstBytes piece = ConstBytes(answer).first(bytes);
    const Status written = co_await stream->Write(std::span(&piece, 1));
    if (!written.ok()) co_return;
  }
}

Task<void> AnswerAll(Loop* loop, Listener* listener) {
  while (true) {
    auto stream = co_await listener->Accept();
    if (!stream.ok()) co_return;
    loop->Spawn(Answer(std::move(*stream)));
  }
}

Task<void> Ask(Stream* stream, int count, bool large, std::vector<int64_t>* nanoseconds,
               Loop* loop) {
  std::vector<std::byte> question(kSmallBytes);
  question[0] = std::byte{large};
  std::vector<std::byte> answer(large ? kLargeBytes : kSmallBytes);
  for (int i = 0; i < count; ++i) {
    const Instant start = loop->Now();
    const ConstBytes piece = question;
    const Status written = co_await stream->Write(std::span(&piece, 1));
    const bool got = co_await ReadAll(stream, answer);
    MORAINE_CHECK(written.ok() && got, "the server is gone");
    nanoseconds->push_back((loop->Now() - start).count());
  }
}

double CpuMicroseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto in = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return in(usage.ru_utime) + in(usage.ru_stime);
}

struct Case {
  std::string name;
  int connections;
  int count;  // per connection
  bool large;
};

// `run(make)` runs a Task on the client's loop to its end; `each(task)` is one call of a client.
template <class Run>
void Measure(const std::string& client, Loop* loop, Endpoint server, const Case& what, Run run) {
  std::vector<std::unique_ptr<Stream>> streams;
  run([&]() -> Task<void> {
    for (int i = 0; i < what.connections; ++i) {
      streams.push_back(Must(co_await loop->Connect(server, loop->After(10s))));
    }
  });
  std::vector<int64_t> times;
  const Instant start = loop->Now();
  const double cpu = CpuMicroseconds();
  if (what.connections == 1) {
    // As a program calls: each round trip is a call of its own.
    for (int i = 0; i < what.count; ++i) {
      run([&] { return Ask(streams[0].get(), 1, what.large, &times, loop); });
    }
  } else {
    run([&]() -> Task<void> {
      TaskGroup group(*loop);
      for (auto& stream : streams) {
        group.Spawn(Ask(stream.get(), what.count, what.large, &times, loop));
      }
      co_await group.Drain();
    });
  }
  const double seconds = std::chrono::duration<double>(loop->Now() - start).count();
  const double cpu_each = (CpuMicroseconds() - cpu) / static_cast<double>(times.size());
  std::sort(times.begin(), times.end());
  const double rate = static_cast<double>(times.size()) / seconds;
  fmt::print("{:7} {:22} {:9.0f}/s  p50 {:7.1f} us  p99 {:7.1f} us  client CPU {:6.1f} us", client,
             what.name, rate, static_cast<double>(times[times.size() / 2]) / 1e3,
             static_cast<double>(times[times.size() * 99 / 100]) / 1e3, cpu_each);
  if (what.large) fmt::print("  {:.2f} GB/s", rate * kLargeBytes / 1e9);
  fmt::print("\n");
  run([&]() -> Task<void> {
    streams.clear();
    co_return;
  });
}

int Main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 20000;
  const Duration client_spin = std::chrono::microseconds(argc > 2 ? std::atoi(argv[2]) : 30);
  const Duration server_spin = std::chrono::microseconds(argc > 3 ? std::atoi(argv[3]) : 0);
  const auto server_loop = Must(UringLoop::Create({.spin = server_spin}));
  const auto listener = Must(server_loop->Listen({"127.0.0.1", 0}));
  const pid_t server = fork();
  if (server == 0) {
    server_loop->Spawn(AnswerAll(server_loop.get(), listener.get()));
    server_loop->Run();
    _exit(0);
  }
  const Case cases[] = {
      {"100 B, 1 at a time", 1, count, false},
      {"100 B, 64 at once", kConnections, count * 4 / kConnections, false},
      {"1 MiB, 1 at a time", 1, count / kLargePart, true},
      {"1 MiB, 64 at once", kConnections, std::max(count / kLargePart * 4 / kConnections, 1), true},
  };
  const auto uring = Must(UringLoop::Create({.spin = client_spin}));
  const auto driven = Must(DrivenLoop::Create({.spin = client_spin}));
  for (const Case& what : cases) {
    Measure("uring", uring.get(), listener->local(), what, [&](auto make) {
      bool ended = false;
      auto run = [&]() -> Task<void> {
        co_await make();
        ended = true;
      };
      uring->Spawn(run());
      uring->RunUntil([&] { return ended; });
    });
    Measure("driven", driven.get(), listener->local(), what,
            [&](auto make) { driven->Block(make); });
  }
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  return 0;
}

}  // namespace
}  // namespace moraine

int main(int argc, char** argv) { return moraine::Main(argc, argv); }
