// The bytes on the wire, and what the decoder does with bytes that are not right.
#include "rpc/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/limits.h"
#include "base/random.h"

namespace moraine::rpc {
namespace {

using apache::thrift::protocol::T_CALL;
using apache::thrift::protocol::T_EXCEPTION;
using apache::thrift::protocol::T_REPLY;

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

// A frame without its length bytes.
ConstBytes Body(std::string_view frame) { return std::as_bytes(std::span(frame)).subspan(4); }
ConstBytes All(std::string_view bytes) { return std::as_bytes(std::span(bytes)); }

idl::AppendRequest SomeAppend() {
  idl::AppendRequest request;
  request.chunk = 9;
  request.epoch = 3;
  request.offset = 65536;
  request.checksums = std::string("\x01\x02\xff", 3);
  request.sync = true;
  request.committed = 65000;
  return request;
}

idl::RequestHeader SomeHeader() {
  idl::RequestHeader header;
  header.session = 0x1122;
  header.sequence = 5;
  header.acknowledged_below = 4;
  header.timeout_ms = 1000;
  header.bulk_bytes = 4097;
  header.bulk_alignment = 17;
  header.trace = -1;
  return header;
}

Status ReadCall(Decoder& decoder, ConstBytes frame, idl::RequestHeader* header,
                idl::AppendRequest* request) {
  Result<Decoder::Head> head = decoder.Open(frame);
  if (!head.ok()) return head.status();
  return decoder.Arguments(header, [&](Protocol& protocol) { request->read(&protocol); });
}

// As Thrift's Python library writes the same messages, but for field 100.
TEST(Codec, GoldenBytes) {
  Encoder encoder;
  EXPECT_EQ(Hex(encoder.Call("append", 7, SomeHeader(), SomeAppend())),
            "0000003282210706617070656e641c16c444160a160815d00f15824015221601001c161216061680800818"
            "030102ff"
            "1116d0f7070000");
  idl::AppendResponse response;
  response.held = 69633;
  response.synced = 65536;
  EXPECT_EQ(Hex(encoder.Answer("append", 7, response, 0)),
            "0000001682410706617070656e640c001682c008168080080000");
  EXPECT_EQ(Hex(encoder.Error("append", 7, Status(Code::kFenced, "epoch 3 is old"))),
            "0000002082410706617070656e641c159003180e65706f63682033206973206f6c640000");
  idl::HandshakeRequest handshake;
  handshake.version = 1;
  handshake.role = idl::Role::kClient;
  handshake.cluster = "c1";
  handshake.name = "n";
  EXPECT_EQ(Hex(encoder.Call("handshake", 0, {}, handshake)),
            "0000002f8221000968616e647368616b651c1600160016001500150015001600001c150215021802633118"
            "016e1600"
            "16000000");
  // Field 100 (i32 8192) goes before field 0, which is then written with its full number.
  EXPECT_EQ(Hex(encoder.Answer("read", 300, idl::AppendResponse(), 8192)),
            "000000178241ac02047265616405c8018080010c00160016000000");
}

TEST(Codec, CallsAndAnswersComeBack) {
  Encoder encoder;
  Decoder decoder;
  idl::RequestHeader header;
  idl::AppendRequest request;
  const std::string call = encoder.Call("append", INT32_MAX, SomeHeader(), SomeAppend());
  Result<Decoder::Head> head = decoder.Open(Body(call));
  ASSERT_TRUE(head.ok()) << head.status().ToString();
  EXPECT_EQ(head->name, "append");
  EXPECT_EQ(head->type, T_CALL);
  EXPECT_EQ(head->number, INT32_MAX);
  ASSERT_TRUE(
      decoder.Arguments(&header, [&](Protocol& protocol) { request.read(&protocol); }).ok());
  EXPECT_EQ(header.session, 0x1122);
  EXPECT_EQ(header.bulk_alignment, 17);
  EXPECT_EQ(header.trace, -1);
  EXPECT_EQ(request.checksums, std::string("\x01\x02\xff", 3));
  EXPECT_TRUE(request.sync);
  EXPECT_FALSE(request.__isset.create);

  idl::AppendResponse response;
  response.held = 5;
  const std::string answered = encoder.Answer("append", 1, response, limits::kBulkBytesMax);
  ASSERT_TRUE(decoder.Open(Body(answered)).ok());
  idl::AppendResponse got;
  auto answer = decoder.Answer(T_REPLY, [&](Protocol& protocol) { got.read(&protocol); });
  ASSERT_TRUE(answer.ok());
  EXPECT_TRUE(answer->success);
  EXPECT_EQ(answer->bulk_bytes, limits::kBulkBytesMax);
  EXPECT_EQ(got.held, 5);
  ASSERT_TRUE(decoder.Open(Body(answered)).ok());
  Result<size_t> skipped = decoder.SkipAnswer();
  ASSERT_TRUE(skipped.ok());
  EXPECT_EQ(*skipped, limits::kBulkBytesMax);
}

TEST(Codec, ErrorsComeBackWithCodeAndWords) {
  Encoder encoder;
  Decoder decoder;
  const std::string error = encoder.Error("append", 1, Status(Code::kNoSpace, "the disk is full"));
  ASSERT_TRUE(decoder.Open(Body(error)).ok());
  auto answer = decoder.Answer(T_REPLY, [](Protocol&) { FAIL() << "no result in an error"; });
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(answer->success);
  EXPECT_EQ(answer->error.code(), Code::kNoSpace);
  EXPECT_EQ(answer->error.message(), "the disk is full");

  const std::string unknown = encoder.UnknownMethod("frobnicate", 8);
  Result<Decoder::Head> head = decoder.Open(Body(unknown));
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->type, T_EXCEPTION);
  answer = decoder.Answer(head->type, [](Protocol&) {});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->error.code(), Code::kNotSupported);
}

