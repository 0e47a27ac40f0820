// Directories that are taken from each other, and the news of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.h"
#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

using OwnershipTest = MetaserverTest;

TEST_F(OwnershipTest, TakingADirectoryFencesItsOldOwner) {
  const auto directory =
      cluster_.CreateFile(alice(), "shard", 1, false, 0, idl::FileType::kDirectory);
  const int64_t d = directory.attributes.inode;
  const auto hers = cluster_.Acquire(alice(), d, "alice");
  ASSERT_TRUE(hers.ok()) << hers.status().ToString();
  const auto file = cluster_.CreateFile(alice(), "1.log", d, true, hers->token);
  cluster_.Append(file.chunk, {70, 70, 70, -1, -1});
  idl::AcquireDirectoryRequest acquire;
  acquire.inode = d;
  acquire.owner = "bob";
  const int64_t sequence = ++bob().last_sequence;
  const auto his = bob().Call(idl::kAcquireDirectory, acquire, sequence);
  ASSERT_TRUE(his.ok()) << his.status().ToString();
  EXPECT_GT(his->token, hers->token);
  ASSERT_EQ(his->entries.size(), 1u);
  EXPECT_EQ(his->entries[0].attributes.size, 70);
  EXPECT_FALSE(his->entries[0].layout.__isset.tail);
  for (const idl::Replica& replica : file.chunk.replicas) {
    EXPECT_FALSE(cluster_.disk(ServerId(static_cast<uint64_t>(replica.server_id)))
                     .Takes(ChunkId(static_cast<uint64_t>(file.chunk.chunk))));
  }
  // The same call again is the same ownership, with the directory as it is now.
  const auto again = bob().Call(idl::kAcquireDirectory, acquire, sequence);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->token, his->token);
  EXPECT_EQ(again->entries.size(), 1u);
  EXPECT_TRUE(world().RunUntil(
      [&] { return std::ranges::find(alice().lost, d) != alice().lost.end(); }, 2s));
  idl::AllocateChunkRequest allocate;
  allocate.inode = file.attributes.inode;
  allocate.token = hers->token;
  EXPECT_EQ(alice().Change(idl::kAllocateChunk, allocate).code(), Code::kFenced);
  idl::CommitRequest commit;
  commit.inode = file.attributes.inode;
  commit.seals = {MetaCluster::Close(file.chunk, 70)};
  commit.token = hers->token;
  EXPECT_EQ(alice().Change(idl::kCommit, commit).code(), Code::kFenced);
}

// A call that took the token and then failed gives it back, and is not remembered: the same call is
// a new try, not "taken over by another".
TEST_F(OwnershipTest, ADirectoryThatCouldNotBeTakenIsTriedAgainByTheSameCall) {
  const int64_t d = cluster_.CreateFile(alice(), "shard", 1, false, 0, idl::FileType::kDirectory)
                        .attributes.inode;
  const auto file = cluster_.CreateFile(bob(), "f.sst", d);
  const auto disks = [&](auto&& change) {
    for (const idl::Replica& replica : file.chunk.replicas) {
      change(cluster_.disk(ServerId(static_cast<uint64_t>(replica.server_id))));
    }
  };
  disks([&](FakeDisk& disk) {
    disk.Write(ChunkId(static_cast<uint64_t>(file.chunk.chunk)), 100, /*synced=*/false);
    disk.full = true;
  });
  idl::AcquireDirectoryRequest acquire;
  acquire.inode = d;
  const int64_t sequence = ++alice().last_sequence;
  EXPECT_EQ(alice().Call(idl::kAcquireDirectory, acquire, sequence).code(), Code::kNoSpace);
  EXPECT_EQ(alice().Call(idl::kAcquireDirectory, acquire, sequence).code(), Code::kNoSpace);
  disks([](FakeDisk& disk) { disk.full = false; });
  const auto taken = alice().Call(idl::kAcquireDirectory, acquire, sequence);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(taken->entries.size(), 1u);
}

