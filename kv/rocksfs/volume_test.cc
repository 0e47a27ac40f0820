// Volume: ownership, answers from memory, fencing between two processes, unknown outcomes, the end.
#include "kv/rocksfs/volume.h"

#include <gtest/gtest.h>

#include "kv/rocksfs/memory_cluster.h"

namespace moraine::rocksfs {
namespace {

ConstBytes Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// One "process" with its own client.
struct Process {
  explicit Process(const std::shared_ptr<MemoryServer>& server) {
    auto made = std::make_unique<MemoryCluster>(server);
    cluster = made.get();
    volume = std::make_shared<Volume>(std::move(made), VolumeOptions());
  }
  MemoryCluster* cluster;
  std::shared_ptr<Volume> volume;
};

class VolumeTest : public ::testing::Test {
 protected:
  VolumeTest() { EXPECT_TRUE(a_.volume->MakeDirectory("/db").ok()); }

  void Put(Volume& volume, const std::string& path, const std::string& bytes) {
    Result<std::shared_ptr<GatheringWriter>> writer = volume.CreateForAppend(path, "");
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    ASSERT_TRUE((*writer)->Append(Bytes(bytes)).ok());
    const Status closed = volume.Close(*writer);
    ASSERT_TRUE(closed.ok()) << closed.ToString();
  }
  std::vector<std::string> Names(Volume& volume, const std::string& path) {
    std::vector<std::string> names;
    const Result<std::vector<fs::DirectoryEntry>> entries = volume.List(path);
    EXPECT_TRUE(entries.ok()) << entries.status().ToString();
    if (!entries.ok()) return names;
    for (const fs::DirectoryEntry& entry : *entries) names.push_back(entry.name);
    return names;
  }

