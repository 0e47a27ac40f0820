#include "fs/mount/directory_cursor.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "base/limits.h"
#include "base/loop/sim/test_support.h"
#include "base/random.h"
#include "fs/mount/memory_file_system.h"

namespace moraine::fs::mount {
namespace {

using ::testing::ElementsAre;

class DirectoryCursorTest : public ::testing::Test {
 protected:
  DirectoryCursorTest() : machine_(world_.AddMachine("mount")), loop_(machine_.Start()) {}

  template <class T>
  T Run(Task<T> task) {
    auto value = world_.Await(loop_, std::move(task));
    MORAINE_CHECK(value.has_value(), world_.Describe());
    return std::move(*value);
  }
  void Make(const std::string& name) {
    ASSERT_TRUE(Run(files_.Create(kRootInode, name, NewEntry{})).ok());
  }
  void Remove(const std::string& name) { files_.RemoveElsewhere(kRootInode, name); }

  struct Seen {
    std::string name;
    uint64_t next;
  };
  // One read of the kernel's.
  std::vector<Seen> Read(DirectoryCursor& cursor, uint64_t position, size_t entries_max) {
    std::vector<Seen> seen;
    const Status status =
        Run(cursor.Read(position, false, [&](const DirectoryEntry& entry, uint64_t next) {
          if (seen.size() == entries_max) return false;
          seen.push_back({entry.name, next});
          return true;
        }));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return seen;
  }
  std::vector<std::string> ReadAll(DirectoryCursor& cursor, uint64_t position, size_t entries_max) {
    std::vector<std::string> names;
    while (true) {
      const std::vector<Seen> seen = Read(cursor, position, entries_max);
      if (seen.empty()) return names;
      for (const Seen& one : seen) names.push_back(one.name);
      position = seen.back().next;
    }
  }

