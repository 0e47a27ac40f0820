// Files, their chunks and their leases, below the service.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/file_map.h"
#include "metaserver/namespace/files_fixture.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/namespace/policies.h"
#include "metaserver/testing/store_fixture.h"

namespace moraine::metaserver {
namespace {

constexpr auto kOk = Code::kOk;

TEST_F(FilesTest, ATailIsMappedWhenItIsClosed) {
  const InodeId f = MakeFile("f.sst");
  const ChunkGrant first = Tail(f);
  EXPECT_EQ(first.chunk.record.replicas.size(), 3u);
  EXPECT_TRUE(Layout1(f).inode.open_tail);
  AllocateChunkArgs next;
  next.inode = f;
  next.tail = true;
  next.tail_offset = 5000;
  next.previous = Closed(first, 5000);
  const auto second = Allocate(next);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(second->tail_offset, 5000u);
  CommitArgs commit;
  commit.inode = f;
  commit.seals = {Closed(*second, 70)};
  const auto done = CommitIt(commit);
  ASSERT_TRUE(done.ok()) << done.status().ToString();
  EXPECT_EQ(done->record.size, 5070u);
  EXPECT_EQ(done->record.stored_bytes, 5070u);
  EXPECT_FALSE(done->open_tail);
  const FileView file = Layout1(f);
  EXPECT_EQ(file.layout.extents,
            (std::vector<Extent>{{0, 5000, first.chunk.id, 0}, {5000, 70, second->chunk.id, 0}}));
  EXPECT_EQ(StateOf(first.chunk.id), ChunkState::kClosed);
  // The same once more is the same; another length is not.
  EXPECT_TRUE(CommitIt(commit).ok());
  commit.seals[0].length = 60;
  EXPECT_EQ(CommitIt(commit).code(), Code::kSealed);
  commit.seals[0] = Closed(*second, 70);
  commit.seals[0].epoch = Epoch(9);
  EXPECT_EQ(CommitIt(commit).code(), Code::kFenced);
}

TEST_F(FilesTest, ACloseNeedsAQuorumOfHolders) {
  const InodeId f = MakeFile("f.log");
  const ChunkGrant tail = Tail(f);
  ASSERT_EQ(tail.chunk.record.replicas.size(), 5u);
  CommitArgs commit;
  commit.inode = f;
  commit.seals = {Closed(tail, 10)};
  commit.seals[0].holders.resize(2);
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  commit.seals[0].holders.push_back(ServerId(77));  // never had it
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  commit.seals[0] = Closed(tail, 10);
  commit.seals[0].holders.resize(3);
  EXPECT_EQ(CommitIt(commit).code(), kOk);
  const auto chunk = Chunk(tail.chunk.id);
  EXPECT_EQ(chunk->GoodReplicas(), 3u);
  EXPECT_EQ(fixture_.store().counters().open_chunks, 1);
}

// The answer to its grant was lost, and the stream that asked for it is no more.
TEST_F(FilesTest, AnOpenTailThatItsWriterDoesNotNameIsSealedBeforeTheNext) {
  const InodeId f = MakeFile("f");
  const ChunkGrant first = Tail(f);
  const ChunkGrant loose = Loose(f);
  AllocateChunkArgs next;
  next.inode = f;
  next.tail = true;
  next.tail_offset = 100;
  EXPECT_EQ(Allocate(next).code(), Code::kLeaseTaken);
  EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
  {
    Transaction t(fixture_.store());
    EXPECT_EQ(*ChunksToRecover(t, f), std::vector<ChunkId>{first.chunk.id});
  }
  Seal(first.chunk.id, 100);
  ASSERT_TRUE(Finish(f).ok());
  EXPECT_EQ(Lease(f)->state, LeaseState::kHeld);
  const auto second = Allocate(next);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{10, 20, loose.chunk.id, 0}};
  commit.seals = {Closed(*second, 50), Closed(loose, 20)};
  const auto done = CommitIt(commit);
  ASSERT_TRUE(done.ok()) << done.status().ToString();
  EXPECT_EQ(done->record.size, 150u);
}

TEST_F(FilesTest, RecoveryMapsTheTail) {
  for (const uint64_t length : {uint64_t{0}, uint64_t{100}}) {
    const InodeId f = MakeFile(fmt::format("f{}", length));
    const ChunkGrant tail = Tail(f);
    ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
    EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
    EXPECT_EQ(Lease(f)->state, LeaseState::kRecovering);
    ASSERT_TRUE(Finish(f).ok());
    EXPECT_TRUE(Lease(f).has_value());  // not yet: the tail is open
    Seal(tail.chunk.id, length);
    ASSERT_TRUE(Finish(f).ok());
    EXPECT_FALSE(Lease(f).has_value());
    const FileView file = Layout1(f);
    EXPECT_EQ(file.inode.record.size, length);
    EXPECT_TRUE(file.inode.record.attached.empty());
    EXPECT_EQ(file.layout.extents.size(), length > 0 ? 1u : 0u);
    EXPECT_EQ(StateOf(tail.chunk.id), length > 0 ? ChunkState::kSealed : ChunkState::kDeleting);
  }
}

TEST_F(FilesTest, LooseChunksAreMappedByCommitsAndDroppedWhenOverwritten) {
  const InodeId f = MakeFile("f");
  const ChunkGrant a = Loose(f);
  const ChunkGrant b = Loose(f);
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{0, 100, a.chunk.id, 0}, {200, 50, a.chunk.id, 100}};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(Layout1(f).inode.record.size, 250u);
  commit.extents = {{50, 200, b.chunk.id, 0}};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(Chunk(a.chunk.id)->references, 1u);
  // Overwritten whole: the chunk is still open, so it stays until it is closed.
  commit.extents = {{0, 250, b.chunk.id, 200}};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(StateOf(a.chunk.id), ChunkState::kOpen);
  commit.extents.clear();
  commit.seals = {Closed(a, 150), Closed(b, 450)};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(StateOf(a.chunk.id), ChunkState::kDeleting);
  EXPECT_EQ(StateOf(b.chunk.id), ChunkState::kClosed);
  EXPECT_TRUE(Layout1(f).inode.record.attached.empty());
  EXPECT_EQ(fixture_.store().counters().deleting_chunks, 1);
  Transaction t(fixture_.store());
  for (const ReplicaRecord& replica : a.chunk.record.replicas) {
    EXPECT_TRUE(*IsDeletionQueued(t, replica.server, a.chunk.id));
  }
}

