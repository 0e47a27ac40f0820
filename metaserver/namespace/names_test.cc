#include "metaserver/namespace/names.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "metaserver/namespace/namespace_model.h"
#include "metaserver/namespace/ops/ops.h"
#include "metaserver/testing/store_fixture.h"

namespace moraine::metaserver {
namespace {

using Node = NamespaceModel::Node;
using NodePtr = NamespaceModel::NodePtr;

constexpr auto kOk = Code::kOk;

class NamesTest : public ::testing::Test {
 protected:
  Result<CreateResult> Make(InodeId parent, std::string name, FileType type = FileType::kRegular) {
    CreateArgs args;
    args.parent = parent;
    args.name = std::move(name);
    args.type = type;
    args.mode = type == FileType::kDirectory ? 0755 : 0644;
    if (type == FileType::kSymlink) args.symlink_target = "target";
    return fixture_.Run([&](Transaction& t) { return Create(t, args); });
  }
  InodeId MakeOk(InodeId parent, std::string name, FileType type = FileType::kRegular) {
    const auto made = Make(parent, std::move(name), type);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made->inode.id;
  }
  Code Unlink(InodeId parent, std::string name, bool directory = false) {
    return fixture_
        .Run([&](Transaction& t) { return Remove(t, {parent, name, directory, Token()}); })
        .code();
  }
  Code Move(InodeId parent, std::string name, InodeId new_parent, std::string new_name,
            RenameMode mode = RenameMode::kReplace) {
    return fixture_
        .Run([&](Transaction& t) {
          return Rename(t, {parent, name, new_parent, new_name, mode, Token(), Token()});
        })
        .code();
  }
  InodeRecord Record(InodeId inode) {
    Transaction t(fixture_.store());
    auto record = t.Inode(inode);
    EXPECT_TRUE(record.ok()) << record.status().ToString();
    return *record;
  }

  StoreFixture fixture_{1};
};

TEST_F(NamesTest, RefusesBadNames) {
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("a/b"), std::string("a\0b", 3)}) {
    EXPECT_EQ(Make(kRootInode, name).code(), Code::kInvalidArgument) << name;
  }
  EXPECT_EQ(Make(kRootInode, std::string(256, 'x')).code(), Code::kNameTooLong);
  EXPECT_EQ(Make(kRootInode, std::string(255, 'x')).code(), kOk);
  EXPECT_EQ(Make(kRootInode, "\xff\xfe not UTF-8").code(), kOk);
}

TEST_F(NamesTest, CreatesAllTypes) {
  const InodeId directory = MakeOk(kRootInode, "d", FileType::kDirectory);
  EXPECT_EQ(Record(kRootInode).links, 3u);
  EXPECT_EQ(Record(directory).links, 2u);
  for (const FileType type : {FileType::kRegular, FileType::kSymlink, FileType::kFifo,
                              FileType::kSocket, FileType::kCharDevice, FileType::kBlockDevice}) {
    const InodeId inode = MakeOk(directory, fmt::format("n{}", static_cast<int>(type)), type);
    EXPECT_EQ(Record(inode).type, type);
    EXPECT_EQ(Record(inode).links, 1u);
  }
  EXPECT_EQ(Record(directory).size, 6u);
  EXPECT_EQ(Make(directory, "n1").code(), Code::kAlreadyExists);
  EXPECT_EQ(Make(InodeId(99), "x").code(), Code::kNotFound);
  EXPECT_EQ(Make(*std::optional(MakeOk(kRootInode, "f")), "x").code(), Code::kNotDirectory);
}

TEST_F(NamesTest, NonExclusiveCreateOpens) {
  const InodeId file = MakeOk(kRootInode, "f");
  MakeOk(kRootInode, "d", FileType::kDirectory);
  MakeOk(kRootInode, "l", FileType::kSymlink);
  CreateArgs args;
  args.parent = kRootInode;
  args.exclusive = false;
  const auto create = [&](std::string name) {
    args.name = std::move(name);
    return fixture_.Run([&](Transaction& t) { return Create(t, args); });
  };
  const auto again = create("f");
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->inode.id, file);
  EXPECT_EQ(create("d").code(), Code::kIsDirectory);
  EXPECT_EQ(create("l").code(), Code::kAlreadyExists);
  EXPECT_TRUE(create("new")->created);
}

