// Any bytes as they come from a socket, in pieces of any size: a connection finds the same frames
// and the same raw bytes behind them as somebody who sees all bytes at once, and ends for the same
// reason. The first byte says how large the pieces are; the first byte of each frame, how many raw
// bytes follow it and where in a page they begin.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/encoding.h"
#include "base/limits.h"
#include "base/loop/scripted_loop.h"
#include "rpc/connection.h"

namespace moraine::rpc {
namespace {

// A peer that has said everything already, and then left.
class SaidStream final : public Stream {
 public:
  SaidStream(ConstBytes bytes, size_t piece) : bytes_(bytes), piece_(piece) {}
  Task<Result<size_t>> Read(MutableBytes buffer) override {
    MORAINE_CHECK(!buffer.empty());
    if (closed_) co_return Status(Code::kCanceled, "closed here");
    const size_t size = std::min({bytes_.size(), piece_, buffer.size()});
    if (size > 0) std::memcpy(buffer.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    co_return size;
  }
  Task<Status> Write(std::span<const ConstBytes>) override { co_return Status(); }
  void Close() override { closed_ = true; }
  std::string peer() const override { return "peer"; }

 private:
  ConstBytes bytes_;
  const size_t piece_;
  bool closed_ = false;
};

size_t BulkBytes(ConstBytes frame) { return static_cast<size_t>(frame[0]) % 16 * 700; }
size_t BulkAlignment(ConstBytes frame) { return static_cast<size_t>(frame[0]) / 16 * 256; }

bool Same(ConstBytes a, ConstBytes b) { return std::ranges::equal(a, b); }

// Takes the next message off `rest`, which is all that there is; the code that reading it must
// give.
Code Next(ConstBytes* rest, ConstBytes* frame, ConstBytes* bulk) {
  if (rest->size() < 4) return Code::kUnavailable;
  const size_t length = LoadBig32(rest->data());
  if (length == 0 || length > limits::kFrameBytesMax) return Code::kProtocol;
  if (rest->size() - 4 < length) return Code::kUnavailable;
  *frame = rest->subspan(4, length);
  *rest = rest->subspan(4 + length);
  const size_t size = BulkBytes(*frame);
  *bulk = rest->first(std::min(size, rest->size()));
  *rest = rest->subspan(bulk->size());
  return Code::kOk;
}

Task<void> ReadAll(Loop* loop, ConstBytes bytes, size_t piece, bool* ended) {
  const auto connection =
      std::make_shared<Connection>(*loop, std::make_unique<SaidStream>(bytes, piece));
  Status status;
  ConstBytes rest = bytes;
  while (status.ok()) {
    ConstBytes frame, bulk;
    const Code expected = Next(&rest, &frame, &bulk);
    const Result<ConstBytes> got = co_await connection->ReadFrame();
    MORAINE_CHECK(got.code() == expected, got.status().ToString());
    status = got.status();
    if (!got.ok()) break;
    MORAINE_CHECK(Same(*got, frame));
    if (connection->decoder().Open(*got).ok()) connection->decoder().SkipAnswer().status().Ignore();
    const size_t size = BulkBytes(frame);
    const size_t alignment = BulkAlignment(frame);
    if (size == 0) continue;
    const Result<Buffer> raw = co_await connection->ReadBulk(size, alignment);
    MORAINE_CHECK(raw.ok() == (bulk.size() == size), raw.status().ToString());
    status = raw.status();
    if (!raw.ok()) break;
    MORAINE_CHECK(Same(raw->bytes(), bulk));
    MORAINE_CHECK(reinterpret_cast<uintptr_t>(raw->data()) % limits::kBlockBytes == alignment);
  }
  connection->Close(status);
  *ended = true;
}

void Fuzz(const uint8_t* data, size_t size) {
  static ScriptedLoop& loop = *new ScriptedLoop();
  if (size == 0) return;
  const size_t piece = size_t{4096} >> data[0] % 12;
  bool ended = false;
  loop.Spawn(ReadAll(&loop, std::as_bytes(std::span(data + 1, size - 1)), piece, &ended));
  loop.RunUntil([&] { return ended; });
}

}  // namespace
}  // namespace moraine::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::rpc::Fuzz(data, size);
  return 0;
}