// Fields that this build does not know, before and after those that it does.
TEST(Codec, SkipsWhatItDoesNotKnow) {
  auto memory = std::make_shared<apache::thrift::transport::TMemoryBuffer>();
  Protocol protocol(memory);
  using namespace apache::thrift::protocol;
  protocol.writeMessageBegin("append", T_CALL, 1);
  protocol.writeStructBegin("");
  protocol.writeFieldBegin("", T_BOOL, -5);
  protocol.writeBool(true);
  protocol.writeFieldBegin("", T_STRUCT, 1);
  SomeHeader().write(&protocol);
  protocol.writeFieldBegin("", T_LIST, 7);
  protocol.writeListBegin(T_STRING, 2);
  protocol.writeString("a");
  protocol.writeString("b");
  protocol.writeFieldBegin("", T_STRUCT, 2);
  SomeAppend().write(&protocol);
  protocol.writeFieldBegin("", T_MAP, 2000);
  protocol.writeMapBegin(T_I32, T_DOUBLE, 1);
  protocol.writeI32(1);
  protocol.writeDouble(0.5);
  protocol.writeFieldStop();
  Decoder decoder;
  idl::RequestHeader header;
  idl::AppendRequest request;
  const std::string frame = memory->getBufferAsString();
  ASSERT_TRUE(ReadCall(decoder, All(frame), &header, &request).ok());
  EXPECT_EQ(header.session, 0x1122);
  EXPECT_EQ(request.offset, 65536);
}

// Thrift's transport counts what it has given out and stops at a maximum; ours lives as long as its
// connection.
TEST(Codec, OneDecoderReadsMoreThanAGibibyte) {
  Encoder encoder;
  Decoder decoder;
  idl::RenewSessionRequest many;
  for (int64_t i = 0; i < 400'000; ++i)
    many.held.push_back(INT64_MAX - i);  // varints are what it counts
  const std::string numbers = encoder.Call("renewSession", 1, {}, many);
  idl::AppendRequest text = SomeAppend();
  text.checksums.assign(limits::kFrameBytesMax - 1024, 'x');
  const std::string large = encoder.Call("append", 1, {}, text);
  ASSERT_LE(large.size(), limits::kFrameBytesMax);
  uint64_t bytes = 0;
  while (bytes < (1100ULL << 20)) {
    idl::RequestHeader header;
    idl::AppendRequest append;
    const Status status = ReadCall(decoder, Body(large), &header, &append);
    ASSERT_TRUE(status.ok()) << status.ToString() << " after " << bytes << " bytes";
    ASSERT_EQ(append.checksums.size(), text.checksums.size());
    bytes += large.size();
    if (bytes % (128 << 20) < large.size()) {
      idl::RenewSessionRequest renew;
      ASSERT_TRUE(decoder.Open(Body(numbers)).ok());
      const Status read =
          decoder.Arguments(&header, [&](Protocol& protocol) { renew.read(&protocol); });
      ASSERT_TRUE(read.ok()) << read.ToString() << " after " << bytes << " bytes";
      ASSERT_EQ(renew.held.size(), many.held.size());
      bytes += numbers.size();
    }
  }
}

TEST(Codec, AFrameOfTheGreatestSizeIsReadAndALongerOneIsNot) {
  Encoder encoder;
  Decoder decoder;
  idl::AppendRequest request = SomeAppend();
  const size_t overhead =
      encoder.Call("append", 1, {}, request).size() - 4 - request.checksums.size();
  request.checksums.assign(limits::kFrameBytesMax - overhead - 3,
                           'x');  // its length takes 3 bytes more
  std::string frame = encoder.Call("append", 1, {}, request);
  ASSERT_EQ(frame.size() - 4, limits::kFrameBytesMax);
  idl::RequestHeader header;
  idl::AppendRequest got;
  EXPECT_TRUE(ReadCall(decoder, Body(frame), &header, &got).ok());
  EXPECT_EQ(got.checksums, request.checksums);
  frame.push_back('\0');
  EXPECT_EQ(ReadCall(decoder, Body(frame), &header, &got).code(), Code::kProtocol);
}

TEST(Codec, EveryTruncationIsAnErrorAndTheNextMessageIsRead) {
  Encoder encoder;
  Decoder decoder;
  const std::string frame = encoder.Call("append", 7, SomeHeader(), SomeAppend());
  for (size_t length = 0; length < frame.size() - 4; ++length) {
    const std::string cut(frame.substr(4, length));  // on its own, for the sanitizer
    idl::RequestHeader header;
    idl::AppendRequest request;
    EXPECT_EQ(ReadCall(decoder, All(cut), &header, &request).code(), Code::kProtocol) << length;
    ASSERT_TRUE(ReadCall(decoder, Body(frame), &header, &request).ok()) << length;
    EXPECT_EQ(request.committed, 65000);
    EXPECT_TRUE(request.sync);
  }
}

TEST(Codec, RandomDamageNeverThrowsAndNeverSticks) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  Encoder encoder;
  Decoder decoder;
  const std::string good = encoder.Call("append", 7, SomeHeader(), SomeAppend());
  for (int i = 0; i < 20'000; ++i) {
    std::string bad = good.substr(4);
    const uint64_t damages = 1 + random.Uniform(4);
    for (uint64_t d = 0; d < damages; ++d)
      bad[random.Uniform(bad.size())] = static_cast<char>(random.Next());
    idl::RequestHeader header;
    idl::AppendRequest request;
    ReadCall(decoder, All(bad), &header, &request).Ignore();
    if (decoder.Open(All(bad)).ok()) {
      decoder.Answer(T_REPLY, [&](Protocol& protocol) { request.read(&protocol); })
          .status()
          .Ignore();
    }
    ASSERT_TRUE(ReadCall(decoder, Body(good), &header, &request).ok()) << i;
  }
}

