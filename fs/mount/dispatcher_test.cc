#include "fs/mount/dispatcher.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/limits.h"
#include "base/loop/sim/test_support.h"
#include "fs/mount/memory_file_system.h"

namespace moraine::fs::mount {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr OpenFlags kRead{};
constexpr OpenFlags kWrite{.write = true};

class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() : machine_(world_.AddMachine("mount")), loop_(machine_.Start()) {}

  template <class T>
  T Run(Task<T> task) {
    auto value = world_.Await(loop_, std::move(task));
    MORAINE_CHECK(value.has_value(), world_.Describe());
    return std::move(*value);
  }
  CreatedEntry Create(const std::string& name) {
    auto created = Run(dispatcher_.Create(kRootInode, name, NewEntry{}, kWrite));
    MORAINE_CHECK(created.ok(), created.status().ToString());
    return *created;
  }
  // A file with these bytes, closed.
  InodeId MakeFile(const std::string& name, const std::string& bytes) {
    const CreatedEntry created = Create(name);
    EXPECT_TRUE(Write(created.opened.handle, 0, bytes).ok());
    EXPECT_TRUE(Run(dispatcher_.Flush(created.opened.handle)).ok());
    EXPECT_TRUE(Run(dispatcher_.Release(created.opened.handle)).ok());
    return created.entry.attributes.inode;
  }
  Result<size_t> Write(HandleId handle, uint64_t offset, const std::string& bytes,
                       bool append = false) {
    const auto owner = std::make_shared<std::string>(bytes);
    const ConstBytes view = std::as_bytes(std::span(owner->data(), owner->size()));
    return Run(dispatcher_.Write(handle, offset, view, owner, append));
  }
  std::string Read(HandleId handle, uint64_t offset, uint64_t length) {
    const Result<ReadBytes> read = Run(dispatcher_.Read(handle, offset, length));
    if (!read.ok()) return read.status().ToString();
    std::string text(read->size, '\0');
    read->CopyTo(reinterpret_cast<std::byte*>(text.data()));
    return text;
  }
  OpenedFile Open(InodeId inode, OpenFlags flags) {
    auto opened = Run(dispatcher_.Open(inode, flags));
    MORAINE_CHECK(opened.ok(), opened.status().ToString());
    return *opened;
  }
  Entry Lookup(const std::string& name) {
    auto entry = Run(dispatcher_.Lookup(kRootInode, name));
    MORAINE_CHECK(entry.ok(), entry.status().ToString());
    return *entry;
  }
  Code Close(HandleId handle) { return Run(dispatcher_.Release(handle)).code(); }
  // Names with whether the listing brought their attributes.
  std::vector<std::string> List(HandleId handle, uint64_t position, size_t entries_max) {
    std::vector<std::string> seen;
    const Status status =
        Run(dispatcher_.ReadDirectory(handle, position, true, [&](const Dispatcher::Listed& one) {
          if (seen.size() == entries_max) return false;
          seen.push_back(one.entry.name + (one.attributes != nullptr ? "+" : ""));
          return true;
        }));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return seen;
  }

  sim::World world_{11};
  sim::Machine& machine_;
  sim::SimLoop& loop_;
  MemoryFileSystem files_{loop_};
  std::vector<InodeId> dropped_;
  Dispatcher dispatcher_{loop_, files_, DispatcherOptions{},
                         [this](InodeId inode) { dropped_.push_back(inode); }};
};

TEST_F(DispatcherTest, WhatIsWrittenIsRead) {
  const CreatedEntry created = Create("f");
  const HandleId handle = created.opened.handle;
  EXPECT_EQ(*Write(handle, 0, "hello"), 5u);
  EXPECT_EQ(*Write(handle, 7, "world"), 5u);
  EXPECT_EQ(Read(handle, 0, 100), std::string("hello\0\0world", 12));
  EXPECT_EQ(Read(handle, 8, 2), "or");
  EXPECT_EQ(Read(handle, 12, 5), "");
  EXPECT_EQ(Run(dispatcher_.Sync(handle)).code(), Code::kOk);
  EXPECT_EQ(Close(handle), Code::kOk);
  EXPECT_EQ(files_.opens(), 0);
}

