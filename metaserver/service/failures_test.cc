// A whole metaserver on the simulated world: what fails around it, and in what it must not fail.
#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/chunks/replica_reports.h"
#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

class FailuresTest : public MetaserverTest {
 protected:
  // Three replicas get 10 bytes, the writer closes the chunk, and it is sealed.
  ::testing::AssertionResult CloseAndSeal(const idl::CreateResponse& file) {
    cluster_.Append(file.chunk, {10, 10, 10});
    const Code closed = CloseFile(alice(), file, 10);
    if (closed != Code::kOk) return ::testing::AssertionFailure() << "closed: " << int(closed);
    if (cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed)) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << "the chunk is not sealed";
  }
  bool AnyServerIsDead() {
    Transaction transaction(cluster_.meta().store());
    for (Cursor c = transaction.Scan(Family::kServers, kServerPrefix); c.Valid(); c.Next()) {
      if (ServerRecord::Decode(c.value())->state == ServerState::kDead) return true;
    }
    return false;
  }
};

// Whoever did not listen cannot say who was silent.
TEST_F(FailuresTest, APauseOfTheMetaserverEndsNobody) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  for (int round = 0; round < 5; ++round) {
    const Duration pause = 20s + std::chrono::milliseconds(37 * round);
    world().Find("meta")->Pause(pause);
    EXPECT_FALSE(world().RunUntil([&] { return AnyServerIsDead(); }, pause + 2s)) << round;
    EXPECT_TRUE(alice().Renew().ok()) << round;
    EXPECT_TRUE(bob().Renew().ok()) << round;
  }
  EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode).code(), Code::kLeaseTaken);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kOpen);
  // Who is silent while it listens ends as ever.
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  world().Find("meta")->Pause(20s);
  world().RunFor(20s + 500ms);
  EXPECT_TRUE(carol.Renew().ok());
  world().RunFor(5s);
  EXPECT_EQ(carol.Renew().code(), Code::kSessionEnded);
  world().Find("carol")->Kill();
}

// A look is never quite in time. With short times that was taken for a pause of the metaserver,
// at each look, and nobody was ever silent for long enough.
TEST_F(FailuresTest, LooksThatAreALittleLateFindTheSilent) {
  cluster_.session_ttl = 500ms;
  cluster_.configure = [](MetaserverOptions& options) {
    options.session_tick = 130ms;
    options.registry.repair_grace = limits::kRepairGraceMin;
    options.caretaker.tick = 510ms;
  };
  cluster_.RestartMeta();
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  cluster_.machine(ServerId(1)).Kill();
  EXPECT_TRUE(world().RunUntil([&] { return AnyServerIsDead(); }, 20s));
  EXPECT_EQ(carol.Renew().code(), Code::kSessionEnded);
  world().Find("carol")->Kill();
}

// Before the seal: the sealer has asked already and will not again, so it would count a bad
// replica. After it: whoever is at work on the chunk has read its record before.
TEST_F(FailuresTest, DamageThatCannotBeNotedNowIsAskedForAgain) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  ReplicaReport report;
  report.chunk = ChunkId(static_cast<uint64_t>(file.chunk.chunk));
  report.damaged = true;
  const ServerId server(static_cast<uint64_t>(file.chunk.replicas[0].server_id));
  const auto asked_again = [&](bool busy) {
    Transaction transaction(cluster_.meta().store());
    const auto outcome = ApplyReports(
        transaction, server, std::span(&report, 1), [busy](ChunkId) { return busy; }, ServersNow());
    MORAINE_CHECK(outcome.ok(), outcome.status().ToString());
    return outcome->again == std::vector{report.chunk};
  };
  EXPECT_TRUE(asked_again(false));
  cluster_.Append(file.chunk, {10, 10, 10, 10, 10});
  ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
  ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
  EXPECT_TRUE(asked_again(true));
  EXPECT_FALSE(asked_again(false));
}

