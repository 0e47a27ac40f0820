// Opening and closing one file in every order: a client has one File per inode, and one writes.
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

TEST_F(ClientTest, WhatOneWritesTheOtherReads) {
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

}  // namespace
}  // namespace moraine::fs
