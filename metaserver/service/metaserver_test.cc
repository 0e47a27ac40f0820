#include "metaserver/service/metaserver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.h"
#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

class ServiceTest : public MetaserverTest {
 protected:
  size_t ReplicasOnDisks(int64_t chunk) {
    size_t count = 0;
    for (uint64_t id = 1; id <= 6; ++id) {
      count += cluster_.disk(ServerId(id)).replicas.contains(ChunkId(static_cast<uint64_t>(chunk)));
    }
    return count;
  }
};

// A layout may be large and is read anew; only that the lease was given is remembered.
TEST_F(ServiceTest, OpensDoNotRememberLayouts) {
  const auto file = cluster_.CreateFile(alice(), "f", 1, false);
  ASSERT_TRUE(OpenToWrite(alice(), file.attributes.inode).ok());
  idl::CommitRequest commit;
  commit.inode = file.attributes.inode;
  const std::string content(3000, 'x');
  commit.__set_inline_data(content);
  ASSERT_TRUE(alice().Change(idl::kCommit, commit).ok());
  const auto remembered = [&] {
    uint64_t bytes = 0;
    Transaction transaction(cluster_.meta().store());
    for (Cursor c = transaction.Scan(Family::kAnswers, {}); c.Valid(); c.Next()) {
      bytes += c.value().size();
    }
    return bytes;
  };
  const uint64_t before = remembered();
  idl::OpenRequest open;
  open.inode = file.attributes.inode;
  idl::CreateRequest create;
  create.parent = 1;
  create.name = "f";
  create.type = idl::FileType::kRegular;
  create.exclusive = false;
  create.open_for_write = true;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const bool writing : {false, true}) {
      open.for_writing = writing;
      const auto opened = alice().Call(idl::kOpen, open, writing ? 901 : 900);
      ASSERT_TRUE(opened.ok()) << opened.status().ToString();
      EXPECT_EQ(opened->layout.inline_data, content);
      EXPECT_EQ(opened->attributes.size, 3000);
      EXPECT_TRUE(opened->leased) << "it is Alice's, also when she asks for reading";
    }
    const auto there = alice().Call(idl::kCreate, create, 902);
    ASSERT_TRUE(there.ok()) << there.status().ToString();
    EXPECT_FALSE(there->created);
    EXPECT_EQ(there->attributes.inode, file.attributes.inode);
    EXPECT_EQ(there->layout.inline_data, content);
    cluster_.RestartMeta();
  }
  EXPECT_LT(remembered() - before, 1000u);
  open.for_writing = false;
  const auto by_another = bob().Change(idl::kOpen, open);
  ASSERT_TRUE(by_another.ok()) << by_another.status().ToString();
  EXPECT_FALSE(by_another->leased);
}

TEST_F(ServiceTest, AClosedChunkIsSealedEverywhere) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  ASSERT_EQ(file.chunk.replicas.size(), 5u);
  // Three have all of it, in memory; one is behind; one has not got a byte.
  cluster_.Append(file.chunk, {100, 100, 100, 60, -1}, false);
  idl::CommitRequest commit;
  commit.inode = file.attributes.inode;
  commit.seals = {MetaCluster::Close(file.chunk, 100, 3)};
  ASSERT_TRUE(alice().Change(idl::kCommit, commit).ok());
  idl::RecoverChunkRequest await;
  await.chunk = file.chunk.chunk;
  const auto sealed = alice().Call(idl::kRecoverChunk, await);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_EQ(sealed->length, 100);
  EXPECT_GE(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 3u);
  // The others are brought up, and the one that never had it gets a copy.
  EXPECT_TRUE(
      world().RunUntil([&] { return cluster_.Chunk(file.chunk.chunk)->GoodReplicas() == 5; }, 20s));
  EXPECT_TRUE(world().RunUntil(
      [&] {
        const auto record = cluster_.Chunk(file.chunk.chunk);
        return std::ranges::all_of(record->replicas, [&](const ReplicaRecord& replica) {
          return cluster_.disk(replica.server)
              .IsSealed(ChunkId(static_cast<uint64_t>(file.chunk.chunk)), 100);
        });
      },
      20s));
}

