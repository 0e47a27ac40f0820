// What a sync promises: after it everything may lose its power at once.
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

// A file with `content` that nobody has open.
InodeId Stored(Client& alice, const std::shared_ptr<File>& file,
               const std::function<bool(Task<Status>)>& ok, ConstBytes content) {
  const bool stored = ok([](std::shared_ptr<File> to, ConstBytes bytes) -> Task<Status> {
    auto offset = co_await to->Append(bytes);
    co_return offset.status();
  }(file, content));
  MORAINE_CHECK(stored && ok(file->Sync()) && ok(alice.Close(file)));
  return file->inode();
}

class SyncTest : public ClientTest {
 protected:
  using ClientTest::ClientTest;
  SyncTest() = default;
  std::shared_ptr<File> Reopened(const std::string& name, const std::string& content) {
    const auto ok = [this](Task<Status> task) { return ByAlice(std::move(task)).ok(); };
    const InodeId inode = Stored(alice(), Create(name), ok, Bytes(content));
    return Open(alice_machine(), inode, Client::OpenMode::kWrite);
  }
  void ExpectAfterPowerCut(const std::shared_ptr<File>& file, const std::string& content) {
    PowerCutAll();
    EXPECT_EQ(Content(file->inode()), content);
  }
  // Of a file that held `all`, not all of it synced: a beginning is left, the whole if a sync that
  // comes now says ok.
  size_t SizeAfterPowerCut(const std::shared_ptr<File>& file, const std::string& all) {
    PowerCutAll();
    const Status synced = ByAlice(file->Sync());
    ByAlice(alice().Close(file)).Ignore();
    const std::string content = Content(file->inode());
    EXPECT_EQ(content, all.substr(0, content.size()));
    if (synced.ok()) EXPECT_EQ(content.size(), all.size());
    return content.size();
  }
};