  std::shared_ptr<MemoryServer> server_ = std::make_shared<MemoryServer>();
  Process a_{server_};
  Process b_{server_};
};

using NameList = std::vector<std::string>;

TEST_F(VolumeTest, ListsAllPages) {
  server_->SetPageEntries(3);
  for (int i = 0; i < 10; ++i) Put(*a_.volume, "/db/" + std::to_string(i), "x");
  EXPECT_EQ(Names(*b_.volume, "/db").size(), 10u);
  EXPECT_EQ(server_->calls("readdir"), 4);
}

TEST_F(VolumeTest, TheOwnerAnswersFromMemory) {
  Put(*a_.volume, "/db/old", "12345");
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  const int before = server_->metadata_calls();
  EXPECT_EQ(Names(*a_.volume, "/db"), (NameList{"LOCK", "old"}));
  EXPECT_EQ(a_.volume->Stat("/db/old")->size, 5u);
  EXPECT_EQ(a_.volume->Stat("/db/none").code(), Code::kNotFound);
  EXPECT_TRUE(a_.volume->OpenDirectory("/db").ok());
  EXPECT_TRUE(a_.volume->Owns("/db"));
  EXPECT_EQ(server_->metadata_calls(), before);
  Result<ReadHandle> handle = a_.volume->OpenForReading("/db/old");
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(server_->metadata_calls(), before);  // opened from its layout
  EXPECT_EQ(a_.volume->Read(*handle, 1, 3)->size, 3u);
  a_.volume->CloseLater(std::move(handle->file));
  EXPECT_EQ(a_.volume->OpenForReading("/db/none").code(), Code::kNotFound);
}

// Memory went on telling the size that the file would have had.
TEST_F(VolumeTest, AFileThatCouldNotBeWrittenHasTheLengthThatIsThere) {
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  Result<std::shared_ptr<GatheringWriter>> writer = a_.volume->CreateForAppend("/db/log", "");
  ASSERT_TRUE(writer.ok()) << writer.status().ToString();
  ASSERT_TRUE((*writer)->Append(Bytes("stored")).ok());
  ASSERT_TRUE((*writer)->Sync().ok());
  server_->Fail("append", Status(Code::kNoSpace, "full"));
  ASSERT_TRUE((*writer)->Append(Bytes(" and not stored")).ok());
  EXPECT_EQ((*writer)->Sync().code(), Code::kNoSpace);
  EXPECT_EQ(a_.volume->Close(*writer).code(), Code::kNoSpace);
  ASSERT_EQ(server_->Find("/db/log")->bytes, "stored");
  EXPECT_EQ(a_.volume->Stat("/db/log")->size, 6u);
  const Result<std::vector<fs::DirectoryEntry>> entries = a_.volume->List("/db");
  ASSERT_TRUE(entries.ok()) << entries.status().ToString();
  for (const fs::DirectoryEntry& entry : *entries) {
    if (entry.name != "log" || !entry.attributes) continue;
    EXPECT_EQ(entry.attributes->size, 6u);
  }
}

TEST_F(VolumeTest, MemoryFollowsEveryOwnChange) {
  Put(*a_.volume, "/db/a", "1");
  Put(*a_.volume, "/outside", "22");
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  Put(*a_.volume, "/db/b", "333");
  ASSERT_TRUE(a_.volume->Rename("/db/b", "/db/c").ok());
  ASSERT_TRUE(a_.volume->Remove("/db/a").ok());
  ASSERT_TRUE(a_.volume->MakeDirectory("/db/sub").ok());
  ASSERT_TRUE(a_.volume->Link("/db/c", "/db/d").ok());
  ASSERT_TRUE(a_.volume->Rename("/outside", "/db/e").ok());
  ASSERT_TRUE(a_.volume->Rename("/db/d", "/gone").ok());
  ASSERT_TRUE(a_.volume->Truncate("/db/e", 1).ok());
  const int before = server_->metadata_calls();
  EXPECT_EQ(Names(*a_.volume, "/db"), (NameList{"LOCK", "c", "e", "sub"}));
  EXPECT_EQ(a_.volume->Stat("/db/c")->size, 3u);
  EXPECT_EQ(a_.volume->Stat("/db/e")->size, 1u);
  EXPECT_EQ(a_.volume->Stat("/db/sub")->type, fs::FileType::kDirectory);
  EXPECT_EQ(server_->metadata_calls(), before);
  // And it is what the server has.
  EXPECT_EQ(Names(*b_.volume, "/db"), (NameList{"LOCK", "c", "e", "sub"}));
  EXPECT_EQ(b_.volume->Stat("/db/e")->size, 1u);
  ASSERT_TRUE(a_.volume->RemoveDirectory("/db/sub").ok());
  EXPECT_EQ(Names(*a_.volume, "/db"), (NameList{"LOCK", "c", "e"}));
}

TEST_F(VolumeTest, ReplacingAFileMakesANewInode) {
  Put(*a_.volume, "/db/x", "old bytes");
  Result<ReadHandle> old = a_.volume->OpenForReading("/db/x");
  ASSERT_TRUE(old.ok());
  const InodeId inode = a_.volume->Stat("/db/x")->inode;
  Put(*a_.volume, "/db/x", "new");
  EXPECT_NE(a_.volume->Stat("/db/x")->inode, inode);
  EXPECT_EQ(a_.volume->Stat("/db/x")->size, 3u);
  EXPECT_EQ(a_.volume->Read(*old, 0, 100)->size, 9u);
  a_.volume->CloseLater(std::move(old->file));
}

TEST_F(VolumeTest, OneProcessLocksADirectoryOnce) {
  const Result<InodeId> lock = a_.volume->Lock("/db/LOCK");
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(a_.volume->Lock("/db/LOCK").code(), Code::kBusy);
  EXPECT_EQ(server_->calls("acquire"), 1);
  ASSERT_TRUE(a_.volume->Unlock(*lock).ok());
  EXPECT_FALSE(a_.volume->Owns("/db"));
  EXPECT_TRUE(a_.volume->Lock("/db/LOCK").ok());
}

TEST_F(VolumeTest, ALockThatFailsLeavesNothingBehind) {
  server_->Fail("acquire", Status(Code::kUnavailable, "restarting"));
  EXPECT_EQ(a_.volume->Lock("/db/LOCK").code(), Code::kUnavailable);
  server_->Fail("create", Status(Code::kNoSpace, "full"));
  EXPECT_EQ(a_.volume->Lock("/db/LOCK").code(), Code::kNoSpace);
  EXPECT_EQ(server_->calls("release"), 1);
  EXPECT_FALSE(a_.volume->Owns("/db"));
  EXPECT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  EXPECT_EQ(a_.volume->Lock("/missing/LOCK").code(), Code::kNotFound);
}

TEST_F(VolumeTest, AnotherProcessTakesTheDirectoryAndTheFormerOwnerIsFenced) {
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  Result<std::shared_ptr<GatheringWriter>> wal = a_.volume->CreateForAppend("/db/1.log", "log");
  ASSERT_TRUE(wal.ok());
  ASSERT_TRUE((*wal)->Append(Bytes("kept")).ok());
  ASSERT_TRUE((*wal)->Sync().ok());

  ASSERT_TRUE(b_.volume->Lock("/db/LOCK").ok());
  ASSERT_TRUE((*wal)->Append(Bytes("zombie")).ok());  // gathered only
  EXPECT_EQ((*wal)->Sync().code(), Code::kFenced);
  EXPECT_FALSE(a_.volume->Owns("/db"));
  EXPECT_EQ(a_.volume->Remove("/db/1.log").code(), Code::kFenced);
  EXPECT_EQ(a_.volume->CreateForAppend("/db/2.log", "").code(), Code::kFenced);
  EXPECT_EQ(a_.volume->Close(*wal).code(), Code::kFenced);
  EXPECT_EQ(server_->Find("/db/1.log")->bytes, "kept");
  EXPECT_EQ(b_.volume->Stat("/db/1.log")->size, 4u);
}

// A former owner whose token is gone must not pass for a stranger once nobody owns the directory.
TEST_F(VolumeTest, AFencedOwnerStaysFencedWhenTheNextOneHasLeft) {
  Put(*a_.volume, "/db/x", "1");
  const Result<InodeId> lock = a_.volume->Lock("/db/LOCK");
  ASSERT_TRUE(lock.ok());
  const Result<InodeId> next = b_.volume->Lock("/db/LOCK");
  ASSERT_TRUE(next.ok());
  ASSERT_TRUE(b_.volume->Unlock(*next).ok());
  a_.cluster->LoseTokens();
  EXPECT_EQ(a_.volume->Remove("/db/x").code(), Code::kFenced);
  EXPECT_EQ(a_.volume->Rename("/db/x", "/y").code(), Code::kFenced);
  EXPECT_EQ(a_.volume->Truncate("/db/x", 0).code(), Code::kFenced);
  EXPECT_EQ(a_.volume->CreateForAppend("/db/x", "").code(), Code::kFenced);
  EXPECT_EQ(b_.volume->Stat("/db/x")->size, 1u);
  // It may own the directory again, but only by locking it anew.
  a_.volume->Unlock(*lock).Ignore();
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  EXPECT_TRUE(a_.volume->Remove("/db/x").ok());
}

TEST_F(VolumeTest, FilesThatAreBeingWrittenGoOnThroughLockAndUnlock) {
  Result<std::shared_ptr<GatheringWriter>> log = a_.volume->CreateForAppend("/db/LOG", "");
  ASSERT_TRUE(log.ok());
  ASSERT_TRUE((*log)->Append(Bytes("one ")).ok());
  const Result<InodeId> lock = a_.volume->Lock("/db/LOCK");
  ASSERT_TRUE(lock.ok()) << lock.status().ToString();
  ASSERT_TRUE((*log)->Append(Bytes("two ")).ok());
  EXPECT_EQ(a_.volume->Stat("/db/LOG")->size, 8u);  // from memory, with what is gathered
  ASSERT_TRUE((*log)->Sync().ok());
  ASSERT_TRUE(a_.volume->Unlock(*lock).ok());
  ASSERT_TRUE((*log)->Append(Bytes("three")).ok());
  ASSERT_TRUE(a_.volume->Close(*log).ok());
  EXPECT_EQ(server_->Find("/db/LOG")->bytes, "one two three");
}

TEST_F(VolumeTest, AnUnknownOutcomeMakesMemoryForget) {
  Put(*a_.volume, "/db/x", "1");
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  server_->Fail("remove", Status(Code::kTimeout, "no answer"), 1, /*after=*/true);
  EXPECT_EQ(a_.volume->Remove("/db/x").code(), Code::kTimeout);
  // It was removed all the same, and the answer is the server's now.
  EXPECT_FALSE(a_.volume->Owns("/db"));
  EXPECT_EQ(a_.volume->Stat("/db/x").code(), Code::kNotFound);
  EXPECT_EQ(Names(*a_.volume, "/db"), (NameList{"LOCK"}));
}

TEST_F(VolumeTest, NewsOfAnotherOwnerMakesMemoryForget) {
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  ASSERT_TRUE(a_.volume->Owns("/db"));
  auto& cluster = static_cast<MemoryCluster&>(a_.volume->cluster());
  cluster.SetCertain(false);
  EXPECT_FALSE(a_.volume->Owns("/db"));
  cluster.SetCertain(true);
  EXPECT_TRUE(a_.volume->Owns("/db"));
  cluster.Disown(*a_.volume->OpenDirectory("/db"));
  EXPECT_FALSE(a_.volume->Owns("/db"));
}

TEST_F(VolumeTest, ARefusalDoesNotMakeMemoryForget) {
  Put(*a_.volume, "/db/x", "1");
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  EXPECT_EQ(a_.volume->RemoveDirectory("/db/x").code(), Code::kNotDirectory);
  EXPECT_TRUE(a_.volume->Owns("/db"));
  EXPECT_EQ(a_.volume->Stat("/db/x")->size, 1u);
}

TEST_F(VolumeTest, ARenamedDirectoryIsOwnedUnderItsNewName) {
  ASSERT_TRUE(a_.volume->Lock("/db/LOCK").ok());
  ASSERT_TRUE(a_.volume->Rename("/db", "/moved").ok());
  EXPECT_TRUE(a_.volume->Owns("/moved"));
  EXPECT_FALSE(a_.volume->Owns("/db"));
  Put(*a_.volume, "/moved/f", "12");
  EXPECT_EQ(a_.volume->Stat("/moved/f")->size, 2u);
  EXPECT_EQ(a_.volume->Stat("/db/f").code(), Code::kNotFound);
}

TEST_F(VolumeTest, AReaderSeesWhatTheWriterHasGathered) {
  Result<std::shared_ptr<GatheringWriter>> writer = a_.volume->CreateForAppend("/db/w", "");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append(Bytes("abc")).ok());
  Result<ReadHandle> handle = a_.volume->OpenForReading("/db/w");
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(a_.volume->Read(*handle, 0, 10)->size, 3u);
  ASSERT_TRUE((*writer)->Append(Bytes("def")).ok());
  EXPECT_EQ(a_.volume->Read(*handle, 0, 10)->size, 6u);
  EXPECT_EQ(a_.volume->Stat("/db/w")->size, 6u);
  a_.volume->CloseLater(std::move(handle->file));
  ASSERT_TRUE(a_.volume->Close(*writer).ok());
}

TEST_F(VolumeTest, StopSendsWhatIsGatheredAndRefusesTheRest) {
  Result<std::shared_ptr<GatheringWriter>> writer = a_.volume->CreateForAppend("/db/w", "");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append(Bytes("last words")).ok());
  EXPECT_TRUE(a_.volume->Stop(std::chrono::seconds(10)));
  EXPECT_EQ(server_->Find("/db/w")->bytes, "last words");
  EXPECT_EQ(a_.volume->Stat("/db").code(), Code::kCanceled);
  EXPECT_EQ(a_.volume->Close(*writer).code(), Code::kCanceled);
}