// A round of deletions took its mark when it was spawned and erased it when it ran; one that had
// moved down in between was lost. Orphans go in the order of their inodes, so the chunk of the
// second is queued in just that moment.
TEST_F(FailuresTest, ADeletionThatIsQueuedWhileARoundBeginsIsNotMissed) {
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  const auto first = cluster_.CreateFile(carol, "a.log", 1, /*write=*/false);
  const auto second = cluster_.CreateFile(carol, "b.log");
  ASSERT_TRUE(OpenToWrite(carol, first.attributes.inode).ok());
  idl::AllocateChunkRequest allocate;
  allocate.inode = first.attributes.inode;
  const auto later = carol.Change(idl::kAllocateChunk, allocate);
  ASSERT_TRUE(later.ok()) << later.status().ToString();
  ASSERT_GT(later->chunk.chunk, second.chunk.chunk);
  ASSERT_EQ(Remove(alice(), "a.log"), Code::kOk);
  ASSERT_EQ(Remove(alice(), "b.log"), Code::kOk);
  ASSERT_TRUE(carol.Call(idl::kEndSession, idl::Empty()).ok());
  EXPECT_TRUE(world().RunUntil(
      [&] {
        return !cluster_.Chunk(later->chunk.chunk).has_value() &&
               !cluster_.Chunk(second.chunk.chunk).has_value();
      },
      30s));
  world().Find("carol")->Kill();
}

// Neither the end of a session nor the freeing of orphans stops at one that cannot be read.
TEST_F(FailuresTest, ADamagedInodeKeepsNoOtherFromBeingFreed) {
  TestClient carol(world(), world().AddMachine("carol"));
  carol.StartSession("carol");
  std::vector<idl::CreateResponse> files;
  for (const std::string name : {"a.sst", "b.sst", "c.sst"}) {
    files.push_back(cluster_.CreateFile(carol, name));
    ASSERT_EQ(Remove(alice(), name), Code::kOk);
  }
  Store& store = cluster_.meta().store();
  Transaction damage(store);
  damage.Put(Family::kInodes, InodeKey(InodeId(static_cast<uint64_t>(files[1].attributes.inode))),
             "damaged");
  ASSERT_TRUE(store.Commit(damage).ok());
  ASSERT_TRUE(carol.Call(idl::kEndSession, idl::Empty()).ok());
  EXPECT_TRUE(world().RunUntil(
      [&] {
        return !cluster_.Chunk(files[0].chunk.chunk).has_value() &&
               !cluster_.Chunk(files[2].chunk.chunk).has_value();
      },
      30s));
  EXPECT_TRUE(cluster_.Chunk(files[1].chunk.chunk).has_value());
  world().Find("carol")->Kill();
}

// A server that had no room for one deletion was asked for none of those behind it.
TEST_F(FailuresTest, ADeletionThatIsRefusedDoesNotHoldUpTheOthers) {
  std::vector<idl::CreateResponse> files;
  for (const std::string name : {"a.sst", "b.sst", "c.sst", "d.sst"}) {
    files.push_back(cluster_.CreateFile(alice(), name));
    cluster_.Append(files.back().chunk, {10, 10, 10});
    ASSERT_EQ(CloseFile(alice(), files.back(), 10), Code::kOk);
    ASSERT_TRUE(cluster_.AwaitState(files.back().chunk.chunk, ChunkState::kSealed));
    ASSERT_EQ(GiveUp(alice(), files.back().attributes.inode, /*lease=*/true), Code::kOk);
  }
  const auto id = [&](size_t i) { return ChunkId(static_cast<uint64_t>(files[i].chunk.chunk)); };
  for (uint64_t server = 1; server <= 6; ++server) {
    cluster_.disk(ServerId(server)).kept = {id(0), id(2)};
  }
  for (const std::string name : {"a.sst", "b.sst", "c.sst", "d.sst"}) {
    ASSERT_EQ(Remove(alice(), name), Code::kOk);
  }
  const auto is_gone = [&](size_t i) { return !cluster_.Chunk(files[i].chunk.chunk).has_value(); };
  EXPECT_TRUE(world().RunUntil([&] { return is_gone(1) && is_gone(3); }, 20s));
  EXPECT_FALSE(is_gone(0));
  EXPECT_FALSE(is_gone(2));
  for (uint64_t server = 1; server <= 6; ++server) cluster_.disk(ServerId(server)).kept.clear();
  EXPECT_TRUE(world().RunUntil([&] { return is_gone(0) && is_gone(2); }, 20s));
}

