// A file whose lease was taken from its writer, with its directory, without asking.
#include <set>

#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

// Who acquires a directory takes the leases in it at once; the news are on their way to those who
// had them, and meanwhile they ask before they believe that a file is theirs.
class TakenFileTest : public ClientTest {
 protected:
  void SetUp() override {
    ClientTest::SetUp();
    directory_ = MakeDirectory("d");
    auto made = ByAlice(alice().Create(directory_, "f", {}, true));
    MORAINE_CHECK(made.ok(), made.status().ToString());
    file_ = made->file;
    ASSERT_TRUE(ByAlice(file_->Append(Bytes(text_.substr(0, kFirst)))).ok());
    ASSERT_TRUE(ByAlice(file_->Flush()).ok());
    LetNewsWait();
    ASSERT_TRUE(ByBob(bob().AcquireDirectory(directory_, "bob")).ok());
    const auto taken = Open(bob_machine(), file_->inode(), Client::OpenMode::kWrite);
    ASSERT_TRUE(ByBob(taken->Append(Bytes(text_.substr(kFirst)))).ok());
    ASSERT_TRUE(ByBob(taken->Sync()).ok());
    ASSERT_TRUE(ByBob(bob().Close(taken)).ok());
    ASSERT_TRUE(ByBob(bob().ReleaseDirectory(directory_)).ok());
    ASSERT_EQ(told_.count(file_->inode()), 0U) << "Alice knows already";
  }

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

  static constexpr size_t kFirst = 500;
  const std::string text_ = Pattern(600);
  InodeId directory_;
  std::shared_ptr<File> file_;
  std::set<InodeId> told_;
};

TEST_F(TakenFileTest, AnOpenSeesWhatTheOwnerHasSynced) {
  const auto again = Open(alice_machine(), file_->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(again->size(), text_.size());
  EXPECT_EQ(Read(alice_machine(), again, 0, text_.size()), text_);
}

// Its attributes were believed, its bytes were not: the end of the file was zeros.
TEST_F(TakenFileTest, AStatSeesItAndAReadBelievesTheStat) {
  const auto found = ByAlice(alice().GetAttributes(file_->inode()));
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->size, text_.size());
  EXPECT_EQ(Read(alice_machine(), file_, 0, text_.size()), text_);
}

TEST_F(TakenFileTest, ASyncOfTheFormerWriterDoesNotMixTheTwo) {
  EXPECT_TRUE(ByAlice(file_->Sync()).ok()) << "all that it wrote is stored";
  const std::string read = Read(alice_machine(), file_, 0, text_.size());
  EXPECT_EQ(read, text_.substr(0, read.size()));
}

TEST_F(TakenFileTest, AWriteIsAppendedBehindWhatTheOwnerHasSynced) {
  const auto again = Open(alice_machine(), file_->inode(), Client::OpenMode::kWrite);
  const auto appended = ByAlice(again->Append(Bytes("more")));
  ASSERT_TRUE(appended.ok()) << appended.status().ToString();
  EXPECT_EQ(*appended, text_.size());
  ASSERT_TRUE(ByAlice(again->Sync()).ok());
  EXPECT_EQ(Content(file_->inode()), text_ + "more");
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