// What a session has lost and got again since is not lost, however late the news are asked for.
TEST_F(OwnershipTest, OldNewsDoNotTakeWhatWasGrantedSince) {
  const int64_t d = cluster_.CreateFile(alice(), "shard", 1, false, 0, idl::FileType::kDirectory)
                        .attributes.inode;
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  idl::AcquireDirectoryRequest acquire;
  acquire.inode = d;
  const auto first = carol.Change(idl::kAcquireDirectory, acquire);
  ASSERT_TRUE(first.ok());
  const auto file = cluster_.CreateFile(carol, "f", d, false, first->token);
  ASSERT_TRUE(OpenToWrite(carol, file.attributes.inode, first->token).ok());
  const auto stolen = bob().Change(idl::kAcquireDirectory, acquire);
  ASSERT_TRUE(stolen.ok());
  const auto second = carol.Change(idl::kAcquireDirectory, acquire);
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE(OpenToWrite(carol, file.attributes.inode, second->token).ok());
  const auto news = carol.Renew({file.attributes.inode});
  ASSERT_TRUE(news.ok()) << news.status().ToString();
  EXPECT_TRUE(news->lost.empty());
  // What really is lost is told.
  ASSERT_TRUE(bob().Change(idl::kAcquireDirectory, acquire).ok());
  const auto again = carol.Renew();
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_THAT(again->lost, testing::UnorderedElementsAre(d, file.attributes.inode));
  world().Find("carol")->Kill();
}

// What was to be told is in memory: it is gone with a restart, or with an answer that got lost.
TEST_F(OwnershipTest, ALossThatWasNotToldIsFoundByWhatIsHeld) {
  const auto make = [&](std::string name) {
    return cluster_.CreateFile(alice(), std::move(name), 1, false, 0, idl::FileType::kDirectory)
        .attributes.inode;
  };
  const int64_t stolen = make("stolen");
  const int64_t kept = make("kept");
  const int64_t released = make("released");
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  idl::AcquireDirectoryRequest acquire;
  int64_t token = 0;
  for (const int64_t directory : {stolen, kept, released}) {
    acquire.inode = directory;
    const auto acquired = carol.Change(idl::kAcquireDirectory, acquire);
    ASSERT_TRUE(acquired.ok()) << acquired.status().ToString();
    token = acquired->token;
  }
  idl::ReleaseDirectoryRequest release;
  release.inode = released;
  release.token = token;
  ASSERT_TRUE(carol.Change(idl::kReleaseDirectory, release).ok());
  acquire.inode = stolen;
  ASSERT_TRUE(bob().Change(idl::kAcquireDirectory, acquire).ok());
  cluster_.RestartMeta();
  const auto news = carol.Renew({stolen, kept, released});
  ASSERT_TRUE(news.ok()) << news.status().ToString();
  EXPECT_THAT(news->lost, testing::UnorderedElementsAre(stolen, released));
  world().Find("carol")->Kill();
}

// Whoever cannot be told the contents is not told the token either, and must not keep the
// directory. Nobody else pays for the try.
TEST_F(OwnershipTest, ADirectoryThatCannotBeReadIsNotOwned) {
  const int64_t d = cluster_.CreateFile(alice(), "shard", 1, false, 0, idl::FileType::kDirectory)
                        .attributes.inode;
  // Small files that no answer holds together.
  const std::string content(limits::kInlineBytesMax, 'x');
  const uint64_t count = limits::kFrameBytesMax / 2 / limits::kInlineBytesMax + 1;
  for (uint64_t i = 0; i < count; ++i) {
    const auto file = cluster_.CreateFile(alice(), fmt::format("f{}", i), d, false);
    ASSERT_TRUE(OpenToWrite(alice(), file.attributes.inode).ok());
    idl::CommitRequest commit;
    commit.inode = file.attributes.inode;
    commit.__set_inline_data(content);
    ASSERT_TRUE(alice().Change(idl::kCommit, commit).ok());
    alice().acknowledged_below = alice().last_sequence;
  }
  const auto written = cluster_.CreateFile(bob(), "written.log", d);
  EXPECT_EQ(cluster_.Acquire(alice(), d, "alice").code(), Code::kTooLarge);
  EXPECT_EQ(cluster_.Chunk(written.chunk.chunk)->state, ChunkState::kOpen);
  EXPECT_EQ(OpenToWrite(alice(), written.attributes.inode).code(), Code::kLeaseTaken);
  EXPECT_EQ(CloseFile(bob(), written, 0), Code::kOk);
  cluster_.CreateFile(bob(), "free", d, false);
  cluster_.CreateFile(alice(), "also free", d, false);
}

}  // namespace
}  // namespace moraine::metaserver
