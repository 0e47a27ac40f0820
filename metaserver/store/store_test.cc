#include "metaserver/store/store.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/sanitized.h"
#include "metaserver/testing/store_fixture.h"

namespace moraine::metaserver {
namespace {

Status PutNumber(StoreFixture& fixture, uint64_t number) {
  return fixture.Run([number](Transaction& t) {
    t.Put(Family::kXattrs, XattrKey(InodeId(number), "x"), fmt::format("{}", number));
    return Status::Ok();
  });
}

bool HasNumber(StoreFixture& fixture, uint64_t number) {
  Transaction t(fixture.store());
  const auto value = t.Get(Family::kXattrs, XattrKey(InodeId(number), "x"));
  EXPECT_TRUE(value.ok());
  return value->has_value();
}

TEST(StoreTest, ReadsItsOwnWritesAndForgetsWhatIsDropped) {
  StoreFixture fixture;
  {
    Transaction t(fixture.store());
    t.Put(Family::kXattrs, "a", "1");
    EXPECT_EQ(t.Get(Family::kXattrs, "a")->value(), "1");
    t.Delete(Family::kXattrs, "a");
    EXPECT_FALSE(t.Get(Family::kXattrs, "a")->has_value());
  }
  Transaction t(fixture.store());
  EXPECT_TRUE(t.empty());
  EXPECT_FALSE(t.Get(Family::kXattrs, "a")->has_value());
}

TEST(StoreTest, CursorsMergeTheBatchAndStayInThePrefix) {
  StoreFixture fixture;
  ASSERT_TRUE(fixture
                  .Run([](Transaction& t) {
                    for (const char* key : {"a1", "b1", "b3", "c1"})
                      t.Put(Family::kXattrs, key, "old");
                    return Status::Ok();
                  })
                  .ok());
  Transaction t(fixture.store());
  t.Put(Family::kXattrs, "b2", "new");
  t.Delete(Family::kXattrs, "b3");
  std::string seen;
  for (Cursor c = t.Scan(Family::kXattrs, "b"); c.Valid(); c.Next()) {
    seen += fmt::format("{}={} ", c.key(), c.value());
  }
  EXPECT_EQ(seen, "b1=old b2=new ");
  Cursor back = t.ScanBack(Family::kXattrs, "b", "9");
  ASSERT_TRUE(back.Valid());
  EXPECT_EQ(back.key(), "b2");
}

TEST(StoreTest, KeepsClusterAndIdsOverARestart) {
  StoreFixture fixture;
  const std::string cluster = fixture.store().cluster();
  EXPECT_EQ(cluster.size(), 32u);
  const InodeId first = *fixture.store().NewInode();
  EXPECT_GT(first, kRootInode);
  fixture.Restart();
  EXPECT_EQ(fixture.store().cluster(), cluster);
  EXPECT_GT(*fixture.store().NewInode(), first);
  Transaction t(fixture.store());
  EXPECT_EQ(t.Inode(kRootInode)->type, FileType::kDirectory);
  EXPECT_EQ(fixture.store().counters().inodes, 1);
}

TEST(StoreTest, SyncsAGroupAtOnce) {
  StoreFixture fixture;
  ASSERT_TRUE(fixture.Sync().ok());
  const uint64_t before = fixture.disk().syncs();
  std::vector<std::optional<Status>> done(20);
  for (size_t i = 0; i < done.size(); ++i) {
    ASSERT_TRUE(PutNumber(fixture, i).ok());
    fixture.loop().Spawn([](Store* store, std::optional<Status>* out) -> Task<void> {
      *out = co_await store->Synced(store->written());
    }(&fixture.store(), &done[i]));
  }
  ASSERT_TRUE(fixture.world().RunUntil(
      [&] { return std::ranges::all_of(done, [](const auto& d) { return d.has_value(); }); }, 10s));
  for (const auto& status : done) EXPECT_TRUE(status->ok());
  EXPECT_LE(fixture.disk().syncs() - before, 2u);
}

TEST(StoreTest, SyncsLazilyByItself) {
  StoreFixture fixture;
  ASSERT_TRUE(PutNumber(fixture, 1).ok());
  fixture.world().RunFor(300ms);
  fixture.PowerCut();
  EXPECT_TRUE(HasNumber(fixture, 1));
}

TEST(StoreTest, AFailedSyncIsNeverASuccess) {
  StoreFixture fixture;
  ASSERT_TRUE(PutNumber(fixture, 1).ok());
  fixture.disk().FailSyncs();
  EXPECT_EQ(fixture.Sync().code(), Code::kIo);
  EXPECT_FALSE(fixture.store().health().ok());
  EXPECT_EQ(fixture.Sync().code(), Code::kIo);
  Transaction t(fixture.store());
  t.Put(Family::kXattrs, "a", "1");
  EXPECT_EQ(fixture.store().Commit(t).code(), Code::kIo);
}

TEST(StoreTest, RefusesWhatIsNotAMetaserversDirectory) {
  StoreFixture fixture;
  auto disk = std::make_shared<VolatileFileSystem>();
  rocksdb::IOOptions io;
  disk->CreateDir("/other", io, nullptr);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  disk->NewWritableFile("/other/holiday.jpg", rocksdb::FileOptions(), &file, nullptr);
  const auto env = VolatileFileSystem::MakeEnv(disk);
  StoreOptions options;
  options.directory = "/other";
  options.env = env.get();
  const auto store = Store::Open(fixture.loop(), std::move(options));
  EXPECT_EQ(store.code(), Code::kInvalidArgument) << store.status().ToString();
}

TEST(StoreTest, RefusesANewerFormatAndASecondOpener) {
  StoreFixture fixture;
  ASSERT_TRUE(fixture
                  .Run([](Transaction& t) {
                    t.Put(Family::kSystem, kFormatKey,
                          std::string(1, static_cast<char>(kFormatVersion + 1)));
                    return Status::Ok();
                  })
                  .ok());
  const auto env = VolatileFileSystem::MakeEnv(
      std::shared_ptr<VolatileFileSystem>(&fixture.disk(), [](VolatileFileSystem*) {}));
  StoreOptions options;
  options.directory = "/meta";
  options.env = env.get();
  EXPECT_EQ(Store::Open(fixture.loop(), options).code(), Code::kBusy);
  ASSERT_TRUE(fixture.Sync().ok());
  Random random(1);
  const auto after = fixture.disk().AfterPowerCut(random);
  const auto env_after = VolatileFileSystem::MakeEnv(after);
  options.env = env_after.get();
  EXPECT_EQ(Store::Open(fixture.loop(), options).code(), Code::kWrongVersion);
}

// Writes numbers, syncs now and then, cuts the power: what was synced is there, and what is there
// is a prefix of what was written. Ids never come back.
TEST(StoreTest, PowerCutsLoseOnlyATail) {
  const uint64_t base = SeedFromEnvironment();
  for (uint64_t round = 0; round < Rounds(25, 6); ++round) {
    const uint64_t seed = MixBits(base + round);
    SCOPED_TRACE(fmt::format("MORAINE_SEED={} round {}", base, round));
    StoreFixture fixture(seed);
    std::set<InodeId> given;
    uint64_t written = 0;
    uint64_t synced = 0;
    for (int life = 0; life < 4; ++life) {
      for (uint64_t steps = fixture.random().Uniform(40); steps > 0; --steps) {
        EXPECT_TRUE(given.insert(*fixture.store().NewInode()).second);
        ASSERT_TRUE(PutNumber(fixture, ++written).ok());
        if (fixture.random().OneIn(8)) {
          ASSERT_TRUE(fixture.Sync().ok());
          synced = written;
        }
      }
      fixture.PowerCut();
      uint64_t found = 0;
      while (found < written && HasNumber(fixture, found + 1)) ++found;
      for (uint64_t i = found + 1; i <= written; ++i) {
        EXPECT_FALSE(HasNumber(fixture, i)) << i << " without " << found + 1;
      }
      EXPECT_GE(found, synced);
      written = synced = found;
    }
  }
}

}  // namespace
}  // namespace moraine::metaserver