  sim::World world_{7};
  sim::Machine& machine_;
  sim::SimLoop& loop_;
  MemoryFileSystem files_{loop_};
};

TEST_F(DirectoryCursorTest, GivesDotsAndEveryNameOnce) {
  for (const char* name : {"a", "b", "c", "d", "e"}) Make(name);
  for (int page = 1; page <= 7; ++page) {
    for (size_t reply = 1; reply <= 8; ++reply) {
      DirectoryCursor cursor(loop_, files_, kRootInode, page);
      EXPECT_THAT(ReadAll(cursor, 0, reply), ElementsAre(".", "..", "a", "b", "c", "d", "e"))
          << page << " " << reply;
    }
  }
}

TEST_F(DirectoryCursorTest, AnEmptyDirectoryHasDots) {
  DirectoryCursor cursor(loop_, files_, kRootInode, 10);
  EXPECT_THAT(ReadAll(cursor, 0, 10), ElementsAre(".", ".."));
}

TEST_F(DirectoryCursorTest, AnOldPositionContinuesBehindTheSameName) {
  for (const char* name : {"b", "d", "f", "h"}) Make(name);
  DirectoryCursor cursor(loop_, files_, kRootInode, 1);
  std::vector<Seen> first = Read(cursor, 0, 4);  // . .. b
  first = Read(cursor, first.back().next, 1);    // d
  ReadAll(cursor, first.back().next, 1);
  Remove("b");
  Make("a");  // before the position: with the next rewind
  Make("e");  // inside what was seen: likewise
  Make("i");  // behind it: now
  EXPECT_THAT(ReadAll(cursor, first.back().next, 10), ElementsAre("f", "h", "i"));
  EXPECT_THAT(ReadAll(cursor, 0, 10), ElementsAre(".", "..", "a", "d", "e", "f", "h", "i"));
}

TEST_F(DirectoryCursorTest, RemovingTheNameBehindWhichItStandsLosesNothing) {
  for (const char* name : {"a", "b", "c"}) Make(name);
  DirectoryCursor cursor(loop_, files_, kRootInode, 1);
  const std::vector<Seen> first = Read(cursor, 0, 3);  // . .. a
  Remove("a");
  EXPECT_THAT(ReadAll(cursor, first.back().next, 10), ElementsAre("b", "c"));
}

TEST_F(DirectoryCursorTest, ThePageIsUsedForTheReadsThatFollow) {
  for (int i = 0; i < 100; ++i) Make(fmt::format("{:03}", i));
  DirectoryCursor cursor(loop_, files_, kRootInode, 50);
  const int before = files_.calls();
  EXPECT_EQ(ReadAll(cursor, 0, 5).size(), 102u);
  EXPECT_EQ(files_.calls() - before, 2);
}

TEST_F(DirectoryCursorTest, AnErrorIsToldAndTheNextReadTriesAgain) {
  Make("a");
  DirectoryCursor cursor(loop_, files_, kRootInode, 10);
  files_.FailWith(Status(Code::kTimeout, "no answer"));
  const auto add = [](const DirectoryEntry&, uint64_t) { return true; };
  EXPECT_EQ(Run(cursor.Read(0, false, add)).code(), Code::kTimeout);
  files_.FailWith(Status::Ok());
  EXPECT_THAT(ReadAll(cursor, 0, 10), ElementsAre(".", "..", "a"));
}

TEST_F(DirectoryCursorTest, APositionThatWasNeverGivenIsRefused) {
  Make("a");
  DirectoryCursor cursor(loop_, files_, kRootInode, 10);
  const auto add = [](const DirectoryEntry&, uint64_t) { return true; };
  EXPECT_EQ(Run(cursor.Read(1000, false, add)).code(), Code::kInvalidArgument);
}

// The rule of readdir(3), against random changes and random seeks back: from any position that was
// given out, the names that were there all the time come exactly once, in order.
TEST_F(DirectoryCursorTest, NamesThatStayComeExactlyOnceWhateverChanges) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Random random(seed);
    MemoryFileSystem files(loop_);
    std::set<std::string> stay;
    std::set<std::string> change;
    const auto make = [&](const std::string& name) {
      EXPECT_TRUE(Run(files.Create(kRootInode, name, NewEntry{})).ok());
    };
    for (int i = 0; i < 40; ++i) {
      const std::string name = fmt::format("{:04}", random.Uniform(5000));
      if (files.Find(kRootInode, name) != InodeId()) continue;
      make(name);
      (random.OneIn(3) ? change : stay).insert(name);
    }
    DirectoryCursor cursor(loop_, files, kRootInode, static_cast<int>(random.Between(1, 12)));
    std::map<uint64_t, std::string> last_name_at;  // position -> the name it stands behind
    for (int pass = 0; pass < 6; ++pass) {
      uint64_t position = 0;
      std::string from;
      if (pass > 0 && !last_name_at.empty() && !random.OneIn(4)) {
        auto it = last_name_at.begin();
        std::advance(it, random.Uniform(last_name_at.size()));
        std::tie(position, from) = *it;
      } else {
        last_name_at.clear();
      }
      std::vector<std::string> got;
      while (true) {
        const std::vector<Seen> seen = Read(cursor, position, random.Between(1, 9));
        if (seen.empty()) break;
        for (const Seen& one : seen) {
          position = one.next;
          if (one.name == "." || one.name == "..") continue;
          last_name_at[one.next] = one.name;
          if (stay.contains(one.name)) got.push_back(one.name);
        }
        const std::string name = fmt::format("{:04}", random.Uniform(5000));
        if (random.OneIn(2) && files.Find(kRootInode, name) == InodeId()) {
          make(name);
          change.insert(name);
        } else if (!change.empty()) {
          auto it = change.begin();
          std::advance(it, random.Uniform(change.size()));
          files.RemoveElsewhere(kRootInode, *it);
          change.erase(it);
        }
      }
      EXPECT_EQ(got, std::vector<std::string>(stay.upper_bound(from), stay.end()));
    }
  }
}

}  // namespace
}  // namespace moraine::fs::mount
