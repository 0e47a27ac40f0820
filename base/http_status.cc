#include "base/http_status.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace moraine {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";

std::string_view Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Status";
  }
}

HttpAnswer TextAnswer(int code, std::string body) {
  HttpAnswer answer;
  answer.code = code;
  answer.body = std::move(body) + "\n";
  return answer;
}

// Cuts the next word off; words are separated by one space.
std::string_view TakeWord(std::string_view* line) {
  const size_t end = std::min(line->find(' '), line->size());
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(std::min(end + 1, line->size()));
  return word;
}

}  // namespace

// Closed by its timer when the exchange takes too long, which ends what waits on the stream.
struct HttpStatusServer::Connection : Timer {
  explicit Connection(std::unique_ptr<Stream> opened) : stream(std::move(opened)) {}
  void Fire() override { stream->Close(); }
  std::unique_ptr<Stream> stream;
};

HttpStatusServer::HttpStatusServer(Loop& loop, HttpStatusOptions options)
    : loop_(loop),
      options_(std::move(options)),
      slots_(loop, static_cast<uint64_t>(options_.connections_max)),
      tasks_(loop) {}

HttpStatusServer::~HttpStatusServer() = default;

void HttpStatusServer::Serve(std::string path, std::function<HttpAnswer()> page) {
  pages_[std::move(path)] = std::move(page);
}

void HttpStatusServer::ServeMetrics(const MetricRegistry& metrics) {
  Serve("/metrics", [&metrics] {
    HttpAnswer answer;
    answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
    answer.body = metrics.PrometheusText();
    return answer;
  });
}

void HttpStatusServer::ServeHealth(std::function<Status()> health) {
  Serve("/healthz", [health = std::move(health)] {
    const Status status = health();
    return status.ok() ? TextAnswer(200, "ok") : TextAnswer(503, status.ToString());
  });
}

Status HttpStatusServer::Start() {
  MORAINE_ASSIGN_OR_RETURN(listener_, loop_.Listen(options_.listen));
  tasks_.Spawn(RunAccept());
  return Status::Ok();
}

Endpoint HttpStatusServer::local() const { return listener_->local(); }

void HttpStatusServer::Close() {
  tasks_.Close();
  if (listener_ != nullptr) listener_->Close();
  for (const std::shared_ptr<Connection>& connection : connections_) connection->stream->Close();
}

Task<void> HttpStatusServer::Drain() { co_await tasks_.Drain(); }

Task<void> HttpStatusServer::RunAccept() {
  while (!tasks_.closed()) {
    // Those inside end by their timers, so a slot comes free.
    std::optional<Semaphore::Units> slot = co_await slots_.Acquire(1);
    Result<std::unique_ptr<Stream>> stream = co_await listener_->Accept();
    if (tasks_.closed() || stream.code() == Code::kCanceled) co_return;
    if (!stream.ok()) {
      MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "http: accept: {}", stream.status().ToString());
      slot->Release();
      co_await loop_.Sleep(limits::kAcceptRetryDelay);
      continue;
    }
    auto connection = std::make_shared<Connection>(std::move(*stream));
    connections_.insert(connection);
    loop_.timers().Arm(*connection, loop_.After(options_.exchange_timeout));
    tasks_.Spawn(RunConnection(connection, std::move(*slot)));
  }
}

Task<void> HttpStatusServer::RunConnection(std::shared_ptr<Connection> connection,
                                           Semaphore::Units slot) {
  const Semaphore::Units held = std::move(slot);
  const Result<std::string> head = co_await ReadHead(connection);
  if (head.ok() || head.code() == Code::kTooLarge) {
    bool with_body = true;
    const HttpAnswer answer =
        head.ok() ? AnswerTo(*head, &with_body) : TextAnswer(431, "the request is too long");
    const std::string text = fmt::format(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
        "Connection: close\r\n\r\n{}",
        answer.code, Reason(answer.code), answer.content_type, answer.body.size(),
        with_body ? answer.body : std::string());
    const std::array<ConstBytes, 1> pieces = {std::as_bytes(std::span(text))};
    (co_await connection->stream->Write(pieces)).Ignore();  // who asked is gone
    // Whoever asked for something else may still be saying it.
    if (answer.code >= 400 || !head->ends_with(kHeadEnd)) co_await DropRest(connection);
  }
  connection->Cancel();
  connection->stream->Close();
  connections_.erase(connection);
}

// Up to and with the empty line. kTooLarge, kUnavailable (the peer left), kCanceled (time is up).
Task<Result<std::string>> HttpStatusServer::ReadHead(std::shared_ptr<Connection> connection) {
  std::string head;
  std::array<std::byte, 1024> buffer;
  while (head.find(kHeadEnd) == std::string::npos) {
    MORAINE_CO_ASSIGN_OR_RETURN(const size_t got, co_await connection->stream->Read(buffer));
    if (got == 0) co_return Status(Code::kUnavailable, "closed before the end of the request");
    head.append(reinterpret_cast<const char*>(buffer.data()), got);
    if (head.size() > options_.request_bytes_max) {
      co_return Status(Code::kTooLarge, "the request is too long");
    }
  }
  co_return head;
}

// An end with bytes unread is a reset, which may cost the peer the answer that it has not yet read.
// It has a moment to say everything and to leave by itself.
Task<void> HttpStatusServer::DropRest(std::shared_ptr<Connection> connection) {
  loop_.timers().Arm(*connection, loop_.After(limits::kFarewellTimeout));
  std::array<std::byte, 1024> buffer;
  while (true) {
    const Result<size_t> got = co_await connection->stream->Read(buffer);
    if (!got.ok() || *got == 0) co_return;
  }
}

HttpAnswer HttpStatusServer::AnswerTo(std::string_view head, bool* with_body) const {
  std::string_view line = head.substr(0, head.find("\r\n"));
  const std::string_view method = TakeWord(&line);
  const std::string_view target = TakeWord(&line);
  if (!line.starts_with("HTTP/1.") || target.empty() || target.front() != '/') {
    return TextAnswer(400, "not an HTTP/1.1 request");
  }
  if (method != "GET" && method != "HEAD") return TextAnswer(405, "only GET and HEAD");
  *with_body = method == "GET";
  const auto page = pages_.find(target.substr(0, target.find('?')));
  if (page != pages_.end()) return page->second();
  std::string names = "no such page; there are:";
  for (const auto& [path, serve] : pages_) names += " " + path;
  return TextAnswer(404, std::move(names));
}

}  // namespace moraine