// A server that takes long to tell all that it has was declared dead in the middle of it, and had
// to begin again, for ever.
TEST_F(FailuresTest, AnInventoryIsASignOfLife) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_TRUE(CloseAndSeal(file));
  const ServerId server(static_cast<uint64_t>(file.chunk.replicas[0].server_id));
  FakeDisk& disk = cluster_.disk(server);
  disk.inventory_pages = 20;  // of a second each; a server that is silent for 6 is dead
  disk.page_time = 1s;
  const uint64_t registrations = disk.registrations;
  const uint64_t pages = disk.pages;
  cluster_.machine(server).Kill();
  cluster_.StartServer(cluster_.IndexOf(server));
  bool dead = false;
  EXPECT_TRUE(world().RunUntil(
      [&] {
        dead = dead || AnyServerIsDead();
        return dead || disk.pages == pages + 20;
      },
      60s));
  EXPECT_FALSE(dead);
  EXPECT_EQ(disk.registrations, registrations + 1);
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->GoodReplicas(), 3u);
}

// What it tells would be taken for copies that count, while it is marked dead.
TEST_F(FailuresTest, TheInventoryOfADeadServerIsRefused) {
  const ServerId server(1);
  FakeDisk& disk = cluster_.disk(server);
  disk.inventory_pages = 20;
  disk.page_time = 1s;
  const uint64_t pages = disk.pages;
  cluster_.machine(server).Kill();
  cluster_.StartServer(cluster_.IndexOf(server));
  ASSERT_TRUE(world().RunUntil([&] { return disk.pages == pages + 2; }, 20s));
  const uint64_t registrations = disk.registrations;
  cluster_.machine(server).Pause();
  ASSERT_TRUE(world().RunUntil([&] { return AnyServerIsDead(); }, 30s));
  cluster_.machine(server).Resume();
  ASSERT_TRUE(world().RunUntil(
      [&] { return disk.registrations > registrations || disk.pages > pages + 2; }, 20s));
  EXPECT_EQ(disk.pages, pages + 2);
  ASSERT_TRUE(world().RunUntil([&] { return disk.registrations > registrations; }, 60s));
  EXPECT_FALSE(AnyServerIsDead());
}