// Nobody knows whether what is closed is on disk, so a sync of the file waits for the seal.
TEST_F(ServiceTest, ASyncOfAFileWaitsForItsClosedChunks) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  const auto other = cluster_.CreateFile(alice(), "other");
  ASSERT_EQ(file.chunk.replicas.size(), 5u);
  cluster_.Append(file.chunk, {100, 100, 100, 100, 100});
  const auto server = [&](size_t i) {
    return ServerId(static_cast<uint64_t>(file.chunk.replicas[i].server_id));
  };
  for (size_t i = 0; i < 3; ++i) cluster_.machine(server(i)).Kill();
  ASSERT_EQ(CloseFile(alice(), file, 100), Code::kOk);
  idl::InodeRequest sync;
  sync.inode = file.attributes.inode;
  EXPECT_EQ(alice().Call(idl::kSyncMetadata, sync, 0, 2s).code(), Code::kTimeout);
  EXPECT_NE(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kSealed);
  // Nobody else has to wait for that.
  for (const int64_t inode : {int64_t{0}, int64_t{1}, other.attributes.inode}) {
    sync.inode = inode;
    EXPECT_TRUE(bob().Call(idl::kSyncMetadata, sync, 0, 2s).ok()) << inode;
  }
  // Also the next life of the metaserver knows what is not sealed.
  cluster_.RestartMeta();
  sync.inode = file.attributes.inode;
  EXPECT_EQ(alice().Call(idl::kSyncMetadata, sync, 0, 2s).code(), Code::kTimeout);
  for (size_t i = 0; i < 3; ++i) cluster_.StartServer(cluster_.IndexOf(server(i)));
  const auto synced = alice().Call(idl::kSyncMetadata, sync);
  ASSERT_TRUE(synced.ok()) << synced.status().ToString();
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kSealed);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->length, 100u);
}

// A sync that full disks cannot do says so at once, not at its deadline that they are late.
TEST_F(ServiceTest, AFullDiskIsToldToWhoWaitsForASeal) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  const auto chunk = ChunkId(static_cast<uint64_t>(file.chunk.chunk));
  for (const idl::Replica& replica : file.chunk.replicas) {
    FakeDisk& disk = cluster_.disk(ServerId(static_cast<uint64_t>(replica.server_id)));
    disk.Write(chunk, 100, /*synced=*/false);
    disk.full = true;
  }
  ASSERT_EQ(CloseFile(alice(), file, 100), Code::kOk);
  idl::RecoverChunkRequest await;
  await.chunk = file.chunk.chunk;
  const auto refused = alice().Call(idl::kRecoverChunk, await);
  EXPECT_EQ(refused.code(), Code::kNoSpace) << refused.status().ToString();
  EXPECT_NE(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kSealed);
  // The queue goes on by itself.
  for (const idl::Replica& replica : file.chunk.replicas) {
    cluster_.disk(ServerId(static_cast<uint64_t>(replica.server_id))).full = false;
  }
  EXPECT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->length, 100u);
}

TEST_F(ServiceTest, ASessionThatEndsLeavesItsFilesWhole) {
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  const auto file = cluster_.CreateFile(carol, "f.log");
  cluster_.Append(file.chunk, {120, 100, 100, 80, -1});
  EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode).code(), Code::kLeaseTaken);
  // Nobody renews: the session ends, its chunk is fenced and sealed, and Bob gets the lease.
  Result<idl::OpenResponse> opened{Code::kTimeout, ""};
  for (int i = 0; i < 100 && !opened.ok(); ++i) {
    world().RunFor(200ms);
    opened = OpenToWrite(bob(), file.attributes.inode);
  }
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(opened->attributes.size, 100);
  EXPECT_EQ(opened->layout.extents.size(), 1u);
  EXPECT_FALSE(opened->layout.__isset.tail);
  for (const idl::Replica& replica : file.chunk.replicas) {
    EXPECT_FALSE(cluster_.disk(ServerId(static_cast<uint64_t>(replica.server_id)))
                     .Takes(ChunkId(static_cast<uint64_t>(file.chunk.chunk))));
  }
  EXPECT_EQ(carol.Renew().code(), Code::kSessionEnded);
  world().Find("carol")->Kill();
}

TEST_F(ServiceTest, ASessionOfAShortLifeIsAskedForInTime) {
  cluster_.session_ttl = 500ms;
  cluster_.RestartMeta();
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  // One renewal follows the other at once, as a client's do.
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(carol.Renew().ok()) << i;
  world().Find("carol")->Kill();
}