TEST_F(DispatcherTest, HandlesThatAreNotOpenAreRefused) {
  const HandleId handle = Create("f").opened.handle;
  EXPECT_EQ(Close(handle), Code::kOk);
  EXPECT_EQ(Close(handle), Code::kBadHandle);
  EXPECT_EQ(Run(dispatcher_.Read(handle, 0, 1)).code(), Code::kBadHandle);
  EXPECT_EQ(Write(handle, 0, "x").code(), Code::kBadHandle);
  EXPECT_EQ(Run(dispatcher_.Flush(handle)).code(), Code::kBadHandle);
  EXPECT_EQ(Run(dispatcher_.Sync(HandleId(99))).code(), Code::kBadHandle);
  EXPECT_EQ(dispatcher_.ReleaseDirectory(handle).code(), Code::kBadHandle);
}

TEST_F(DispatcherTest, AReaderMayNotWrite) {
  const HandleId handle = Open(MakeFile("f", "x"), kRead).handle;
  EXPECT_EQ(Write(handle, 0, "y").code(), Code::kBadHandle);
  EXPECT_EQ(Run(dispatcher_.Extend(handle, 100)).code(), Code::kBadHandle);
  EXPECT_EQ(Run(dispatcher_.Flush(handle)).code(), Code::kOk);
  EXPECT_EQ(Close(handle), Code::kOk);
}

TEST_F(DispatcherTest, PagesStayWhileNobodyElseWrites) {
  const InodeId inode = MakeFile("f", "mine");
  const OpenedFile first = Open(inode, kRead);
  EXPECT_TRUE(first.keep_cache) << "what this mount wrote is cached";
  EXPECT_EQ(Close(first.handle), Code::kOk);
  files_.WriteElsewhere(inode, "their");
  const OpenedFile second = Open(inode, kRead);
  EXPECT_FALSE(second.keep_cache);
  EXPECT_TRUE(second.attributes_stale) << "the kernel still believes the old size";
  EXPECT_EQ(Read(second.handle, 0, 10), "their");
  const OpenedFile third = Open(inode, kRead);
  EXPECT_TRUE(third.keep_cache);
  EXPECT_EQ(Close(second.handle), Code::kOk);
  EXPECT_EQ(Close(third.handle), Code::kOk);
}

TEST_F(DispatcherTest, AttributesJustLookedUpAreNotDroppedAtOpen) {
  const InodeId inode = MakeFile("f", "x");
  files_.WriteElsewhere(inode, "yy");
  EXPECT_EQ(Lookup("f").attributes.size, 2u);
  const OpenedFile opened = Open(inode, kRead);
  EXPECT_FALSE(opened.attributes_stale);
  EXPECT_FALSE(opened.keep_cache);
  EXPECT_EQ(Close(opened.handle), Code::kOk);
}

TEST_F(DispatcherTest, ForgetEndsTheTrustInPages) {
  const InodeId inode = MakeFile("f", "x");
  EXPECT_EQ(dispatcher_.known_inodes(), 2u) << "the root and this";
  dispatcher_.Forget(inode, 1);
  EXPECT_EQ(dispatcher_.known_inodes(), 1u);
  const OpenedFile opened = Open(inode, kRead);
  EXPECT_FALSE(opened.keep_cache);
  EXPECT_EQ(Close(opened.handle), Code::kOk);
}

// Forgets wait apart from requests: one for an inode that the kernel had thrown out was read when
// it had been looked up and opened again, and what changed elsewhere then stayed in the cache.
TEST_F(DispatcherTest, ALateForgetDoesNotHideWhatTheKernelHasOpen) {
  const InodeId inode = MakeFile("f", "x");
  Lookup("f");
  const OpenedFile opened = Open(inode, kRead);
  dispatcher_.Forget(inode, 1);
  files_.TellStale(inode);
  EXPECT_THAT(dropped_, ElementsAre(inode));
  // Nor does what was dropped end the count.
  Lookup("f");
  files_.TellStale(inode);
  EXPECT_THAT(dropped_, ElementsAre(inode, inode));
  EXPECT_EQ(Close(opened.handle), Code::kOk);
  dispatcher_.Forget(inode, 2);
  EXPECT_EQ(dispatcher_.known_inodes(), 1u) << "only the root is left";
  files_.TellStale(inode);
  EXPECT_EQ(dropped_.size(), 2u);
}

