// A whole metaserver on the simulated world: what was acknowledged stays, and nothing is
// acknowledged before it is safe.
#include <gtest/gtest.h>

#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

class DurabilityTest : public MetaserverTest {
 protected:
  static ServerId ServerOf(const idl::ChunkGrant& grant, size_t replica) {
    return ServerId(static_cast<uint64_t>(grant.replicas.at(replica).server_id));
  }
  static ChunkId IdOf(const idl::ChunkGrant& grant) {
    return ChunkId(static_cast<uint64_t>(grant.chunk));
  }
  FakeDisk& DiskOf(const idl::ChunkGrant& grant, size_t replica) {
    return cluster_.disk(ServerOf(grant, replica));
  }
  size_t ReplicasOnDisks(const idl::ChunkGrant& grant) {
    size_t count = 0;
    for (size_t i = 0; i < grant.replicas.size(); ++i) {
      count += DiskOf(grant, i).replicas.contains(IdOf(grant));
    }
    return count;
  }
  void SetFull(const idl::ChunkGrant& grant, bool full) {
    for (size_t i = 0; i < grant.replicas.size(); ++i) DiskOf(grant, i).full = full;
  }
  // A file with one sealed chunk that three servers have.
  idl::CreateResponse SealedFile(const std::string& name) {
    const auto file = cluster_.CreateFile(alice(), name);
    cluster_.Append(file.chunk, {10, 10, 10});
    EXPECT_EQ(CloseFile(alice(), file, 10), Code::kOk);
    EXPECT_EQ(GiveUp(alice(), file.attributes.inode, /*lease=*/true), Code::kOk);
    EXPECT_TRUE(world().RunUntil(
        [&] {
          const auto record = cluster_.Chunk(file.chunk.chunk);
          return record->state == ChunkState::kSealed && record->GoodReplicas() == 3;
        },
        30s));
    return file;
  }
  void SyncLate() {
    cluster_.configure = [](MetaserverOptions& options) { options.store.lazy_sync = 30s; };
    cluster_.RestartMeta();
  }
  void KillAllBut(ServerId left) {
    for (uint64_t id = 1; id <= 6; ++id) {
      if (ServerId(id) != left) cluster_.machine(ServerId(id)).Kill();
    }
  }
  Result<idl::SyncMetadataResponse> Sync(int64_t inode, Duration timeout) {
    idl::InodeRequest sync;
    sync.inode = inode;
    return alice().Call(idl::kSyncMetadata, sync, 0, timeout);
  }
};

// Replicas went as soon as the removal was in the log. A power cut took it back, and the file was
// there without its bytes.
TEST_F(DurabilityTest, NoNameComesBackWithoutItsReplicas) {
  SyncLate();
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    const std::string name = fmt::format("f{}.sst", round);
    const auto file = SealedFile(name);
    ASSERT_EQ(Remove(alice(), name), Code::kOk);
    if (round % 2 == 0) {
      ASSERT_TRUE(world().RunUntil([&] { return ReplicasOnDisks(file.chunk) == 0; }, 10s));
    } else {
      world().RunFor(std::chrono::microseconds(200) * round);
    }
    cluster_.PowerCutMeta();
    idl::EntryRequest look;
    look.parent = 1;
    look.name = name;
    const bool is_back = bob().Call(idl::kLookup, look).ok();
    world().RunFor(2s);
    if (is_back) EXPECT_EQ(ReplicasOnDisks(file.chunk), 3u);
  }
}

// A report that was answered is not told again, so it must not be lost with the log's end.
TEST_F(DurabilityTest, AReportThatWasAnsweredSurvivesAPowerCut) {
  SyncLate();
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    const auto file = SealedFile(fmt::format("f{}.sst", round));
    const ServerId server = ServerOf(file.chunk, 0);
    world().RunFor(2s);  // everybody has been told of the seal
    FakeDisk& bad = cluster_.disk(server);
    bad.replicas.at(IdOf(file.chunk)).damaged = true;
    bad.changed.insert(IdOf(file.chunk));
    ASSERT_TRUE(world().RunUntil([&] { return bad.changed.empty(); }, 10s));
    cluster_.PowerCutMeta();
    const auto record = cluster_.Chunk(file.chunk.chunk);
    const ReplicaRecord* replica = record->FindReplica(server);
    EXPECT_TRUE(replica == nullptr || replica->state != ReplicaState::kGood ||
                !bad.replicas.at(IdOf(file.chunk)).damaged);
  }
}