// While a copy was made, its target became surplus: the copy was recorded as good, and then the
// deletion took it.
TEST_F(FailuresTest, ACopyThatIsToBeDeletedDoesNotCount) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  const ChunkId chunk(static_cast<uint64_t>(file.chunk.chunk));
  ASSERT_TRUE(CloseAndSeal(file));
  world().RunFor(2s);  // the seal has been told
  ChunkRecord record = *cluster_.Chunk(file.chunk.chunk);
  ASSERT_EQ(record.replicas.size(), 3u);
  const ServerId away = record.replicas[0].server;
  const ServerId target = record.replicas[2].server;
  std::vector<ServerId> others;
  for (uint64_t id = 1; id <= 6; ++id) {
    if (record.FindReplica(ServerId(id)) == nullptr) others.push_back(ServerId(id));
  }
  const ServerId late = others[0];
  // Nobody but `target` can be copied to.
  cluster_.machine(others[1]).Kill();
  cluster_.machine(others[2]).Kill();
  cluster_.machine(late).Pause();
  world().RunFor(3s);
  // Two good replicas, a damaged one, and one of which nobody knows that it is there.
  FakeDisk& bad = cluster_.disk(target);
  bad.replicas.at(chunk).damaged = true;
  bad.copy_time = 4s;
  bad.kept = {chunk};
  cluster_.disk(late).replicas.emplace(
      chunk, FakeReplica{protocol::AppendReplica::Reopened(chunk, record.epoch, 10, 10)});
  cluster_.disk(late).changed.insert(chunk);
  record.replicas[2].state = ReplicaState::kMissing;
  record.replicas.push_back({late, ReplicaState::kMissing, 0});
  {
    Transaction transaction(cluster_.meta().store());
    ASSERT_TRUE(PutChunk(transaction, chunk, record).ok());
    ASSERT_TRUE(cluster_.meta().store().Commit(transaction).ok());
  }
  const uint64_t copies = bad.copies;
  ASSERT_TRUE(world().RunUntil([&] { return bad.copies == copies + 1; }, 2s));
  cluster_.machine(away).Kill();  // so that whoever is kept, it is not this one
  cluster_.machine(late).Resume();
  ASSERT_TRUE(world().RunUntil(
      [&] { return cluster_.Chunk(file.chunk.chunk)->FindReplica(target) == nullptr; }, 3s));
  ASSERT_TRUE(bad.replicas.at(chunk).damaged) << "the copy was not under way any more";
  ASSERT_TRUE(world().RunUntil([&] { return !bad.replicas.at(chunk).damaged; }, 10s));
  world().RunFor(100ms);  // it is noted
  bad.kept.clear();
  ASSERT_TRUE(world().RunUntil([&] { return !bad.replicas.contains(chunk); }, 10s));
  const auto now = cluster_.Chunk(file.chunk.chunk);
  const ReplicaRecord* gone = now->FindReplica(target);
  EXPECT_TRUE(gone == nullptr || gone->state != ReplicaState::kGood);
}

// A good replica that turned up made the set whole, and the bad one stayed listed for ever.
TEST_F(FailuresTest, AReplicaThatTurnsUpTakesThePlaceOfABadOne) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_TRUE(CloseAndSeal(file));
  const ChunkRecord record = *cluster_.Chunk(file.chunk.chunk);
  uint64_t other = 1;
  while (record.FindReplica(ServerId(other)) != nullptr) ++other;
  ReplicaReport report;
  report.chunk = ChunkId(static_cast<uint64_t>(file.chunk.chunk));
  report.epoch = record.epoch;
  report.sealed = true;
  report.length = record.length;
  Transaction transaction(cluster_.meta().store());
  const auto apply = [&](ServerId server) {
    return ApplyReports(
               transaction, server, std::span(&report, 1), [](ChunkId) { return false; },
               [] { return std::span<const ServerView>(); })
        .ok();
  };
  const ServerId bad = record.replicas[0].server;
  report.damaged = true;
  ASSERT_TRUE(apply(bad));
  ASSERT_EQ(FindChunk(transaction, report.chunk)->value().GoodReplicas(), 2u);
  report.damaged = false;
  ASSERT_TRUE(apply(ServerId(other)));
  const ChunkRecord now = FindChunk(transaction, report.chunk)->value();
  EXPECT_EQ(now.GoodReplicas(), 3u);
  EXPECT_EQ(now.replicas.size(), 3u);
  EXPECT_EQ(now.FindReplica(bad), nullptr);
  EXPECT_TRUE(*IsDeletionQueued(transaction, bad, report.chunk));
}

