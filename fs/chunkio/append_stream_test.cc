#include "fs/chunkio/append_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop/sim/world.h"
#include "base/units.h"
#include "fs/chunkio/fake_holder.h"

namespace moraine::fs {
namespace {

constexpr size_t kReplicas = 3;
constexpr uint64_t kPiece = 64_KiB;

// Takes one piece of each chunk, so that a stream rolls after each, and puts nothing on a disk that
// it is not asked to.
Result<idl::AppendResponse> TakeOnePiece(const idl::AppendRequest& request, int64_t bytes) {
  if (request.offset > 0 && bytes > 0) return Status(Code::kIo, "one piece");
  idl::AppendResponse response;
  response.held = request.offset + bytes;
  response.synced = request.sync ? response.held : 0;
  return response;
}

// Grants chunks without end, all on the same servers, and counts who asks until they are sealed.
class CountingSource : public ChunkSource {
 public:
  CountingSource(Loop& loop, std::vector<ReplicaPlace> replicas)
      : loop_(loop), replicas_(std::move(replicas)) {}

  Task<Result<ChunkGrant>> NextChunk(std::optional<ChunkClose> previous, uint64_t offset,
                                     std::vector<ServerId>, std::function<bool()>) override {
    if (previous) lengths_[previous->chunk] = previous->length;
    ChunkGrant grant;
    grant.chunk = ChunkId(++granted);
    grant.epoch = Epoch(1);
    grant.replicas = replicas_;
    grant.policy = protocol::kLogPolicy;
    grant.inode = InodeId(2);
    grant.tail = true;
    grant.tail_offset = offset;
    co_return grant;
  }
  Task<Result<uint64_t>> AwaitSealed(ChunkId chunk, Instant) override {
    asked_at_once_max = std::max(asked_at_once_max, ++asked_);
    co_await loop_.Sleep(10ms);
    --asked_;
    co_return lengths_.at(chunk);
  }

  uint64_t granted = 0;
  int asked_at_once_max = 0;

 private:
  Loop& loop_;
  const std::vector<ReplicaPlace> replicas_;
  std::map<ChunkId, uint64_t> lengths_;
  int asked_ = 0;
};

class Streaming : public sim::Process {
 public:
  Streaming(sim::SimLoop& loop, std::vector<ReplicaPlace> replicas)
      : loop_(loop),
        channels_(loop, {idl::Role::kClient, "", "client", ServerId()}),
        source(loop, std::move(replicas)),
        stream(loop, channels_, source, ChunkIoOptions{.piece_bytes = kPiece}, 0, std::nullopt) {}

  // So many pieces, none of them synced.
  Task<Status> Write(int pieces) {
    const std::string piece(kPiece, 'x');
    for (int i = 0; i < pieces; ++i) {
      MORAINE_CO_RETURN_IF_ERROR(
          co_await stream.Append(std::as_bytes(std::span(piece)), loop_.After(60s)));
    }
    co_return co_await stream.Flush(loop_.After(60s));
  }
  Task<Status> Sync() { co_return co_await stream.Sync(loop_.After(60s)); }
  Task<void> End() {
    stream.Abandon();
    channels_.Close();
    co_await stream.Drain();
    co_await channels_.Drain();
  }

 private:
  sim::SimLoop& loop_;
  rpc::Channels channels_;

 public:
  CountingSource source;
  AppendStream stream;
};

class AppendStreamTest : public testing::Test {
 protected:
  AppendStreamTest() {
    const auto replicas = FakeHolder::StartAll(world_, kReplicas, TakeOnePiece);
    client_.Start([=](sim::SimLoop& loop) { return std::make_unique<Streaming>(loop, replicas); });
  }
  void TearDown() override { ASSERT_TRUE(world_.Await(client_.loop(), streaming().End())); }

  Streaming& streaming() { return client_.process_as<Streaming>(); }
  Status Run(Task<Status> task) {
    const auto status = world_.Await(client_.loop(), std::move(task), 120s);
    MORAINE_CHECK(status.has_value(), world_.Describe());
    return *status;
  }

  sim::World world_{7};
  sim::Machine& client_ = world_.AddMachine("client");
};

// All chunks since the last sync, which may be thousands, were asked for at once.
TEST_F(AppendStreamTest, ASyncAfterManyChunksAsksForSomeAtATime) {
  constexpr int kChunks = 200;
  const Status written = Run(streaming().Write(kChunks));
  ASSERT_TRUE(written.ok()) << written.ToString();
  ASSERT_GE(streaming().source.granted, static_cast<uint64_t>(kChunks));
  EXPECT_EQ(streaming().source.asked_at_once_max, 0);
  const Status synced = Run(streaming().Sync());
  EXPECT_TRUE(synced.ok()) << synced.ToString();
  EXPECT_GT(streaming().source.asked_at_once_max, 1);
  EXPECT_LE(streaming().source.asked_at_once_max, 32);
}

}  // namespace
}  // namespace moraine::fs