// The new owner got a log without its tail, while its disks only had no room to promise it.
TEST_F(DurabilityTest, ADirectoryIsNotTakenOverBeforeItsFilesAreWhole) {
  const int64_t d = cluster_.CreateFile(alice(), "shard", 1, false, 0, idl::FileType::kDirectory)
                        .attributes.inode;
  const auto hers = cluster_.Acquire(alice(), d, "alice");
  ASSERT_TRUE(hers.ok()) << hers.status().ToString();
  const auto file = cluster_.CreateFile(alice(), "1.log", d, true, hers->token);
  cluster_.Append(file.chunk, {70, 70, 70, 70, 70}, /*synced=*/false);
  SetFull(file.chunk, true);
  const auto refused = cluster_.Acquire(bob(), d, "bob");
  EXPECT_EQ(refused.code(), Code::kNoSpace) << refused.status().ToString();
  SetFull(file.chunk, false);
  const auto his = cluster_.Acquire(bob(), d, "bob");
  ASSERT_TRUE(his.ok()) << his.status().ToString();
  ASSERT_EQ(his->entries.size(), 1u);
  EXPECT_EQ(his->entries[0].attributes.size, 70);
  EXPECT_FALSE(his->entries[0].layout.__isset.tail);
}

// It asked again and again until the deadline, with a new epoch each time.
TEST_F(DurabilityTest, AnOpenOfWhatFullDisksKeepFromRecoverySaysSo) {
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  const auto file = cluster_.CreateFile(carol, "f.log");
  cluster_.Append(file.chunk, {70, 70, 70, 70, 70}, /*synced=*/false);
  SetFull(file.chunk, true);
  ASSERT_TRUE(carol.Call(idl::kEndSession, idl::Empty()).ok());
  const auto refused = OpenToWrite(bob(), file.attributes.inode);
  EXPECT_EQ(refused.code(), Code::kNoSpace) << refused.status().ToString();
  SetFull(file.chunk, false);
  const auto opened = OpenToWrite(bob(), file.attributes.inode);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(opened->attributes.size, 70);
}

// The one server that was left promised the length, and the sync was answered with one copy.
TEST_F(DurabilityTest, ASyncIsNotAnsweredOnFewerDisksThanTheFloor) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_EQ(file.chunk.replicas.size(), 3u);
  cluster_.Append(file.chunk, {100, 100, 100}, /*synced=*/false);
  KillAllBut(ServerOf(file.chunk, 0));
  ASSERT_EQ(CloseFile(alice(), file, 100), Code::kOk);
  const int64_t inode = file.attributes.inode;
  EXPECT_EQ(Sync(inode, 8s).code(), Code::kTimeout);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kSealed);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 1u);
  EXPECT_EQ(Sync(inode, 2s).code(), Code::kTimeout) << "sealed, and still on one disk";
  idl::RecoverChunkRequest await;
  await.chunk = file.chunk.chunk;
  EXPECT_EQ(alice().Call(idl::kRecoverChunk, await, 0, 2s).code(), Code::kTimeout);
  cluster_.RestartMeta();
  EXPECT_EQ(Sync(inode, 2s).code(), Code::kTimeout);
  // Two are the floor.
  cluster_.StartServer(cluster_.IndexOf(ServerOf(file.chunk, 1)));
  const auto synced = Sync(inode, 30s);
  EXPECT_TRUE(synced.ok()) << synced.status().ToString();
  EXPECT_GE(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 2u);
  const auto length = alice().Call(idl::kRecoverChunk, await);
  ASSERT_TRUE(length.ok()) << length.status().ToString();
  EXPECT_EQ(length->length, 100);
  // What was acknowledged stays so.
  cluster_.machine(ServerOf(file.chunk, 1)).Kill();
  world().RunFor(20s);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 1u);
  EXPECT_TRUE(Sync(inode, 2s).ok());
}