TEST_F(ServiceTest, ARecoverySurvivesKillsOfTheMetaserver) {
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    TestClient carol(world(), world().AddMachine(fmt::format("carol{}", round)));
    carol.StartSession("carol");
    const auto file = cluster_.CreateFile(carol, fmt::format("f{}.log", round));
    cluster_.Append(file.chunk, {50, 50, 50, 40, 0});
    ASSERT_TRUE(carol.Call(idl::kEndSession, idl::Empty()).ok());
    world().RunFor(Duration(std::chrono::microseconds(300)) * round * round);
    if (round % 2 == 0) {
      cluster_.RestartMeta();
    } else {
      cluster_.PowerCutMeta();
    }
    ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
    EXPECT_EQ(cluster_.LayoutOf(file.attributes.inode).attributes.size, 50);
    world().Find(fmt::format("carol{}", round))->Kill();
  }
}

TEST_F(ServiceTest, ALeaseIsRecalledAtOnce) {
  const auto file = cluster_.CreateFile(alice(), "shared");
  EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode).code(), Code::kLeaseTaken);
  EXPECT_TRUE(world().RunUntil([&] { return !alice().recalled.empty(); }, 500ms));
  EXPECT_EQ(alice().recalled, std::vector<int64_t>{file.attributes.inode});
  ASSERT_EQ(CloseFile(alice(), file, 0), Code::kOk);
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode, /*lease=*/true), Code::kOk);
  EXPECT_TRUE(OpenToWrite(bob(), file.attributes.inode).ok());
  // What Bob changes, Alice hears of, since she has looked.
  idl::InodeRequest look;
  look.inode = file.attributes.inode;
  ASSERT_TRUE(alice().Call(idl::kGetAttributes, look).ok());
  idl::CommitRequest inline_commit;
  inline_commit.inode = file.attributes.inode;
  inline_commit.__set_inline_data("hello");
  ASSERT_TRUE(bob().Change(idl::kCommit, inline_commit).ok());
  EXPECT_TRUE(world().RunUntil([&] { return !alice().stale.empty(); }, 500ms));
}

// A handle that was closed says nothing of the lease that another open of the session has got.
TEST_F(ServiceTest, ACloseKeepsTheLeaseUnlessItGivesItBack) {
  const auto file = cluster_.CreateFile(alice(), "f", 1, false);
  ASSERT_TRUE(OpenToWrite(alice(), file.attributes.inode).ok());
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode), Code::kOk);
  EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode).code(), Code::kLeaseTaken);
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode, /*lease=*/true), Code::kOk);
  EXPECT_TRUE(OpenToWrite(bob(), file.attributes.inode).ok());
  // Nobody gives back what another has.
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode, /*lease=*/true), Code::kOk);
  EXPECT_EQ(OpenToWrite(alice(), file.attributes.inode).code(), Code::kLeaseTaken);
}

// A writer that asks for a seal before its close has arrived must not lose the chunk by that.
TEST_F(ServiceTest, AnOpenChunkIsNotRecoveredWhileItsLeaseLives) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  cluster_.Append(file.chunk, {40, 40, 40, 40, 40});
  idl::RecoverChunkRequest recover;
  recover.chunk = file.chunk.chunk;
  for (TestClient* client : {&alice(), &bob()}) {
    EXPECT_EQ(client->Call(idl::kRecoverChunk, recover).code(), Code::kBusy);
  }
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kOpen);
  ASSERT_EQ(CloseFile(alice(), file, 40), Code::kOk);
  const auto sealed = alice().Call(idl::kRecoverChunk, recover);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_EQ(sealed->length, 40);
}

// A sync of a closed chunk that could not be settled, and is being fenced, took the chunk that its
// writer had open by then.
TEST_F(ServiceTest, ASyncOfAFencedChunkLeavesItsSuccessorOpen) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  ASSERT_EQ(file.chunk.replicas.size(), 5u);
  cluster_.Append(file.chunk, {40, 40, 40, 40, 40}, /*synced=*/false);
  const auto server = [&](size_t i) {
    return ServerId(static_cast<uint64_t>(file.chunk.replicas[i].server_id));
  };
  // Nobody can settle it while these are silent.
  for (size_t i = 0; i < 3; ++i) cluster_.machine(server(i)).Pause();
  idl::AllocateChunkRequest roll;
  roll.inode = file.attributes.inode;
  roll.tail = true;
  roll.__set_previous(MetaCluster::Close(file.chunk, 40));
  const auto next = alice().Change(idl::kAllocateChunk, roll);
  ASSERT_TRUE(next.ok()) << next.status().ToString();
  ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kFencing));
  idl::RecoverChunkRequest sync;
  sync.chunk = file.chunk.chunk;
  EXPECT_EQ(alice().Call(idl::kRecoverChunk, sync, 0, 2s).code(), Code::kTimeout);
  EXPECT_EQ(bob().Call(idl::kRecoverChunk, sync, 0, 2s).code(), Code::kBusy);
  EXPECT_EQ(cluster_.Chunk(next->chunk.chunk)->state, ChunkState::kOpen);
  for (size_t i = 0; i < 3; ++i) cluster_.machine(server(i)).Resume();
  const auto sealed = alice().Call(idl::kRecoverChunk, sync);
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_EQ(sealed->length, 40);
  EXPECT_EQ(cluster_.Chunk(next->chunk.chunk)->state, ChunkState::kOpen);
}

