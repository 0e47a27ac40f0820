// Policies of chunks, orphans, extents under random changes, power cuts.
#include "metaserver/namespace/file_map.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/files_fixture.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/testing/store_fixture.h"

namespace moraine::metaserver {
namespace {

constexpr auto kOk = Code::kOk;

TEST_F(FilesTest, ChunksNeedTheFloorAndSayWhatIsMissing) {
  const InodeId f = MakeFile("f.log");
  ASSERT_EQ(OpenToWrite(f).code(), kOk);
  for (size_t i = 0; i < 4; ++i) servers_[i].placeable = false;
  AllocateChunkArgs args;
  args.inode = f;
  args.tail = true;
  const auto refused = Allocate(args);
  EXPECT_EQ(refused.code(), Code::kTooFewServers);
  EXPECT_NE(refused.status().message().find("at least 3 chunkservers, 2 can"), std::string::npos)
      << refused.status().message();
  servers_[0].full = true;  // it is there, but has no room
  EXPECT_EQ(Allocate(args).code(), Code::kNoSpace);
  servers_[0].full = false;
  servers_[0].placeable = true;
  EXPECT_EQ(Allocate(args)->chunk.record.made, 3u);
}

TEST_F(FilesTest, PoliciesAreCheckedAndInherited) {
  const auto set = [&](PolicyRecord policy) {
    return fixture_.Run([&](Transaction& t) { return SetPolicy(t, policy); }).code();
  };
  EXPECT_EQ(set({"log", 3, 2, 2}), Code::kNotPermitted);
  EXPECT_EQ(set({"p", 3, 4, 2}), Code::kInvalidArgument);
  EXPECT_EQ(set({"p", 10, 4, 2}), Code::kInvalidArgument);
  EXPECT_EQ(set({"p", UINT32_MAX, UINT32_MAX, 1}), Code::kInvalidArgument);
  EXPECT_EQ(set({"", 3, 2, 2}), Code::kInvalidArgument);
  EXPECT_EQ(set({"p", 4, 3, 3}), kOk);
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId e = MakeFile("e", d, {}, FileType::kDirectory);
  const auto rules = [&](std::vector<PolicyRule> r) {
    return fixture_.Run([&](Transaction& t) { return SetRules(t, d, r); }).code();
  };
  EXPECT_EQ(rules({{"*.x", "nobody"}}), Code::kInvalidArgument);
  EXPECT_EQ(rules({{"[", "p"}}), Code::kInvalidArgument);
  EXPECT_EQ(rules({{"*.x", "p"}, {"y*", "single"}}), kOk);
  EXPECT_EQ(Layout1(MakeFile("a.x", e)).inode.record.policy, "p");
  EXPECT_EQ(Layout1(MakeFile("yes", e)).inode.record.policy, "single");
  EXPECT_EQ(Layout1(MakeFile("no", e)).inode.record.policy, "immutable");
  EXPECT_EQ(Layout1(MakeFile("a.x")).inode.record.policy, "immutable");
  {
    Transaction t(fixture_.store());
    EXPECT_EQ(GetRules(t, e)->from, d);
    EXPECT_EQ(*PathOfDirectory(t, e), "/d/e");
  }
  EXPECT_EQ(rules({}), kOk);
  EXPECT_EQ(Layout1(MakeFile("b.x", e)).inode.record.policy, "immutable");
}

TEST_F(FilesTest, OrphansAreFreedInParts) {
  const InodeId f = MakeFile("f");
  const ChunkGrant loose = Loose(f);
  CommitArgs commit;
  commit.inode = f;
  for (uint64_t i = 0; i < 25; ++i) commit.extents.push_back({i * 20, 10, loose.chunk.id, i * 10});
  commit.seals = {Closed(loose, 250)};
  ASSERT_TRUE(CommitIt(commit).ok());
  ASSERT_TRUE(
      fixture_.Run([&](Transaction& t) { return Remove(t, {kRootInode, "f", false, Token()}); })
          .ok());
  int rounds = 1;
  while (!*fixture_.Run([&](Transaction& t) { return FreeOrphan(t, f, 10); })) ++rounds;
  EXPECT_EQ(rounds, 3);
  EXPECT_EQ(StateOf(loose.chunk.id), ChunkState::kDeleting);
  Transaction t(fixture_.store());
  EXPECT_EQ(t.Inode(f).code(), Code::kNotFound);
  EXPECT_FALSE(t.Scan(Family::kOrphans, {}).Valid());
  EXPECT_FALSE(t.Scan(Family::kExtents, {}).Valid());
  EXPECT_FALSE(t.Scan(Family::kLeases, {}).Valid());
}

TEST_F(FilesTest, ADeletionEndsWithItsLastReplica) {
  const InodeId f = MakeFile("f");
  const ChunkGrant loose = Loose(f);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return BeginDelete(t, loose.chunk.id); }).ok());
  for (const ReplicaRecord& replica : loose.chunk.record.replicas) {
    EXPECT_TRUE(Chunk(loose.chunk.id).has_value());
    ASSERT_TRUE(
        fixture_
            .Run([&](Transaction& t) { return FinishDeletion(t, replica.server, loose.chunk.id); })
            .ok());
  }
  EXPECT_FALSE(Chunk(loose.chunk.id).has_value());
  Transaction t(fixture_.store());
  EXPECT_FALSE(t.Scan(Family::kChunksByServer, {}).Valid());
  EXPECT_FALSE(t.Scan(Family::kQueues, {}).Valid());
  EXPECT_EQ(fixture_.store().counters().deleting_chunks, 0);
  EXPECT_EQ(fixture_.store().counters().chunks, 0);
}