TEST_F(VolumeTest, StopIsBounded) {
  Result<std::shared_ptr<GatheringWriter>> writer = a_.volume->CreateForAppend("/db/w", "");
  ASSERT_TRUE(writer.ok());
  a_.cluster->SetGate(false);
  ASSERT_TRUE((*writer)->Append(Bytes("never arrives")).ok());
  EXPECT_FALSE(a_.volume->Stop(std::chrono::milliseconds(20)));
  EXPECT_EQ(a_.volume->Stat("/db").code(), Code::kCanceled);
  // The volume leaves the cluster behind, for the test to destroy.
  a_.volume = nullptr;
  const std::unique_ptr<MemoryCluster> left_behind(a_.cluster);
  EXPECT_EQ(server_->Find("/db/w")->bytes, "");
}

TEST_F(VolumeTest, MakesDirectoriesWithAllAbove) {
  EXPECT_EQ(a_.volume->MakeDirectory("/p/q/r").code(), Code::kNotFound);
  EXPECT_TRUE(a_.volume->MakeDirectories("/p/q/r").ok());
  EXPECT_TRUE(a_.volume->MakeDirectories("/p/q/r").ok());
  EXPECT_TRUE(a_.volume->MakeDirectories("/").ok());
  Put(*a_.volume, "/p/file", "x");
  EXPECT_EQ(a_.volume->MakeDirectories("/p/file").code(), Code::kNotDirectory);
}

}  // namespace
}  // namespace moraine::rocksfs