TEST_F(NamesTest, SetGroupIdDirectoriesHandOnTheirGroup) {
  CreateArgs args{.parent = kRootInode,
                  .name = "d",
                  .type = FileType::kDirectory,
                  .mode = 02755,
                  .uid = 5,
                  .gid = 7,
                  .rdev = 0,
                  .symlink_target = {},
                  .exclusive = true,
                  .token = {},
                  .policy = {}};
  const InodeId directory = fixture_.Run([&](Transaction& t) { return Create(t, args); })->inode.id;
  const InodeRecord file = Record(MakeOk(directory, "f"));
  EXPECT_EQ(file.gid, 7u);
  EXPECT_EQ(file.mode & 02000u, 0u);
  const InodeRecord sub = Record(MakeOk(directory, "s", FileType::kDirectory));
  EXPECT_EQ(sub.gid, 7u);
  EXPECT_EQ(sub.mode & 02000u, 02000u);
}

TEST_F(NamesTest, ChoosesPoliciesByName) {
  EXPECT_EQ(Record(MakeOk(kRootInode, "000012.sst")).policy, "immutable");
  EXPECT_EQ(Record(MakeOk(kRootInode, "000012.log")).policy, "log");
  EXPECT_EQ(Record(MakeOk(kRootInode, "MANIFEST-1")).policy, "log");
  EXPECT_EQ(Record(MakeOk(kRootInode, "CURRENT")).policy, "log");
  EXPECT_EQ(Record(MakeOk(kRootInode, "notes.txt")).policy, "immutable");
}

TEST_F(NamesTest, RenameFollowsPosix) {
  const InodeId a = MakeOk(kRootInode, "a", FileType::kDirectory);
  const InodeId b = MakeOk(a, "b", FileType::kDirectory);
  const InodeId f = MakeOk(a, "f");
  EXPECT_EQ(Move(kRootInode, "a", b, "x"), Code::kInvalidArgument);
  EXPECT_EQ(Move(kRootInode, "a", a, "x"), Code::kInvalidArgument);
  EXPECT_EQ(Move(a, "b", kRootInode, "a"), Code::kNotEmpty);
  EXPECT_EQ(Move(a, "f", a, "b"), Code::kIsDirectory);
  EXPECT_EQ(Move(a, "b", a, "f"), Code::kNotDirectory);
  EXPECT_EQ(Move(a, "f", a, "b", RenameMode::kNoReplace), Code::kAlreadyExists);
  EXPECT_EQ(Move(a, "f", a, "f"), kOk);
  EXPECT_EQ(Move(a, "f", a, "nobody", RenameMode::kExchange), Code::kNotFound);
  EXPECT_EQ(Move(a, "b", kRootInode, "a", RenameMode::kExchange), Code::kInvalidArgument);
  EXPECT_EQ(Move(a, "f", a, "b", RenameMode::kExchange), kOk);
  EXPECT_EQ(Record(f).links, 1u);
  EXPECT_EQ(Record(a).links, 3u);
  EXPECT_EQ(Move(a, "f", kRootInode, "sub"), kOk);  // the directory, after the exchange
  EXPECT_EQ(Record(b).parent, kRootInode);
  EXPECT_EQ(Record(a).links, 2u);
  EXPECT_EQ(Record(kRootInode).links, 4u);
}

TEST_F(NamesTest, ReplacedAndRemovedFilesBecomeOrphansWithTheirLastName) {
  const InodeId f = MakeOk(kRootInode, "f");
  ASSERT_TRUE(
      fixture_.Run([&](Transaction& t) { return Link(t, {f, kRootInode, "g", Token()}); }).ok());
  EXPECT_EQ(Record(f).links, 2u);
  EXPECT_EQ(Move(kRootInode, "f", kRootInode, "g"), kOk);  // one inode: nothing happens
  EXPECT_EQ(Record(f).links, 2u);
  EXPECT_EQ(Unlink(kRootInode, "f"), kOk);
  EXPECT_TRUE(fixture_.effects().orphans.empty());
  MakeOk(kRootInode, "h");
  EXPECT_EQ(Move(kRootInode, "h", kRootInode, "g"), kOk);
  EXPECT_TRUE(fixture_.effects().durable);
  ASSERT_EQ(fixture_.effects().orphans, std::vector<InodeId>{f});
  EXPECT_EQ(Record(f).links, 0u);
  EXPECT_EQ(
      fixture_.Run([&](Transaction& t) { return Link(t, {f, kRootInode, "x", Token()}); }).code(),
      Code::kNotFound);
  const int64_t inodes = fixture_.store().counters().inodes;
  EXPECT_TRUE(*fixture_.Run([&](Transaction& t) { return FreeOrphan(t, f, 10); }));
  EXPECT_EQ(fixture_.store().counters().inodes, inodes - 1);
}