TEST_F(DispatcherTest, EachAnswerToANameIsForgottenOnce) {
  const InodeId inode = MakeFile("f", "x");
  ASSERT_TRUE(Run(dispatcher_.Link(inode, kRootInode, "g")).ok());
  ASSERT_TRUE(Run(dispatcher_.GetAttributes(inode)).ok());  // no name
  const auto made = Run(dispatcher_.MakeNode(kRootInode, "h", NewEntry{}));
  ASSERT_TRUE(made.ok());
  dispatcher_.Forget(inode, 1);
  EXPECT_EQ(dispatcher_.known_inodes(), 3u);
  dispatcher_.Forget(inode, 1);
  dispatcher_.Forget(made->attributes.inode, 1);
  EXPECT_EQ(dispatcher_.known_inodes(), 1u);
  // The kernel had forgotten it before the answer came.
  ASSERT_TRUE(Run(dispatcher_.GetAttributes(inode)).ok());
  EXPECT_EQ(dispatcher_.known_inodes(), 1u);
}

// An entry that did not fit was remembered, and nobody would ever forget it.
TEST_F(DispatcherTest, AListingTellsOnlyWhatFits) {
  for (const char* name : {"a", "b", "c"}) dispatcher_.Forget(MakeFile(name, "x"), 1);
  EXPECT_EQ(dispatcher_.known_inodes(), 1u);
  const HandleId handle = *dispatcher_.OpenDirectory(kRootInode);
  EXPECT_THAT(List(handle, 0, 3), ElementsAre(".", "..", "a+"));
  EXPECT_EQ(dispatcher_.known_inodes(), 2u);
  // One without attributes brings no lookup.
  const auto plain = [](const Dispatcher::Listed& one) { return one.attributes == nullptr; };
  EXPECT_TRUE(Run(dispatcher_.ReadDirectory(handle, 0, false, plain)).ok());
  EXPECT_EQ(dispatcher_.known_inodes(), 2u);
  dispatcher_.Forget(files_.Find(kRootInode, "a"), 1);
  EXPECT_EQ(dispatcher_.known_inodes(), 1u);
  EXPECT_TRUE(dispatcher_.ReleaseDirectory(handle).ok());
}

TEST_F(DispatcherTest, StaleInodesThatTheKernelKnowsAreDropped) {
  const InodeId inode = MakeFile("f", "x");
  files_.TellStale(InodeId(12345));
  EXPECT_THAT(dropped_, IsEmpty());
  files_.TellStale(inode);
  EXPECT_THAT(dropped_, ElementsAre(inode));
  const OpenedFile opened = Open(inode, kRead);
  EXPECT_FALSE(opened.keep_cache);
  EXPECT_EQ(Close(opened.handle), Code::kOk);
}

// Only the first foreign change was dropped: what was read or written after it stayed for ever.
TEST_F(DispatcherTest, EachForeignChangeOfAnOpenFileIsDropped) {
  const InodeId inode = MakeFile("f", "x");
  const HandleId handle = Open(inode, kWrite).handle;
  files_.TellStale(inode);
  EXPECT_THAT(dropped_, ElementsAre(inode));
  files_.TellStale(inode);
  EXPECT_EQ(dropped_.size(), 1u) << "there is nothing to drop";
  EXPECT_EQ(Read(handle, 0, 1), "x");
  files_.TellStale(inode);
  EXPECT_EQ(dropped_.size(), 2u);
  EXPECT_TRUE(Write(handle, 0, "y").ok());
  files_.TellStale(inode);
  EXPECT_EQ(dropped_.size(), 3u);
  EXPECT_EQ(Close(handle), Code::kOk);
}

