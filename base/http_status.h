// What a process tells people and monitors over HTTP: /metrics (Prometheus text), /healthz, and
// what else it adds. A server of one kind of request, GET, and no more: HTTP/1.1, one answer per
// connection, then it is closed.
//
//   HttpStatusServer http(loop, {.listen = {"127.0.0.1", 7480}});
//   http.ServeMetrics(metrics);
//   http.ServeHealth([&] { return server.health(); });
//   MORAINE_RETURN_IF_ERROR(http.Start());
//
// Bounded: connections at once (more wait in the listen queue), bytes of a request, time for a
// whole exchange. Nothing is authenticated, so listen on loopback unless the network is trusted.
// Confined to one loop. Shutdown: Close, then Drain.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/loop/loop.h"
#include "base/loop/sync.h"
#include "base/loop/task_group.h"
#include "base/metrics.h"

namespace moraine {

struct HttpStatusOptions {
  Endpoint listen;
  int connections_max = 16;
  size_t request_bytes_max = 8 << 10;
  Duration exchange_timeout = std::chrono::seconds(10);
};

struct HttpAnswer {
  int code = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpStatusServer {
 public:
  HttpStatusServer(Loop& loop, HttpStatusOptions options);
  ~HttpStatusServer();

  // `page` runs on the loop for each GET (or HEAD) of exactly this path, without its query.
  void Serve(std::string path, std::function<HttpAnswer()> page);
  // /metrics.
  void ServeMetrics(const MetricRegistry& metrics);
  // /healthz: 200 and "ok", or 503 and why.
  void ServeHealth(std::function<Status()> health);

  // kBusy: the port is taken.
  Status Start();
  Endpoint local() const;  // with the port that was really taken

  void Close();
  Task<void> Drain();

 private:
  struct Connection;
  Task<void> RunAccept();
  Task<void> RunConnection(std::shared_ptr<Connection> connection, Semaphore::Units slot);
  Task<Result<std::string>> ReadHead(std::shared_ptr<Connection> connection);
  Task<void> DropRest(std::shared_ptr<Connection> connection);
  HttpAnswer AnswerTo(std::string_view head, bool* with_body) const;

  // Constant after construction.
  Loop& loop_;
  const HttpStatusOptions options_;

  std::map<std::string, std::function<HttpAnswer()>, std::less<>> pages_;
  std::unique_ptr<Listener> listener_;
  std::set<std::shared_ptr<Connection>> connections_;
  Semaphore slots_;
  TaskGroup tasks_;
};

}  // namespace moraine