// It promised to hold the chunk, and died before that was recorded: whoever is marked dead is not
// looked at again, so the replica counted as good for ever.
TEST_F(FailuresTest, ASealDoesNotCountTheDead) {
  cluster_.configure = [](MetaserverOptions& options) {
    options.registry.repair_grace = limits::kRepairGraceMin;
  };
  cluster_.RestartMeta();
  ASSERT_TRUE(world().RunUntil([&] { return cluster_.AliveServers() == 6; }, 20s));
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  const ChunkId chunk(static_cast<uint64_t>(file.chunk.chunk));
  cluster_.Append(file.chunk, {10, 10, 10}, /*synced=*/false);
  const auto server = [&](size_t i) {
    return ServerId(static_cast<uint64_t>(file.chunk.replicas[i].server_id));
  };
  cluster_.machine(server(2)).Pause();  // the seal waits for it until its patience ends
  ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
  const auto promised = [&](size_t i) {
    return cluster_.disk(server(i)).replicas.at(chunk).state.synced() == 10;
  };
  ASSERT_TRUE(world().RunUntil([&] { return promised(0) && promised(1); }, 2s));
  world().RunFor(50ms);  // its answer arrives
  cluster_.machine(server(1)).Kill();
  ASSERT_TRUE(cluster_.AwaitState(file.chunk.chunk, ChunkState::kSealed));
  EXPECT_TRUE(world().RunUntil(
      [&] {
        const auto record = cluster_.Chunk(file.chunk.chunk);
        const ReplicaRecord* dead = record->FindReplica(server(1));
        return record->GoodReplicas() == 3 &&
               (dead == nullptr || dead->state != ReplicaState::kGood);
      },
      30s));
  cluster_.machine(server(2)).Resume();
}

// Nobody knew of it, so it stayed for as long as a replica without a record does.
TEST_F(FailuresTest, ACopyOfAChunkThatIsGoneMeanwhileGoesToo) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  const auto chunk = ChunkId(static_cast<uint64_t>(file.chunk.chunk));
  ASSERT_TRUE(CloseAndSeal(file));
  ASSERT_EQ(GiveUp(alice(), file.attributes.inode, /*lease=*/true), Code::kOk);
  world().RunFor(2s);  // the seal has been told
  const auto on_all = [&](auto count) {
    uint64_t sum = 0;
    for (uint64_t id = 1; id <= 6; ++id) sum += count(cluster_.disk(ServerId(id)));
    return sum;
  };
  const auto copies = [&] { return on_all([](FakeDisk& disk) { return disk.copies; }); };
  const auto replicas = [&] {
    return on_all([&](FakeDisk& disk) { return disk.replicas.count(chunk); });
  };
  for (uint64_t id = 1; id <= 6; ++id) cluster_.disk(ServerId(id)).copy_time = 3s;
  FakeDisk& bad = cluster_.disk(ServerId(static_cast<uint64_t>(file.chunk.replicas[0].server_id)));
  bad.replicas.at(chunk).damaged = true;
  bad.changed.insert(chunk);
  const uint64_t before = copies();
  ASSERT_TRUE(world().RunUntil([&] { return copies() > before; }, 10s));
  ASSERT_EQ(Remove(alice(), "f.sst"), Code::kOk);
  ASSERT_TRUE(world().RunUntil([&] { return !cluster_.Chunk(file.chunk.chunk).has_value(); }, 2s));
  ASSERT_TRUE(world().RunUntil([&] { return replicas() == 1; }, 10s)) << "the copy has been made";
  EXPECT_TRUE(world().RunUntil([&] { return replicas() == 0; }, 10s));
}

// A server whose seal got lost is told again when it says that the replica is open still; that of a
// writer who is only slow is left alone.
TEST_F(FailuresTest, AnIdleOpenReplicaIsSealedIfItsChunkIs) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  const auto chunk = ChunkId(static_cast<uint64_t>(file.chunk.chunk));
  cluster_.Append(file.chunk, {10, 10, 10});
  FakeDisk& disk = cluster_.disk(ServerId(static_cast<uint64_t>(file.chunk.replicas[0].server_id)));
  disk.changed.insert(chunk);
  ASSERT_TRUE(world().RunUntil([&] { return disk.changed.empty(); }, 10s));
  world().RunFor(10s);
  EXPECT_TRUE(disk.Takes(chunk));
  EXPECT_EQ(cluster_.Chunk(file.chunk.chunk)->state, ChunkState::kOpen);
  disk.misses_seals = true;
  ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
  world().RunFor(10s);  // the sealer has given up
  disk.misses_seals = false;
  world().RunFor(10s);
  ASSERT_FALSE(disk.IsSealed(chunk, 10));
  disk.changed.insert(chunk);
  EXPECT_TRUE(world().RunUntil([&] { return disk.IsSealed(chunk, 10); }, 10s));
}

