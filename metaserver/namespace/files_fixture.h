// A store with files and imaginary chunkservers, for tests of the operations on files.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "metaserver/chunks/chunk_table.h"
#include "metaserver/namespace/leases.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/testing/store_fixture.h"

namespace moraine::metaserver {

inline constexpr SessionId kAlice{101};
inline constexpr SessionId kBob{102};

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    for (uint64_t i = 1; i <= 6; ++i) {
      servers_.push_back(
          {ServerId(i), Location::Parse(fmt::format("h{}", i)), true, 1ULL << 40, 0, 1000 + i});
    }
  }

  InodeId MakeFile(std::string name, InodeId parent = kRootInode, std::string policy = {},
                   FileType type = FileType::kRegular) {
    CreateArgs args;
    args.parent = parent;
    args.name = std::move(name);
    args.type = type;
    args.policy = std::move(policy);
    const auto made = fixture_.Run([&](Transaction& t) { return Create(t, args); });
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made->inode.id;
  }
  Result<ChunkGrant> Allocate(AllocateChunkArgs args, SessionId session = kAlice) {
    return fixture_.Run(
        [&](Transaction& t) { return AllocateChunk(t, args, servers_, fixture_.random()); },
        session);
  }
  Status OpenToWrite(InodeId inode, SessionId session = kAlice, Token token = Token()) {
    return fixture_.Run(
        [&](Transaction& t) { return Open(t, {.inode = inode, .write = true, .token = token}); },
        session);
  }
  // Both open the file to write first.
  ChunkGrant Tail(InodeId inode, uint64_t offset = 0, SessionId session = kAlice) {
    EXPECT_EQ(OpenToWrite(inode, session).code(), Code::kOk);
    AllocateChunkArgs args;
    args.inode = inode;
    args.tail = true;
    args.tail_offset = offset;
    auto grant = Allocate(args, session);
    EXPECT_TRUE(grant.ok()) << grant.status().ToString();
    return std::move(*grant);
  }
  ChunkGrant Loose(InodeId inode, SessionId session = kAlice) {
    EXPECT_EQ(OpenToWrite(inode, session).code(), Code::kOk);
    AllocateChunkArgs args;
    args.inode = inode;
    auto grant = Allocate(args, session);
    EXPECT_TRUE(grant.ok()) << grant.status().ToString();
    return std::move(*grant);
  }
  static ClosedChunk Closed(const ChunkGrant& grant, uint64_t length) {
    ClosedChunk closed{grant.chunk.id, grant.chunk.record.epoch, length, {}};
    for (const ReplicaRecord& replica : grant.chunk.record.replicas) {
      closed.holders.push_back(replica.server);
    }
    return closed;
  }
  Result<InodeView> CommitIt(CommitArgs args, SessionId session = kAlice) {
    return fixture_.Run([&](Transaction& t) { return Commit(t, args); }, session);
  }
  FileView Layout1(InodeId inode) {
    Transaction t(fixture_.store());
    auto file = GetLayout(t, inode);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(*file);
  }
  std::optional<ChunkRecord> Chunk(ChunkId chunk) {
    Transaction t(fixture_.store());
    auto record = FindChunk(t, chunk);
    EXPECT_TRUE(record.ok());
    return *record;
  }
  ChunkState StateOf(ChunkId chunk) {
    const auto record = Chunk(chunk);
    return record.has_value() ? record->state : ChunkState::kDeleting;
  }
  // What the sealer does, without its calls.
  void Fence(ChunkId chunk) {
    ASSERT_TRUE(ChangeChunk(chunk, [](ChunkRecord& record) -> Status {
                  MORAINE_ASSIGN_OR_RETURN(const auto fencing,
                                           protocol::BeginFencing(ToProtocol(record)));
                  TakeFromProtocol(fencing, record);
                  return Status::Ok();
                }).ok());
  }
  void RecordSeal(ChunkId chunk, uint64_t length) {
    ASSERT_TRUE(ChangeChunk(chunk, [&](ChunkRecord& record) -> Status {
                  const auto all = protocol::ReplicaSet::FirstN(static_cast<int>(record.made));
                  MORAINE_ASSIGN_OR_RETURN(
                      const auto sealed,
                      protocol::RecordSealed(ToProtocol(record), record.epoch, length, all));
                  TakeFromProtocol(sealed, record);
                  return Status::Ok();
                }).ok());
  }
  void Seal(ChunkId chunk, uint64_t length) {
    Fence(chunk);
    RecordSeal(chunk, length);
  }
  Status Finish(InodeId inode) {
    return fixture_.Run([&](Transaction& t) { return FinishRecovery(t, inode); });
  }
  template <class Change>
  Status ChangeChunk(ChunkId chunk, Change change) {
    return fixture_.Run([&](Transaction& t) -> Status {
      MORAINE_ASSIGN_OR_RETURN(ChunkRecord record, GetChunk(t, chunk));
      MORAINE_RETURN_IF_ERROR(change(record));
      return PutChunk(t, chunk, record);
    });
  }
  std::optional<LeaseRecord> Lease(InodeId inode) {
    Transaction t(fixture_.store());
    return *FindLease(t, inode);
  }

  StoreFixture fixture_{1};
  std::vector<ServerView> servers_;
};

}  // namespace moraine::metaserver