TEST_F(DispatcherTest, AFileRemovedElsewhereIsNotOpenedAgain) {
  const InodeId inode = MakeFile("f", "x");
  // Somebody elsewhere keeps it alive.
  const auto other = Run(files_.Open(inode, false, false));
  files_.RemoveElsewhere(kRootInode, "f");
  EXPECT_EQ(files_.FindOpen(inode), *other);
  const OpenedFile here = Open(inode, kRead);  // it is open in this client
  EXPECT_EQ(Read(here.handle, 0, 10), "x");
  EXPECT_EQ(Close(here.handle), Code::kOk);
  EXPECT_TRUE(Run(files_.Close(*other)).ok());
  EXPECT_EQ(Run(dispatcher_.Open(inode, kRead)).code(), Code::kNotFound);
  EXPECT_EQ(files_.opens(), 0);
}

TEST_F(DispatcherTest, AnUnlinkedOpenFileKeepsItsBytes) {
  const CreatedEntry created = Create("f");
  EXPECT_TRUE(Run(dispatcher_.Unlink(kRootInode, "f")).ok());
  EXPECT_TRUE(Write(created.opened.handle, 0, "still").ok());
  EXPECT_EQ(Read(created.opened.handle, 0, 10), "still");
  const auto entry = Run(dispatcher_.GetAttributes(created.entry.attributes.inode));
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->attributes.links, 0u);
  EXPECT_EQ(Close(created.opened.handle), Code::kOk);
  EXPECT_EQ(files_.inodes(), 1u) << "only the root is left";
}

TEST_F(DispatcherTest, AppendsGoToTheEndWhereverTheKernelBelievesItToBe) {
  const InodeId inode = MakeFile("f", "12345");
  const HandleId handle = Open(inode, kWrite).handle;
  EXPECT_TRUE(Write(handle, 5, "6", true).ok());
  EXPECT_THAT(dropped_, IsEmpty());
  EXPECT_TRUE(Write(handle, 2, "7", true).ok());
  EXPECT_EQ(files_.BytesOf(inode), "1234567");
  EXPECT_THAT(dropped_, ElementsAre(inode)) << "the kernel cached the byte at 2";
  // Not every write of the same handle appends.
  EXPECT_TRUE(Write(handle, 2, "x").ok());
  EXPECT_EQ(files_.BytesOf(inode), "12x4567");
  EXPECT_EQ(Close(handle), Code::kOk);
}

TEST_F(DispatcherTest, OpenTruncates) {
  const InodeId inode = MakeFile("f", "12345");
  const HandleId handle = Open(inode, {.write = true, .truncate = true}).handle;
  EXPECT_EQ(files_.BytesOf(inode), "");
  EXPECT_TRUE(Write(handle, 0, "12345").ok());
  EXPECT_EQ(Close(handle), Code::kOk);
  const HandleId reader = Open(inode, {.truncate = true}).handle;
  EXPECT_EQ(files_.BytesOf(inode), "");
  EXPECT_EQ(Write(reader, 0, "x").code(), Code::kBadHandle);
  EXPECT_EQ(Close(reader), Code::kOk);
}

TEST_F(DispatcherTest, CreateNeverOpensWhatIsThere) {
  MakeFile("f", "x");
  EXPECT_EQ(Run(dispatcher_.Create(kRootInode, "f", NewEntry{}, kWrite)).code(),
            Code::kAlreadyExists);
  EXPECT_EQ(files_.opens(), 0);
}

