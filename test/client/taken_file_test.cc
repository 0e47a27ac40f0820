// A file whose lease was taken from its writer, with its directory, without asking: who acquires a
// directory takes the leases in it at once. The news are on their way to those who had them, and
// until they come a former writer must neither harm nor hide what the new owner stores.
#include <set>

#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

// Alice writes the file; Bob takes the directory while she hears nothing, adds to the file, and
// gives the directory back.
class TakenFileTest : public ClientTest {
 protected:
  void SetUp() override {
    ClientTest::SetUp();
    directory_ = MakeDirectory("d");
  }

  void MakeByAlice(size_t size, bool expect_stream = false) {
    NewEntry entry;
    entry.expect_stream = expect_stream;
    auto made = ByAlice(alice().Create(directory_, "f", entry, true));
    MORAINE_CHECK(made.ok(), made.status().ToString());
    file_ = made->file;
    text_ = Pattern(size);
    ASSERT_TRUE(ByAlice(file_->Append(Bytes(text_))).ok());
    ASSERT_TRUE(ByAlice(file_->Flush()).ok());
    LetNewsWait();
  }

  // For reading.
  void ReopenByAlice() {
    ASSERT_TRUE(ByAlice(alice().Close(file_)).ok());
    world().RunFor(20ms);  // until the lease goes back
    file_ = Open(alice_machine(), file_->inode(), Client::OpenMode::kRead);
  }
  // Bob's file, still open.
  std::shared_ptr<File> AddByBob(size_t size) {
    EXPECT_TRUE(ByBob(bob().AcquireDirectory(directory_, "bob")).ok());
    const auto taken = Open(bob_machine(), file_->inode(), Client::OpenMode::kWrite);
    EXPECT_EQ(taken->size(), text_.size());
    const std::string added = Pattern(size, 'A');
    EXPECT_TRUE(ByBob(taken->Append(Bytes(added))).ok());
    EXPECT_TRUE(ByBob(taken->Sync()).ok());
    text_ += added;
    return taken;
  }
  void LeaveByBob(const std::shared_ptr<File>& taken) {
    ASSERT_TRUE(ByBob(bob().Close(taken)).ok());
    world().RunFor(20ms);  // until the lease goes back
    ASSERT_TRUE(ByBob(bob().ReleaseDirectory(directory_)).ok());
    ASSERT_FALSE(AliceKnows());
  }
  void TakeAndGiveBack(size_t size = 100) { LeaveByBob(AddByBob(size)); }
  bool AliceKnows() const { return told_.contains(file_->inode()); }

  // By a stat, and then by the handle that she had before.
  void ExpectThatAliceSeesAll() {
    const auto found = ByAlice(alice().GetAttributes(file_->inode()));
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    EXPECT_EQ(found->size, text_.size());
    EXPECT_EQ(AsAliceReads(file_), text_);
  }
  // In two reads at once: neither may rely on what the other one still asks for.
  std::string AsAliceReads(const std::shared_ptr<File>& file) {
    const uint64_t half = text_.size() - 50;
    const auto read = ByAlice(file->ReadRanges({{0, half}, {half, 150}}));
    if (!read.ok()) return "error: " + read.status().ToString();
    return TextOf((*read)[0]) + TextOf((*read)[1]);
  }

 private:
  // A renewal that is answered soon is followed by a pause: after two pieces of news there is one.
  void LetNewsWait() {
    alice().OnStale([this](InodeId inode) { told_.insert(inode); });
    const InodeId other = MakeDirectory("other");
    for (const uint32_t mode : {0600, 0644}) {
      told_.clear();
      ASSERT_TRUE(ByAlice(alice().GetAttributes(other)).ok());
      AttributeChange change;
      change.mode = mode;
      ASSERT_TRUE(ByBob(bob().SetAttributes(other, change)).ok());
      ASSERT_TRUE(world().RunUntil([&] { return told_.contains(other); }, 10s));
    }
  }

 protected:
  InodeId directory_;
  std::shared_ptr<File> file_;
  std::string text_;  // what is stored of it

 private:
  std::set<InodeId> told_;
};

