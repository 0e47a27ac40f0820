// Owned directories, below the service: their tokens, and whose the leases in them are.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/namespace/files_fixture.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {
namespace {

constexpr auto kOk = Code::kOk;

// Only an open grants the lease. A change that comes late (it was sent again and again while its
// writer's lease was taken, another wrote, and left) was made for a file that is no more.
TEST_F(FilesTest, AWriterWhoseLeaseWasTakenIsRefusedWhenItIsFreeAgain) {
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId f = MakeFile("f.log", d);
  const ChunkGrant tail = Tail(f, 0, kAlice);
  const auto acquired =
      fixture_.Run([&](Transaction& t) { return AcquireDirectory(t, d, "kv", false); }, kBob);
  ASSERT_TRUE(acquired.ok());
  EXPECT_EQ(fixture_.effects().lost, (std::vector<std::pair<SessionId, InodeId>>{{kAlice, f}}));
  Seal(tail.chunk.id, 100);
  ASSERT_TRUE(Finish(f).ok());
  // The new owner adds 50 bytes.
  ASSERT_EQ(OpenToWrite(f, kBob, acquired->token).code(), Code::kOk);
  AllocateChunkArgs args;
  args.inode = f;
  args.token = acquired->token;
  args.tail = true;
  args.tail_offset = 100;
  const auto added = Allocate(args, kBob);
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  CommitArgs commit;
  commit.inode = f;
  commit.token = acquired->token;
  commit.seals = {Closed(*added, 50)};
  ASSERT_TRUE(CommitIt(commit, kBob).ok());
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kBob).ok());
  ASSERT_TRUE(
      fixture_.Run([&](Transaction& t) { return ReleaseDirectory(t, d, acquired->token); }, kBob)
          .ok());

  CommitArgs late;
  late.inode = f;
  late.seals = {Closed(tail, 100)};
  late.size = 100;
  EXPECT_EQ(CommitIt(late).code(), Code::kFenced);
  late.seals.clear();
  late.size.reset();
  late.inline_data = std::string(100, 'x');
  EXPECT_EQ(CommitIt(late).code(), Code::kFenced);
  AllocateChunkArgs next;
  next.inode = f;
  next.tail = true;
  next.previous = Closed(tail, 100);
  EXPECT_EQ(Allocate(next).code(), Code::kFenced);
  SetAttributesArgs cut;
  cut.inode = f;
  cut.size = 120;
  EXPECT_EQ(fixture_.Run([&](Transaction& t) { return SetAttributes(t, cut); }, kAlice).code(),
            Code::kFenced);
  EXPECT_EQ(Layout1(f).inode.record.size, 150u);
  // Who opens it anew sees what is there.
  EXPECT_EQ(OpenToWrite(f).code(), Code::kOk);
  Tail(f, 150);
}

// A new life of the same owner is not mixed up with what it had under way.
TEST_F(FilesTest, AnOwnersOwnLeasesEndToo) {
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId f = MakeFile("LOG", d);
  const ChunkGrant tail = Tail(f);
  const auto acquired =
      fixture_.Run([&](Transaction& t) { return AcquireDirectory(t, d, "kv", false); }, kAlice);
  ASSERT_TRUE(acquired.ok());
  EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
  EXPECT_TRUE(fixture_.effects().lost.empty());
  Seal(tail.chunk.id, 50);
  ASSERT_TRUE(Finish(f).ok());
  CommitArgs commit;
  commit.inode = f;
  commit.token = acquired->token;
  commit.inline_data = "late";
  EXPECT_EQ(CommitIt(commit).code(), Code::kFenced);
  EXPECT_EQ(Layout1(f).inode.record.size, 50u);
  EXPECT_EQ(OpenToWrite(f, kAlice, acquired->token).code(), Code::kOk);
}

