// A store under random work, random ends and random disk errors, against a model of what was
// acknowledged. Each seed is several lives of one disk. MORAINE_SEED=n runs seed n alone.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/random.h"
#include "base/sanitized.h"
#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::CallOf;
using testing::IsRight;
using testing::SmallOptions;
using testing::StoreWorld;

// What one chunk's clients were told.
struct Acknowledged {
  ChunkId chunk;
  Epoch epoch{1};  // clients use it
  Epoch fenced;    // acknowledged
  Epoch epoch_tried{1};
  uint64_t sent = 0;
  uint64_t synced = 0;  // acknowledged as durable
  bool exists = false;  // something was acknowledged
  bool seal_tried = false;
  uint64_t seal_length = 0;
  bool sealed = false;
  bool delete_tried = false;
  bool deleted = false;
  bool stuck = false;  // a call failed: nothing more is sent in this life
  bool busy = false;

  std::string ToString() const {
    return fmt::format("chunk {}: epoch {} (fenced {}, tried {}), sent {}, synced {}{}{}{}{}{}",
                       chunk.value(), epoch.value(), fenced.value(), epoch_tried.value(), sent,
                       synced, exists ? ", exists" : "", seal_tried ? ", seal tried" : "",
                       sealed ? ", sealed" : "", delete_tried ? ", delete tried" : "",
                       deleted ? ", deleted" : "");
  }
};

// How much the seeds have reached, over all of them.
struct Reached {
  uint64_t checkpoints = 0;
  uint64_t quarantines = 0;
  uint64_t sealed = 0;
  uint64_t deleted = 0;
  uint64_t kept_unsynced = 0;
};

class Lives {
 public:
  Lives(uint64_t seed, sim::WorldOptions world, StoreOptions options)
      : sim_(seed, world, std::move(options)), random_(seed * 31 + 7) {}

  StoreWorld& sim() { return sim_; }
  Random& random() { return random_; }

  // Runs clients for a while and ends the process in some way.
  void Live(Duration limit, bool orderly_allowed) {
    for (auto& chunk : chunks_) {
      chunk->stuck = chunk->busy = false;
      // A restarted replica takes bytes under a new epoch, from recovery.
      chunk->epoch = chunk->epoch_tried.Next();
    }
    stopping_ = false;
    Store* store = sim_.store;
    for (int i = 0; i < 6; ++i) sim_.loop->Spawn(RunClient(this, store, sim_.loop));
    sim_.world.RunFor(Duration(random_.Uniform(static_cast<uint64_t>(limit.count()))));
    reached.checkpoints += store->context().metrics.checkpoints.Value();
    reached.quarantines += store->context().quarantined() ? 1 : 0;
    const uint64_t end = random_.Uniform(10);
    if (end < 7) {
      sim_.PowerCut();
    } else if (end < 9 || !orderly_allowed) {
      sim_.Kill();
    } else {
      stopping_ = true;
      // It may fail where errors are injected, but it ends.
      EXPECT_NE(sim_.Stop().code(), Code::kTimeout) << "Close hangs";
      sim_.PowerCut();
    }
  }