// Stored by another descriptor's close, or because it was old: then the sync found nothing to do.
TEST_F(SyncTest, CoversWhatWasFlushedIntoTheMiddleBefore) {
  std::string text = Pattern(200'000);
  const auto file = Reopened("f", text);
  const std::string middle = Pattern(10'000, 'A');
  ASSERT_TRUE(ByAlice(file->Write(50'000, Bytes(middle))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ExpectAfterPowerCut(file, text.replace(50'000, middle.size(), middle));
}

// A hole ends the stream before it; nobody waited for the disks of the chunk that was closed.
TEST_F(SyncTest, CoversAStreamThatEndedBefore) {
  const std::string head = Pattern(300'000);
  const std::string tail = Pattern(1000, 'A');
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(head))).ok());
  ASSERT_TRUE(ByAlice(file->Write(400'000, Bytes(tail))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ExpectAfterPowerCut(file, head + std::string(100'000, '\0') + tail);
}

// The same when the file was closed in between: a sync is for the file, not for its opening.
TEST_F(SyncTest, CoversWhatWasClosedBefore) {
  const std::string text = Pattern(300'000);
  const auto made = Create("f");
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  const auto file = Open(alice_machine(), made->inode(), Client::OpenMode::kRead);
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ExpectAfterPowerCut(file, text);
}

// Or by another client. What is lost there would take along what is synced behind it.
TEST_F(SyncTest, CoversWhatAnotherClosedBefore) {
  for (int i = 0; i < 10; ++i) {
    std::string text = Pattern(300'000);
    const auto file = Reopened(fmt::format("f{}", i), text);
    ASSERT_TRUE(ByAlice(file->Sync()).ok()) << "nothing of its own is left to be synced";
    const auto other = Open(bob_machine(), file->inode(), Client::OpenMode::kWrite);
    const std::string more = Pattern(200'000, 'A');
    ASSERT_TRUE(ByBob(other->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByBob(bob().Close(other)).ok());
    ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    const uint64_t calls = alice().metadata_calls();
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
    EXPECT_GT(alice().metadata_calls(), calls) << "nobody asked for bob's bytes";
    PowerCutAll();
    EXPECT_EQ(Content(file->inode()), text + more + more) << i;
    ByAlice(alice().Close(file)).Ignore();
  }
}

TEST_F(SyncTest, CoversAttributesNamesAndSizes) {
  const auto file = Reopened("f", Pattern(6000));
  AttributeChange change;
  change.mode = 0600;
  ASSERT_TRUE(ByAlice(alice().SetAttributes(file->inode(), change)).ok());
  ASSERT_TRUE(ByAlice(file->Truncate(5000)).ok());
  ASSERT_TRUE(ByAlice(alice().Rename(InodeId(1), "f", InodeId(1), "g", RenameMode::kReplace)).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  PowerCutAll();
  const auto found = ByBob(bob().Lookup(InodeId(1), "g"));
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->mode, 0600U);
  EXPECT_EQ(found->size, 5000U);
}

// A write-ahead log is synced all the time: the metaserver has nothing to do with it.
TEST_F(SyncTest, OfAStreamThatGrowsCostsNoMetadataCall) {
  NewEntry entry;
  entry.expect_stream = true;
  const auto file = Create("000001.log", entry);
  const uint64_t before = alice().metadata_calls();
  std::string text;
  for (int i = 0; i < 20; ++i) {
    const std::string record = Pattern(1000, static_cast<char>('a' + i));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(record))).ok());
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
    text += record;
  }
  EXPECT_EQ(alice().metadata_calls(), before);
  ExpectAfterPowerCut(file, text);
}

// The commit took the old bytes away at once, and the new ones were in memory only.
TEST_F(SyncTest, AnOverwriteThatWasNotSyncedTakesNothingSyncedAway) {
  const std::string text = Pattern(200'000);
  const std::string middle = Pattern(10'000, 'A');
  std::string overwritten = text;
  overwritten.replace(50'000, middle.size(), middle);
  for (const bool streamed : {false, true}) {
    const std::string name = streamed ? "streamed" : "closed";
    const auto file = streamed ? Create(name) : Reopened(name, text);
    if (streamed) {
      ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
      ASSERT_TRUE(ByAlice(file->Sync()).ok());
    }
    ASSERT_TRUE(ByAlice(file->Write(50'000, Bytes(middle))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    world().RunFor(1s);
    PowerCutAll();
    const std::string content = Content(file->inode());
    EXPECT_TRUE(content == text || content == overwritten) << name;
  }
}

// A closed chunk whose end is gone was cut and the file kept its size: zeros that nobody had
// written, and a later sync called them good.
TEST_F(SyncTest, WhatIsLostEndsTheFileAndFailsTheSync) {
  const std::string head = Pattern(300'000);
  const std::string all = head + std::string(100'000, '\0') + Pattern(1000, 'A');
  int lost = 0;
  for (int wait_ms = 0; wait_ms < 20; wait_ms += 2) {
    const auto file = Create(fmt::format("f{}", wait_ms));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(head))).ok());
    ASSERT_TRUE(ByAlice(file->Write(400'000, Bytes(all).subspan(400'000))).ok());
    world().RunFor(std::chrono::milliseconds(wait_ms));
    SCOPED_TRACE(fmt::format("after {} ms", wait_ms));
    if (SizeAfterPowerCut(file, all) < head.size()) ++lost;
  }
  EXPECT_GT(lost, 0) << "no power cut came in between";
}

// What filled a hole was taken for the end of the file: all that was synced behind it went too.
TEST_F(SyncTest, WhatIsLostOutOfAHoleTakesNothingSyncedAlong) {
  const auto file = Create("f");
  const std::string synced = Pattern(4096, 'A');
  ASSERT_TRUE(ByAlice(file->Extend(1'000'000)).ok());
  ASSERT_TRUE(ByAlice(file->Write(500'000, Bytes(synced))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ASSERT_TRUE(ByAlice(file->Write(100'000, Bytes(Pattern(4096)))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  PowerCutAll();
  ByAlice(alice().Close(file)).Ignore();
  const std::string content = Content(file->inode());
  ASSERT_EQ(content.size(), 1'000'000U);
  EXPECT_EQ(content.substr(500'000, synced.size()), synced);
}

// A program that writes, closes, opens again and syncs: it had no change of its own to lose.
TEST_F(SyncTest, OfAFileOpenedAnewFailsWhenWhatWasClosedIsLost) {
  const std::string text = Pattern(300'000);
  int lost = 0;
  for (int wait_ms = 0; wait_ms < 20; wait_ms += 2) {
    const auto made = Create(fmt::format("f{}", wait_ms));
    ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
    ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
    world().RunFor(std::chrono::milliseconds(wait_ms));
    const auto file = Open(alice_machine(), made->inode(), Client::OpenMode::kRead);
    SCOPED_TRACE(fmt::format("after {} ms", wait_ms));
    if (SizeAfterPowerCut(file, text) < text.size()) ++lost;
  }
  EXPECT_GT(lost, 0) << "no power cut came in between";
}

// The record let go of a small file's content when the chunk that begins with it was mapped, on no
// disk yet.
TEST_F(SyncTest, ASmallFileThatGrowsKeepsWhatWasSynced) {
  const std::string head = Pattern(2000);
  for (int wait_ms = 0; wait_ms < 40; wait_ms += 4) {
    const auto file = Reopened(fmt::format("f{}", wait_ms), head);
    ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(10'000, 'A')))).ok());
    ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
    world().RunFor(std::chrono::milliseconds(wait_ms));
    PowerCutAll();
    EXPECT_EQ(Content(file->inode()).substr(0, head.size()), head) << "after " << wait_ms << " ms";
  }
}

// More ranges than one commit may carry could never be stored again.
TEST_F(SyncTest, StoresAnyNumberOfSmallWrites) {
  constexpr uint64_t kWrites = 66'000;
  constexpr uint64_t kStride = 3;
  std::string text = Pattern(kWrites * kStride);
  const auto file = Reopened("f", text);
  const auto write = [](std::shared_ptr<File> to) -> Task<Status> {
    for (uint64_t i = 0; i < kWrites; ++i) {
      MORAINE_CO_RETURN_IF_ERROR(co_await to->Write(i * kStride, Bytes("Z")));
    }
    co_return Status();
  };
  ASSERT_TRUE(ByAlice(write(file)).ok());
  const Status synced = ByAlice(file->Sync());
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  for (uint64_t i = 0; i < kWrites; ++i) text[i * kStride] = 'Z';
  EXPECT_EQ(Content(file->inode()), text);
}

// A name is on disk some time after the answer, or when its file is synced.
TEST_F(SyncTest, CoversTheNameOfANewFile) {
  for (int round = 0; round < 8; ++round) {
    const std::string name = fmt::format("f{}", round);
    const std::string text(round % 2 == 0 ? 0 : 100, 'x');
    const auto file = Create(name);
    if (!text.empty()) ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
    PowerCutAll();
    const auto found = ByBob(bob().Resolve("/" + name));
    ASSERT_TRUE(found.ok()) << name << ": " << found.status().ToString();
    EXPECT_EQ(Content(found->inode), text);
  }
}

// The metaserver was away while a chunk should have been closed: the sync that follows closes it.
class ShortTimeoutTest : public SyncTest {
 protected:
  ShortTimeoutTest() : SyncTest(WithTimeout(1s)) {}
};

TEST_F(ShortTimeoutTest, CoversWhatACommitThatFailedDidNotClose) {
  const auto file = Create("f");
  std::string text = Pattern(200'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  const std::string middle = Pattern(10'000, 'A');
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ASSERT_TRUE(ByAlice(file->Write(50'000, Bytes(middle))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  ASSERT_TRUE(ByAlice(file->Append(Bytes(middle))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  text = text.replace(50'000, middle.size(), middle) + middle;
  meta_machine().Kill();
  AttributeChange times;
  times.mtime_ns = 1;
  EXPECT_FALSE(ByAlice(alice().SetAttributes(file->inode(), times)).ok());
  StartMeta();
  ASSERT_TRUE(world().RunUntil([&] { return alice().SessionIsCertain(); }, 60s));
  const Status synced = ByAlice(file->Sync());
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  ExpectAfterPowerCut(file, text);
}

}  // namespace
}  // namespace moraine::fs