// Each wake of the caretaker, that is each close of a file, walked over a queue in which nothing
// could be done.
TEST_F(FailuresTest, WhatCannotBeRepairedIsLookedAtOnceInAWhile) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_TRUE(CloseAndSeal(file));
  for (uint64_t id = 1; id <= 6; ++id) {
    if (ServerId(id) != ServerId(static_cast<uint64_t>(file.chunk.replicas[0].server_id))) {
      cluster_.machine(ServerId(id)).Kill();
    }
  }
  ASSERT_TRUE(
      world().RunUntil([&] { return cluster_.Chunk(file.chunk.chunk)->GoodReplicas() == 1; }, 30s));
  world().RunFor(5s);
  const Counter& looks = cluster_.metrics().GetCounter("moraine_meta_repair_looks_total", "");
  const uint64_t before = looks.Value();
  const Duration begun = world().now();
  constexpr uint64_t kFiles = 200;
  for (uint64_t i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("small{}", i);
    cluster_.CreateFile(alice(), name, 1, /*write=*/false);
    ASSERT_EQ(Remove(alice(), name), Code::kOk);
    alice().acknowledged_below = alice().last_sequence;
  }
  const auto ticks = static_cast<uint64_t>((world().now() - begun) / CaretakerOptions().tick);
  EXPECT_LE(looks.Value() - before, ticks + 2);
  EXPECT_LT(ticks + 2, kFiles / 2) << "or it would prove nothing";
}

// Many clients that meet one bad replica are one question to its server.
TEST_F(FailuresTest, AReplicaIsCheckedOnceAtATime) {
  const auto file = cluster_.CreateFile(alice(), "f.sst");
  ASSERT_TRUE(CloseAndSeal(file));
  const ServerId server(static_cast<uint64_t>(file.chunk.replicas[0].server_id));
  world().RunFor(2s);  // the seal has been told
  const uint64_t before = cluster_.disk(server).stats;
  idl::ReportReplicaRequest report;
  report.chunk = file.chunk.chunk;
  report.server_id = file.chunk.replicas[0].server_id;
  cluster_.machine(server).Pause();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(bob().Call(idl::kReportReplica, report).ok());
  cluster_.machine(server).Resume();
  world().RunFor(1s);
  EXPECT_EQ(cluster_.disk(server).stats, before + 1);
  ASSERT_TRUE(bob().Call(idl::kReportReplica, report).ok());
  world().RunFor(1s);
  EXPECT_EQ(cluster_.disk(server).stats, before + 2);
}

// What no record names may be all that is left of a record that was lost.
TEST_F(FailuresTest, UnknownReplicasAreKeptForALongWhile) {
  const int64_t given = cluster_.CreateFile(alice(), "f").chunk.chunk;
  cluster_.RestartMeta();  // which takes all numbers of its block for given out
  const ChunkId lost(static_cast<uint64_t>(given) + 1000);
  const ChunkId foreign(uint64_t{1} << 40);
  FakeDisk& disk = cluster_.disk(ServerId(1));
  disk.Write(lost, 10);
  disk.Write(foreign, 10);
  cluster_.machine(ServerId(1)).Kill();
  cluster_.StartServer(cluster_.IndexOf(ServerId(1)));
  world().RunFor(40s);
  cluster_.RestartMeta();  // the time goes on over restarts and repeated reports
  cluster_.machine(ServerId(1)).Kill();
  cluster_.StartServer(cluster_.IndexOf(ServerId(1)));
  world().RunFor(10s);
  EXPECT_TRUE(disk.replicas.contains(lost));
  EXPECT_TRUE(world().RunUntil([&] { return !disk.replicas.contains(lost); }, 20s));
  world().RunFor(120s);
  EXPECT_TRUE(disk.replicas.contains(foreign));
}

