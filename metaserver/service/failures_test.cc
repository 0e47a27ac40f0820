// A whole metaserver on the simulated world: what fails around it, and in what it must not fail.
#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

class FailuresTest : public ::testing::Test {
 protected:
  FailuresTest() {
    cluster_.alice().StartSession("alice");
    cluster_.bob().StartSession("bob");
    cluster_.alice().KeepRenewing();
    cluster_.bob().KeepRenewing();
  }
  TestClient& alice() { return cluster_.alice(); }
  TestClient& bob() { return cluster_.bob(); }
  sim::World& world() { return cluster_.world(); }

  Code OpenToWrite(TestClient& client, int64_t inode) {
    idl::OpenRequest request;
    request.inode = inode;
    request.for_writing = true;
    return client.Change(idl::kOpen, request).code();
  }
  // Closes the only chunk of a file at `length`.
  Code CloseFile(TestClient& client, const idl::CreateResponse& file, int64_t length) {
    idl::CommitRequest commit;
    commit.inode = file.attributes.inode;
    commit.seals = {MetaCluster::Close(file.chunk, length)};
    return client.Change(idl::kCommit, commit).code();
  }
  bool AnyServerIsDead() {
    Transaction transaction(cluster_.meta().store());
    for (Cursor c = transaction.Scan(Family::kServers, kServerPrefix); c.Valid(); c.Next()) {
      if (ServerRecord::Decode(c.value())->state == ServerState::kDead) return true;
    }
    return false;
  }

  const uint64_t seed_ = SeedFromEnvironment();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, fmt::format("MORAINE_SEED={}", seed_)};
  MetaCluster cluster_{seed_, 6};
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
  EXPECT_EQ(OpenToWrite(bob(), file.attributes.inode), Code::kLeaseTaken);
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

}  // namespace
}  // namespace moraine::metaserver
