#include "base/http_status.h"

#include <gmock/gmock.h>

#include "base/loop/sim/test_support.h"

namespace moraine {
namespace {

using sim::Machine;
using sim::World;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint16_t kPort = 80;

class HttpStatusTest : public ::testing::Test {
 protected:
  struct Monitored : sim::Process {
    Monitored(sim::SimLoop& loop, HttpStatusTest& test, HttpStatusOptions options)
        : http(loop, std::move(options)) {
      http.ServeMetrics(test.metrics_);
      http.ServeHealth([&test] { return test.health_; });
      EXPECT_TRUE(http.Start().ok());
      test.http_ = &http;
    }
    HttpStatusServer http;
  };

  void Start(HttpStatusOptions options = {}) {
    options.listen = {"server", kPort};
    world_.AddMachine("server").Start([this, options](sim::SimLoop& loop) {
      return std::make_unique<Monitored>(loop, *this, options);
    });
    asker_ = &world_.AddMachine("asker");
    asker_->Start();
  }

  static Task<Result<std::string>> Exchange(Loop& loop, std::string request) {
    MORAINE_CO_ASSIGN_OR_RETURN(std::unique_ptr<Stream> stream,
                                co_await loop.Connect({"server", kPort}, loop.After(5s)));
    MORAINE_CO_RETURN_IF_ERROR(co_await sim::SendText(*stream, std::move(request)));
    co_return co_await sim::ReceiveText(*stream, 1 << 20);
  }
  std::string Ask(std::string request) {
    const auto answer = world_.Await(asker_->loop(), Exchange(asker_->loop(), std::move(request)));
    if (!answer) return "no end: " + world_.Describe();
    return answer->ok() ? **answer : answer->status().ToString();
  }
  std::string Get(const std::string& path) {
    return Ask("GET " + path + " HTTP/1.1\r\nHost: server\r\n\r\n");
  }

  World world_{20};
  MetricRegistry metrics_;
  Status health_;
  HttpStatusServer* http_ = nullptr;
  Machine* asker_ = nullptr;
};

TEST_F(HttpStatusTest, MetricsComeAsPrometheusText) {
  Start();
  metrics_.GetCounter("moraine_test_total", "Counts.").Add(3);
  const std::string answer = Get("/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("moraine_test_total 3\n"));
  EXPECT_THAT(Get("/metrics?name=x"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpStatusTest, HealthFollowsTheStatus) {
  Start();
  EXPECT_THAT(Get("/healthz"), EndsWith("\r\n\r\nok\n"));
  health_ = Status(Code::kUnavailable, "no metaserver");
  const std::string answer = Get("/healthz");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr("unavailable: no metaserver"));
}

TEST_F(HttpStatusTest, HeadHasTheLengthAndNoBody) {
  Start();
  const std::string answer = Ask("HEAD /healthz HTTP/1.1\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpStatusTest, WhatIsNotServedIsRefused) {
  Start();
  EXPECT_THAT(Get("/nothing"), AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("/healthz /metrics")));
  EXPECT_THAT(Ask("POST /metrics HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Ask("GET metrics HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask("\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask("GET /metrics\r\n\r\n"), StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpStatusTest, ATooLongRequestIsRefusedBeforeItsEnd) {
  HttpStatusOptions options;
  options.request_bytes_max = 512;
  Start(options);
  EXPECT_THAT(Ask("GET /healthz HTTP/1.1\r\nX: " + std::string(600, 'x')),
              StartsWith("HTTP/1.1 431"));
}

// What is still on its way would make the end of the connection a reset, and the answer be lost.
TEST_F(HttpStatusTest, WhoSaysTooMuchHearsTheAnswer) {
  HttpStatusOptions options;
  options.request_bytes_max = 4096;
  Start(options);
  const std::string much(100'000, 'x');
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(Ask("GET /healthz HTTP/1.1\r\nX: " + much), StartsWith("HTTP/1.1 431"));
    EXPECT_THAT(Ask("POST / HTTP/1.1\r\n\r\n" + much), StartsWith("HTTP/1.1 405"));
  }
}

TEST_F(HttpStatusTest, SilentConnectionsEndAndLeaveTheirPlace) {
  HttpStatusOptions options;
  options.connections_max = 2;
  options.exchange_timeout = 3s;
  Start(options);
  sim::RunOn(world_, *asker_, [this]() -> Task<void> {
    Loop& loop = asker_->loop();
    std::vector<std::unique_ptr<Stream>> silent;
    for (int i = 0; i < 2; ++i) {
      auto stream = co_await loop.Connect({"server", kPort}, loop.After(5s));
      EXPECT_TRUE(stream.ok());
      silent.push_back(std::move(*stream));
    }
    co_await loop.Sleep(100ms);
    const Instant asked = loop.Now();
    const auto answer = co_await Exchange(loop, "GET /healthz HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(answer.ok());
    EXPECT_THAT(answer.value_or(""), EndsWith("ok\n"));
    EXPECT_GT(loop.Now() - asked, 2s) << "both places were taken";
    EXPECT_LT(loop.Now() - asked, 4s);
  });
}

TEST_F(HttpStatusTest, CloseEndsConnectionsAndDrains) {
  Start();
  sim::RunOn(world_, *asker_, [this]() -> Task<void> {
    Loop& loop = asker_->loop();
    auto stream = co_await loop.Connect({"server", kPort}, loop.After(5s));
    EXPECT_TRUE(stream.ok());
    co_await loop.Sleep(100ms);
    world_.At(0s, [this] { http_->Close(); });
    const auto rest = co_await sim::ReceiveText(**stream, 100);
    EXPECT_TRUE(!rest.ok() || rest->empty());
    const auto refused = co_await loop.Connect({"server", kPort}, loop.After(5s));
    EXPECT_FALSE(refused.ok());
  });
  EXPECT_TRUE(world_.Await(world_.Find("server")->loop(), http_->Drain()));
}

}  // namespace
}  // namespace moraine
