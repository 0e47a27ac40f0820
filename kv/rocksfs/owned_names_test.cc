#include "kv/rocksfs/owned_names.h"

#include <gtest/gtest.h>

#include <thread>

namespace moraine::rocksfs {
namespace {

fs::Attributes File(uint64_t inode, uint64_t size) {
  fs::Attributes attributes;
  attributes.inode = InodeId(inode);
  attributes.size = size;
  return attributes;
}

std::shared_ptr<OwnedNames> Loaded() {
  auto names = std::make_shared<OwnedNames>(InodeId(7));
  names->Load({{"a", File(10, 100), {}}, {"b", File(11, 200), {}}});
  return names;
}

TEST(OwnedNames, AnswersAfterLoadOnly) {
  OwnedNames names(InodeId(7));
  EXPECT_FALSE(names.Find("a").has_value());
  EXPECT_FALSE(names.List().has_value());
  names.Load({{"a", File(10, 100), {}}});
  ASSERT_TRUE(names.Find("a").has_value());
  EXPECT_EQ((*names.Find("a"))->size, 100u);
  EXPECT_EQ(names.Find("b")->code(), Code::kNotFound);
  EXPECT_EQ(names.List()->size(), 1u);
}

// A process that is cut off for longer than its session lives may have lost the directory.
TEST(OwnedNames, IsSilentWhileTheOwnershipIsNotCertain) {
  bool certain = true;
  OwnedNames names(InodeId(7), [&certain] { return certain; });
  names.Load({{"a", File(10, 100), {}}});
  EXPECT_TRUE(names.Find("a").has_value());
  certain = false;
  EXPECT_FALSE(names.known());
  EXPECT_FALSE(names.Find("a").has_value());
  EXPECT_FALSE(names.List().has_value());
  names.Put("b", {File(11, 5), nullptr, nullptr});  // the metaserver has done it
  certain = true;
  EXPECT_EQ((*names.Find("a"))->size, 100u);
  EXPECT_EQ((*names.Find("b"))->size, 5u);
}

TEST(OwnedNames, FollowsChanges) {
  const auto names = Loaded();
  names->Put("c", {File(12, 5), nullptr, nullptr});
  names->Erase("a");
  EXPECT_EQ(names->Find("a")->code(), Code::kNotFound);
  EXPECT_EQ((*names->Find("c"))->inode, InodeId(12));
  EXPECT_EQ(names->List()->size(), 2u);
}

TEST(OwnedNames, SizeOfAFileThatGrowsIsItsWriters) {
  const auto names = Loaded();
  EXPECT_NE(names->Get("a")->layout, nullptr);
  const auto growing = std::make_shared<GrowingSize>();
  growing->bytes = 4096;
  names->SetGrowing(InodeId(10), growing);
  EXPECT_EQ((*names->Find("a"))->size, 4096u);
  EXPECT_EQ(names->Get("a")->layout, nullptr);
  growing->bytes = 5000;
  EXPECT_EQ((*names->Find("a"))->size, 5000u);
  EXPECT_EQ((*names->Find("b"))->size, 200u);
}

TEST(OwnedNames, ForgetsForGood) {
  const auto names = Loaded();
  names->Forget();
  EXPECT_FALSE(names->Find("a").has_value());
  names->Put("a", {File(10, 1), nullptr, nullptr});
  EXPECT_FALSE(names->Find("a").has_value());
  names->Load({{"a", File(10, 100), {}}});
  EXPECT_FALSE(names->Find("a").has_value());
}

TEST(OwnedNames, DoesNotLoadOverAChangeThatCrossedIt) {
  auto names = std::make_shared<OwnedNames>(InodeId(7));
  names->Put("c", {File(12, 5), nullptr, nullptr});
  names->Load({{"a", File(10, 100), {}}});
  EXPECT_FALSE(names->Find("a").has_value());

  auto busy = std::make_shared<OwnedNames>(InodeId(7));
  {
    const OwnedNames::Claim claim(busy, {"c"});
    busy->Load({{"a", File(10, 100), {}}});
  }
  EXPECT_FALSE(busy->Find("a").has_value());
}

TEST(OwnedNames, ClaimsOfOneNameExcludeEachOther) {
  const auto names = Loaded();
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  int inside = 0;  // guarded by the claim on "x", which is what is tested
  int total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const OwnedNames::Claim claim(names, {"x", "y" + std::to_string(t)});
        EXPECT_EQ(inside++, 0);
        ++total;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kRounds);
}

}  // namespace
}  // namespace moraine::rocksfs