TEST_F(DispatcherTest, TimesSetOnAnOpenFileSurviveItsClose) {
  const CreatedEntry created = Create("f");
  const InodeId inode = created.entry.attributes.inode;
  EXPECT_TRUE(Write(created.opened.handle, 0, "data").ok());
  AttributeRequest request;
  request.change.mtime_ns = 1'000'000'007;
  request.change.atime_ns = -5;
  const auto set = Run(dispatcher_.SetAttributes(inode, request, created.opened.handle));
  ASSERT_TRUE(set.ok());
  EXPECT_TRUE(Run(dispatcher_.Flush(created.opened.handle)).ok());
  EXPECT_EQ(Close(created.opened.handle), Code::kOk);
  EXPECT_EQ(Lookup("f").attributes.mtime_ns, 1'000'000'007);
  EXPECT_EQ(Lookup("f").attributes.atime_ns, -5);
}

TEST_F(DispatcherTest, NowIsTheLoopsWallTime) {
  const InodeId inode = MakeFile("f", "x");
  world_.RunFor(10s);
  AttributeRequest request;
  request.atime_now = request.mtime_now = true;
  const int64_t before = loop_.WallNanoseconds();
  const auto set = Run(dispatcher_.SetAttributes(inode, request, HandleId()));
  ASSERT_TRUE(set.ok());
  EXPECT_GE(set->attributes.mtime_ns, before);
  EXPECT_LE(set->attributes.mtime_ns, loop_.WallNanoseconds());
  EXPECT_EQ(set->attributes.atime_ns, set->attributes.mtime_ns);
}

TEST_F(DispatcherTest, TruncatesThroughAHandleAndThroughAPath) {
  const InodeId inode = MakeFile("f", "12345");
  AttributeRequest request;
  request.change.size = 3;
  request.change.mode = 0600;
  const HandleId handle = Open(inode, kWrite).handle;
  auto set = Run(dispatcher_.SetAttributes(inode, request, handle));
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(set->attributes.size, 3u);
  EXPECT_EQ(set->attributes.mode, 0600u);
  EXPECT_EQ(Close(handle), Code::kOk);
  request.change.size = 1;
  set = Run(dispatcher_.SetAttributes(inode, request, HandleId()));
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(files_.BytesOf(inode), "1");
}

TEST_F(DispatcherTest, ExtendOnlyMakesLonger) {
  const InodeId inode = MakeFile("f", "12345");
  const HandleId handle = Open(inode, kWrite).handle;
  EXPECT_EQ(Run(dispatcher_.Extend(handle, 3)).code(), Code::kOk);
  EXPECT_EQ(files_.BytesOf(inode).size(), 5u);
  EXPECT_EQ(Run(dispatcher_.Extend(handle, 8)).code(), Code::kOk);
  EXPECT_EQ(files_.BytesOf(inode), std::string("12345\0\0\0", 8));
  EXPECT_EQ(Run(dispatcher_.Extend(handle, limits::kFileBytesMax + 1)).code(), Code::kTooLarge);
  EXPECT_EQ(Write(handle, limits::kFileBytesMax, "x").code(), Code::kTooLarge);
  EXPECT_EQ(Close(handle), Code::kOk);
}

// Another mount has made it longer since this one last heard of it.
TEST_F(DispatcherTest, ExtendGoesByTheSizeThatTheFileHasThen) {
  const InodeId inode = MakeFile("f", "12345");
  const HandleId handle = Open(inode, kWrite).handle;
  files_.Pause();
  std::optional<Status> extended;
  loop_.Spawn(
      [](Dispatcher* dispatcher, HandleId file, std::optional<Status>* result) -> Task<void> {
        *result = co_await dispatcher->Extend(file, 8);
      }(&dispatcher_, handle, &extended));
  files_.WriteElsewhere(inode, std::string(20, 'x'));
  files_.Resume();
  ASSERT_TRUE(world_.RunUntil([&] { return extended.has_value(); }, 1s));
  EXPECT_TRUE(extended->ok());
  EXPECT_EQ(files_.BytesOf(inode).size(), 20u);
  EXPECT_EQ(Close(handle), Code::kOk);
}

TEST_F(DispatcherTest, TimeoutsDependOnWhatTheNameIs) {
  MakeFile("f", "x");
  NewEntry directory;
  directory.type = FileType::kDirectory;
  ASSERT_TRUE(Run(dispatcher_.MakeNode(kRootInode, "d", directory)).ok());
  EXPECT_EQ(Lookup("f").entry_valid, Duration(0));
  EXPECT_EQ(Lookup("f").attributes_valid, Duration(1s));
  EXPECT_EQ(Lookup("d").entry_valid, Duration(1s));
}

TEST_F(DispatcherTest, LongNamesAreRefusedWithoutACall) {
  const std::string longest(limits::kNameBytesMax, 'n');
  const std::string name = longest + "n";
  EXPECT_TRUE(Run(dispatcher_.MakeNode(kRootInode, longest, NewEntry{})).ok());
  const int calls = files_.calls();
  EXPECT_EQ(Run(dispatcher_.Lookup(kRootInode, name)).code(), Code::kNameTooLong);
  EXPECT_EQ(Run(dispatcher_.MakeNode(kRootInode, name, NewEntry{})).code(), Code::kNameTooLong);
  EXPECT_EQ(Run(dispatcher_.Create(kRootInode, name, NewEntry{}, kWrite)).code(),
            Code::kNameTooLong);
  EXPECT_EQ(Run(dispatcher_.Unlink(kRootInode, name)).code(), Code::kNameTooLong);
  EXPECT_EQ(
      Run(dispatcher_.Rename(kRootInode, longest, kRootInode, name, RenameMode::kReplace)).code(),
      Code::kNameTooLong);
  EXPECT_EQ(files_.calls(), calls);
}

TEST_F(DispatcherTest, ExtendedAttributes) {
  const InodeId inode = MakeFile("f", "x");
  EXPECT_TRUE(Run(dispatcher_.SetXattr(inode, "user.b", "2", SetXattrMode::kSet)).ok());
  EXPECT_TRUE(Run(dispatcher_.SetXattr(inode, "user.a", "1", SetXattrMode::kCreate)).ok());
  EXPECT_EQ(Run(dispatcher_.SetXattr(inode, "user.a", "1", SetXattrMode::kCreate)).code(),
            Code::kAlreadyExists);
  EXPECT_EQ(*Run(dispatcher_.GetXattr(inode, "user.b")), "2");
  EXPECT_EQ(*Run(dispatcher_.ListXattrs(inode)), std::string("user.a\0user.b\0", 14));
  EXPECT_TRUE(Run(dispatcher_.RemoveXattr(inode, "user.a")).ok());
  EXPECT_EQ(Run(dispatcher_.GetXattr(inode, "user.a")).code(), Code::kNoAttribute);
  const std::string long_value(limits::kXattrValueBytesMax + 1, 'v');
  EXPECT_EQ(Run(dispatcher_.SetXattr(inode, "user.c", long_value, SetXattrMode::kSet)).code(),
            Code::kOutOfRange);
}

// They were served for a second more as they had been.
TEST_F(DispatcherTest, OwnChangesOfADirectoryAreSeenAtOnce) {
  NewEntry entry;
  entry.type = FileType::kDirectory;
  const auto made = Run(dispatcher_.MakeNode(kRootInode, "d", entry));
  ASSERT_TRUE(made.ok());
  const InodeId inode = made->attributes.inode;
  const auto attributes = [&] {
    const auto now = Run(dispatcher_.GetAttributes(inode));
    MORAINE_CHECK(now.ok(), now.status().ToString());
    return now->attributes;
  };
  const auto expect_new = [&](const std::string& what, const std::function<Status()>& change) {
    const Attributes before = attributes();
    world_.RunFor(1ms);
    const Status changed = change();
    EXPECT_TRUE(changed.ok()) << what << ": " << changed.ToString();
    EXPECT_GT(attributes().ctime_ns, before.ctime_ns) << what;
  };
  expect_new("chmod", [&] {
    AttributeRequest request;
    request.change.mode = 0700;
    // Somebody asks meanwhile, and is answered as it was before.
    files_.Pause();
    const auto ask = [](Dispatcher* dispatcher, InodeId of) -> Task<void> {
      EXPECT_TRUE((co_await dispatcher->GetAttributes(of)).ok());
    };
    std::optional<Status> set;
    const auto change = [](Dispatcher* dispatcher, InodeId of, AttributeRequest how,
                           std::optional<Status>* result) -> Task<void> {
      *result = (co_await dispatcher->SetAttributes(of, how, HandleId())).status();
    };
    world_.RunFor(2s);  // what is known is too old
    loop_.Spawn(ask(&dispatcher_, inode));
    loop_.Spawn(change(&dispatcher_, inode, request, &set));
    world_.RunFor(1ms);
    files_.Resume();
    EXPECT_TRUE(world_.RunUntil([&] { return set.has_value(); }, 1s));
    return set.value_or(Status(Code::kTimeout, ""));
  });
  expect_new("setxattr",
             [&] { return Run(dispatcher_.SetXattr(inode, "user.a", "1", SetXattrMode::kSet)); });
  expect_new("removexattr", [&] { return Run(dispatcher_.RemoveXattr(inode, "user.a")); });
  expect_new("rename", [&] {
    return Run(dispatcher_.Rename(kRootInode, "d", kRootInode, "e", RenameMode::kReplace));
  });
}

TEST_F(DispatcherTest, SecurityAttributesCostNoCall) {
  const InodeId inode = MakeFile("f", "x");
  const int calls = files_.calls();
  EXPECT_EQ(Run(dispatcher_.GetXattr(inode, "security.capability")).code(), Code::kNoAttribute);
  EXPECT_EQ(Run(dispatcher_.SetXattr(inode, "security.x", "", SetXattrMode::kSet)).code(),
            Code::kNotSupported);
  EXPECT_EQ(Run(dispatcher_.GetXattr(inode, "system.posix_acl_access")).code(),
            Code::kNotSupported);
  EXPECT_EQ(files_.calls(), calls);
}

TEST_F(DispatcherTest, SymlinksAreRead) {
  NewEntry link;
  link.type = FileType::kSymlink;
  link.symlink_target = "../there";
  const auto made = Run(dispatcher_.MakeNode(kRootInode, "l", link));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(*Run(dispatcher_.ReadLink(made->attributes.inode)), "../there");
  EXPECT_EQ(Run(dispatcher_.ReadLink(kRootInode)).code(), Code::kInvalidArgument);
}

TEST_F(DispatcherTest, AListingBringsAttributesButNoneThatMayBeOld) {
  for (const char* name : {"a", "b", "c"}) MakeFile(name, "x");
  world_.RunFor(10ms);
  const HandleId handle = *dispatcher_.OpenDirectory(kRootInode);
  EXPECT_THAT(List(handle, 0, 3), ElementsAre(".", "..", "a+"));
  // While the kernel waits, this mount changes one and opens another.
  const HandleId b = Open(files_.Find(kRootInode, "b"), kWrite).handle;
  EXPECT_TRUE(Write(b, 0, "longer").ok());
  EXPECT_EQ(Close(b), Code::kOk);
  const HandleId c = Open(files_.Find(kRootInode, "c"), kWrite).handle;
  EXPECT_THAT(List(handle, 3, 10), ElementsAre("b", "c"));
  EXPECT_EQ(Close(c), Code::kOk);
  world_.RunFor(10ms);
  EXPECT_THAT(List(handle, 0, 10), ElementsAre(".", "..", "a+", "b+", "c+"));
  // A page that has become too old to be believed.
  world_.RunFor(5s);
  EXPECT_THAT(List(handle, 3, 10), ElementsAre("b", "c"));
  EXPECT_TRUE(dispatcher_.ReleaseDirectory(handle).ok());
  EXPECT_EQ(dispatcher_.open_directories(), 0u);
}

// A name that was removed and forgotten came back out of the page that the listing had in hand: it
// could be looked up, and not made anew.
TEST_F(DispatcherTest, AListingDoesNotBringBackWhatThisMountHasChanged) {
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    dispatcher_.Forget(MakeFile(name, "x"), 1);
  }
  const HandleId handle = *dispatcher_.OpenDirectory(kRootInode);
  EXPECT_THAT(List(handle, 0, 3), ElementsAre(".", "..", "a+"));
  world_.RunFor(10ms);
  EXPECT_TRUE(Run(dispatcher_.Unlink(kRootInode, "b")).ok());
  EXPECT_TRUE(Run(dispatcher_.Rename(kRootInode, "c", kRootInode, "d", RenameMode::kReplace)).ok());
  // Removed elsewhere and made here.
  files_.RemoveElsewhere(kRootInode, "e");
  EXPECT_TRUE(Run(dispatcher_.MakeNode(kRootInode, "e", NewEntry{})).ok());
  EXPECT_THAT(List(handle, 3, 9), ElementsAre("b", "c", "d", "e", "f+"));
  // What is asked for afterwards is believed again.
  world_.RunFor(10ms);
  EXPECT_THAT(List(handle, 0, 9), ElementsAre(".", "..", "a+", "d+", "e+", "f+"));
  EXPECT_TRUE(dispatcher_.ReleaseDirectory(handle).ok());
}