TEST_F(ServiceTest, DeadServersReplicasAreMadeAnewAndOldOnesDeleted) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_EQ(file.chunk.replicas.size(), 3u);
  cluster_.Append(file.chunk, {1000, 1000, 1000});
  ASSERT_EQ(CloseFile(alice(), file, 1000), Code::kOk);
  ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
  const ServerId dead(static_cast<uint64_t>(file.chunk.replicas[0].server_id));
  cluster_.machine(dead).PowerCut();
  // Within the grace time nothing is copied.
  world().RunFor(4s);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 3u);
  EXPECT_TRUE(world().RunUntil(
      [&] {
        const auto record = cluster_.Chunk(file.chunk.chunk);
        return record->GoodReplicas() == 3 && record->FindReplica(dead) == nullptr;
      },
      30s));
  EXPECT_EQ(cluster_.meta().store().counters().under_replicated_chunks, 0);
  // It comes back with a replica that nobody needs.
  cluster_.StartServer(cluster_.IndexOf(dead));
  EXPECT_TRUE(world().RunUntil([&] { return cluster_.disk(dead).replicas.empty(); }, 30s));
  EXPECT_EQ(ReplicasOnDisks(file.chunk.chunk), 3u);
  // A damaged one is replaced in place or elsewhere.
  const ServerId bad = cluster_.Chunk(file.chunk.chunk)->replicas[0].server;
  cluster_.disk(bad).replicas.begin()->second.damaged = true;
  idl::ReportReplicaRequest report;
  report.chunk = file.chunk.chunk;
  report.server_id = static_cast<int64_t>(bad.value());
  ASSERT_TRUE(bob().Call(idl::kReportReplica, report).ok());
  EXPECT_TRUE(world().RunUntil(
      [&] {
        const auto record = cluster_.Chunk(file.chunk.chunk);
        return record->GoodReplicas() == 3 &&
               std::ranges::none_of(record->replicas, [&](const ReplicaRecord& replica) {
                 const auto& held = cluster_.disk(replica.server).replicas;
                 const auto found = held.find(ChunkId(static_cast<uint64_t>(file.chunk.chunk)));
                 return found == held.end() || found->second.damaged;
               });
      },
      30s));
  // A good one cannot be talked away.
  report.server_id =
      static_cast<int64_t>(cluster_.Chunk(file.chunk.chunk)->replicas[1].server.value());
  ASSERT_TRUE(bob().Call(idl::kReportReplica, report).ok());
  world().RunFor(1s);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 3u);
}

TEST_F(ServiceTest, AnUnlinkedFileLivesWhileItIsOpen) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  cluster_.Append(file.chunk, {10, 10, 10});
  ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
  idl::OpenRequest open;
  open.inode = file.attributes.inode;
  ASSERT_TRUE(bob().Change(idl::kOpen, open).ok());
  EXPECT_EQ(Remove(alice(), "f.sst"), Code::kOk);
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode), Code::kOk);
  world().RunFor(3s);
  EXPECT_EQ(cluster_.LayoutOf(file.attributes.inode).attributes.links, 0);
  EXPECT_EQ(ReplicasOnDisks(file.chunk.chunk), 3u);
  ASSERT_EQ(GiveUp(bob(), file.attributes.inode), Code::kOk);
  EXPECT_TRUE(world().RunUntil([&] { return ReplicasOnDisks(file.chunk.chunk) == 0; }, 10s));
  EXPECT_TRUE(world().RunUntil([&] { return !cluster_.Chunk(file.chunk.chunk).has_value(); }, 10s));
  idl::InodeRequest look;
  look.inode = file.attributes.inode;
  EXPECT_EQ(alice().Call(idl::kGetAttributes, look).code(), Code::kNotFound);
  EXPECT_EQ(cluster_.meta().store().counters().chunks, 0);
}

