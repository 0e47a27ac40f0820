// Any bytes on the port of /metrics, in pieces of any size: the server gives a whole request one
// well-formed answer, ends the connection, and serves the next. One server for all inputs, which it
// must not remember.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/http_status.h"
#include "base/loop/scripted_loop.h"

namespace moraine {
namespace {

constexpr size_t kRequestBytesMax = 1024;
constexpr uint64_t kInputsBetweenOthers = 16;

struct Rig {
  Rig() {
    http.Serve("/", [] { return HttpAnswer{.body = "root\n"}; });
    http.ServeHealth([] { return Status(); });
    MORAINE_CHECK(http.Start().ok());
  }
  ScriptedLoop loop;
  HttpStatusServer http{loop, {.listen = {"server", 80}, .request_bytes_max = kRequestBytesMax}};
};

void CheckAnswer(std::string_view answer, std::string_view request) {
  const bool whole = request.find("\r\n\r\n") != std::string_view::npos;
  if (!whole && request.size() <= kRequestBytesMax) {
    MORAINE_CHECK(answer.empty(), "half a request has no answer");
    return;
  }
  MORAINE_CHECK(answer.starts_with("HTTP/1.1 "), std::string(answer));
  const size_t end = answer.find("\r\n\r\n");
  MORAINE_CHECK(end != std::string_view::npos && answer.find("Connection: close\r\n") < end);
}

void Fuzz(const uint8_t* data, size_t size) {
  static Rig& rig = *new Rig();
  if (size == 0) return;
  // Half of the time the request ends where the input does.
  std::string request(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1) != 0) request += "\r\n\r\n";
  CheckAnswer(rig.loop.Converse(request, size_t{2048} >> (data[0] >> 1) % 11), request);
  static uint64_t inputs = 0;
  if (++inputs % kInputsBetweenOthers != 0) return;
  const std::string other = rig.loop.Converse("GET /healthz HTTP/1.1\r\n\r\n", 64);
  MORAINE_CHECK(other.ends_with("\r\n\r\nok\n"), other);
}

}  // namespace
}  // namespace moraine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::Fuzz(data, size);
  return 0;
}
