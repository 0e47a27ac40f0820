// Opening and closing one file in every order: a client has one File per inode, and one writes.
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

class OpenCloseTest : public ClientTest {
 protected:
  // Within seconds; what is removed goes when nobody has it open.
  bool LosesAnInode(uint64_t inodes) {
    for (int i = 0; i < 100; ++i) {
      const auto space = ByAlice(alice().Space());
      if (space.ok() && space->inodes < inodes) return true;
      world().RunFor(100ms);
    }
    return false;
  }
};

TEST_F(OpenCloseTest, WhatOneWritesTheOtherReads) {
  for (const size_t size : {100, 5000, 3 << 20}) {
    const std::string text = Pattern(size);
    const std::shared_ptr<File> file = Create(fmt::format("f{}", size));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
    EXPECT_EQ(Content(file->inode()), text);
    ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
    EXPECT_EQ(Content(file->inode()), text);
  }
}

// It compared with the size that it had last heard of, and cut what was longer.
TEST_F(OpenCloseTest, ExtendNeverCutsWhatAnotherHasWritten) {
  const auto mine = Create("f");
  ASSERT_TRUE(ByAlice(mine->Append(Bytes(Pattern(10)))).ok());
  const auto theirs = Open(bob_machine(), mine->inode(), Client::OpenMode::kWrite);
  const std::string more = Pattern(300'000, 'b');
  ASSERT_TRUE(ByBob(theirs->Append(Bytes(more))).ok());
  ASSERT_TRUE(ByBob(theirs->Sync()).ok());
  ASSERT_TRUE(ByBob(bob().Close(theirs)).ok());
  ASSERT_TRUE(ByAlice(mine->Extend(100'000)).ok());
  EXPECT_EQ(Content(mine->inode()), Pattern(10) + more);
  ASSERT_TRUE(ByAlice(mine->Extend(400'000)).ok());
  EXPECT_EQ(Content(mine->inode()), Pattern(10) + more + std::string(400'000 - 300'010, '\0'));
}

// As RocksDB takes in a table that was made elsewhere: it links it, and opens it to sync it.
TEST_F(OpenCloseTest, AFileLinkedIntoAnOwnedDirectoryIsTheOwnersToWrite) {
  const InodeId owned = MakeDirectory("d");
  const auto file = Create("x");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(20'000)))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  ASSERT_TRUE(ByAlice(alice().AcquireDirectory(owned, "test")).ok());
  ASSERT_TRUE(ByAlice(alice().Link(file->inode(), owned, "in")).ok());
  NewEntry there;
  there.exclusive = false;
  const auto opened = ByAlice(alice().Create(owned, "in", there, true));
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_TRUE(ByAlice(opened->file->Sync()).ok());
  EXPECT_FALSE(ByBob(bob().Open(file->inode(), Client::OpenMode::kWrite)).ok());
}

// The metaserver hears of what an owner opens with the next renewal only, up to a second later.
TEST_F(OpenCloseTest, WhatAnOwnerHasOpenStaysWhenItsNameGoes) {
  const InodeId owned = MakeDirectory("d");
  const auto file = ByAlice(alice().Create(owned, "f", NewEntry(), true));
  ASSERT_TRUE(file.ok());
  const std::string text = Pattern(300'000);
  ASSERT_TRUE(ByAlice(file->file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->file->Sync()).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file->file)).ok());
  world().RunFor(100ms);
  const auto directory_now = ByAlice(alice().AcquireDirectory(owned, "test"));
  ASSERT_TRUE(directory_now.ok());
  ASSERT_EQ(directory_now->entries.size(), 1u);
  const auto& entry = directory_now->entries[0];
  const auto opened = ByAlice(alice().OpenOwned(entry.attributes, entry.layout));
  ASSERT_TRUE(opened.ok());
  ASSERT_TRUE(ByAlice(alice().RegisterOpen(entry.attributes.inode)).ok());
  ASSERT_TRUE(ByAlice(alice().RemoveFile(owned, "f")).ok());
  world().RunFor(500ms);
  EXPECT_EQ(Read(alice_machine(), *opened, 0, text.size()), text);
}

// Whoever caches its pages hears of it, also when the metaserver was restarted meanwhile and tells
// nobody: the pages of the old version got the stamp of the next own one.
TEST_F(OpenCloseTest, AWriterThatMeetsAnothersVersionSaysThatTheFileIsStale) {
  int told = 0;
  alice().OnStale([&told](InodeId) { ++told; });
  const std::string text = Pattern(50'000);
  const auto mine = Create("f");
  ASSERT_TRUE(ByAlice(mine->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(mine->Sync()).ok());
  const auto theirs = Open(bob_machine(), mine->inode(), Client::OpenMode::kWrite);
  meta_machine().Kill();
  StartMeta();
  ASSERT_TRUE(ByBob(theirs->Write(0, Bytes("new"))).ok());
  ASSERT_TRUE(ByBob(bob().Close(theirs)).ok());
  told = 0;  // of the recall
  ASSERT_TRUE(ByAlice(mine->Write(40'000, Bytes("mine"))).ok());
  EXPECT_GE(told, 1);
  const int before = told;
  ASSERT_TRUE(ByAlice(mine->Write(41'000, Bytes("mine"))).ok());
  ASSERT_TRUE(ByAlice(mine->Sync()).ok());
  EXPECT_EQ(told, before);  // of its own changes it hears nothing
}

// An open for appending whose answer met the end of the last close got a File beside the table's:
// the server had taken the lease back, and the next open made a second writer.
TEST_F(OpenCloseTest, AnOpenDuringTheLastCloseLeavesOneWriter) {
  // The close begins at each moment of the open's way.
  for (int wait_us = 0; wait_us < 1500; wait_us += 75) {
    const std::string first = Pattern(6000, 'a');
    const std::shared_ptr<File> made = Create(fmt::format("f{}", wait_us));
    const InodeId inode = made->inode();
    ASSERT_TRUE(ByAlice(made->Append(Bytes(first))).ok());
    ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
    const auto reading = Open(alice_machine(), inode, Client::OpenMode::kRead);
    const auto opening = Begin(alice_machine(), alice().Open(inode, Client::OpenMode::kWrite));
    world().RunFor(std::chrono::microseconds(wait_us));
    ASSERT_TRUE(ByAlice(alice().Close(reading)).ok());
    const auto one = Finish(opening);
    ASSERT_TRUE(one.ok()) << one.status().ToString();
    const auto other = Open(alice_machine(), inode, Client::OpenMode::kWrite);
    EXPECT_EQ(one->get(), other.get()) << "after " << wait_us << " us";
    const std::string second = Pattern(3000, 'b');
    const std::string third = Pattern(2000, 'c');
    ASSERT_TRUE(ByAlice((*one)->Append(Bytes(second))).ok());
    ASSERT_TRUE(ByAlice((*one)->Sync()).ok());
    ASSERT_TRUE(ByAlice(other->Append(Bytes(third))).ok());
    ASSERT_TRUE(ByAlice(other->Sync()).ok());
    ASSERT_TRUE(ByAlice(alice().Close(*one)).ok());
    ASSERT_TRUE(ByAlice(alice().Close(other)).ok());
    EXPECT_EQ(Content(inode), first + second + third) << "after " << wait_us << " us";
  }
}

// The same with a create of a name that is there.
TEST_F(OpenCloseTest, ACreateDuringTheLastCloseLeavesOneWriter) {
  NewEntry entry;
  entry.exclusive = false;
  for (int wait_us = 0; wait_us < 1500; wait_us += 75) {
    const std::string name = fmt::format("f{}", wait_us);
    const std::string first = Pattern(6000, 'a');
    const std::shared_ptr<File> made = Create(name);
    const InodeId inode = made->inode();
    ASSERT_TRUE(ByAlice(made->Append(Bytes(first))).ok());
    const auto closing = Begin(alice_machine(), alice().Close(made));
    world().RunFor(std::chrono::microseconds(wait_us));
    const auto created = ByAlice(alice().Create(InodeId(1), name, entry, true));
    ASSERT_TRUE(created.ok()) << created.status().ToString();
    ASSERT_TRUE(Finish(closing).ok());
    const auto other = Open(alice_machine(), inode, Client::OpenMode::kWrite);
    EXPECT_EQ(created->file.get(), other.get()) << "after " << wait_us << " us";
    // Bob's wish recalls the lease that alice believes in, so both must mean the same.
    const std::string second = Pattern(100, 'b');
    ASSERT_TRUE(ByAlice(other->Append(Bytes(second))).ok());
    EXPECT_TRUE(ByAlice(alice().Close(created->file)).ok());
    EXPECT_TRUE(ByAlice(alice().Close(other)).ok());
    EXPECT_EQ(Content(inode), first + second) << "after " << wait_us << " us";
  }
}

// A file that this client opened both from its owned directory and at the metaserver is closed
// there: otherwise the metaserver keeps what was removed.
TEST_F(OpenCloseTest, AnOwnedOpenBesideAnotherDoesNotHideTheClose) {
  const InodeId owned = MakeDirectory("d");
  auto made = ByAlice(alice().Create(owned, "f", {}, true));
  ASSERT_TRUE(made.ok());
  const InodeId inode = made->file->inode();
  ASSERT_TRUE(ByAlice(made->file->Append(Bytes(Pattern(5000)))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made->file)).ok());
  const auto acquired = ByAlice(alice().AcquireDirectory(owned, "alice"));
  ASSERT_TRUE(acquired.ok()) << acquired.status().ToString();
  ASSERT_EQ(acquired->entries.size(), 1U);
  const auto space = ByAlice(alice().Space());
  ASSERT_TRUE(space.ok());
  const auto registered = Open(alice_machine(), inode, Client::OpenMode::kRead);
  const auto& entry_of = acquired->entries.front();
  const auto from_memory = ByAlice(alice().OpenOwned(entry_of.attributes, entry_of.layout));
  ASSERT_TRUE(from_memory.ok());
  EXPECT_EQ(registered.get(), from_memory->get());
  ASSERT_TRUE(ByAlice(alice().RemoveFile(owned, "f")).ok());
  ASSERT_TRUE(ByAlice(alice().Close(registered)).ok());
  ASSERT_TRUE(ByAlice(alice().Close(*from_memory)).ok());
  EXPECT_TRUE(LosesAnInode(space->inodes)) << "the removed file is still there";
}

// A stat asks for the lease with an open, which told the metaserver of a file that nobody has open
// any more when the answer came: it kept what was removed.
TEST_F(OpenCloseTest, ACloseDuringAStatIsTold) {
  for (int wait_us = 0; wait_us < 600; wait_us += 50) {
    const std::string name = fmt::format("f{}", wait_us);
    const auto file = Create(name);
    ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(5000)))).ok());
    AttributeChange mode;
    mode.mode = 0600;
    ASSERT_TRUE(ByBob(bob().SetAttributes(file->inode(), mode)).ok());
    const auto stating = Begin(alice_machine(), alice().GetAttributes(file->inode()));
    world().RunFor(std::chrono::microseconds(wait_us));
    ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
    ASSERT_TRUE(Finish(stating).ok());
    const auto space = ByAlice(alice().Space());
    ASSERT_TRUE(space.ok());
    ASSERT_TRUE(ByBob(bob().RemoveFile(InodeId(1), name)).ok());
    EXPECT_TRUE(LosesAnInode(space->inodes)) << "closed after " << wait_us << " us";
  }
}

// As RocksDB does with its LOG, which it writes before it locks the directory.
TEST_F(OpenCloseTest, AnOwnerGoesOnWithAFileThatItWroteBefore) {
  const InodeId owned = MakeDirectory("d");
  const auto made = ByAlice(alice().Create(owned, "LOG", {}, true));
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(ByAlice(made->file->Append(Bytes(Pattern(100)))).ok());
  ASSERT_TRUE(ByAlice(made->file->Flush()).ok());
  ASSERT_TRUE(ByAlice(alice().AcquireDirectory(owned, "alice")).ok());
  const auto added = ByAlice(made->file->Append(Bytes(Pattern(10'000))));
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_EQ(ByAlice(made->file->Sync()).code(), Code::kOk);
  EXPECT_EQ(made->file->size(), 10'100U);
  EXPECT_EQ(ByAlice(alice().Close(made->file)).code(), Code::kOk);
}

// A file that was removed soon after its close, or replaced by a rename, stayed in the owner's
// memory for as long as it owned the directory.
TEST_F(OpenCloseTest, AnOwnerForgetsTheFilesThatAreGone) {
  const InodeId owned = MakeDirectory("d");
  ASSERT_TRUE(ByAlice(alice().AcquireDirectory(owned, "alice")).ok());
  const auto make = [&](const std::string& name) {
    const auto made = ByAlice(alice().Create(owned, name, {}, true));
    MORAINE_CHECK(made.ok(), made.status().ToString());
    EXPECT_TRUE(ByAlice(alice().Close(made->file)).ok());
    return made->attributes.inode;
  };
  make("kept");
  const InodeId linked = make("linked");
  ASSERT_TRUE(ByAlice(alice().Link(linked, owned, "link")).ok());
  for (int i = 0; i < 10; ++i) {
    make("log");
    ASSERT_TRUE(ByAlice(alice().RemoveFile(owned, "log")).ok());
    make("new");
    ASSERT_TRUE(ByAlice(alice().Rename(owned, "new", owned, "kept", RenameMode::kReplace)).ok());
    MakeDirectory("sub", owned);
    ASSERT_TRUE(ByAlice(alice().RemoveDirectory(owned, "sub")).ok());
  }
  // One of two names of a file goes: the other one still takes changes.
  make("new");
  ASSERT_TRUE(ByAlice(alice().Rename(owned, "new", owned, "link", RenameMode::kReplace)).ok());
  world().RunFor(1s);  // until what was closed has ended
  EXPECT_EQ(alice().owned_files(), 3u) << "kept, linked, link";
  AttributeChange mode;
  mode.mode = 0600;
  const auto changed = ByAlice(alice().SetAttributes(linked, mode));
  EXPECT_TRUE(changed.ok()) << changed.status().ToString();
}

}  // namespace
}  // namespace moraine::fs
