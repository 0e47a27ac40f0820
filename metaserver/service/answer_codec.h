// Thrift values as bytes, for remembered answers. The form is Thrift's compact protocol, which lets
// a newer program read what an older one has remembered.
#pragma once

#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "rpc/codec.h"

namespace moraine::metaserver {

template <class Value>
std::string EncodeAnswer(const Value& value) {
  auto memory = std::make_shared<apache::thrift::transport::TMemoryBuffer>();
  apache::thrift::protocol::TCompactProtocolT<apache::thrift::transport::TMemoryBuffer> protocol(
      memory);
  value.write(&protocol);
  return memory->getBufferAsString();
}

// kCorruption if the bytes are not such a value.
template <class Value>
Result<Value> DecodeAnswer(std::string_view bytes) {
  auto memory = std::make_shared<apache::thrift::transport::TMemoryBuffer>(
      reinterpret_cast<uint8_t*>(const_cast<char*>(bytes.data())),
      static_cast<uint32_t>(bytes.size()));
  // Makes no room for more than the bytes can hold.
  rpc::Protocol protocol(memory);
  protocol.SetFrameBytes(bytes.size());
  Value value;
  // Thrift reports bad bytes by throwing; nothing else here does.
  try {
    value.read(&protocol);
  } catch (const std::exception& error) {
    return Status(Code::kCorruption, std::string("a remembered answer: ") + error.what());
  }
  return value;
}

}  // namespace moraine::metaserver
