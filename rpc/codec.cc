#include "rpc/codec.h"

#include <fmt/format.h>
#include <thrift/TApplicationException.h>

#include <algorithm>

#include "base/check.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "rpc/error_map.h"

namespace moraine::rpc {
namespace {

using apache::thrift::TApplicationException;
using apache::thrift::TConfiguration;
using apache::thrift::protocol::TMessageType;
using apache::thrift::protocol::TProtocolException;
using apache::thrift::protocol::TType;
using apache::thrift::transport::TMemoryBuffer;
constexpr int16_t kBulkFieldId = 100;
constexpr size_t kNameBytesShown = 64;

// Thrift counts numbers that it has read over the life of a transport, and compares what it is
// about to read with what a maximum leaves. The frame is our bound; theirs is twice that, so that
// it is out of the way, and begins anew with each message (Decoder::Open).
std::shared_ptr<TMemoryBuffer> MakeMemory() {
  constexpr int kBytesMax = 2 * limits::kFrameBytesMax;
  return std::make_shared<TMemoryBuffer>(std::make_shared<TConfiguration>(kBytesMax));
}

}  // namespace

void Protocol::CheckSize(uint32_t size) const {
  // Every item takes a byte at least.
  if (size > std::min<uint64_t>(trans_->available_read(), limits::kListItemsMax)) {
    throw TProtocolException(TProtocolException::SIZE_LIMIT, "more items than the frame can hold");
  }
}

uint32_t Protocol::readListBegin_virt(Type& item, uint32_t& size) {
  const uint32_t read = readListBegin(item, size);
  CheckSize(size);
  return read;
}

uint32_t Protocol::readSetBegin_virt(Type& item, uint32_t& size) {
  const uint32_t read = readSetBegin(item, size);
  CheckSize(size);
  return read;
}

uint32_t Protocol::readMapBegin_virt(Type& key, Type& value, uint32_t& size) {
  const uint32_t read = readMapBegin(key, value, size);
  CheckSize(size);
  return read;
}

std::string PrintableName(std::string_view name) {
  std::string shown(name.substr(0, kNameBytesShown));
  std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

Encoder::Encoder() : memory_(MakeMemory()), protocol_(std::make_unique<Protocol>(memory_)) {}

void Encoder::Begin(std::string_view name, TMessageType type, int32_t number) {
  if (memory_->getBufferSize() > limits::kReadAheadBytes) {
    memory_->resetBuffer(
        TMemoryBuffer::defaultSize);  // one large answer is no reason to keep its room
  } else {
    memory_->resetBuffer();
  }
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
  return Take();
}

std::string Encoder::Take() {
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
  Begin(name, apache::thrift::protocol::T_EXCEPTION, number);
  protocol_->writeStructEnd();  // an exception stands in a message by itself
  TApplicationException(TApplicationException::UNKNOWN_METHOD,
                        fmt::format("no method '{}' here", name))
      .write(protocol_.get());
  return Take();
}

Decoder::Decoder() : memory_(MakeMemory()) { Renew(); }

void Decoder::Renew() {
  protocol_ = std::make_unique<Protocol>(memory_);
  used_up_ = false;
}

template <class F>
Status Decoder::Guarded(F&& read) {
  try {
    read();
    return {};
  } catch (const std::exception& error) {
    used_up_ = true;
    return {Code::kProtocol, fmt::format("undecodable message: {}", error.what())};
  }
}

Result<Decoder::Head> Decoder::Open(ConstBytes frame) {
  if (frame.empty() || frame.size() > limits::kFrameBytesMax) {
    return Status(Code::kProtocol, fmt::format("a message of {} bytes", frame.size()));
  }
  if (used_up_) Renew();
  Head head;
  const Status status = Guarded([&] {
    memory_->readEnd();  // begins Thrift's count of consumed bytes anew
    // OBSERVE: the bytes are only read, in spite of the signature.
    auto* bytes = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(frame.data()));
    memory_->resetBuffer(bytes, static_cast<uint32_t>(frame.size()), TMemoryBuffer::OBSERVE);
    protocol_->SetFrameBytes(frame.size());
    protocol_->readMessageBegin(head.name, head.type, head.number);
  });
  // The protocol keeps room for the longest string it has seen.
  used_up_ = used_up_ || frame.size() > limits::kReadAheadBytes;
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

void Decoder::ReadAnswerFields(AnswerHead* head, const std::function<void(Protocol&)>& response) {
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
        throw TProtocolException(TProtocolException::SIZE_LIMIT, "bulk length over the limit");
      }
      head->bulk_bytes = static_cast<size_t>(bulk);
    } else if (id == 0 && type == apache::thrift::protocol::T_STRUCT) {
      response(*protocol_);
      head->success = true;
      head->error = Status();
    } else if (id == 1 && type == apache::thrift::protocol::T_STRUCT) {
      idl::CallError error;
      error.read(protocol_.get());
      head->success = false;
      head->error = FromCallError(error);
    } else {
      protocol_->skip(type);
    }
    protocol_->readFieldEnd();
  }
  protocol_->readStructEnd();
  protocol_->readMessageEnd();
}

Result<Decoder::AnswerHead> Decoder::Answer(TMessageType message_type,
                                            const std::function<void(Protocol&)>& response) {
  AnswerHead head;
  head.error = Status(Code::kProtocol, "the answer has neither a result nor an error");
  const Status status = Guarded([&] {
    if (message_type == apache::thrift::protocol::T_EXCEPTION) {
      TApplicationException exception;
      exception.read(protocol_.get());
      const bool unknown = exception.getType() == TApplicationException::UNKNOWN_METHOD;
      head.error = Status(unknown ? Code::kNotSupported : Code::kInternal, exception.what());
    } else if (message_type == apache::thrift::protocol::T_REPLY) {
      ReadAnswerFields(&head, response);
    } else {
      throw TProtocolException(TProtocolException::INVALID_DATA,
                               "neither a reply nor an exception");
    }
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