// The time that a writer has set is not moved by the end of a chunk whose bytes came before.
TEST_F(FilesTest, TheEndOfALooseChunkIsNoChangeOfTheFile) {
  const InodeId f = MakeFile("f");
  const ChunkGrant a = Loose(f);
  CommitArgs map;
  map.inode = f;
  map.extents = {{0, 100, a.chunk.id, 0}};
  map.mtime_ns = 77;
  ASSERT_TRUE(CommitIt(map).ok());
  const InodeRecord before = Layout1(f).inode.record;
  const auto expect_unchanged = [&] {
    InodeRecord now = Layout1(f).inode.record;
    EXPECT_TRUE(fixture_.effects().changed.empty());
    now.attached = before.attached;
    EXPECT_EQ(now, before);
  };
  AllocateChunkArgs next;
  next.inode = f;
  next.previous = Closed(a, 100);
  const auto b = Allocate(next);
  ASSERT_TRUE(b.ok()) << b.status().ToString();
  expect_unchanged();
  CommitArgs end;
  end.inode = f;
  end.seals = {Closed(*b, 0)};
  const auto ended = CommitIt(end);
  ASSERT_TRUE(ended.ok()) << ended.status().ToString();
  EXPECT_EQ(ended->record.mtime_ns, 77);
  EXPECT_TRUE(Layout1(f).inode.record.attached.empty());
  expect_unchanged();
  // Nor is the end by a recovery.
  const ChunkGrant c = Loose(f);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
  Seal(c.chunk.id, 50);
  ASSERT_TRUE(Finish(f).ok());
  expect_unchanged();
  // A tail is another matter.
  const ChunkGrant tail = Tail(f, 100);
  end.seals = {Closed(tail, 10)};
  ASSERT_TRUE(CommitIt(end).ok());
  EXPECT_NE(Layout1(f).inode.record.mtime_ns, 77);
}