// A few bytes that announce a list of four million structs must not cost their memory.
TEST(Codec, ListsAreNoLongerThanTheFrame) {
  Decoder decoder;
  for (const uint8_t item_type : {0x0c, 0x03, 0x06, 0x08, 0x01, 0x00}) {
    const std::string frame = {'\x82',
                               '\x21',
                               '\x01',
                               '\x09',
                               'i',
                               'n',
                               'v',
                               'e',
                               'n',
                               't',
                               'o',
                               'r',
                               'y',
                               '\x2c',  // field 2, struct
                               '\x49',  // field 4, list
                               static_cast<char>(0xf0 | item_type),
                               '\x80',
                               '\x92',
                               '\xf4',
                               '\x01'};
    ASSERT_TRUE(decoder.Open(All(frame)).ok());
    idl::RequestHeader header;
    idl::InventoryRequest request;
    const Status status =
        decoder.Arguments(&header, [&](Protocol& protocol) { request.read(&protocol); });
    EXPECT_EQ(status.code(), Code::kProtocol);
    EXPECT_EQ(request.replicas.capacity(), 0u);
  }
}

TEST(Codec, DeepNestingIsRefused) {
  std::string frame = {'\x82', '\x21', '\x01', '\x01', 'x'};
  frame.append(1 << 20, '\x5c');  // field +5: a struct that holds a struct that holds ...
  Decoder decoder;
  ASSERT_TRUE(decoder.Open(All(frame)).ok());
  idl::RequestHeader header;
  const Status status = decoder.Arguments(
      &header, [](Protocol& protocol) { protocol.skip(apache::thrift::protocol::T_STRUCT); });
  EXPECT_EQ(status.code(), Code::kProtocol);
}

TEST(Codec, BulkLengthsOverTheLimitAreRefused) {
  Encoder encoder;
  Decoder decoder;
  // i32 8388609 and -1 in the place of 8192 of the golden bytes.
  for (const std::string& bulk : {std::string("\x82\x80\x80\x08"), std::string("\x01")}) {
    const std::string frame =
        std::string("\x82\x41\x01\x04read\x05\xc8\x01") + bulk + std::string("\x0c\x00\x00\x00", 4);
    ASSERT_TRUE(decoder.Open(All(frame)).ok());
    EXPECT_EQ(decoder.SkipAnswer().code(), Code::kProtocol);
  }
}

TEST(Codec, NamesOfStrangersAreFitForALogLine) {
  EXPECT_EQ(PrintableName("getAttributes"), "getAttributes");
  EXPECT_EQ(PrintableName("a\nb\xff\x1b[1m"), "a?b??[1m");
  EXPECT_EQ(PrintableName(std::string(1000, 'x')), std::string(64, 'x'));
}

}  // namespace
}  // namespace moraine::rpc
