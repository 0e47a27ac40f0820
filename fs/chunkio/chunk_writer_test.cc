#include "fs/chunkio/chunk_writer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/loop/sim/network.h"
#include "base/loop/sim/world.h"
#include "base/units.h"
#include "fs/chunkio/fake_holder.h"

namespace moraine::fs {
namespace {

constexpr uint64_t kPiece = 1_MiB;
constexpr size_t kReplicas = 5;
constexpr size_t kSlow = 4;  // this replica's link can be made slow

Result<idl::AppendResponse> HoldAll(const idl::AppendRequest& request, int64_t bytes) {
  idl::AppendResponse response;
  response.held = request.offset + bytes;
  return response;
}

class Writing : public sim::Process {
 public:
  Writing(sim::SimLoop& loop, ChunkGrant grant, const ChunkIoOptions& options)
      : options_(options),
        channels_(loop, {idl::Role::kClient, "", "client", ServerId()}),
        changed_(loop),
        writer(loop, channels_, grant,
               grant.policy.ForMade(static_cast<int>(grant.replicas.size())).value(), options_,
               changed_) {}

  Task<void> Append(uint64_t size) {
    auto bytes = std::make_shared<Buffer>(Buffer::Allocate(size));
    std::memset(bytes->data(), 'x', size);
    sent_.push_back(bytes);
    const auto ticket = writer.Append({bytes, std::as_const(*bytes).bytes()}, false);
    EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
    bytes_held_max = std::max(bytes_held_max, bytes_held());
    co_return;
  }
  // As a stream does: no more than a window on the way.
  Task<void> AppendMany(uint64_t bytes) {
    for (uint64_t done = 0; done < bytes; done += kPiece) {
      while (writer.rules().submitted() - writer.rules().committed() + kPiece >
             options_.window_bytes) {
        co_await changed_.Wait();
      }
      co_await Append(kPiece);
    }
    while (writer.rules().committed() < writer.rules().submitted()) co_await changed_.Wait();
  }
  // Of all that was given to Append, what has not been let go.
  uint64_t bytes_held() const {
    uint64_t bytes = 0;
    for (const auto& piece : sent_) {
      if (const auto held = piece.lock()) bytes += held->size();
    }
    return bytes;
  }
  Task<void> End() {
    writer.Abandon();
    channels_.Close();
    co_await writer.Drain();
    co_await channels_.Drain();
  }

 private:
  const ChunkIoOptions options_;
  rpc::Channels channels_;
  Condition changed_;
  std::vector<std::weak_ptr<const Buffer>> sent_;

 public:
  ChunkWriter writer;
  uint64_t bytes_held_max = 0;
};

class ChunkWriterTest : public testing::Test {
 protected:
  void Start(uint64_t window_bytes) {
    ChunkGrant grant;
    grant.chunk = ChunkId(1);
    grant.epoch = Epoch(1);
    grant.policy = protocol::kLogPolicy;
    grant.inode = InodeId(2);
    grant.replicas = FakeHolder::StartAll(world_, kReplicas, HoldAll);
    ChunkIoOptions options;
    options.window_bytes = window_bytes;
    client_.Start(
        [=](sim::SimLoop& loop) { return std::make_unique<Writing>(loop, grant, options); });
    // All are connected before one becomes slow.
    ASSERT_TRUE(world_.Await(client_.loop(), writing().Append(limits::kBlockBytes)));
    const bool all =
        world_.RunUntil([&] { return rules().held(kSlow) == limits::kBlockBytes; }, 10s);
    ASSERT_TRUE(all) << world_.Describe();
    world_.net().SetSlowness(client_, *world_.Find(fmt::format("cs{}", kSlow + 1)), 200);
  }
  void TearDown() override { ASSERT_TRUE(world_.Await(client_.loop(), writing().End())); }

  Writing& writing() { return client_.process_as<Writing>(); }
  protocol::AppendWriter& rules() { return writing().writer.rules(); }

  sim::World world_{7};
  sim::Machine& client_ = world_.AddMachine("client");
};

// Three others commit, so the stream goes on; all that went to the slow one stayed in memory, and
// it answered just often enough not to be called silent.
TEST_F(ChunkWriterTest, AReplicaThatIsFarBehindIsLeft) {
  constexpr uint64_t kWindow = 8_MiB;
  Start(kWindow);
  ASSERT_TRUE(world_.Await(client_.loop(), writing().AppendMany(60_MiB)));
  EXPECT_EQ(rules().committed(), 60_MiB + limits::kBlockBytes);
  EXPECT_FALSE(rules().live().Has(kSlow));
  EXPECT_EQ(rules().live().Count(), static_cast<int>(kReplicas) - 1);
  EXPECT_EQ(rules().roll(), protocol::Roll::kSoon);
  // Two windows for the slow one, and as much for another that is not needed for the count.
  EXPECT_LE(writing().bytes_held_max, 4 * kWindow + 2 * kPiece);
}

// What waits for its turn to be sent to a replica that was left is let go, not sent.
TEST_F(ChunkWriterTest, NothingMoreIsSentToAReplicaThatWasLeft) {
  Start(24_MiB);
  ASSERT_TRUE(world_.Await(client_.loop(), writing().AppendMany(60_MiB)));
  ASSERT_FALSE(rules().live().Has(kSlow));
  ASSERT_GT(writing().bytes_held(), limits::kQueuedBytesMax + 8 * kPiece);
  const bool let_go = world_.RunUntil(
      [&] { return writing().bytes_held() <= limits::kQueuedBytesMax + kPiece; }, 1500ms);
  EXPECT_TRUE(let_go) << writing().bytes_held();
}

}  // namespace
}  // namespace moraine::fs
