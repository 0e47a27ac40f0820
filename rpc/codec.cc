#include "rpc/codec.h"

#include <fmt/format.h>
#include <thrift/TApplicationException.h>

#include "base/check.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "rpc/error_map.h"

namespace moraine::rpc {
namespace {

using apache::thrift::TApplicationException;
using apache::thrift::protocol::TType;
using apache::thrift::transport::TMemoryBuffer;
constexpr int16_t kBulkFieldId = 100;

}  // namespace

Encoder::Encoder()
    : memory_(std::make_shared<TMemoryBuffer>()), protocol_(std::make_unique<Protocol>(memory_)) {}

void Encoder::Begin(std::string_view name, apache::thrift::protocol::TMessageType type,
                    int32_t number) {
  memory_->resetBuffer();
  const uint8_t room_for_length[4] = {};
  memory_->write(room_for_length, sizeof room_for_length);
  protocol_->writeMessageBegin(std::string(name), type, number);
  protocol_->writeStructBegin("");
}

void Encoder::BeginField(int16_t id) {
  protocol_->writeFieldBegin("", apache::thrift::protocol::T_STRUCT, id);
}

void Encoder::BulkField(size_t bulk_bytes) {
  MORAINE_CHECK(bulk_bytes <= limits::kBulkBytesMax);
  protocol_->writeFieldBegin("", apache::thrift::protocol::T_I32, kBulkFieldId);
  protocol_->writeI32(static_cast<int32_t>(bulk_bytes));
}

std::string Encoder::End() {
  protocol_->writeFieldStop();
  protocol_->writeStructEnd();
  protocol_->writeMessageEnd();
  uint8_t* bytes = nullptr;
  uint32_t size = 0;
  memory_->getBuffer(&bytes, &size);
  StoreBig32(bytes, size - 4);
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string Encoder::Error(std::string_view name, int32_t number, const Status& status) {
  Begin(name, apache::thrift::protocol::T_REPLY, number);
  BeginField(1);
  ToCallError(status).write(protocol_.get());
  return End();
}

std::string Encoder::UnknownMethod(std::string_view name, int32_t number) {
  memory_->resetBuffer();
  const uint8_t room_for_length[4] = {};
  memory_->write(room_for_length, sizeof room_for_length);
  protocol_->writeMessageBegin(std::string(name), apache::thrift::protocol::T_EXCEPTION, number);
  TApplicationException(TApplicationException::UNKNOWN_METHOD,
                        fmt::format("no method '{}' here", name))
      .write(protocol_.get());
  protocol_->writeMessageEnd();
  uint8_t* bytes = nullptr;
  uint32_t size = 0;
  memory_->getBuffer(&bytes, &size);
  StoreBig32(bytes, size - 4);
  return {reinterpret_cast<const char*>(bytes), size};
}

Decoder::Decoder()
    : memory_(std::make_shared<TMemoryBuffer>()),
      protocol_(std::make_unique<Protocol>(memory_, static_cast<int32_t>(limits::kFrameBytesMax),
                                           static_cast<int32_t>(limits::kFrameBytesMax))) {}

template <class F>
Status Decoder::Guarded(F&& read) {
  try {
    read();
    return {};
  } catch (const std::exception& error) {
    return {Code::kProtocol, fmt::format("undecodable message: {}", error.what())};
  }
}

Result<Decoder::Head> Decoder::Open(ConstBytes frame) {
  Head head;
  const Status status = Guarded([&] {
    // OBSERVE: the bytes are only read, in spite of the signature.
    auto* bytes = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(frame.data()));
    memory_->resetBuffer(bytes, static_cast<uint32_t>(frame.size()), TMemoryBuffer::OBSERVE);
    protocol_->readMessageBegin(head.name, head.type, head.number);
  });
  if (!status.ok()) return status;
  return head;
}

Status Decoder::Arguments(idl::RequestHeader* header,
                          const std::function<void(Protocol&)>& request) {
  return Guarded([&] {
    std::string name;
    TType type{};
    int16_t id = 0;
    protocol_->readStructBegin(name);
    while (true) {
      protocol_->readFieldBegin(name, type, id);
      if (type == apache::thrift::protocol::T_STOP) break;
      if (id == 1 && type == apache::thrift::protocol::T_STRUCT) {
        header->read(protocol_.get());
      } else if (id == 2 && type == apache::thrift::protocol::T_STRUCT) {
        request(*protocol_);
      } else {
        protocol_->skip(type);
      }
      protocol_->readFieldEnd();
    }
    protocol_->readStructEnd();
    protocol_->readMessageEnd();
  });
}

Result<Decoder::AnswerHead> Decoder::Answer(apache::thrift::protocol::TMessageType message_type,
                                            const std::function<void(Protocol&)>& response) {
  AnswerHead head;
  head.error = Status(Code::kProtocol, "the answer has neither a result nor an error");
  const Status status = Guarded([&] {
    if (message_type == apache::thrift::protocol::T_EXCEPTION) {
      TApplicationException exception;
      exception.read(protocol_.get());
      head.error = Status(Code::kNotSupported, exception.what());
      return;
    }
    std::string name;
    TType type{};
    int16_t id = 0;
    protocol_->readStructBegin(name);
    while (true) {
      protocol_->readFieldBegin(name, type, id);
      if (type == apache::thrift::protocol::T_STOP) break;
      if (id == kBulkFieldId && type == apache::thrift::protocol::T_I32) {
        int32_t bulk = 0;
        protocol_->readI32(bulk);
        if (bulk < 0 || static_cast<uint64_t>(bulk) > limits::kBulkBytesMax) {
          throw std::out_of_range("bulk length over the limit");
        }
        head.bulk_bytes = static_cast<size_t>(bulk);
      } else if (id == 0 && type == apache::thrift::protocol::T_STRUCT) {
        response(*protocol_);
        head.success = true;
        head.error = Status();
      } else if (id == 1 && type == apache::thrift::protocol::T_STRUCT) {
        idl::CallError error;
        error.read(protocol_.get());
        head.error = FromCallError(error);
      } else {
        protocol_->skip(type);
      }
      protocol_->readFieldEnd();
    }
    protocol_->readStructEnd();
    protocol_->readMessageEnd();
  });
  if (!status.ok()) return status;
  return head;
}

Result<size_t> Decoder::SkipAnswer() {
  Result<AnswerHead> head = Answer(apache::thrift::protocol::T_REPLY, [](Protocol& protocol) {
    protocol.skip(apache::thrift::protocol::T_STRUCT);
  });
  if (!head.ok()) return head.status();
  return head->bulk_bytes;
}

}  // namespace moraine::rpc
