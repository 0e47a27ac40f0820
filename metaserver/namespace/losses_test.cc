// Bytes that were mapped, never synced, and are gone when their chunk is sealed.
#include "metaserver/namespace/losses.h"

#include <gtest/gtest.h>

#include "metaserver/namespace/files_fixture.h"

namespace moraine::metaserver {
namespace {

class LossesTest : public FilesTest {
 protected:
  // The chunk is sealed with `length` bytes, fewer than its writer had closed it with.
  void SealShort(ChunkId chunk, uint64_t length) {
    Seal(chunk, length);
    ASSERT_TRUE(fixture_
                    .Run([&](Transaction& t) -> Status {
                      MORAINE_ASSIGN_OR_RETURN(const ChunkRecord record, GetChunk(t, chunk));
                      return TakeLoss(t, chunk, record, record.file_offset != kUnknownOffset);
                    })
                    .ok());
  }
  // The chunk that follows `first`, which is closed at `length`.
  ChunkGrant Next(InodeId inode, const ChunkGrant& first, uint64_t length) {
    AllocateChunkArgs next;
    next.inode = inode;
    next.tail = true;
    next.tail_offset = first.tail_offset + length;
    next.previous = Closed(first, length);
    auto grant = Allocate(next);
    EXPECT_TRUE(grant.ok()) << grant.status().ToString();
    return std::move(*grant);
  }
  Code Resized(InodeId inode, uint64_t size, std::optional<uint32_t> losses) {
    SetAttributesArgs args;
    args.inode = inode;
    args.size = size;
    args.losses = losses;
    return fixture_.Run([&](Transaction& t) { return SetAttributes(t, args); }, kAlice).code();
  }
  uint32_t Losses(InodeId inode) { return Layout1(inode).inode.record.losses; }
};

TEST_F(LossesTest, AStreamEndsWhereItsFirstByteIsLost) {
  const InodeId f = MakeFile("f.sst");
  const ChunkGrant first = Tail(f);
  const ChunkGrant second = Next(f, first, 5000);
  const ChunkGrant third = Next(f, second, 700);
  const uint64_t version = Layout1(f).inode.record.version;
  SealShort(first.chunk.id, 3000);
  const FileView file = Layout1(f);
  EXPECT_EQ(file.inode.record.size, 3000u);
  EXPECT_EQ(file.inode.record.stored_bytes, 3000u);
  EXPECT_GT(file.inode.record.version, version);
  EXPECT_EQ(file.layout.extents, (std::vector<Extent>{{0, 3000, first.chunk.id, 0}}));
  EXPECT_FALSE(file.inode.open_tail) << "what went on behind them is dropped";
  EXPECT_EQ(StateOf(second.chunk.id), ChunkState::kDeleting);
  EXPECT_EQ(StateOf(third.chunk.id), ChunkState::kDeleting);
  EXPECT_EQ(Losses(f), 1u);
}

TEST_F(LossesTest, AWriterThatDoesNotKnowIsRefused) {
  const InodeId f = MakeFile("f.sst");
  const ChunkGrant first = Tail(f);
  const ChunkGrant second = Next(f, first, 5000);
  SealShort(first.chunk.id, 3000);
  AllocateChunkArgs allocate;
  allocate.inode = f;
  allocate.tail = true;
  allocate.tail_offset = 5070;
  allocate.previous = Closed(second, 70);
  allocate.losses = 0;
  EXPECT_EQ(Allocate(allocate).code(), Code::kIo);
  CommitArgs commit;
  commit.inode = f;
  commit.size = 5070;
  commit.losses = 0;
  EXPECT_EQ(CommitIt(commit).code(), Code::kIo);
  EXPECT_EQ(Resized(f, 9000, 0), Code::kIo);
  EXPECT_EQ(Layout1(f).inode.record.size, 3000u);
  // Who opened the file since then, and who does not say.
  commit.losses = 1;
  commit.size = 3000;
  EXPECT_TRUE(CommitIt(commit).ok());
  EXPECT_EQ(Resized(f, 9000, 1), Code::kOk);
  EXPECT_EQ(Resized(f, 9001, std::nullopt), Code::kOk);
  allocate.previous.reset();
  allocate.losses = 1;
  allocate.tail_offset = 9001;
  EXPECT_TRUE(Allocate(allocate).ok());
}

// Both could not be settled after a power cut and were being fenced: the second had lost its
// extents by the time it was sealed, and was kept for ever.
TEST_F(LossesTest, AFencedChunkThatNobodyMapsAnyMoreIsDeleted) {
  const InodeId f = MakeFile("f.sst");
  const ChunkGrant first = Tail(f);
  const ChunkGrant second = Next(f, first, 5000);
  CommitArgs close;
  close.inode = f;
  close.seals = {Closed(second, 700)};
  ASSERT_TRUE(CommitIt(close).ok());
  const auto drop = [&](ChunkId chunk) {
    return fixture_.Run([&](Transaction& t) { return DropUnused(t, chunk); }).ok();
  };
  Fence(second.chunk.id);
  SealShort(first.chunk.id, 3000);
  ASSERT_TRUE(drop(first.chunk.id));
  EXPECT_EQ(StateOf(first.chunk.id), ChunkState::kSealed) << "its extent is there";
  ASSERT_TRUE(drop(second.chunk.id));
  EXPECT_EQ(StateOf(second.chunk.id), ChunkState::kFencing) << "it is not sealed";
  RecordSeal(second.chunk.id, 700);
  ASSERT_TRUE(drop(second.chunk.id));
  EXPECT_EQ(StateOf(second.chunk.id), ChunkState::kDeleting);
}

// The answer to the first close was lost, and the chunk is not deleted everywhere yet.
TEST_F(LossesTest, AnEmptyChunkIsClosedTwice) {
  const InodeId f = MakeFile("f.sst");
  CommitArgs close;
  close.inode = f;
  close.seals = {Closed(Tail(f), 0)};
  ASSERT_TRUE(CommitIt(close).ok());
  EXPECT_EQ(CommitIt(close).code(), Code::kOk);
}

TEST_F(LossesTest, WhatFilledAHoleLeavesAHole) {
  const InodeId f = MakeFile("f.dat");
  ASSERT_EQ(OpenToWrite(f).code(), Code::kOk);
  ASSERT_EQ(Resized(f, 10'000, std::nullopt), Code::kOk);
  const ChunkGrant loose = Loose(f);
  CommitArgs commit;
  commit.inode = f;
  commit.extents = {{2000, 1000, loose.chunk.id, 0}};
  commit.seals = {Closed(loose, 1000)};
  ASSERT_TRUE(CommitIt(commit).ok());
  SealShort(loose.chunk.id, 400);
  const FileView file = Layout1(f);
  EXPECT_EQ(file.inode.record.size, 10'000u);
  EXPECT_EQ(file.layout.extents, (std::vector<Extent>{{2000, 400, loose.chunk.id, 0}}));
  EXPECT_EQ(Losses(f), 1u);
}

TEST_F(LossesTest, WhatWasWrittenOverIsNoLoss) {
  const InodeId f = MakeFile("f.dat");
  const ChunkGrant first = Tail(f);
  CommitArgs close;
  close.inode = f;
  close.seals = {Closed(first, 5000)};
  ASSERT_TRUE(CommitIt(close).ok());
  const ChunkGrant loose = Loose(f);
  CommitArgs over;
  over.inode = f;
  over.extents = {{3000, 2000, loose.chunk.id, 0}};
  ASSERT_TRUE(CommitIt(over).ok());
  SealShort(first.chunk.id, 3000);
  EXPECT_EQ(Layout1(f).inode.record.size, 5000u);
  EXPECT_EQ(Losses(f), 0u);
}

TEST_F(LossesTest, AFileThatIsGoneHasNone) {
  const InodeId f = MakeFile("f.sst");
  const ChunkGrant first = Tail(f);
  ChunkRecord record = *Chunk(first.chunk.id);
  record.inode = InodeId(f.value() + 1);
  record.length = 10;
  const Status taken =
      fixture_.Run([&](Transaction& t) { return TakeLoss(t, first.chunk.id, record, true); });
  EXPECT_TRUE(taken.ok()) << taken.ToString();
}

}  // namespace
}  // namespace moraine::metaserver
