// A whole metaserver and changes that are repeated, late, or slow: section 5 of idl/PROTOCOL.md.
#include <gtest/gtest.h>

#include "base/limits.h"
#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

using AnswersTest = MetaserverTest;

idl::CreateRequest NewFile(std::string name) {
  idl::CreateRequest request;
  request.parent = 1;
  request.name = std::move(name);
  request.type = idl::FileType::kRegular;
  return request;
}

TEST_F(AnswersTest, ARepeatedChangeHasTheSameAnswerAlsoAfterARestart) {
  const idl::CreateRequest request = NewFile("once");
  const auto first = alice().Call(idl::kCreate, request, 41);
  ASSERT_TRUE(first.ok());
  const auto second = alice().Call(idl::kCreate, request, 41);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(second->attributes.inode, first->attributes.inode);
  EXPECT_TRUE(second->created);
  cluster_.RestartMeta();
  const auto third = alice().Call(idl::kCreate, request, 41);
  ASSERT_TRUE(third.ok()) << third.status().ToString();
  EXPECT_EQ(third->attributes.inode, first->attributes.inode);
  EXPECT_EQ(alice().Call(idl::kCreate, request, 42).code(), Code::kAlreadyExists);
  idl::RemoveRequest remove;
  remove.parent = 1;
  remove.name = "once";
  EXPECT_EQ(alice().Call(idl::kRemove, remove, 41).code(), Code::kInvalidArgument);
  EXPECT_TRUE(alice().Call(idl::kRemove, remove, 43).ok());
  EXPECT_TRUE(alice().Call(idl::kRemove, remove, 43).ok());
  EXPECT_EQ(alice().Call(idl::kRemove, remove, 44).code(), Code::kNotFound);
}

// A repetition that was held up until its answer was acknowledged and forgotten is not done again.
TEST_F(AnswersTest, AChangeThatComesAfterItsAcknowledgementIsRefused) {
  const idl::CreateRequest create = NewFile("name");
  idl::RemoveRequest remove;
  remove.parent = 1;
  remove.name = "name";
  ASSERT_TRUE(alice().Call(idl::kCreate, create, 1).ok());
  ASSERT_TRUE(alice().Call(idl::kRemove, remove, 2).ok());
  alice().acknowledged_below = 3;
  ASSERT_TRUE(alice().Call(idl::kCreate, create, 3).ok());
  alice().acknowledged_below = 0;  // what the late one carried
  EXPECT_EQ(alice().Call(idl::kRemove, remove, 2).code(), Code::kInvalidArgument);
  ASSERT_TRUE(bob().Call(idl::kSyncMetadata, idl::InodeRequest()).ok());
  cluster_.RestartMeta();
  EXPECT_EQ(alice().Call(idl::kRemove, remove, 2).code(), Code::kInvalidArgument);
  EXPECT_EQ(alice().Call(idl::kCreate, create, 1).code(), Code::kInvalidArgument);
  cluster_.PowerCutMeta();
  EXPECT_EQ(alice().Call(idl::kRemove, remove, 2).code(), Code::kInvalidArgument);
  // The change that said so may be repeated as ever.
  EXPECT_TRUE(alice().Call(idl::kCreate, create, 3).ok());
  idl::EntryRequest look;
  look.parent = 1;
  look.name = "name";
  EXPECT_TRUE(alice().Call(idl::kLookup, look).ok());
  // Another session's numbers are its own.
  EXPECT_TRUE(bob().Call(idl::kRemove, remove, 2).ok());
}

// One change whose answer is lost again and again, and many after it.
TEST_F(AnswersTest, ASlowChangeDoesNotHoldUpThoseAfterIt) {
  const idl::CreateRequest create = NewFile("slow");
  const auto slow = alice().Call(idl::kCreate, create, 1);
  ASSERT_TRUE(slow.ok());
  idl::RemoveRequest remove;
  remove.parent = 1;
  remove.name = "slow";
  ASSERT_TRUE(alice().Call(idl::kRemove, remove, 2).ok());
  idl::SetAttributesRequest touch;
  touch.inode = 1;
  touch.__set_mode(0755);
  alice().acknowledged_below = 1;
  alice().last_sequence = 2;
  const auto touch_often = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const auto touched = alice().Change(idl::kSetAttributes, touch);
      ASSERT_TRUE(touched.ok()) << alice().last_sequence << ": " << touched.status().ToString();
      if (alice().over_below > 0) alice().over_below = alice().last_sequence;
    }
  };
  touch_often(limits::kRememberedAnswersMax - 2);
  const auto refused = alice().Change(idl::kSetAttributes, touch);
  EXPECT_EQ(refused.code(), Code::kOverloaded) << "with nothing but acknowledged_below";
  alice().over_below = alice().last_sequence;
  alice().waiting = {1};
  touch_often(2 * limits::kRememberedAnswersMax);
  // It may still be repeated, and is not done again, whatever happens; another one is over.
  for (int lives = 0; lives < 3; ++lives) {
    const auto again = alice().Call(idl::kCreate, create, 1);
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(again->attributes.inode, slow->attributes.inode);
    EXPECT_EQ(alice().Call(idl::kRemove, remove, 2).code(), Code::kInvalidArgument);
    ASSERT_TRUE(bob().Call(idl::kSyncMetadata, idl::InodeRequest()).ok());
    if (lives == 0) cluster_.RestartMeta();
    if (lives == 1) cluster_.PowerCutMeta();
  }
  // Its answer has come at last. A header from before does not bring it back.
  alice().waiting.clear();
  touch_often(1);
  alice().waiting = {1};
  EXPECT_EQ(alice().Call(idl::kCreate, create, 1).code(), Code::kInvalidArgument);
  touch_often(1);
}

TEST_F(AnswersTest, ImpossibleAcknowledgementsAreRefused) {
  alice().last_sequence = 10;
  alice().over_below = 5;
  const std::vector<std::vector<int64_t>> impossible = {
      {5}, {3, 2}, {2, 2}, {-1}, {7}, std::vector<int64_t>(limits::kSlowChangesMax + 1, 1)};
  for (const auto& waiting : impossible) {
    alice().waiting = waiting;
    EXPECT_EQ(Remove(alice(), "nothing"), Code::kInvalidArgument)
        << ::testing::PrintToString(waiting);
  }
  alice().waiting = {2, 4};
  EXPECT_EQ(Remove(alice(), "nothing"), Code::kNotFound);
}

}  // namespace
}  // namespace moraine::metaserver