TEST_F(DispatcherTest, ErrorsReachFlushAndSync) {
  const HandleId handle = Create("f").opened.handle;
  EXPECT_TRUE(Write(handle, 0, "x").ok());
  files_.FailWith(Status(Code::kNoSpace, "full"));
  EXPECT_EQ(Write(handle, 0, "x").code(), Code::kNoSpace);
  EXPECT_EQ(Run(dispatcher_.Flush(handle)).code(), Code::kNoSpace);
  EXPECT_EQ(Run(dispatcher_.Sync(handle)).code(), Code::kNoSpace);
  EXPECT_EQ(Run(dispatcher_.FlushAll(kNever)).code(), Code::kNoSpace);
  EXPECT_EQ(Close(handle), Code::kNoSpace);
  EXPECT_EQ(dispatcher_.open_files(), 0u) << "an error does not keep a handle";
  EXPECT_EQ(dropped_.size(), 1u) << "what the kernel caches was not stored";
}

TEST_F(DispatcherTest, TheHandleMayBeReleasedWhileAReadIsUnderWay) {
  const InodeId inode = MakeFile("f", "bytes");
  const HandleId handle = Open(inode, kRead).handle;
  files_.Pause();
  std::string read;
  const auto reader = [](Dispatcher* dispatcher, HandleId from, std::string* to) -> Task<void> {
    const Result<ReadBytes> bytes = co_await dispatcher->Read(from, 0, 10);
    EXPECT_TRUE(bytes.ok());
    to->resize(bytes->size);
    bytes->CopyTo(reinterpret_cast<std::byte*>(to->data()));
  };
  loop_.Spawn(reader(&dispatcher_, handle, &read));
  world_.RunFor(1ms);
  const auto closer = [](Dispatcher* dispatcher, HandleId from) -> Task<void> {
    EXPECT_TRUE((co_await dispatcher->Release(from)).ok());
  };
  loop_.Spawn(closer(&dispatcher_, handle));
  world_.RunFor(1ms);
  EXPECT_EQ(dispatcher_.open_files(), 0u);
  files_.Resume();
  world_.RunFor(1ms);
  EXPECT_EQ(read, "bytes");
  EXPECT_EQ(files_.opens(), 0);
}