TEST_F(FilesTest, ACommitMapsOnlyWhatIsTheWritersToMap) {
  const InodeId f = MakeFile("f");
  const InodeId g = MakeFile("g");
  const ChunkGrant of_g = Loose(g);
  ASSERT_EQ(OpenToWrite(f).code(), Code::kOk);
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{0, 1, of_g.chunk.id, 0}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  commit.extents = {{0, 1, ChunkId(999), 0}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  const ChunkGrant own = Loose(f);
  commit.extents = {{0, 2, own.chunk.id, limits::kChunkBytesMax - 1}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  commit.extents = {{0, 0, own.chunk.id, 0}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kTooLarge);
  commit.extents = {{limits::kFileBytesMax, 1, own.chunk.id, 0}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kTooLarge);
  EXPECT_EQ(CommitIt(commit, SessionId()).code(), Code::kSessionEnded);
}

TEST_F(FilesTest, InlineContentsAreReplacedWhole) {
  const InodeId f = MakeFile("f");
  ASSERT_EQ(OpenToWrite(f).code(), Code::kOk);
  CommitArgs commit;
  commit.inode = f;
  commit.inline_data = std::string(100, 'x');
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(Layout1(f).layout.inline_data, std::string(100, 'x'));
  commit.inline_data = std::string(4097, 'x');
  EXPECT_EQ(CommitIt(commit).code(), Code::kTooLarge);
  // A tail that does not rewrite the content cannot be.
  AllocateChunkArgs args;
  args.inode = f;
  args.tail = true;
  args.tail_offset = 100;
  EXPECT_EQ(Allocate(args).code(), Code::kInvalidArgument);
  const ChunkGrant loose = Loose(f);
  commit.inline_data.reset();
  commit.extents = {{50, 100, loose.chunk.id, 0}};
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  // A writer that dies before it has rewritten all leaves the old content.
  const ChunkGrant tail = Tail(f, 0);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
  Seal(tail.chunk.id, 99);
  Seal(loose.chunk.id, 0);
  ASSERT_TRUE(Finish(f).ok());
  EXPECT_EQ(Layout1(f).layout.inline_data, std::string(100, 'x'));
  EXPECT_EQ(StateOf(tail.chunk.id), ChunkState::kDeleting);
  const ChunkGrant again = Tail(f, 0);
  commit.extents.clear();
  commit.seals = {Closed(again, 100)};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_FALSE(Layout1(f).layout.inline_data.has_value());
  EXPECT_EQ(Layout1(f).layout.extents.size(), 1u);
}

// A living writer is told that its bytes have no place; they are not thrown away with an ok.
TEST_F(FilesTest, AWriterMayNotCloseATailShortOfTheInlineContent) {
  const InodeId f = MakeFile("f");
  ASSERT_EQ(OpenToWrite(f).code(), Code::kOk);
  CommitArgs commit;
  commit.inode = f;
  commit.inline_data = std::string(100, 'x');
  ASSERT_TRUE(CommitIt(commit).ok());
  const ChunkGrant tail = Tail(f);
  commit.inline_data.reset();
  commit.seals = {Closed(tail, 99)};
  EXPECT_EQ(CommitIt(commit).code(), Code::kInvalidArgument);
  AllocateChunkArgs next;
  next.inode = f;
  next.tail = true;
  next.previous = Closed(tail, 99);
  EXPECT_EQ(Allocate(next).code(), Code::kInvalidArgument);
  EXPECT_EQ(StateOf(tail.chunk.id), ChunkState::kOpen);
  EXPECT_EQ(Layout1(f).layout.inline_data, std::string(100, 'x'));
  commit.seals = {Closed(tail, 100)};
  ASSERT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(Layout1(f).layout.extents.size(), 1u);
}

// A closed chunk that could not be settled is fenced while its writer lives. That took nothing from
// the writer, who was told that somebody else had.
TEST_F(FilesTest, AChunkThatIsFencedToBeSettledIsItsWritersStill) {
  const InodeId f = MakeFile("f");
  const ChunkGrant loose = Loose(f);
  AllocateChunkArgs next;
  next.inode = f;
  next.previous = Closed(loose, 100);
  ASSERT_TRUE(Allocate(next).ok());
  const auto fence = [&](Transaction& t) -> Status {
    MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(t, loose.chunk.id));
    MORAINE_ASSIGN_OR_RETURN(const auto fencing, protocol::BeginFencing(ToProtocol(record)));
    TakeFromProtocol(fencing, record);
    return PutChunk(t, loose.chunk.id, record);
  };
  ASSERT_TRUE(fixture_.Run(fence).ok());
  ASSERT_EQ(StateOf(loose.chunk.id), ChunkState::kFencing);
  CommitArgs maps;
  maps.inode = f;
  maps.extents = {{0, 100, loose.chunk.id, 0}};
  EXPECT_EQ(CommitIt(maps).code(), Code::kBusy);
  CommitArgs closes;  // the close, sent again with a number of its own
  closes.inode = f;
  closes.seals = {Closed(loose, 100)};
  EXPECT_EQ(CommitIt(closes).code(), Code::kBusy);
  closes.seals = {Closed(loose, 90)};
  EXPECT_EQ(CommitIt(closes).code(), Code::kFenced);
  Seal(loose.chunk.id, 100);
  EXPECT_EQ(CommitIt(closes).code(), Code::kFenced);
  maps.seals = {Closed(loose, 100)};
  const auto mapped = CommitIt(maps);
  ASSERT_TRUE(mapped.ok()) << mapped.status().ToString();
  EXPECT_EQ(Layout1(f).layout.extents, maps.extents);
  // To everybody else the higher epoch is a fence: a former writer that comes back under another
  // session would be let in again, since the lease is free.
  const auto close_as = [&](SessionId session) {
    return fixture_
        .Run([&](Transaction& t) -> Status {
          MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(t, loose.chunk.id));
          return CloseChunk(record, session, loose.chunk.record.epoch, 100, {});
        })
        .code();
  };
  EXPECT_EQ(close_as(kAlice), kOk);
  EXPECT_EQ(close_as(kBob), Code::kFenced);
}