TEST_F(TakenFileTest, AnOpenSeesWhatTheOwnerHasSynced) {
  MakeByAlice(500);
  TakeAndGiveBack();
  const auto again = Open(alice_machine(), file_->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(again->size(), text_.size());
  EXPECT_EQ(AsAliceReads(again), text_);
}

// Its attributes were believed, its bytes were not: the end of the file was zeros.
TEST_F(TakenFileTest, AStatSeesItAndAReadBelievesTheStat) {
  MakeByAlice(500);
  TakeAndGiveBack();
  ExpectThatAliceSeesAll();
}

// No version tells of bytes in an open tail.
TEST_F(TakenFileTest, AStatSeesWhatTheOwnerHasSyncedInItsOpenTail) {
  MakeByAlice(500);
  const auto taken = AddByBob(20'000);
  ASSERT_FALSE(AliceKnows());
  ExpectThatAliceSeesAll();
}

TEST_F(TakenFileTest, ASyncOfTheFormerWriterDoesNotMixTheTwo) {
  MakeByAlice(500);
  TakeAndGiveBack();
  EXPECT_TRUE(ByAlice(file_->Sync()).ok()) << "all that it wrote is stored";
  const std::string read = AsAliceReads(file_);
  EXPECT_GE(read.size(), 500U);
  EXPECT_EQ(read, text_.substr(0, read.size()));
}

TEST_F(TakenFileTest, AWriteIsAppendedBehindWhatTheOwnerHasSynced) {
  MakeByAlice(500);
  TakeAndGiveBack();
  const auto again = Open(alice_machine(), file_->inode(), Client::OpenMode::kWrite);
  const auto appended = ByAlice(again->Append(Bytes("more")));
  ASSERT_TRUE(appended.ok()) << appended.status().ToString();
  EXPECT_EQ(*appended, text_.size());
  ASSERT_TRUE(ByAlice(again->Sync()).ok());
  EXPECT_EQ(Content(file_->inode()), text_ + "more");
}

// The answer to the create brought a new lease for the old knowledge: zeros were written over the
// owner's bytes.
TEST_F(TakenFileTest, ACreateThatMeetsTheFileIsAnOpen) {
  MakeByAlice(500);
  TakeAndGiveBack();
  NewEntry entry;
  entry.exclusive = false;
  const auto again = ByAlice(alice().Create(directory_, "f", entry, true));
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_FALSE(again->created);
  EXPECT_EQ(AsAliceReads(again->file), text_);
  ASSERT_TRUE(ByAlice(again->file->Append(Bytes("more"))).ok());
  ASSERT_TRUE(ByAlice(again->file->Sync()).ok());
  EXPECT_EQ(Content(file_->inode()), text_ + "more");
}

TEST_F(TakenFileTest, AnotherSizeIsRefused) {
  for (const size_t size : {550, 700}) {  // it cut; it put zeros in the place of the owner's bytes
    if (file_ != nullptr) {
      ASSERT_TRUE(ByAlice(alice().Close(file_)).ok());
      ASSERT_TRUE(ByAlice(alice().RemoveFile(directory_, "f")).ok());
      ASSERT_TRUE(ByAlice(alice().RemoveDirectory(InodeId(1), "other")).ok());
    }
    MakeByAlice(500);
    TakeAndGiveBack();
    EXPECT_EQ(ByAlice(file_->Extend(size)).code(), Code::kFenced);
    EXPECT_EQ(Content(file_->inode()), text_);
    const std::string read = AsAliceReads(file_);
    EXPECT_EQ(read, text_.substr(0, read.size()));
  }
}

// The unsaved end of a writer that was fenced hid what the owner stored, for as long as the writer
// kept its file open.
TEST_F(TakenFileTest, ADeadWriterHidesNothing) {
  MakeByAlice(50'000, /*expect_stream=*/true);
  ASSERT_TRUE(ByAlice(file_->Append(Bytes("never stored"))).ok());
  TakeAndGiveBack(20'000);
  const auto reading = Open(alice_machine(), file_->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(AsAliceReads(reading), text_);
  EXPECT_FALSE(ByAlice(file_->Sync()).ok()) << "its last bytes are lost";
}

// Cached pages may show what it wrote and nobody has stored.
TEST_F(TakenFileTest, WhoeverCachesItHearsThatTheWriterHasLostIt) {
  MakeByAlice(50'000, /*expect_stream=*/true);
  ASSERT_TRUE(ByBob(bob().AcquireDirectory(directory_, "bob")).ok());
  ASSERT_FALSE(AliceKnows());
  EXPECT_TRUE(world().RunUntil([&] { return AliceKnows(); }, 10s));
}

// It read by what it had learned at its open, short of the size that a stat had told since.
TEST_F(TakenFileTest, AReaderReadsAsFarAsAStatTells) {
  MakeByAlice(500);
  ReopenByAlice();
  TakeAndGiveBack();
  ExpectThatAliceSeesAll();
}

TEST_F(TakenFileTest, AReaderReadsAsFarAsAStatTellsOfAnOpenTail) {
  MakeByAlice(500);
  ReopenByAlice();
  const auto taken = AddByBob(20'000);
  ASSERT_FALSE(AliceKnows());
  ExpectThatAliceSeesAll();
}

// Own changes are no news: RocksDB links all of its open tables for a checkpoint.
TEST_F(ClientTest, AReaderAsksNothingAfterItsOwnChanges) {
  const auto made = Create("f");
  ASSERT_TRUE(ByAlice(made->Append(Bytes(Pattern(10'000)))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  world().RunFor(20ms);  // until the lease goes back
  const auto file = Open(alice_machine(), made->inode(), Client::OpenMode::kRead);
  int told = 0;
  alice().OnStale([&told](InodeId) { ++told; });
  ASSERT_TRUE(ByAlice(alice().Link(file->inode(), InodeId(1), "link")).ok());
  AttributeChange mode;
  mode.mode = 0600;
  ASSERT_TRUE(ByAlice(alice().SetAttributes(file->inode(), mode)).ok());
  ASSERT_TRUE(ByAlice(alice().GetAttributes(file->inode())).ok());
  const uint64_t calls = alice().metadata_calls();
  EXPECT_EQ(Read(alice_machine(), file, 0, 20'000), Pattern(10'000));
  EXPECT_EQ(alice().metadata_calls(), calls);
  EXPECT_EQ(told, 0);
  alice().OnStale(nullptr);
}

// A change of the mode by another is no reason to doubt: the lease is asked for, and is there.
TEST_F(ClientTest, AWriterGoesOnAfterAnothersChangeOfTheMode) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(10'000)))).ok());
  AttributeChange mode;
  mode.mode = 0600;
  ASSERT_TRUE(ByBob(bob().SetAttributes(file->inode(), mode)).ok());
  const auto found = ByAlice(alice().GetAttributes(file->inode()));
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->mode, 0600U);
  EXPECT_EQ(found->size, 10'000U) << "not stored yet, but this client wrote it";
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(10'000)))).ok());
  EXPECT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), Pattern(10'000) + Pattern(10'000));
}

}  // namespace
}  // namespace moraine::fs