  // The disk has lost nothing that was acknowledged. `may_lose`: the disk itself lies, so only
  // wrong bytes count.
  void Check(bool may_lose) {
    for (const auto& chunk : chunks_) {
      SCOPED_TRACE(chunk->ToString());
      CheckChunk(*chunk, may_lose);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  static Reached reached;

 private:
  void CheckChunk(Acknowledged& model, bool may_lose) {
    const auto info = sim_.store->Stat(model.chunk);
    if (!info.ok()) {
      ASSERT_EQ(info.code(), Code::kUnknownChunk);
      if (!may_lose) ASSERT_TRUE(!model.exists || model.delete_tried) << "the replica is gone";
      model.deleted = model.delete_tried;
      if (!model.deleted) model.sent = 0;
      return;
    }
    if (may_lose && info->damaged) {
      model.stuck = true;
      return;
    }
    ASSERT_FALSE(info->damaged);
    if (!may_lose) {
      ASSERT_FALSE(model.deleted) << "a deleted replica is back";
      ASSERT_GE(info->epoch, model.fenced) << "the epoch went back";
      if (model.sealed) ASSERT_TRUE(info->sealed);
      if (info->sealed) {
        ASSERT_TRUE(model.seal_tried);
        ASSERT_EQ(info->held, model.seal_length);
      } else {
        ASSERT_GE(info->held, model.synced) << "synced bytes are lost";
        ASSERT_TRUE(info->restarted);
      }
    }
    ASSERT_LE(info->epoch, model.epoch_tried);
    ASSERT_LE(info->held, model.sent);
    // Nothing is restated on a disk in quarantine.
    const bool restated = !sim_.store->GetStatus().quarantined;
    ASSERT_TRUE(restated ? info->held == info->synced : info->held >= info->synced);
    for (uint64_t at = 0; at < info->held; at += 1_MiB) {
      const auto read = sim_.Await(sim_.store->Read(model.chunk, at, 1_MiB, info->held));
      if (!read.ok() && may_lose) {
        ASSERT_TRUE(sim_.store->Stat(model.chunk)->damaged) << read.status().ToString();
        break;
      }
      ASSERT_TRUE(read.ok()) << read.status().ToString();
      ASSERT_TRUE(IsRight(model.chunk, *read));
      ASSERT_EQ(read->offset + read->bytes.size(), std::min(info->held, at + 1_MiB));
    }
    if (!info->sealed && info->held > model.synced) ++reached.kept_unsynced;
    // What is there now is known to be durable.
    model.exists = true;
    model.sealed = info->sealed;
    if (info->sealed) model.seal_length = info->held;
    model.sent = info->held;
    model.synced = info->synced;
    model.seal_tried = info->sealed;
    model.fenced = info->epoch;
    model.epoch_tried = std::max(model.epoch_tried, info->epoch);
  }

  static Task<void> RunClient(Lives* self, Store* store, Loop* loop) {
    Random random = self->random_.Fork();
    while (!self->stopping_) {
      Acknowledged* model = self->Pick(random);
      model->busy = true;
      co_await self->Work(store, loop, model, &random);
      model->busy = false;
      co_await loop->Sleep(Duration(random.Uniform(300'000)));
    }
  }

  Acknowledged* Pick(Random& random) {
    for (int attempt = 0; attempt < 4 && !chunks_.empty(); ++attempt) {
      Acknowledged* model = random.Pick(chunks_).get();
      if (!model->busy && !model->stuck && !model->sealed && !model->delete_tried) return model;
    }
    chunks_.push_back(std::make_unique<Acknowledged>());
    chunks_.back()->chunk = ChunkId(chunks_.size() * 3);
    return chunks_.back().get();
  }

  uint64_t SomeSize(Random& random) {
    switch (random.Uniform(8)) {
      case 0:
        return limits::kBlockBytes * random.Between(1, 40);
      case 1:
        return random.Between(1, 1'200'000);
      case 2:
      case 3:
        return random.Between(1, 120'000);
      default:
        return random.Between(1, 9'000);
    }
  }

  // A few operations on one chunk; appends may be pipelined.
  Task<void> Work(Store* store, Loop* loop, Acknowledged* model, Random* random) {
    const bool restarted = model->epoch > Epoch(1);
    if (restarted && model->fenced < model->epoch) {
      model->epoch_tried = std::max(model->epoch_tried, model->epoch);
      const auto fenced = co_await store->Fence(model->chunk, model->epoch);
      if (!fenced.ok()) {
        model->stuck = true;
        co_return;
      }
      model->fenced = model->epoch;
    }
    auto in_flight = std::make_shared<int>(0);
    for (uint64_t i = random->Between(1, 12); i > 0 && !model->stuck; --i) {
      const uint64_t size = std::min(SomeSize(*random), limits::kChunkBytesMax - model->sent);
      AppendCall call = CallOf(model->chunk, model->epoch, model->sent, size, random->Chance(0.4));
      model->sent += size;
      ++*in_flight;
      loop->Spawn(SendOne(store, model, std::move(call), in_flight, restarted));
      while (*in_flight > (random->OneIn(3) ? 2 : 0)) co_await loop->Sleep(20us);
    }
    while (*in_flight > 0) co_await loop->Sleep(20us);
    if (model->stuck) co_return;
    if (random->OneIn(4)) co_await SealOne(store, model, random);
    if (random->OneIn(12)) co_await DeleteOne(store, model);
  }

  static Task<void> SendOne(Store* store, Acknowledged* model, AppendCall call,
                            std::shared_ptr<int> in_flight, bool copied) {
    const bool sync = call.sync;
    const uint64_t end = call.offset + call.bytes.size();
    const auto result = copied ? co_await store->AppendCopied(std::move(call))
                               : co_await store->Append(std::move(call));
    --*in_flight;
    if (!result.ok()) {
      model->stuck = true;
      co_return;
    }
    EXPECT_GE(result->held, end);
    if (sync) EXPECT_GE(result->synced, end);
    model->exists = true;
    model->synced = std::max(model->synced, result->synced);
  }

  Task<void> SealOne(Store* store, Acknowledged* model, Random* random) {
    const Epoch epoch = model->epoch_tried.Next();
    model->epoch_tried = epoch;
    const auto fenced = co_await store->Fence(model->chunk, epoch);
    if (!fenced.ok()) {
      model->stuck = true;
      co_return;
    }
    model->fenced = model->epoch = epoch;
    EXPECT_LE(fenced->held, model->sent);
    // Bytes above may be cut, also synced ones: the quorum decided so.
    const uint64_t length =
        random->OneIn(2) ? fenced->held : random->Between(fenced->held / 2, fenced->held);
    model->seal_tried = true;
    model->seal_length = length;
    model->synced = std::min(model->synced, length);
    const auto sealed = co_await store->Seal(model->chunk, epoch, length);
    if (!sealed.ok()) {
      model->stuck = true;
      co_return;
    }
    model->sealed = true;
    ++reached.sealed;
  }

  Task<void> DeleteOne(Store* store, Acknowledged* model) {
    model->delete_tried = true;
    const Status status = co_await store->Delete(model->chunk, model->epoch_tried);
    model->deleted = status.ok();
    if (status.ok()) ++reached.deleted;
  }

  StoreWorld sim_;
  Random random_;
  std::vector<std::unique_ptr<Acknowledged>> chunks_;
  bool stopping_ = false;
};

Reached Lives::reached;

// The seeds of one shard. The shards are tests of their own, so that they run side by side.
constexpr int kShards = 5;
class StoreCrash : public ::testing::TestWithParam<int> {
 protected:
  std::vector<uint64_t> Seeds(uint64_t count) const {
    if (const char* one = std::getenv("MORAINE_SEED")) {
      if (GetParam() > 0) return {};
      return {std::strtoull(one, nullptr, 10)};
    }
    if (const char* more = std::getenv("MORAINE_SEEDS")) count = std::strtoull(more, nullptr, 10);
    std::vector<uint64_t> seeds;
    for (uint64_t seed = 1; seed <= count; ++seed) {
      if (seed % kShards == static_cast<uint64_t>(GetParam())) seeds.push_back(seed);
    }
    return seeds;
  }
};
INSTANTIATE_TEST_SUITE_P(Shard, StoreCrash, ::testing::Range(0, kShards));

// Says which seed it was, also when a check aborts the process.
::testing::ScopedTrace TraceSeed(uint64_t seed) {
  TellSeedOnAbort(seed);
  return {__FILE__, __LINE__, ::testing::Message() << "MORAINE_SEED=" << seed};
}

TEST_P(StoreCrash, NothingAcknowledgedIsLost) {
  Lives::reached = {};
  const std::vector<uint64_t> seeds = Seeds(Rounds(500, 100));
  for (const uint64_t seed : seeds) {
    const auto trace = TraceSeed(seed);
    Lives lives(seed, {}, SmallOptions());
    ASSERT_TRUE(lives.sim().Start().ok());
    for (int life = 0; life < 3; ++life) {
      lives.Live(30ms, /*orderly_allowed=*/true);
      const Status status = lives.sim().Start();
      ASSERT_TRUE(status.ok()) << status.ToString();
      ASSERT_FALSE(lives.sim().store->GetStatus().quarantined);
      lives.Check(/*may_lose=*/false);
      if (HasFailure()) return;
    }
  }
  if (seeds.size() < 50) return;
  EXPECT_GT(Lives::reached.checkpoints, 50u) << "the journal has turned over under load";
  EXPECT_GT(Lives::reached.sealed, 100u);
  EXPECT_GT(Lives::reached.deleted, 30u);
  EXPECT_GT(Lives::reached.kept_unsynced, 0u);
}

TEST_P(StoreCrash, DiskErrorsLoseNothingAcknowledged) {
  Lives::reached = {};
  const std::vector<uint64_t> seeds = Seeds(Rounds(150, 30));
  for (const uint64_t seed : seeds) {
    const auto trace = TraceSeed(seed);
    StoreOptions options = SmallOptions();
    Lives lives(seed, {}, options);
    sim::DiskImage& disk = lives.sim().machine.disk();
    ASSERT_TRUE(lives.sim().Start().ok());
    for (int life = 0; life < 3; ++life) {
      const uint64_t kind = lives.random().Uniform(3);
      if (kind == 0) disk.options().write_error_chance = 0.002;
      if (kind == 1) disk.options().sync_error_chance = 0.01;
      if (kind == 2) disk.SetCapacity(disk.used_bytes() + lives.random().Uniform(8_MiB));
      lives.Live(30ms, /*orderly_allowed=*/true);
      disk.options().write_error_chance = disk.options().sync_error_chance = 0;
      disk.SetCapacity(1_TiB);
      const Status status = lives.sim().Start();
      ASSERT_TRUE(status.ok()) << status.ToString();
      lives.Check(/*may_lose=*/false);
      if (HasFailure()) return;
    }
  }
  if (seeds.size() < 20) return;
  // About one in two seeds; a shard of thirty seeds may be far below that by chance.
  EXPECT_GT(Lives::reached.quarantines, 2u);
}

TEST_P(StoreCrash, LyingDisksShowNoWrongBytes) {
  for (const uint64_t seed : Seeds(Rounds(150, 30))) {
    const auto trace = TraceSeed(seed);
    Lives lives(seed, {}, SmallOptions());
    sim::DiskImage& disk = lives.sim().machine.disk();
    ASSERT_TRUE(lives.sim().Start().ok());
    for (int life = 0; life < 3; ++life) {
      const uint64_t kind = lives.random().Uniform(3);
      if (kind == 0) disk.options().bit_flip_chance = 0.01;
      if (kind == 1) disk.options().misdirected_write_chance = 0.01;
      if (kind == 2) disk.options().lost_write_chance = 0.01;
      lives.Live(30ms, /*orderly_allowed=*/false);
      disk.options().bit_flip_chance = disk.options().misdirected_write_chance =
          disk.options().lost_write_chance = 0;
      const Status status = lives.sim().Start();
      if (!status.ok()) {  // the superblock or the journal's own header was hit
        ASSERT_EQ(status.code(), Code::kCorruption) << status.ToString();
        break;
      }
      lives.Check(/*may_lose=*/true);
      if (HasFailure()) return;
      if (lives.sim().store->GetStatus().quarantined) break;
    }
  }
}

}  // namespace
}  // namespace moraine::chunkserver