TEST_F(DispatcherTest, StopClosesEverything) {
  const HandleId a = Create("a").opened.handle;
  Create("b");
  EXPECT_TRUE(Write(a, 0, "x").ok());
  ASSERT_TRUE(dispatcher_.OpenDirectory(kRootInode).ok());
  EXPECT_EQ(files_.opens(), 2);
  EXPECT_TRUE(Run(dispatcher_.Stop(kNever)).ok());
  EXPECT_EQ(files_.opens(), 0);
  EXPECT_EQ(dispatcher_.open_directories(), 0u);
}

// Servers that do not answer held up each handle in its turn.
TEST_F(DispatcherTest, StopWaitsForAllFilesTogether) {
  constexpr int kFiles = 10;
  for (int i = 0; i < kFiles; ++i) {
    const HandleId handle = Create(fmt::format("f{}", i)).opened.handle;
    EXPECT_TRUE(Write(handle, 0, "x").ok());
  }
  files_.Pause();
  const int before = files_.calls();
  std::optional<Status> flushed;
  loop_.Spawn([](Dispatcher* dispatcher, std::optional<Status>* result) -> Task<void> {
    *result = co_await dispatcher->FlushAll(kNever);
  }(&dispatcher_, &flushed));
  world_.RunFor(1ms);
  EXPECT_EQ(files_.calls(), before + kFiles);
  files_.Resume();
  world_.RunFor(1ms);
  EXPECT_TRUE(flushed.has_value());
  EXPECT_EQ(Run(dispatcher_.Stop(loop_.Now())).code(), Code::kTimeout);
  EXPECT_EQ(dispatcher_.open_files(), 0u);
}

}  // namespace
}  // namespace moraine::fs::mount