// Repair would bring it there, but for full disks: that is said at once.
TEST_F(DurabilityTest, ASyncThatFullDisksHoldUpSaysSo) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  cluster_.Append(file.chunk, {100, 100, 100}, /*synced=*/false);
  for (uint64_t server = 1; server <= 6; ++server) {
    cluster_.disk(ServerId(server)).full = ServerId(server) != ServerOf(file.chunk, 0);
  }
  ASSERT_EQ(CloseFile(alice(), file, 100), Code::kOk);
  const auto refused = Sync(file.attributes.inode, 60s);
  EXPECT_EQ(refused.code(), Code::kNoSpace) << refused.status().ToString();
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 1u);
  for (uint64_t server = 1; server <= 6; ++server) cluster_.disk(ServerId(server)).full = false;
  EXPECT_TRUE(
      world().RunUntil([&] { return cluster_.Chunk(file.chunk.chunk)->GoodReplicas() == 3; }, 30s));
  EXPECT_TRUE(Sync(file.attributes.inode, 2s).ok());
}

// Who takes a file over needs what is left of it, not a sync.
TEST_F(DurabilityTest, AFileIsRecoveredFromOneReplicaOfThree) {
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  const auto file = cluster_.CreateFile(carol, "f.sst");
  cluster_.Append(file.chunk, {100, 100, 100}, /*synced=*/false);
  KillAllBut(ServerOf(file.chunk, 0));
  ASSERT_TRUE(carol.Call(idl::kEndSession, idl::Empty()).ok());
  ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
  const auto opened = OpenToWrite(alice(), file.attributes.inode);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(opened->attributes.size, 100);
  EXPECT_EQ(Sync(file.attributes.inode, 2s).code(), Code::kTimeout);
}

// The answer to a grant was lost, and the stream that had asked for it was given up: the file took
// no more appends until it was closed.
TEST_F(DurabilityTest, AnOpenTailThatItsWriterDoesNotNameIsSealedBeforeTheNext) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  cluster_.Append(file.chunk, {50, 50, 50, 50, 50});
  idl::AllocateChunkRequest allocate;
  allocate.inode = file.attributes.inode;
  allocate.tail = true;
  allocate.tail_offset = 50;
  const auto granted = alice().Change(idl::kAllocateChunk, allocate);
  ASSERT_TRUE(granted.ok()) << granted.status().ToString();
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kSealed);
  EXPECT_EQ(cluster_.LayoutOf(file.attributes.inode).attributes.size, 50);
  EXPECT_EQ(cluster_.LayoutOf(file.attributes.inode).layout.tail.chunk, granted->chunk.chunk);
}

// The complaint of a client took the deletion off the queue, and the replica stayed for ever.
TEST_F(DurabilityTest, ADamagedReplicaIsDeletedAfterAComplaintToo) {
  const auto file = SealedFile("f.sst");
  FakeDisk& disk = DiskOf(file.chunk, 0);
  disk.kept.insert(IdOf(file.chunk));
  ASSERT_EQ(Remove(alice(), "f.sst"), Code::kOk);
  ASSERT_TRUE(world().RunUntil([&] { return ReplicasOnDisks(file.chunk) == 1; }, 10s));
  disk.replicas.at(IdOf(file.chunk)).damaged = true;
  idl::ReportReplicaRequest report;
  report.chunk = file.chunk.chunk;
  report.server_id = file.chunk.replicas[0].server_id;
  ASSERT_TRUE(bob().Call(idl::kReportReplica, report).ok());
  world().RunFor(2s);
  disk.kept.clear();
  EXPECT_TRUE(world().RunUntil([&] { return ReplicasOnDisks(file.chunk) == 0; }, 20s));
  EXPECT_TRUE(world().RunUntil([&] { return !cluster_.Chunk(file.chunk.chunk).has_value(); }, 10s));
}

}  // namespace
}  // namespace moraine::metaserver
