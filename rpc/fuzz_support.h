// Any bytes as one message, read as a connection reads the result of a call. For fuzz targets.
#pragma once

#include <string>
#include <string_view>

#include "base/check.h"
#include "rpc/codec.h"

namespace moraine::rpc {

// False when they are no such message.
template <class Message>
bool ReadMessage(std::string_view bytes, Message* message) {
  // The head of an answer and the field of its result; behind the bytes, the ends of both.
  constexpr std::string_view kHead("\x82\x41\x01\x01x\x0c\x00", 7);
  static Decoder decoder;
  std::string frame(kHead);
  frame.append(bytes).append(2, '\0');
  const auto head = decoder.Open(std::as_bytes(std::span(frame)));
  MORAINE_CHECK(head.ok());
  const auto answer =
      decoder.Answer(head->type, [&](Protocol& protocol) { message->read(&protocol); });
  return answer.ok() && answer->success;
}

}  // namespace moraine::rpc