TEST_F(NamesTest, DirectoriesAreRemovedEmptyAndTakeNothingAfterwards) {
  const InodeId d = MakeOk(kRootInode, "d", FileType::kDirectory);
  MakeOk(d, "f");
  EXPECT_EQ(Unlink(kRootInode, "d"), Code::kIsDirectory);
  EXPECT_EQ(Unlink(kRootInode, "d", true), Code::kNotEmpty);
  EXPECT_EQ(Unlink(d, "f", true), Code::kNotDirectory);
  EXPECT_EQ(Unlink(d, "f"), kOk);
  EXPECT_EQ(Unlink(kRootInode, "d", true), kOk);
  EXPECT_EQ(Make(d, "late").code(), Code::kNotFound);
  EXPECT_EQ(Record(kRootInode).links, 2u);
}

TEST_F(NamesTest, DirectoryPagesAreStable) {
  for (int i = 0; i < 100; ++i) MakeOk(kRootInode, fmt::format("f{:03}", i));
  std::vector<std::string> seen;
  std::string after;
  bool more = true;
  for (int page = 0; more; ++page) {
    Transaction t(fixture_.store());
    const auto result = ReadDirectory(t, kRootInode, after, 7, page % 2 == 0);
    ASSERT_TRUE(result.ok());
    for (const ListedEntry& entry : result->entries) {
      EXPECT_EQ(entry.view.has_value(), page % 2 == 0);
      seen.push_back(entry.name);
    }
    after = result->entries.back().name;
    more = result->more;
    if (page == 3) {
      EXPECT_EQ(Unlink(kRootInode, "f002"), kOk);
      MakeOk(kRootInode, "f001x");
      EXPECT_EQ(Unlink(kRootInode, "f099"), kOk);
    }
  }
  EXPECT_EQ(seen.size(), 99u);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
}

TEST_F(NamesTest, ResolvesPaths) {
  const InodeId d = MakeOk(kRootInode, "d", FileType::kDirectory);
  const InodeId f = MakeOk(d, "f");
  Transaction t(fixture_.store());
  EXPECT_EQ(Resolve(t, "/")->id, kRootInode);
  EXPECT_EQ(Resolve(t, "/d/f")->id, f);
  EXPECT_EQ(Resolve(t, "//d/./../d//f")->id, f);
  EXPECT_EQ(Resolve(t, "/..")->id, kRootInode);
  EXPECT_EQ(Resolve(t, "/d/f/x").code(), Code::kNotDirectory);
  EXPECT_EQ(Resolve(t, "/nobody").code(), Code::kNotFound);
  EXPECT_EQ(Resolve(t, "d").code(), Code::kInvalidArgument);
  EXPECT_EQ(Resolve(t, "/" + std::string(5000, 'x')).code(), Code::kNameTooLong);
}

TEST_F(NamesTest, Xattrs) {
  const InodeId f = MakeOk(kRootInode, "f");
  const auto set = [&](std::string name, std::string value, bool create = false,
                       bool replace = false) {
    return fixture_
        .Run(
            [&](Transaction& t) { return SetXattr(t, {f, name, value, create, replace, Token()}); })
        .code();
  };
  EXPECT_EQ(set("user.a", "1", false, true), Code::kNoAttribute);
  EXPECT_EQ(set("user.a", "1", true), kOk);
  EXPECT_EQ(set("user.a", "2", true), Code::kAlreadyExists);
  EXPECT_EQ(set("user.a", "", false, true), kOk);
  EXPECT_EQ(set("user.big", std::string((64 << 10) + 1, 'x')), Code::kTooLarge);
  EXPECT_EQ(set("user.big", std::string(64 << 10, 'x')), kOk);
  EXPECT_EQ(set(std::string(256, 'n'), "x"), Code::kOutOfRange);
  Transaction t(fixture_.store());
  EXPECT_EQ(*GetXattr(t, f, "user.a"), "");
  EXPECT_EQ(GetXattr(t, f, "user.b").code(), Code::kNoAttribute);
  EXPECT_EQ(*ListXattrs(t, f), (std::vector<std::string>{"user.a", "user.big"}));
  for (int i = 0; i < 62; ++i) EXPECT_EQ(set(fmt::format("user.n{}", i), "x"), kOk);
  EXPECT_EQ(set("user.one_more", "x"), Code::kNoSpace);
  const auto remove = [&](Transaction& u) { return RemoveXattr(u, f, "user.a", Token()); };
  EXPECT_EQ(fixture_.Run(remove).code(), kOk);
  EXPECT_EQ(fixture_.Run(remove).code(), Code::kNoAttribute);
}

// ---- Random operations against the model

