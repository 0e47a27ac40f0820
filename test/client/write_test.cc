// Writing while something is in the way: other wishes, servers that are gone, the client's end.
#include "base/limits.h"
#include "chunkserver/store/chunk_file.h"
#include "fs/chunkio/options.h"
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

// The metaserver kept 100 bytes inline where the client knew 3, and threw the chunk that should
// have replaced them away.
TEST_F(ClientTest, ASmallFileGrowsByTruncateAndThenOutgrowsItsRecord) {
  for (const uint64_t size : {3U, 100U, 4096U, 5000U}) {
    const auto file = Create(fmt::format("f{}", size));
    ASSERT_TRUE(ByAlice(file->Append(Bytes("abc"))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    ASSERT_TRUE(ByAlice(file->Truncate(size)).ok());
    const std::string more = Pattern(6000, 'A');
    ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
    const Status closed = ByAlice(alice().Close(file));
    ASSERT_TRUE(closed.ok()) << closed.ToString();
    std::string expected = "abc";
    expected.resize(size);
    EXPECT_EQ(Content(file->inode()), expected + more) << size;
  }
}

TEST_F(ClientTest, ASmallFileWithAHoleStaysWhole) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Truncate(2000)).ok());
  ASSERT_TRUE(ByAlice(file->Write(100, Bytes("abc"))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  const std::string more = Pattern(9000, 'A');
  ASSERT_TRUE(ByAlice(file->Write(2500, Bytes(more))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  std::string expected(2500, '\0');
  expected.replace(100, 3, "abc");
  EXPECT_EQ(Content(file->inode()), expected + more);
}

// The end of the chunk of random writes is no change of the file.
// The chunk that came with the file begins at 0, and the first write went elsewhere: its own chunk
// waited for the end of that one, and no close was taken any more.
TEST_F(ClientTest, AFileThatWasToGrowMayBeginWithAHole) {
  NewEntry entry;
  entry.expect_stream = true;
  const auto file = Create("f", entry);
  const std::string text = Pattern(50'000);
  ASSERT_TRUE(ByAlice(file->Write(10'000, Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  const Status closed = ByAlice(alice().Close(file));
  EXPECT_TRUE(closed.ok()) << closed.ToString();
  EXPECT_EQ(Content(file->inode()), std::string(10'000, '\0') + text);
}

TEST_F(ClientTest, ACloseDoesNotMoveATimeThatWasSet) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(50'000)))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  ASSERT_TRUE(ByAlice(file->Write(10'000, Bytes("middle"))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  AttributeChange change;
  change.mtime_ns = 1'234'567'890;
  ASSERT_TRUE(ByAlice(alice().SetAttributes(file->inode(), change)).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  const auto attributes = ByBob(bob().GetAttributes(file->inode()));
  ASSERT_TRUE(attributes.ok());
  EXPECT_EQ(attributes->mtime_ns, change.mtime_ns);
}

class StalledTest : public ClientTest {
 protected:
  // No chunkserver hears alice.
  void Stall() {
    std::vector<const sim::Machine*> servers;
    for (size_t i = 0; i < kServers; ++i) servers.push_back(&server(i));
    world().net().Partition({&alice_machine()}, servers);
  }
};

// The lease was given away, the bytes were dropped, and the next sync said ok.
TEST_F(StalledTest, ARecallThatCannotStoreIsNotForgotten) {
  const std::string text = Pattern(20'000);
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  Stall();
  const std::string lost = Pattern(100'000, 'A');
  ASSERT_TRUE(ByAlice(file->Append(Bytes(lost))).ok());
  const auto opening = Begin(bob_machine(), bob().Open(file->inode(), Client::OpenMode::kWrite));
  const bool gave_up = world().RunUntil([&] { return !file->error().ok(); }, 120s);
  EXPECT_TRUE(gave_up) << "writes were dropped without a word";
  world().net().MendAll();
  EXPECT_FALSE(ByAlice(file->Sync()).ok());
  EXPECT_FALSE(ByAlice(file->Append(Bytes("more"))).ok());
  EXPECT_FALSE(ByAlice(alice().Close(file)).ok());
  (void)Finish(opening);
  EXPECT_EQ(Content(file->inode()).substr(0, text.size()), text);
}

// The same while a writer waits for room.
TEST_F(StalledTest, ARecallUnderAWaitingWriterEndsBoth) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(20'000)))).ok());
  Stall();
  const std::string much = Pattern(40 << 20);
  const auto writing = Begin(alice_machine(), file->Append(Bytes(much)));
  const auto opening = Begin(bob_machine(), bob().Open(file->inode(), Client::OpenMode::kWrite));
  EXPECT_FALSE(Finish(writing).ok());
  const bool gave_up = world().RunUntil([&] { return !file->error().ok(); }, 300s);
  EXPECT_TRUE(gave_up);
  world().net().MendAll();
  EXPECT_FALSE(ByAlice(file->Sync()).ok());
  (void)Finish(opening);
}

// One after another, each until the timeout.
TEST_F(StalledTest, StopGivesAllFilesBackAtOnce) {
  for (int i = 0; i < 8; ++i) {
    const auto file = Create(fmt::format("f{}", i));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(50'000)))).ok());
  }
  Stall();
  const Duration begin = world().now();
  EXPECT_FALSE(ByAlice(alice().Stop()).ok());
  EXPECT_LT(world().now() - begin, 2 * alice().options().timeout);
}

// It waited for the next look of the watch over silent servers.
TEST_F(ClientTest, StopWaitsForNobody) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(50'000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  const Duration begin = world().now();
  ASSERT_TRUE(ByAlice(alice().Stop()).ok());
  EXPECT_LT(world().now() - begin, Duration(limits::kAppendStallMax) / 8);
}

TEST_F(ClientTest, AReadDuringStopEnds) {
  const std::string text = Pattern(12 << 20);
  const auto made = Create("f");
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(made->Sync()).ok());
  const auto file = Open(bob_machine(), made->inode(), Client::OpenMode::kRead);
  const auto stopping = Begin(bob_machine(), bob().Stop());
  const auto one = Begin(bob_machine(), file->Read(0, text.size()));
  const auto many = Begin(bob_machine(), file->ReadRanges({{0, 1 << 20}, {5 << 20, 1 << 20}}));
  (void)Finish(one);
  (void)Finish(many);
  (void)Finish(stopping);
}

class SlowTest : public ClientTest {
 protected:
  static ClientOptions Impatient() {
    ClientOptions options = WithTimeout(5s);
    options.window_bytes = 2_MiB;
    return options;
  }
  SlowTest() : ClientTest(Impatient()) {}
};

// Each dirty range could wait for as long as a whole call may.
TEST_F(SlowTest, AFlushOfManyRangesEndsByItsTimeout) {
  constexpr size_t kRanges = 30;
  std::string text = Pattern(2 * kRanges * 1_MiB);
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  const std::string range = Pattern(1_MiB, 'A');
  for (size_t i = 0; i < kRanges; ++i) {
    ASSERT_TRUE(ByAlice(file->Write(2 * i * 1_MiB, Bytes(range))).ok());
    text.replace(2 * i * 1_MiB, range.size(), range);
  }
  for (size_t i = 0; i < kServers; ++i) {
    world().net().SetSlowness(alice_machine(), server(i), 200);
  }
  const Duration begin = world().now();
  EXPECT_EQ(ByAlice(file->Flush()).code(), Code::kTimeout);
  EXPECT_LT(world().now() - begin, alice().options().timeout * 3 / 2);
  world().net().MendAll();
  const Status flushed = ByAlice(file->Flush());
  ASSERT_TRUE(flushed.ok()) << flushed.ToString();
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text);
}

class RollTest : public ClientTest {
 protected:
  std::shared_ptr<File> OpenLog(const std::string& name) {
    NewEntry entry;
    entry.expect_stream = true;
    return Create(name, entry);
  }
};

// The sync asked the metaserver to settle the chunk before its close had arrived there: the chunk
// was fenced under its own writer.
TEST_F(RollTest, ASyncWaitsForARollThatFindsNoServers) {
  const auto file = OpenLog("f.sst");
  const std::string text = Pattern(500'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  for (size_t i = 0; i + 1 < kServers; ++i) server(i).Kill();
  const std::string more = Pattern(500'000, 'A');
  ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
  const auto syncing = Begin(alice_machine(), file->Sync());
  world().RunFor(5s);
  for (size_t i = 0; i + 1 < kServers; ++i) StartServer(i);
  const Status synced = Finish(syncing);
  EXPECT_TRUE(synced.ok()) << synced.ToString();
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text + more);
}

// The stream gave up after the time that a call may take, and kept that: the file took nothing more
// when the metaserver was back, and its bytes were given up at its close.
TEST_F(RollTest, AnOpenFileGoesOnAfterALongOutageOfTheMetaserver) {
  const auto file = OpenLog("f.sst");
  const std::string text = Pattern(100'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  meta_machine().Kill();
  for (size_t i = 0; i < 3; ++i) server(i).Kill();
  const std::string more = Pattern(100'000, 'A');
  ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
  const Status late = ByAlice(file->Flush());
  EXPECT_EQ(late.code(), Code::kTimeout) << late.ToString();
  world().RunFor(2 * alice().options().timeout);
  StartMeta();
  for (size_t i = 0; i < 3; ++i) StartServer(i);
  const Status synced = ByAlice(file->Sync());
  EXPECT_TRUE(synced.ok()) << synced.ToString();
  const Status closed = ByAlice(alice().Close(file));
  EXPECT_TRUE(closed.ok()) << closed.ToString();
  EXPECT_EQ(Content(file->inode()), text + more);
}

// A close in the middle of a roll lost the next chunk, and the write after it ended the process.
TEST_F(RollTest, ACloseDuringARollKeepsEverything) {
  for (int wait_ms = 0; wait_ms < 1500; wait_ms += 100) {
    const auto file = OpenLog(fmt::format("{}.log", wait_ms));
    const std::string text = Pattern(100'000);
    ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    server(0).Kill();
    const std::string more = Pattern(1000, 'A');
    ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    world().RunFor(std::chrono::milliseconds(wait_ms));
    meta_machine().Pause(700ms);
    world().RunFor(300ms);
    // A hole, and the end, both finish the stream.
    const std::string last = Pattern(1000, 'B');
    const uint64_t at = text.size() + more.size() + 1000;
    const Status written = ByAlice(file->Write(at, Bytes(last)));
    ASSERT_TRUE(written.ok()) << written.ToString() << " after " << wait_ms << " ms";
    const Status closed = ByAlice(alice().Close(file));
    ASSERT_TRUE(closed.ok()) << closed.ToString() << " after " << wait_ms << " ms";
    EXPECT_EQ(Content(file->inode()), text + more + std::string(1000, '\0') + last)
        << "after " << wait_ms << " ms";
    StartServer(0);
    ASSERT_TRUE(world().RunUntil([&] { return AllServersUp(); }, 60s));
  }
}

// Copies by the metaserver had the policy's name in their headers, what writers made had none.
TEST_F(RollTest, ReplicasThatAWriterMakesNameTheirPolicy) {
  const auto file = OpenLog("f.sst");
  const std::string text = Pattern(100'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  std::vector<std::string> names;
  const auto sealed = [&] {
    names.clear();
    for (size_t i = 0; i < kServers; ++i) {
      const auto bytes = server(i).disk().Contents("/store/" + chunkserver::ChunkPath(ChunkId(1)));
      if (!bytes.ok()) continue;
      const auto header = chunkserver::DecodeChunkHeader(Bytes(*bytes).first(limits::kBlockBytes));
      if (header.ok() && header->sealed) names.push_back(header->origin.policy);
    }
    return names.size() == 3;
  };
  ASSERT_TRUE(world().RunUntil(sealed, 60s)) << names.size();
  EXPECT_EQ(names, std::vector<std::string>(3, "immutable"));
}

// The size lay beyond all that the stream would ever have: the read span for ever, and with it
// everything else on the loop.
TEST_F(RollTest, AReadReachesOverTheEndOfAStream) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes("x"))).ok());
  ASSERT_TRUE(ByAlice(file->Truncate(8192)).ok());
  ASSERT_TRUE(ByAlice(file->Write(5000, Bytes("y"))).ok());
  std::string text(8192, '\0');
  text[0] = 'x';
  text[5000] = 'y';
  EXPECT_EQ(Read(alice_machine(), file, 0, 8192), text);
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text);
}

// After the roll the stream waited for the calls to the server that had been left.
TEST_F(RollTest, ASilentServerStallsAStreamOnlyOnce) {
  const auto file = OpenLog("f.sst");
  std::string text = Pattern(100'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  for (size_t i = 0; i < 2; ++i) server(i).Pause();
  const Duration begin = world().now();
  for (int i = 0; i < 3; ++i) {
    const std::string more = Pattern(100'000, static_cast<char>('A' + i));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
    text += more;
  }
  EXPECT_LT(world().now() - begin, ChunkIoOptions().call_timeout);
  for (size_t i = 0; i < 2; ++i) server(i).Resume();
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text);
}

class FewServersTest : public ClientTest {
 protected:
  FewServersTest() : ClientTest(WithTimeout(2s)) {}
};

// Too few servers for a while: calls say so at their deadlines, and when the servers are back the
// same file goes on. Its stream had failed for good.
TEST_F(FewServersTest, AnOpenFileGoesOnWhenServersAreBack) {
  std::string text = Pattern(200'000);
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  for (size_t i = 0; i + 1 < kServers; ++i) server(i).Kill();
  // Until the metaserver counts them as away.
  const std::string middle = Pattern(10'000, 'A');
  ASSERT_TRUE(ByAlice(file->Write(50'000, Bytes(middle))).ok());
  ASSERT_TRUE(ByAlice(file->Append(Bytes(middle))).ok());
  text = text.replace(50'000, middle.size(), middle) + middle;
  bool refused = false;
  for (int i = 0; i < 20; ++i) {
    const Status status = ByAlice(file->Sync());
    EXPECT_FALSE(status.ok());
    refused = refused || status.code() == Code::kTooFewServers;
  }
  EXPECT_TRUE(refused);
  for (size_t i = 0; i + 1 < kServers; ++i) StartServer(i);
  Status synced;
  for (int i = 0; i < 20; ++i) {
    synced = ByAlice(file->Sync());
    if (synced.ok()) break;
  }
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  EXPECT_EQ(Read(alice_machine(), file, 0, text.size()), text);
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text);
}

// Full disks: every call says so at once, and when there is room the same file goes on. Its error
// stayed for ever, for everybody who had the file open, and it could not even be truncated.
class FullDisksTest : public ClientTest {
 protected:
  FullDisksTest() : ClientTest(WithTimeout(5s)) {}
  void SetRoom(uint64_t bytes) {
    for (size_t i = 0; i < kServers; ++i) {
      server(i).disk().SetCapacity(server(i).disk().used_bytes() + bytes);
    }
  }
  // Below what the metaserver wants free before it places a chunk.
  void FillDisks() {
    SetRoom(200_MiB);
    world().RunFor(3s);  // until all have said so
  }
  Status SyncWithin(const std::shared_ptr<File>& file, int attempts) {
    Status synced;
    for (int i = 0; i < attempts; ++i) {
      synced = ByAlice(file->Sync());
      if (synced.ok()) break;
      world().RunFor(1s);
    }
    return synced;
  }
  const std::string text_ = Pattern(100'000);
};

TEST_F(FullDisksTest, AnOpenFileGoesOnWhenThereIsRoom) {
  const auto file = Create("f");
  FillDisks();
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text_))).ok());
  for (int i = 0; i < 3; ++i) {
    const Duration begin = world().now();
    EXPECT_EQ(ByAlice(file->Sync()).code(), Code::kNoSpace);
    EXPECT_LT(world().now() - begin, 2s);
  }
  SetRoom(10'000_MiB);
  const Status synced = SyncWithin(file, 20);
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  const std::string more = Pattern(1000, 'X');
  ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(file->inode()), text_ + more);
}

TEST_F(FullDisksTest, AFileCanBeEmptiedWhileItsWriterWaitsForRoom) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text_))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  FillDisks();
  // Behind a hole, and so in a chunk of its own.
  ASSERT_TRUE(ByAlice(file->Write(400'000, Bytes(text_))).ok());
  EXPECT_EQ(ByAlice(file->Sync()).code(), Code::kNoSpace);
  const auto emptied =
      ByAlice(alice().Open(file->inode(), Client::OpenMode::kWrite, /*truncate=*/true));
  ASSERT_TRUE(emptied.ok()) << emptied.status().ToString();
  EXPECT_EQ((*emptied)->size(), 0u);
  EXPECT_EQ(Content(file->inode()), "");
  SetRoom(10'000_MiB);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text_))).ok());
  const Status synced = SyncWithin(file, 20);
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  EXPECT_EQ(Content(file->inode()), text_);
}

// Reads that waited for them gave zeros in the place of bytes that a recall gave up meanwhile.
TEST_F(FullDisksTest, ReadsDuringARecallGiveNoZeros) {
  // Begun at each moment of the recall's way.
  for (int wait_us = 0; wait_us < 600; wait_us += 20) {
    SetRoom(10'000_MiB);
    world().RunFor(3s);
    const auto file = Create(fmt::format("f{}", wait_us));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(text_))).ok());
    ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
    const auto again = Open(alice_machine(), file->inode(), Client::OpenMode::kWrite);
    FillDisks();
    ASSERT_TRUE(ByAlice(again->Append(Bytes(Pattern(100'000, 'A')))).ok());
    const auto opening = Begin(bob_machine(), bob().Open(file->inode(), Client::OpenMode::kWrite));
    world().RunFor(std::chrono::microseconds(wait_us));
    const auto reading = Begin(alice_machine(), again->Read(0, 200'000));
    for (const std::string& read :
         {Read(alice_machine(), again, 0, 200'000), TextOf(Finish(reading))}) {
      EXPECT_TRUE(read == text_ || read.starts_with("error: no-space"))
          << read.size() << " bytes after " << wait_us << " us";
    }
    ASSERT_TRUE(Finish(opening).ok());
  }
}

// Files are closed many at a time; one that waits for servers held up all others of its batch.
TEST_F(FewServersTest, AFileThatCannotBeStoredHoldsUpNoOther) {
  const auto stuck = Create("stuck");
  const auto other = Create("other");
  for (size_t i = 0; i + 1 < kServers; ++i) server(i).Kill();
  ASSERT_TRUE(ByAlice(stuck->Append(Bytes(Pattern(100'000)))).ok());
  ASSERT_TRUE(ByAlice(other->Append(Bytes("in its record"))).ok());
  EXPECT_FALSE(ByAlice(alice().Close(stuck)).ok());
  ASSERT_TRUE(ByAlice(alice().Close(other)).ok());
  world().RunFor(20ms);  // both are being closed
  const Duration begin = world().now();
  const auto opened = ByBob(bob().Open(other->inode(), Client::OpenMode::kWrite));
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_LT(world().now() - begin, 1s);
}

// What could not be stored when the client stopped was read as zeros.
TEST_F(FewServersTest, AReadDuringTheStopGivesNoZeros) {
  const auto file = Create("f");
  for (size_t i = 0; i + 1 < kServers; ++i) server(i).Kill();
  const std::string text = Pattern(100'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  const auto reading = Begin(alice_machine(), file->Read(0, text.size()));
  const auto stopping = Begin(alice_machine(), alice().Stop());
  while (!stopping->has_value()) {
    const auto read = Begin(alice_machine(), file->Read(0, text.size()));
    EXPECT_FALSE(Finish(read).ok());
    world().RunFor(10ms);
  }
  EXPECT_FALSE(Finish(reading).ok());
}

// The handle was not the last one, since the recall had the file too, and so nobody looked.
TEST_F(FewServersTest, ACloseDuringARecallTellsWhatWasLost) {
  const auto file = Create("f");
  for (size_t i = 0; i + 1 < kServers; ++i) server(i).Kill();
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(100'000)))).ok());
  const auto opening = Begin(bob_machine(), bob().Open(file->inode(), Client::OpenMode::kWrite));
  ASSERT_TRUE(world().RunUntil([&] { return !file->error().ok(); }, 60s));
  EXPECT_FALSE(ByAlice(alice().Close(file)).ok());
  (void)Finish(opening);
}

}  // namespace
}  // namespace moraine::fs