// Random overlays against an array that says for each byte which chunk byte it is.
TEST_F(FilesTest, RandomOverlaysMatchAByteArray) {
  const uint64_t base = SeedFromEnvironment();
  SCOPED_TRACE(fmt::format("MORAINE_SEED={}", base));
  Random random(base);
  constexpr uint64_t kSize = 200;
  using Byte = std::pair<ChunkId, uint64_t>;
  for (int round = 0; round < 20; ++round) {
    const InodeId f = MakeFile(fmt::format("r{}", round));
    std::vector<Byte> model(kSize);
    std::vector<ChunkId> chunks;
    for (int i = 0; i < 4; ++i) chunks.push_back(Loose(f).chunk.id);
    for (int step = 0; step < 150; ++step) {
      const uint64_t from = random.Uniform(kSize);
      const uint64_t length = random.Between(1, std::min<uint64_t>(40, kSize - from));
      const ChunkId chunk = random.Pick(chunks);
      const uint64_t at = random.Uniform(300);
      const uint64_t action = random.Uniform(8);
      ASSERT_TRUE(fixture_
                      .Run([&](Transaction& t) -> Status {
                        MORAINE_ASSIGN_OR_RETURN(InodeRecord record, t.Inode(f));
                        if (action == 0) {
                          MORAINE_RETURN_IF_ERROR(
                              UnmapRange(t, f, record, from, from + length).status());
                          std::fill_n(model.begin() + static_cast<ptrdiff_t>(from), length, Byte());
                        } else if (action == 1) {
                          MORAINE_RETURN_IF_ERROR(CutChunk(t, f, record, chunk, at).status());
                          for (Byte& byte : model) {
                            if (byte.first == chunk && byte.second >= at) byte = Byte();
                          }
                        } else {
                          const Extent extent{from, length, chunk, at};
                          MORAINE_RETURN_IF_ERROR(MapExtents(t, f, record, std::span(&extent, 1)));
                          for (uint64_t i = 0; i < length; ++i) model[from + i] = {chunk, at + i};
                        }
                        t.PutInode(f, record);
                        return Status::Ok();
                      })
                      .ok());
      const FileView file = Layout1(f);
      std::vector<Byte> real(kSize);
      std::map<ChunkId, uint64_t> references;
      uint64_t stored = 0;
      uint64_t end = 0;
      for (const Extent& extent : file.layout.extents) {
        ASSERT_GE(extent.file_offset, end) << "overlap";
        end = extent.end();
        ++references[extent.chunk];
        stored += extent.length;
        for (uint64_t i = 0; i < extent.length; ++i) {
          real[extent.file_offset + i] = {extent.chunk, extent.chunk_offset + i};
        }
      }
      ASSERT_EQ(real, model) << "round " << round << " step " << step;
      EXPECT_EQ(file.inode.record.stored_bytes, stored);
      Transaction t(fixture_.store());
      if (file.inode.record.layout_bytes.has_value()) {
        EXPECT_EQ(*file.inode.record.layout_bytes, *CountLayout(t, f));
      }
      for (const ChunkId c : chunks) EXPECT_EQ(Chunk(c)->references, references[c]);
    }
  }
}

