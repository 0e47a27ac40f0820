// A whole metaserver and changes that are repeated, late, or slow: section 5 of idl/PROTOCOL.md.
#include <gtest/gtest.h>

#include "base/limits.h"
#include "metaserver/service/metaserver_fixture.h"

namespace moraine::metaserver {
namespace {

using AnswersTest = MetaserverTest;

TEST_F(AnswersTest, ARepeatedChangeHasTheSameAnswerAlsoAfterARestart) {
  idl::CreateRequest request;
  request.parent = 1;
  request.name = "once";
  request.type = idl::FileType::kRegular;
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
  idl::CreateRequest create;
  create.parent = 1;
  create.name = "name";
  create.type = idl::FileType::kRegular;
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

}  // namespace
}  // namespace moraine::metaserver