TEST_F(ServiceTest, GrantsSurvivePowerCuts) {
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    const auto file = cluster_.CreateFile(alice(), fmt::format("f{}", round));
    ASSERT_GT(file.chunk.chunk, 0);
    cluster_.PowerCutMeta();
    const auto layout = cluster_.LayoutOf(file.attributes.inode);
    ASSERT_TRUE(layout.layout.__isset.tail);
    EXPECT_EQ(layout.layout.tail.chunk, file.chunk.chunk);
    EXPECT_EQ(layout.layout.tail.replicas.size(), file.chunk.replicas.size());
    // The lease too, and the session with it.
    EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode).code(), Code::kLeaseTaken);
    EXPECT_TRUE(OpenToWrite(alice(), file.attributes.inode).ok());
  }
}

// A session is not on disk before its start is answered, but before anything that it holds.
TEST_F(ServiceTest, ASessionIsOnDiskBeforeWhatItHolds) {
  TestClient carol(world(), world().AddMachine("carol"));
  int ended = 0;
  int64_t last = 0;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    carol.StartSession("carol");
    EXPECT_GT(carol.session, last) << "a number was given twice";
    last = carol.session;
    const bool holds = round % 2 == 0;
    if (holds) cluster_.CreateFile(carol, fmt::format("f{}", round));
    cluster_.PowerCutMeta();
    const Code code = carol.Renew().code();
    if (holds) {
      EXPECT_EQ(code, Code::kOk);
    } else if (code != Code::kOk) {
      EXPECT_EQ(code, Code::kSessionEnded);
      ++ended;
    }
  }
  EXPECT_GT(ended, 0) << "each was on disk at once";
}

TEST_F(ServiceTest, VirtualAttributesAndStatus) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  idl::GetXattrRequest get;
  get.inode = file.attributes.inode;
  get.name = "moraine.policy";
  EXPECT_EQ(alice().Call(idl::kGetXattr, get)->value, "log");
  get.name = "moraine.locate";
  const auto located = alice().Call(idl::kGetXattr, get);
  ASSERT_TRUE(located.ok());
  EXPECT_NE(located->value.find(fmt::format("\"chunk\":{}", file.chunk.chunk)), std::string::npos)
      << located->value;
  idl::SetXattrRequest set;
  set.inode = 1;
  set.name = "moraine.policy";
  set.value = "*.x=single,immutable";
  EXPECT_TRUE(alice().Change(idl::kSetXattr, set).ok());
  const auto single = cluster_.CreateFile(alice(), "a.x");
  EXPECT_EQ(single.chunk.replicas.size(), 1u);
  set.value = "*.x=nobody";
  EXPECT_EQ(alice().Change(idl::kSetXattr, set).code(), Code::kInvalidArgument);
  idl::InodeRequest root;
  root.inode = 1;
  const auto rules = alice().Call(idl::kGetRules, root);
  ASSERT_TRUE(rules.ok());
  EXPECT_EQ(rules->from_path, "/");
  EXPECT_EQ(rules->rules.size(), 2u);
  const auto status = alice().Call(idl::kClusterStatus, idl::Empty());
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->servers.size(), 6u);
  EXPECT_EQ(status->sessions, 2);
  EXPECT_EQ(status->open_chunks, 2);
}

// A name may hold any bytes, JSON may not: an exception here would end the metaserver.
TEST_F(ServiceTest, ALocationNamesAPolicyThatIsNotText) {
  idl::SetPolicyRequest define;
  define.policy.name = "odd\xff";
  define.policy.replicas = define.policy.quorum = define.policy.floor = 1;
  ASSERT_TRUE(alice().Change(idl::kSetPolicy, define).ok());
  idl::SetXattrRequest set;
  set.inode = 1;
  set.name = "moraine.policy";
  set.value = define.policy.name;
  ASSERT_TRUE(alice().Change(idl::kSetXattr, set).ok());
  const auto file = cluster_.CreateFile(alice(), "f");
  idl::GetXattrRequest get;
  get.inode = file.attributes.inode;
  get.name = "moraine.locate";
  const auto located = alice().Call(idl::kGetXattr, get);
  ASSERT_TRUE(located.ok()) << located.status().ToString();
  EXPECT_NE(located->value.find("\"policy\":\"odd\xEF\xBF\xBD\""), std::string::npos)
      << located->value;
}

TEST_F(ServiceTest, StopsInGoodOrder) {
  cluster_.CreateFile(alice(), "f");
  Metaserver& meta = cluster_.meta();
  EXPECT_TRUE(world().Await(world().Find("meta")->loop(), meta.Stop(), 20s));
  cluster_.RestartMeta();
  idl::EntryRequest look;
  look.parent = 1;
  look.name = "f";
  EXPECT_TRUE(bob().Call(idl::kLookup, look).ok());
}

}  // namespace
}  // namespace moraine::metaserver