// A heartbeat was answered although nobody had taken its report, because the chunk was busy: a bad
// replica counted as good for ever.
TEST_F(FailuresTest, AReportOfABusyChunkIsNotLost) {
  const auto file = cluster_.CreateFile(alice(), "f.log");
  ASSERT_EQ(file.chunk.replicas.size(), 5u);
  cluster_.Append(file.chunk, {10, 10, 10, 10, 10});
  const auto server = [&](size_t i) {
    return ServerId(static_cast<uint64_t>(file.chunk.replicas[i].server_id));
  };
  const ChunkId chunk(static_cast<uint64_t>(file.chunk.chunk));
  // Silent, so the chunk stays busy for a while after it is sealed.
  cluster_.machine(server(4)).Pause();
  ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
  FakeDisk& bad = cluster_.disk(server(0));
  ASSERT_TRUE(world().RunUntil(
      [&] {
        return bad.IsSealed(chunk, 10) &&
               cluster_.Chunk(file.chunk.chunk)->state == ChunkState::kSealed;
      },
      30s));
  bad.replicas.at(chunk).damaged = true;
  bad.changed.insert(chunk);
  const auto is_known = [&] {
    const auto record = cluster_.Chunk(file.chunk.chunk);
    const ReplicaRecord* replica = record->FindReplica(server(0));
    return replica == nullptr || replica->state != ReplicaState::kGood;
  };
  EXPECT_TRUE(world().RunUntil(is_known, 30s));
  EXPECT_TRUE(bad.changed.empty() || world().RunUntil([&] { return bad.changed.empty(); }, 10s));
  cluster_.machine(server(4)).Resume();
}

// However many chunks cannot be sealed now, the others are.
TEST_F(FailuresTest, UnsealableChunksDoNotKeepOthersFromTheirSeal) {
  const size_t stuck = kSealJobsMax + 10;
  idl::SetXattrRequest rules;
  rules.inode = 1;
  rules.name = "moraine.policy";
  rules.value = "*.x=single";
  ASSERT_TRUE(alice().Change(idl::kSetXattr, rules).ok());
  std::vector<idl::CreateResponse> files;
  std::map<int64_t, size_t> by_server;
  for (size_t i = 0; i < 6 * stuck; ++i) {
    files.push_back(cluster_.CreateFile(alice(), fmt::format("s{}.x", i)));
    alice().acknowledged_below = alice().last_sequence;
    ASSERT_EQ(files.back().chunk.replicas.size(), 1u);
    ++by_server[files.back().chunk.replicas[0].server_id];
  }
  const auto fullest =
      std::ranges::max_element(by_server, {}, [](const auto& entry) { return entry.second; });
  ASSERT_GE(fullest->second, stuck);
  const ServerId away(static_cast<uint64_t>(fullest->first));
  cluster_.machine(away).Kill();
  std::optional<idl::CreateResponse> other;
  for (const idl::CreateResponse& file : files) {
    if (file.chunk.replicas[0].server_id != fullest->first) {
      other = file;
      continue;
    }
    ASSERT_EQ(CloseFile(alice(), file, 10), Code::kOk);
    alice().acknowledged_below = alice().last_sequence;
  }
  ASSERT_TRUE(other.has_value());
  cluster_.Append(other->chunk, {10});
  ASSERT_EQ(CloseFile(alice(), *other, 10), Code::kOk);
  EXPECT_TRUE(cluster_.AwaitState(other->chunk.chunk, ChunkState::kSealed, 30s));
}

}  // namespace
}  // namespace moraine::metaserver