// What is cut into more pieces than an answer can name could never be opened again.
TEST_F(FilesTest, AFileIsNotCutIntoMorePiecesThanAnAnswerCanName) {
  const InodeId f = MakeFile("f");
  const ChunkGrant loose = Loose(f);
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{0, 2, loose.chunk.id, 0}, {4, 2, loose.chunk.id, 4}};
  ASSERT_TRUE(CommitIt(commit).ok());
  const uint64_t counted = *Layout1(f).inode.record.layout_bytes;
  const auto set = [&](std::optional<uint64_t> bytes) {
    ASSERT_TRUE(fixture_
                    .Run([&](Transaction& t) -> Status {
                      MORAINE_ASSIGN_OR_RETURN(InodeRecord record, t.Inode(f));
                      record.layout_bytes = bytes;
                      t.PutInode(f, record);
                      return Status::Ok();
                    })
                    .ok());
  };
  // As a program before this count left it: the next mapping counts.
  set(std::nullopt);
  commit.extents = {{8, 2, loose.chunk.id, 8}};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(*Layout1(f).inode.record.layout_bytes, counted + limits::kExtentWireBytes);
  set(limits::kLayoutBytesMax);
  commit.extents = {{12, 2, loose.chunk.id, 12}};
  const auto refused = CommitIt(commit);
  EXPECT_EQ(refused.code(), Code::kTooLarge);
  EXPECT_NE(refused.status().message().find("too many pieces"), std::string::npos);
  // As many pieces as before, or fewer.
  commit.extents = {{8, 2, loose.chunk.id, 100}};
  EXPECT_TRUE(CommitIt(commit).ok());
  commit.extents = {{0, 10, loose.chunk.id, 200}};
  EXPECT_TRUE(CommitIt(commit).ok());
  // What its writer has appended is kept, but there is no further chunk.
  set(limits::kLayoutBytesMax);
  const ChunkGrant tail = Tail(f, 10);
  commit.extents.clear();
  commit.seals = {Closed(tail, 5)};
  ASSERT_TRUE(CommitIt(commit).ok());
  AllocateChunkArgs args;
  args.inode = f;
  args.tail = true;
  EXPECT_EQ(Allocate(args).code(), Code::kTooLarge);
}

// What was answered durably is there after a power cut, in one piece with everything before it.
TEST_F(FilesTest, DurableAnswersSurvivePowerCuts) {
  for (int round = 0; round < 25; ++round) {
    const InodeId f = MakeFile(fmt::format("p{}", round));
    const ChunkGrant tail = Tail(f);
    EXPECT_TRUE(fixture_.effects().durable);
    ASSERT_TRUE(fixture_.Sync().ok());
    CommitArgs lazy;
    lazy.inode = f;
    lazy.mtime_ns = 42;
    ASSERT_TRUE(CommitIt(lazy).ok());
    fixture_.PowerCut();
    ASSERT_TRUE(Chunk(tail.chunk.id).has_value());
    const FileView file = Layout1(f);
    ASSERT_TRUE(file.layout.tail.has_value());
    EXPECT_EQ(file.layout.tail->chunk, tail.chunk.id);
    EXPECT_EQ(Lease(f)->session, kAlice);
    EXPECT_GT(*fixture_.store().NewChunk(), tail.chunk.id);
  }
}

}  // namespace
}  // namespace moraine::metaserver