TEST_F(FilesTest, TruncationCutsAndGrows) {
  const InodeId f = MakeFile("f");
  const ChunkGrant loose = Loose(f);
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{0, 100, loose.chunk.id, 0}};
  commit.seals = {Closed(loose, 100)};
  ASSERT_TRUE(CommitIt(commit).ok());
  const auto truncate = [&](uint64_t size, SessionId session) {
    SetAttributesArgs args;
    args.inode = f;
    args.size = size;
    return fixture_.Run([&](Transaction& t) { return SetAttributes(t, args); }, session);
  };
  EXPECT_EQ(truncate(60, kBob).code(), Code::kLeaseTaken);
  ASSERT_EQ(fixture_.effects().recalls.size(), 1u);
  EXPECT_EQ(fixture_.effects().recalls[0], std::pair(kAlice, f));
  ASSERT_TRUE(truncate(60, kAlice).ok());
  ASSERT_TRUE(truncate(80, kAlice).ok());
  EXPECT_EQ(Layout1(f).layout.extents, (std::vector<Extent>{{0, 60, loose.chunk.id, 0}}));
  EXPECT_EQ(Layout1(f).inode.record.size, 80u);
  EXPECT_EQ(truncate(limits::kFileBytesMax + 1, kAlice).code(), Code::kTooLarge);
  // An open tail must be sealed first.
  Tail(f, 80);
  EXPECT_EQ(truncate(0, kAlice).code(), Code::kLeaseTaken);
  EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  SetAttributesArgs args;
  args.inode = d;
  args.size = 0;
  EXPECT_EQ(fixture_.Run([&](Transaction& t) { return SetAttributes(t, args); }).code(),
            Code::kIsDirectory);
}

