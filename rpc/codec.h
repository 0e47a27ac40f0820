// Thrift's compact protocol over memory: one message in, one out. Section "Framing" of
// idl/PROTOCOL.md says what the bytes are. Confined to one loop.
//
//   call:    message(name, CALL, sequence number) { 1: RequestHeader, 2: request }
//   answer:  message(name, REPLY, same number) { 100: i32 bulk bytes, 0: success | 1: CallError }
//
// Field 100 stands before the result when raw bytes follow; Thrift's own readers skip it.
#pragma once

#include <thrift/protocol/TCompactProtocol.h>
#include <thrift/transport/TBufferTransports.h>

#include <functional>
#include <memory>
#include <string>

#include "base/loop/net.h"
#include "base/status.h"
#include "idl/methods.h"

namespace moraine::rpc {

// Reads nothing that the frame cannot hold: Thrift's own reader makes room for as many items as a
// list announces, before it has seen one of them.
class Protocol final
    : public apache::thrift::protocol::TCompactProtocolT<apache::thrift::transport::TMemoryBuffer> {
 public:
  using Type = apache::thrift::protocol::TType;
  using TCompactProtocolT::TCompactProtocolT;
  // Nothing in the next message is longer than this.
  void SetFrameBytes(size_t bytes) {
    string_limit_ = container_limit_ = static_cast<int32_t>(bytes);
  }
  uint32_t readListBegin_virt(Type& item, uint32_t& size) override;
  uint32_t readSetBegin_virt(Type& item, uint32_t& size) override;
  uint32_t readMapBegin_virt(Type& key, Type& value, uint32_t& size) override;

 private:
  void CheckSize(uint32_t size) const;
};

// Writes messages; the returned frame begins with its four length bytes. It may be longer than
// limits::kFrameBytesMax, which the sender has to look at.
class Encoder {
 public:
  Encoder();
  template <class Request>
  std::string Call(std::string_view name, int32_t number, const idl::RequestHeader& header,
                   const Request& request) {
    Begin(name, apache::thrift::protocol::T_CALL, number);
    BeginField(1);
    header.write(protocol_.get());
    BeginField(2);
    request.write(protocol_.get());
    return End();
  }
  template <class Response>
  std::string Answer(std::string_view name, int32_t number, const Response& response,
                     size_t bulk_bytes) {
    Begin(name, apache::thrift::protocol::T_REPLY, number);
    if (bulk_bytes > 0) BulkField(bulk_bytes);
    BeginField(0);
    response.write(protocol_.get());
    return End();
  }
  std::string Error(std::string_view name, int32_t number, const Status& status);
  // The answer to a method that does not exist, as Thrift's own servers give it.
  std::string UnknownMethod(std::string_view name, int32_t number);

 private:
  void Begin(std::string_view name, apache::thrift::protocol::TMessageType type, int32_t number);
  void BeginField(int16_t id);
  void BulkField(size_t bulk_bytes);
  std::string End();
  std::string Take();

  std::shared_ptr<apache::thrift::transport::TMemoryBuffer> memory_;
  std::unique_ptr<Protocol> protocol_;
};

// Reads one message at a time. Every call may fail with kProtocol, whatever the bytes are; the next
// Open begins afresh. No exception of Thrift's comes out.
class Decoder {
 public:
  Decoder();

  struct Head {
    std::string name;
    apache::thrift::protocol::TMessageType type{};
    int32_t number = 0;
  };
  // `frame` is the message without its length bytes; it must stay until the message is read.
  Result<Head> Open(ConstBytes frame);

  // After Open of a call: both arguments; `request` reads the second when the header is known.
  Status Arguments(idl::RequestHeader* header, const std::function<void(Protocol&)>& request);

  struct AnswerHead {
    size_t bulk_bytes = 0;
    bool success = false;
    Status error;  // when not success
  };
  // After Open of an answer: `response` reads the success value, if there is one.
  Result<AnswerHead> Answer(apache::thrift::protocol::TMessageType type,
                            const std::function<void(Protocol&)>& response);
  // Only the bulk length of an answer, for one that nobody waits for any more.
  Result<size_t> SkipAnswer();

 private:
  template <class F>
  Status Guarded(F&& read);
  void Renew();
  void ReadAnswerFields(AnswerHead* head, const std::function<void(Protocol&)>& response);

  std::shared_ptr<apache::thrift::transport::TMemoryBuffer> memory_;
  std::unique_ptr<Protocol> protocol_;
  bool used_up_ = false;  // the protocol's own state is in the middle of a message, or too large
};

// What a stranger called a method, made fit for an answer and a log line.
std::string PrintableName(std::string_view name);

}  // namespace moraine::rpc