TEST_F(FilesTest, AnOwnedDirectoryTakesOnlyItsOwner) {
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId f = MakeFile("f.log", d);
  const ChunkGrant tail = Tail(f, 0, kBob);
  const auto acquire = [&](SessionId session, bool steal) {
    return fixture_.Run([&](Transaction& t) { return AcquireDirectory(t, d, "kv", steal); },
                        session);
  };
  const auto first = acquire(kAlice, false);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(fixture_.effects().recoveries, std::vector<InodeId>{f});
  EXPECT_EQ(acquire(kBob, false).code(), Code::kBusy);
  // Bob's chunk is recovered before Alice reads the directory.
  Seal(tail.chunk.id, 10);
  ASSERT_TRUE(Finish(f).ok());
  {
    Transaction t(fixture_.store(), kAlice);
    std::vector<OwnedEntry> entries;
    const auto owned = ReadOwned(t, d, first->token, [&](OwnedEntry entry) {
      entries.push_back(std::move(entry));
      return Status::Ok();
    });
    ASSERT_TRUE(owned.ok()) << owned.status().ToString();
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_EQ(entries[0].file.inode.record.size, 10u);
    EXPECT_EQ(entries[0].file.layout.extents.size(), 1u);
  }
  const auto create = [&](SessionId session, Token token) {
    CreateArgs args;
    args.parent = d;
    args.name = fmt::format("n{}", fixture_.now_ns());
    args.token = token;
    return fixture_.Run([&](Transaction& t) { return Create(t, args); }, session).code();
  };
  EXPECT_EQ(create(kBob, Token()), Code::kBusy);
  EXPECT_EQ(create(kBob, first->token), Code::kFenced);
  EXPECT_EQ(create(kAlice, first->token), kOk);
  EXPECT_EQ(create(kAlice, Token()), Code::kBusy);
  const auto open = [&](SessionId session, Token token) {
    return fixture_.Run([&](Transaction& t) { return Open(t, {f, true, false, token}); }, session)
        .code();
  };
  EXPECT_NE(open(kBob, Token()), kOk);
  EXPECT_EQ(open(kAlice, first->token), kOk);
  // Stolen: the old token is worth nothing, in names and in files.
  const auto second = acquire(kBob, true);
  ASSERT_TRUE(second.ok());
  EXPECT_GT(second->token, first->token);
  EXPECT_EQ(create(kAlice, first->token), Code::kFenced);
  EXPECT_EQ(open(kAlice, first->token), Code::kFenced);
  EXPECT_EQ(open(kBob, second->token), kOk);
  EXPECT_EQ(fixture_
                .Run(
                    [&](Transaction& t) {
                      return Rename(t, {d, "f.log", kRootInode, "stolen", RenameMode::kReplace,
                                        first->token, Token()});
                    },
                    kAlice)
                .code(),
            Code::kFenced);
  EXPECT_EQ(
      fixture_.Run([&](Transaction& t) { return ReleaseDirectory(t, d, first->token); }).code(),
      Code::kFenced);
  EXPECT_TRUE(
      fixture_.Run([&](Transaction& t) { return ReleaseDirectory(t, d, second->token); }).ok());
  EXPECT_EQ(create(kBob, second->token), Code::kFenced);
  EXPECT_EQ(create(kAlice, Token()), kOk);
  // The number never goes back.
  EXPECT_GT(acquire(kAlice, false)->token, second->token);
}

// The writer of a table that is linked into a database needs the database's token.
TEST_F(FilesTest, AFileThatIsLinkedIntoAnOwnedDirectoryComesUnderItsToken) {
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId f = MakeFile("f", kRootInode);
  const auto owned =
      fixture_.Run([&](Transaction& t) { return AcquireDirectory(t, d, "kv", false); }, kAlice);
  ASSERT_TRUE(owned.ok());
  const auto open = [&](SessionId session, Token token) {
    return fixture_.Run([&](Transaction& t) { return Open(t, {f, true, false, token}); }, session)
        .code();
  };
  const auto link = [&](const std::string& name) {
    return fixture_.Run([&](Transaction& t) { return Link(t, {f, d, name, owned->token}); }, kAlice)
        .code();
  };
  ASSERT_EQ(open(kBob, Token()), kOk);
  EXPECT_EQ(link("in"), Code::kLeaseTaken);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kBob).ok());
  EXPECT_EQ(link("in"), kOk);
  EXPECT_EQ(Layout1(f).inode.record.parent, d);
  EXPECT_EQ(open(kBob, Token()), Code::kBusy);
  EXPECT_EQ(open(kAlice, owned->token), kOk);
  // The name that it came by goes; the file stays where it is.
  ASSERT_TRUE(
      fixture_
          .Run([&](Transaction& t) { return Remove(t, {kRootInode, "f", false, Token()}); }, kAlice)
          .ok());
  EXPECT_EQ(Layout1(f).inode.record.parent, d);
}

// A file with two names in an owned directory stays under its token when one of them moves away.
TEST_F(FilesTest, ARenameOfOneOfTwoNamesLeavesTheFileToItsOwner) {
  const InodeId d = MakeFile("d", kRootInode, {}, FileType::kDirectory);
  const InodeId f = MakeFile("a", d);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Link(t, {f, d, "b", Token()}); }).ok());
  const auto owned =
      fixture_.Run([&](Transaction& t) { return AcquireDirectory(t, d, "kv", false); }, kAlice);
  ASSERT_TRUE(owned.ok());
  const auto rename = [&](std::string name) {
    return fixture_
        .Run(
            [&](Transaction& t) {
              return Rename(t, {d, name, kRootInode, "out-" + name, RenameMode::kReplace,
                                owned->token, Token()});
            },
            kAlice)
        .code();
  };
  const auto open = [&](SessionId session, Token token) {
    return fixture_.Run([&](Transaction& t) { return Open(t, {f, true, false, token}); }, session)
        .code();
  };
  EXPECT_EQ(rename("a"), kOk);
  EXPECT_EQ(Layout1(f).inode.record.parent, d);
  EXPECT_EQ(open(kBob, Token()), Code::kBusy);
  EXPECT_EQ(open(kAlice, owned->token), kOk);
  ASSERT_TRUE(fixture_.Run([&](Transaction& t) { return Close(t, f); }, kAlice).ok());
  // The last name takes the file along.
  EXPECT_EQ(rename("b"), kOk);
  EXPECT_EQ(Layout1(f).inode.record.parent, kRootInode);
  EXPECT_EQ(open(kBob, Token()), kOk);
}

}  // namespace
}  // namespace moraine::metaserver
