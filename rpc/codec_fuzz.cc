// Any bytes as a message: nothing throws, nothing runs away, and what was understood is written and
// read again as the same. The first byte says how: which call, and whether the message's head is
// given.
#include <string>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "rpc/codec.h"

namespace moraine::rpc {
namespace {

using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_REPLY;

template <class T>
std::string Written(const T& value) {
  Encoder encoder;
  return encoder.Answer("again", 1, value, 0);
}

// A value that was read must be written in a form that gives the same value.
template <class T>
void CheckAgain(const T& value) {
  const std::string once = Written(value);
  if (once.size() - 4 > limits::kFrameBytesMax) return;
  Decoder decoder;
  MORAINE_CHECK(decoder.Open(std::as_bytes(std::span(once)).subspan(4)).ok());
  T again;
  const auto answer = decoder.Answer(T_REPLY, [&](Protocol& protocol) { again.read(&protocol); });
  MORAINE_CHECK(answer.ok() && answer->success, "what we have written we can read");
  MORAINE_CHECK(Written(again) == once);
}

template <class Request, class Response>
void TryMethod(Decoder& decoder, ConstBytes frame, idl::Method<Request, Response>) {
  const Result<Decoder::Head> head = decoder.Open(frame);
  if (!head.ok()) return;
  if (head->type == T_CALL) {
    idl::RequestHeader header;
    Request request;
    const Status status =
        decoder.Arguments(&header, [&](Protocol& protocol) { request.read(&protocol); });
    MORAINE_CHECK(status.ok() || status.code() == Code::kProtocol);
    if (status.ok()) CheckAgain(request);
    return;
  }
  Response response;
  const auto answer =
      decoder.Answer(head->type, [&](Protocol& protocol) { response.read(&protocol); });
  MORAINE_CHECK(answer.ok() || answer.code() == Code::kProtocol);
  if (answer.ok() && answer->success) CheckAgain(response);
}

void Fuzz(ConstBytes data) {
  if (data.size() < 2) return;
  const auto choice = static_cast<uint8_t>(data[0]);
  ConstBytes body = data.subspan(1);
  // Half of the time the head is right and the bytes are what comes behind it.
  std::string made;
  if ((choice & 0x80) != 0) {
    made =
        (choice & 0x40) != 0 ? std::string("\x82\x21\x01\x01x") : std::string("\x82\x41\x01\x01x");
    made.append(reinterpret_cast<const char*>(body.data()), body.size());
    body = std::as_bytes(std::span(made));
  }
  static Decoder decoder;  // one for all, as on a connection
  int wanted = choice & 0x3f;
  idl::ForEachMethod([&](const auto& method) {
    if (wanted-- == 0) TryMethod(decoder, body, method);
  });
  // Numbers that are no method's: an answer that nobody waits for.
  if (wanted >= 0 && decoder.Open(body).ok()) decoder.SkipAnswer().status().Ignore();

  // The decoder is as good as new afterwards.
  static const std::string good = Written(idl::StoreStatus());
  MORAINE_CHECK(decoder.Open(std::as_bytes(std::span(good)).subspan(4)).ok());
  idl::StoreStatus status;
  MORAINE_CHECK(decoder.Answer(T_REPLY, [&](Protocol& protocol) { status.read(&protocol); }).ok());
}

}  // namespace
}  // namespace moraine::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::rpc::Fuzz(std::as_bytes(std::span(data, size)));
  return 0;
}
