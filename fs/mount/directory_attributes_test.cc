#include "fs/mount/directory_attributes.h"

#include <gtest/gtest.h>

#include "base/loop/sim/test_support.h"

namespace moraine::fs::mount {
namespace {

Attributes Directory(uint64_t inode, int64_t mtime_ns, uint64_t size) {
  Attributes attributes;
  attributes.inode = InodeId(inode);
  attributes.type = FileType::kDirectory;
  attributes.links = 2;
  attributes.mtime_ns = attributes.ctime_ns = mtime_ns;
  attributes.size = size;
  return attributes;
}

Attributes File(int64_t ctime_ns) {
  Attributes attributes;
  attributes.inode = InodeId(9);
  attributes.type = FileType::kRegular;
  attributes.ctime_ns = attributes.mtime_ns = ctime_ns;
  return attributes;
}

class DirectoryAttributesTest : public ::testing::Test {
 protected:
  sim::World world_{1};
  sim::SimLoop& loop_ = world_.AddMachine("mount").Start();
  void Learn(const Attributes& attributes) {
    known_.Learn(attributes, known_.Ask(attributes.inode));
  }

  DirectoryAttributes known_{loop_, std::chrono::seconds(1)};
};

TEST_F(DirectoryAttributesTest, NewNamesMoveTimesAndSize) {
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  known_.NoteCreated(InodeId(5), File(150));
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  Learn(Directory(5, 100, 7));
  known_.NoteCreated(InodeId(5), File(150));
  ASSERT_NE(known_.Find(InodeId(5)), nullptr);
  EXPECT_EQ(known_.Find(InodeId(5))->mtime_ns, 150);
  EXPECT_EQ(known_.Find(InodeId(5))->ctime_ns, 150);
  EXPECT_EQ(known_.Find(InodeId(5))->size, 8u);
  EXPECT_EQ(known_.Find(InodeId(5))->links, 2u);
  known_.NoteCreated(InodeId(5), Directory(6, 160, 0));
  EXPECT_EQ(known_.Find(InodeId(5))->links, 3u);
}

TEST_F(DirectoryAttributesTest, AnAnswerThatWasOvertakenIsNotCountedTwice) {
  Learn(Directory(5, 150, 8));
  known_.NoteCreated(InodeId(5), File(150));
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr) << "asked again";
}

TEST_F(DirectoryAttributesTest, OwnNamesDoNotMakeItLastLonger) {
  Learn(Directory(5, 100, 7));
  world_.RunFor(std::chrono::milliseconds(900));
  known_.NoteCreated(InodeId(5), File(150));
  ASSERT_NE(known_.Find(InodeId(5)), nullptr);
  world_.RunFor(std::chrono::milliseconds(200));
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
}

TEST_F(DirectoryAttributesTest, OnlyDirectoriesAreKeptAndAllCanBeForgotten) {
  Learn(File(100));
  EXPECT_EQ(known_.Find(InodeId(9)), nullptr);
  Learn(Directory(5, 100, 7));
  known_.Forget(InodeId(5));
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
}

// What the metaserver had said before a change of this mount was learned after it, and served as
// new.
TEST_F(DirectoryAttributesTest, AnAnswerFromBeforeAnOwnChangeIsNotLearned) {
  const uint64_t before = known_.Ask(InodeId(5));
  known_.Forget(InodeId(5));
  const uint64_t after = known_.Ask(InodeId(5));
  known_.Learn(Directory(5, 100, 7), before);
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  known_.Learn(Directory(5, 150, 7), after);
  ASSERT_NE(known_.Find(InodeId(5)), nullptr);
  EXPECT_EQ(known_.Find(InodeId(5))->mtime_ns, 150);
  known_.ForgetAll();
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  known_.Learn(Directory(5, 100, 7), after);
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
}

TEST_F(DirectoryAttributesTest, AnAnswerFromBeforeAnOwnNameIsNotLearned) {
  const uint64_t asked = known_.Ask(InodeId(5));
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  known_.NoteCreated(InodeId(5), File(150));
  known_.Learn(Directory(5, 100, 7), asked);
  EXPECT_EQ(known_.Find(InodeId(5)), nullptr);
  // One that knows of the name is.
  const uint64_t again = known_.Ask(InodeId(5));
  known_.NoteCreated(InodeId(5), File(160));
  known_.Learn(Directory(5, 160, 9), again);
  ASSERT_NE(known_.Find(InodeId(5)), nullptr);
  EXPECT_EQ(known_.Find(InodeId(5))->size, 9u);
}

}  // namespace
}  // namespace moraine::fs::mount