class ModelRun {
 public:
  explicit ModelRun(uint64_t seed) : fixture_(seed) {}

  void Step() {
    Random& random = fixture_.random();
    switch (random.Uniform(6)) {
      case 0:
      case 1: {
        const NodePtr parent = AnyDirectory();
        const std::string name = AnyName();
        const FileType type = random.OneIn(3) ? FileType::kDirectory : FileType::kRegular;
        NodePtr made;
        const Code expected = model_.Create(parent, name, type, &made);
        CreateArgs args;
        args.parent = InodeId(parent->id);
        args.name = name;
        args.type = type;
        const auto real = fixture_.Run([&](Transaction& t) { return Create(t, args); });
        ASSERT_EQ(real.code(), expected);
        if (real.ok()) {
          made->id = real->inode.id.value();
          nodes_.push_back(made);
        }
        return;
      }
      case 2: {
        const NodePtr parent = AnyDirectory();
        const std::string name = AnyName();
        const bool directory = random.OneIn(3);
        const Code expected = model_.Remove(parent, name, directory);
        const auto real = fixture_.Run([&](Transaction& t) {
          return Remove(t, {InodeId(parent->id), name, directory, Token()});
        });
        ASSERT_EQ(real.code(), expected);
        return;
      }
      case 3: {
        const NodePtr parent = AnyDirectory();
        const NodePtr node = random.Pick(nodes_);
        const std::string name = AnyName();
        const Code expected = model_.Link(node, parent, name);
        const auto real = fixture_.Run([&](Transaction& t) {
          return Link(t, {InodeId(node->id), InodeId(parent->id), name, Token()});
        });
        ASSERT_EQ(real.code(), expected);
        return;
      }
      default: {
        const NodePtr from = AnyDirectory();
        const NodePtr to = random.OneIn(2) ? from : AnyDirectory();
        const std::string name = AnyName();
        const std::string new_name = AnyName();
        const auto mode = static_cast<RenameMode>(random.Uniform(3));
        const Code expected = model_.Rename(from, name, to, new_name, mode);
        const auto real = fixture_.Run([&](Transaction& t) {
          return Rename(
              t, {InodeId(from->id), name, InodeId(to->id), new_name, mode, Token(), Token()});
        });
        ASSERT_EQ(real.code(), expected);
        return;
      }
    }
  }

  void Compare() { CompareTree(*model_.root()); }
  void Restart() { fixture_.Restart(); }

 private:
  NodePtr AnyDirectory() {
    std::vector<NodePtr> directories{model_.root()};
    for (const NodePtr& node : nodes_) {
      if (node->type == FileType::kDirectory && node->links > 0) directories.push_back(node);
    }
    return fixture_.random().Pick(directories);
  }
  std::string AnyName() {
    return std::string(1, static_cast<char>('a' + fixture_.random().Uniform(5)));
  }

  void CompareTree(const Node& node) {
    Transaction t(fixture_.store());
    const auto record = t.Inode(InodeId(node.id));
    ASSERT_TRUE(record.ok());
    EXPECT_EQ(record->links, node.links) << "inode " << node.id;
    EXPECT_EQ(record->type, node.type);
    if (node.type != FileType::kDirectory) return;
    EXPECT_EQ(record->size, node.children.size());
    EXPECT_EQ(record->parent.value(), node.parent->id);
    const auto listed = ReadDirectory(t, InodeId(node.id), "", 100, false);
    ASSERT_TRUE(listed.ok());
    ASSERT_EQ(listed->entries.size(), node.children.size());
    size_t i = 0;
    for (const auto& [name, child] : node.children) {
      EXPECT_EQ(listed->entries[i].name, name);
      EXPECT_EQ(listed->entries[i].inode.value(), child->id);
      EXPECT_EQ(listed->entries[i].type, child->type);
      ++i;
      CompareTree(*child);
    }
  }

  StoreFixture fixture_;
  NamespaceModel model_;
  std::vector<NodePtr> nodes_{model_.root()};
};

TEST(NamespaceModelTest, RandomOperationsMatch) {
  const uint64_t base = SeedFromEnvironment();
  for (uint64_t round = 0; round < 12; ++round) {
    SCOPED_TRACE(fmt::format("MORAINE_SEED={} round {}", base, round));
    ModelRun run(MixBits(base + round));
    for (int step = 0; step < 1500; ++step) {
      run.Step();
      if (::testing::Test::HasFatalFailure()) FAIL() << "step " << step;
      if (step % 300 == 299) run.Compare();
    }
    run.Restart();
    run.Compare();
  }
}

}  // namespace
}  // namespace moraine::metaserver
