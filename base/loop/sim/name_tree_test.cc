#include "base/loop/sim/name_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "base/random.h"

namespace moraine::sim {
namespace {

using testing::ElementsAre;

Code CodeOf(const Status& status) { return status.code(); }
template <class T>
Code CodeOf(const Result<T>& result) {
  return result.code();
}

std::vector<std::string> Files(const NameTree& tree) {
  std::vector<std::string> files;
  tree.ForFiles([&](const std::string& path, const Node&) { files.push_back(path); });
  return files;
}

TEST(NameTreeTest, SaysWhatIsWrong) {
  NameTree tree;
  ASSERT_TRUE(tree.MakeDirectory("/d").ok());
  ASSERT_TRUE(tree.MakeDirectory("/d/e").ok());
  ASSERT_TRUE(tree.Create("d/f", false).ok());
  EXPECT_EQ(CodeOf(tree.Create("d/f", true)), Code::kAlreadyExists);
  EXPECT_EQ(CodeOf(tree.Create("d", false)), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(tree.Create("x/y", false)), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree.Create("d/f/y", false)), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(tree.Create("d/" + std::string(256, 'n'), false)), Code::kNameTooLong);
  EXPECT_EQ(CodeOf(tree.Find("d/g")), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree.MakeDirectory("d")), Code::kAlreadyExists);
  EXPECT_EQ(CodeOf(tree.Remove("d")), Code::kNotEmpty);
  EXPECT_EQ(CodeOf(tree.Remove("g")), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree.Rename("d", "d/e/x")), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(tree.Rename("d/f", "d/e")), Code::kIsDirectory);
  EXPECT_EQ(CodeOf(tree.Rename("d/e", "d/f")), Code::kNotDirectory);
  EXPECT_EQ(CodeOf(tree.Rename("d/g", "d/h")), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree.Sync("d/f")), Code::kNotDirectory);
  EXPECT_TRUE(tree.Rename("d/f", "./d//e/g").ok());
  EXPECT_THAT(Files(tree), ElementsAre("d/e/g"));
  EXPECT_TRUE(tree.Remove("/d/../d/e/g").ok());
}

// What the names are after a crash, over many seeds.
template <class Prepare>
std::set<std::vector<std::string>> Outcomes(Prepare prepare) {
  std::set<std::vector<std::string>> outcomes;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    NameTree tree;
    prepare(tree);
    tree.Crash(random, 0.5);
    outcomes.insert(Files(tree));
  }
  return outcomes;
}

using Names = std::vector<std::string>;

TEST(NameTreeTest, AnUnsyncedNameIsThereOrNot) {
  EXPECT_THAT(Outcomes([](NameTree& tree) { (void)tree.Create("a", true); }),
              testing::UnorderedElementsAre(Names{}, Names{"a"}));
}

TEST(NameTreeTest, ASyncedNameStays) {
  EXPECT_THAT(Outcomes([](NameTree& tree) {
                (void)tree.Create("a", true);
                EXPECT_TRUE(tree.Sync("/").ok());
              }),
              testing::UnorderedElementsAre(Names{"a"}));
}

TEST(NameTreeTest, ARenameHappensWholeOrNotAtAll) {
  EXPECT_THAT(Outcomes([](NameTree& tree) {
                ASSERT_TRUE(tree.MakeDirectory("d").ok());
                ASSERT_TRUE(tree.Sync("/").ok());
                (void)tree.Create("a", true);
                ASSERT_TRUE(tree.Sync("/").ok());
                (void)tree.Rename("a", "d/b");
              }),
              testing::UnorderedElementsAre(Names{"a"}, Names{"d/b"}));
}

TEST(NameTreeTest, SyncOfOneDirectoryOfARenameMakesItDurable) {
  EXPECT_THAT(Outcomes([](NameTree& tree) {
                ASSERT_TRUE(tree.MakeDirectory("d").ok());
                ASSERT_TRUE(tree.Sync("/").ok());
                (void)tree.Create("a", true);
                (void)tree.Rename("a", "d/b");
                ASSERT_TRUE(tree.Sync("d").ok());
              }),
              testing::UnorderedElementsAre(Names{"d/b"}));
}

TEST(NameTreeTest, IndependentChangesSurviveInAnyCombination) {
  EXPECT_EQ(Outcomes([](NameTree& tree) {
              (void)tree.Create("a", true);
              (void)tree.Create("b", true);
              (void)tree.Create("c", true);
            }).size(),
            8u);
}

TEST(NameTreeTest, ARemovedNameMayReturnWithItsBytes) {
  bool returned = false;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    NameTree tree;
    const uint64_t id = (*tree.Create("a", true))->id;
    ASSERT_TRUE(tree.Sync("/").ok());
    ASSERT_TRUE(tree.Remove("a").ok());
    const uint64_t other = (*tree.Create("a", true))->id;
    tree.Crash(random, 0.5);
    if (Result<NodePtr> node = tree.Find("a"); node.ok()) {
      EXPECT_TRUE((*node)->id == id || (*node)->id == other);
      returned |= (*node)->id == id;
    }
  }
  EXPECT_TRUE(returned);
}

TEST(NameTreeTest, ANameInAnUnsyncedDirectoryIsNotSaved) {
  const auto outcomes = Outcomes([](NameTree& tree) {
    ASSERT_TRUE(tree.MakeDirectory("d").ok());
    (void)tree.Create("d/a", true);
    ASSERT_TRUE(tree.Sync("d").ok());
  });
  EXPECT_THAT(outcomes, testing::UnorderedElementsAre(Names{}, Names{"d/a"}));
}

}  // namespace
}  // namespace moraine::sim