// Whoever knew the inode from before could open it between two parts, and read zeros.
TEST_F(FilesTest, AnOrphanThatIsBeingFreedIsNotOpened) {
  const InodeId f = MakeFile("f");
  for (uint64_t i = 0; i < 3; ++i) {
    const ChunkGrant loose = Loose(f);
    CommitArgs commit;
    commit.inode = f;
    commit.extents = {{i * 100, 100, loose.chunk.id, 0}};
    commit.seals = {Closed(loose, 100)};
    ASSERT_TRUE(CommitIt(commit).ok());
  }
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
  const auto open = [&](bool write) {
    return fixture_.Run([&](Transaction& t) { return Open(t, {f, write, false, Token()}); }, kBob)
        .code();
  };
  const auto free_one = [&] {
    const auto done = fixture_.Run([&](Transaction& t) { return FreeOrphan(t, f, 1); });
    EXPECT_TRUE(done.ok()) << done.status().ToString();
    return done.ok() && *done;
  };
  ASSERT_TRUE(
      fixture_.Run([&](Transaction& t) { return Remove(t, {kRootInode, "f", false, Token()}); })
          .ok());
  EXPECT_EQ(open(false), kOk);  // as somebody may who has it open already
  EXPECT_FALSE(free_one());
  EXPECT_EQ(open(false), Code::kNotFound);
  EXPECT_EQ(open(true), Code::kNotFound);
  fixture_.Restart();
  EXPECT_EQ(open(false), Code::kNotFound);
  EXPECT_FALSE(free_one());
  EXPECT_TRUE(free_one());
  EXPECT_EQ(open(false), Code::kNotFound);
}

TEST_F(FilesTest, OneSessionWritesAtATime) {
  const InodeId f = MakeFile("f");
  const auto open = [&](SessionId session) {
    return fixture_.Run([&](Transaction& t) { return Open(t, {f, true, false, Token()}); }, session)
        .code();
  };
  EXPECT_EQ(open(kAlice), kOk);
  EXPECT_EQ(open(kAlice), kOk);
  EXPECT_EQ(open(kBob), Code::kLeaseTaken);
  EXPECT_EQ(open(SessionId()), Code::kSessionEnded);
  fixture_.Restart();
  EXPECT_EQ(open(kBob), Code::kLeaseTaken);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kBob).ok());
  EXPECT_EQ(open(kBob), Code::kLeaseTaken);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
  EXPECT_EQ(open(kBob), kOk);
  // A session's end leaves its open chunk to be recovered before anybody else writes.
  const ChunkGrant tail = Tail(f, 0, kBob);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return EndSession(t, kBob); }).ok());
  EXPECT_EQ(open(kAlice), Code::kLeaseTaken);
  EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
  {
    Transaction t(fixture_.store());
    EXPECT_EQ(*FindRecovering(t), std::vector<InodeId>{f});
    EXPECT_EQ(*ChunksToRecover(t, f), std::vector<ChunkId>{tail.chunk.id});
  }
  Seal(tail.chunk.id, 30);
  ASSERT_TRUE(Finish(f).ok());
  EXPECT_EQ(open(kAlice), kOk);
  EXPECT_EQ(Layout1(f).inode.record.size, 30u);
}

}  // namespace
}  // namespace moraine::metaserver
