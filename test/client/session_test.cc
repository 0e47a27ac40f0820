// What a client believes while it is cut off, and what it learns from others.
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

class SessionTest : public ClientTest {
 protected:
  using ClientTest::ClientTest;
  SessionTest() = default;
  void CutFromMeta(bool cut) {
    if (cut) {
      world().net().Partition({&alice_machine()}, {&meta_machine()});
    } else {
      world().net().MendAll();
    }
  }
  // Stored and closed.
  void AddByBob(InodeId inode, const std::string& more) {
    const auto writer = Open(bob_machine(), inode, Client::OpenMode::kWrite);
    ASSERT_TRUE(ByBob(writer->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByBob(writer->Sync()).ok());
    ASSERT_TRUE(ByBob(bob().Close(writer)).ok());
  }
  // What an open file has from `offset` on, once it has anything; empty when that takes too long.
  std::string AwaitMore(sim::Machine& machine, const std::shared_ptr<File>& file, uint64_t offset) {
    std::string seen;
    for (int i = 0; i < 100 && seen.empty(); ++i) {
      world().RunFor(100ms);
      seen = Read(machine, file, offset, 20'000);
    }
    return seen;
  }
};

// Without a look at its lease's clock a client that was cut off served old bytes for ever.
TEST_F(SessionTest, AClientThatIsCutOffDoesNotAnswerForTheMetaserver) {
  const auto file = Create("f");
  const std::string old = Pattern(6000, 'a');
  ASSERT_TRUE(ByAlice(file->Append(Bytes(old))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  EXPECT_EQ(Read(alice_machine(), file, 0, 6000), old);
  CutFromMeta(true);
  const auto bobs = Open(bob_machine(), file->inode(), Client::OpenMode::kWrite);
  const std::string fresh = Pattern(6000, 'A');
  ASSERT_TRUE(ByBob(bobs->Write(0, Bytes(fresh))).ok());
  ASSERT_TRUE(ByBob(bobs->Sync()).ok());
  const auto reading = ByAlice(file->Read(0, 6000));
  EXPECT_EQ(reading.code(), Code::kTimeout);
  const auto opening = ByAlice(alice().Open(file->inode(), Client::OpenMode::kRead));
  EXPECT_FALSE(opening.ok());
  CutFromMeta(false);
  const bool knows = world().RunUntil([&] { return alice().SessionIsCertain(); }, 60s);
  ASSERT_TRUE(knows);
  (void)ByAlice(alice().Close(file));
  const auto again = Open(alice_machine(), file->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(Read(alice_machine(), again, 0, 6000), fresh);
}

// The chunk for random writes belongs to the session that was lost.
TEST_F(SessionTest, WritesInTheMiddleGoOnInANewSession) {
  const auto file = Create("f");
  std::string text = Pattern(100'000);
  ASSERT_TRUE(ByAlice(file->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  const auto again = Open(alice_machine(), file->inode(), Client::OpenMode::kWrite);
  ASSERT_TRUE(ByAlice(again->Write(1000, Bytes("first"))).ok());
  ASSERT_TRUE(ByAlice(again->Flush()).ok());
  const SessionId session = alice().session();
  CutFromMeta(true);
  world().RunFor(20s);
  CutFromMeta(false);
  ASSERT_TRUE(world().RunUntil([&] { return alice().session() != session; }, 60s));
  const Status written = ByAlice(again->Write(2000, Bytes("second")));
  ASSERT_TRUE(written.ok()) << written.ToString();
  const Status synced = ByAlice(again->Sync());
  ASSERT_TRUE(synced.ok()) << synced.ToString();
  text.replace(1000, 5, "first").replace(2000, 6, "second");
  EXPECT_EQ(Content(file->inode()), text);
}

// A stat that met news asked for the lease of a session that had ended, and failed.
TEST_F(SessionTest, AStatOutlivesTheSessionInWhichItBegan) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(6000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  AttributeChange mode;
  mode.mode = 0600;
  ASSERT_TRUE(ByBob(bob().SetAttributes(file->inode(), mode)).ok());
  const SessionId session = alice().session();
  const uint64_t calls = alice().metadata_calls();
  const auto stating = Begin(alice_machine(), alice().GetAttributes(file->inode()));
  const auto asks = [&] { return alice().metadata_calls() == calls + 2; };
  ASSERT_TRUE(world().RunUntil(asks, 1s));
  CutFromMeta(true);
  world().RunFor(10s);
  ASSERT_FALSE(stating->has_value());
  CutFromMeta(false);
  const auto found = Finish(stating);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->mode, 0600U);
  EXPECT_EQ(found->size, 6000U);
  EXPECT_NE(alice().session(), session) << "it showed nothing";
}

// The metaserver remembers so many answers and no more; one change that waits for servers that are
// away must not keep the client from all others.
TEST_F(SessionTest, AChangeThatTakesLongHoldsUpNoOther) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(100'000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  alice_machine().Kill();
  for (size_t i = 0; i < kServers; ++i) server(i).Kill();
  // The session of the writer must have ended for its file to be recovered.
  world().RunFor(10s);
  const auto slow = Begin(bob_machine(), bob().Open(file->inode(), Client::OpenMode::kWrite));
  NewEntry directory;
  directory.type = FileType::kDirectory;
  Duration longest{};
  for (int i = 0; i < 3 * limits::kRememberedAnswersMax; ++i) {
    const Instant begin = bob_machine().loop().Now();
    const auto made =
        ByBob(bob().Create(InodeId(1), fmt::format("d{}", i), directory, /*open=*/false));
    ASSERT_TRUE(made.ok()) << i << ": " << made.status().ToString();
    ASSERT_FALSE(slow->has_value()) << "it was not slow enough to show anything";
    longest = std::max(longest, bob_machine().loop().Now() - begin);
  }
  // In simulated time, in which the slow one takes seconds.
  EXPECT_LT(longest, 1s);
}

// tail -f on another client: a file without an open tail was never looked at again.
TEST_F(SessionTest, AnOpenFileSeesWhatAnotherClientAddsLater) {
  const auto made = Create("f");
  const std::string text = Pattern(6000);
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  const auto reader = Open(bob_machine(), made->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(Read(bob_machine(), reader, 0, 20'000), text);
  const auto writer = Open(alice_machine(), made->inode(), Client::OpenMode::kWrite);
  const std::string more = Pattern(6000, 'A');
  ASSERT_TRUE(ByAlice(writer->Append(Bytes(more))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(writer)).ok());
  const std::string seen = AwaitMore(bob_machine(), reader, text.size());
  EXPECT_EQ(seen, more);
}

// The same while the writer goes on: a first tail was announced to nobody, so a read ended at the
// old size while a stat showed the new one.
class OpenTailTest : public SessionTest, public testing::WithParamInterface<size_t> {};

TEST_P(OpenTailTest, AnOpenFileSeesWhatAnotherClientSyncsAndKeepsOpen) {
  const auto made = Create("f");
  const std::string text = Pattern(GetParam());
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  const auto reader = Open(bob_machine(), made->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(Read(bob_machine(), reader, 0, 20'000), text);
  const auto writer = Open(alice_machine(), made->inode(), Client::OpenMode::kWrite);
  std::string all = text;
  for (const char first : {'A', 'J'}) {
    const std::string more = Pattern(6000, first);
    ASSERT_TRUE(ByAlice(writer->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByAlice(writer->Sync()).ok());
    const auto found = ByBob(bob().GetAttributes(made->inode()));
    ASSERT_TRUE(found.ok()) << found.status().ToString();
    EXPECT_EQ(found->size, all.size() + more.size());
    const std::string seen = AwaitMore(bob_machine(), reader, all.size());
    EXPECT_TRUE(seen == more) << seen.size() << " bytes behind " << all.size();
    all += more;
  }
  EXPECT_TRUE(Read(bob_machine(), reader, 0, 20'000) == all);
}

// In chunks, and in the inode record, which it outgrows.
INSTANTIATE_TEST_SUITE_P(Sizes, OpenTailTest, testing::Values(6000, 1000));

class LostNewsTest : public SessionTest {
 protected:
  // What the metaserver has to tell alice while she is cut off is lost with its memory.
  template <class Change>
  void WhileAliceIsCutOff(Change change) {
    const SessionId session = alice().session();
    CutFromMeta(true);
    world().RunFor(1s);  // her renewal ends without news: those that come now wait for the next
    change();
    meta_machine().Kill();
    StartMeta();
    CutFromMeta(false);
    ASSERT_TRUE(world().RunUntil([&] { return alice().SessionIsCertain(); }, 60s));
    EXPECT_EQ(alice().session(), session) << "it showed nothing";
  }
};

// An owner that was replaced went on answering from what it remembered, for as long as it did not
// write.
TEST_F(LostNewsTest, AnOwnerHearsThatItsDirectoryIsLost) {
  const InodeId stolen = MakeDirectory("stolen");
  const InodeId kept = MakeDirectory("kept");
  ASSERT_TRUE(ByAlice(alice().AcquireDirectory(stolen, "alice")).ok());
  ASSERT_TRUE(ByAlice(alice().AcquireDirectory(kept, "alice")).ok());
  std::vector<InodeId> disowned;
  alice().OnDisowned([&](InodeId directory) { disowned.push_back(directory); });
  WhileAliceIsCutOff([&] { ASSERT_TRUE(ByBob(bob().AcquireDirectory(stolen, "bob")).ok()); });
  EXPECT_TRUE(world().RunUntil([&] { return !disowned.empty(); }, 10s));
  EXPECT_EQ(disowned, std::vector<InodeId>{stolen});
  EXPECT_TRUE(alice().TokenOf(stolen).IsNone());
  EXPECT_FALSE(alice().TokenOf(kept).IsNone());
  // What is given back is not lost.
  ASSERT_TRUE(ByAlice(alice().ReleaseDirectory(kept)).ok());
  world().RunFor(2s);
  EXPECT_EQ(disowned, std::vector<InodeId>{stolen});
  alice().OnDisowned(nullptr);
}

TEST_F(LostNewsTest, AnOpenFileIsReadAnewAfterThem) {
  const auto made = Create("f");
  const std::string text = Pattern(6000);
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  world().RunFor(1s);  // the lease is back
  const auto reader = Open(alice_machine(), made->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(Read(alice_machine(), reader, 0, 20'000), text);
  const std::string more = Pattern(6000, 'A');
  WhileAliceIsCutOff([&] { AddByBob(made->inode(), more); });
  const std::string seen = AwaitMore(alice_machine(), reader, text.size());
  EXPECT_TRUE(seen == more) << seen.size() << " bytes";
}

// It had seen changes that a power cut took back, and took what came after them for older than
// that: a reader stayed with its layout until the file had changed as often again.
TEST_F(SessionTest, AReaderFollowsAMetaserverThatHasLostItsLastChanges) {
  const auto made = Create("f");
  const std::string text = Pattern(6000);
  ASSERT_TRUE(ByAlice(made->Append(Bytes(text))).ok());
  ASSERT_TRUE(ByAlice(made->Sync()).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  world().RunFor(1s);  // all that is on the metaserver's disk
  const auto disk = MetaDiskAsSynced();
  AttributeChange mode;
  for (mode.mode = 0; *mode.mode < 20; ++*mode.mode) {
    ASSERT_TRUE(ByBob(bob().SetAttributes(made->inode(), mode)).ok());
  }
  const auto reader = Open(alice_machine(), made->inode(), Client::OpenMode::kRead);
  ASSERT_EQ(Read(alice_machine(), reader, 0, 20'000), text);
  PowerCutMeta(disk);
  const std::string more = Pattern(6000, 'A');
  AddByBob(made->inode(), more);
  const std::string seen = AwaitMore(alice_machine(), reader, text.size());
  EXPECT_TRUE(seen == more) << seen.size() << " bytes";
}

class LostAnswerTest : public SessionTest {
 protected:
  LostAnswerTest() : SessionTest(WithTimeout(1s)) {}
  // Bob asks until he gets it.
  Status OpenByBob(InodeId inode) {
    Status status;
    for (int i = 0; i < 20; ++i) {
      const auto file = ByBob(bob().Open(inode, Client::OpenMode::kWrite));
      if (file.ok()) return ByBob(bob().Close(*file));
      status = file.status();
    }
    return status;
  }
};

// Whoever knows nothing of a lease gives it back all the same when it is recalled; the metaserver
// kept it for the client for as long as that lived.
TEST_F(LostAnswerTest, ALeaseOfAnAnswerThatWasLostIsGivenBack) {
  const auto made = Create("f");
  ASSERT_TRUE(ByAlice(made->Append(Bytes(Pattern(6000)))).ok());
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  const InodeId inode = made->inode();
  ASSERT_TRUE(OpenByBob(inode).ok());
  world().RunFor(100ms);  // until bob's own close is done
  const SessionId session = alice().session();
  // Alice's open arrives, its answer does not.
  const auto opening = Begin(alice_machine(), alice().Open(inode, Client::OpenMode::kWrite));
  world().RunFor(50us);
  world().net().Cut(meta_machine(), alice_machine());
  EXPECT_FALSE(Finish(opening).ok());
  world().net().MendAll();
  const Status opened = OpenByBob(inode);
  EXPECT_TRUE(opened.ok()) << opened.ToString();
  EXPECT_EQ(alice().session(), session) << "it showed nothing";
}

// A stat told the new size first, so there was nothing left to cut: the old bytes came back when
// the file grew again.
TEST_F(LostAnswerTest, ATruncateWhoseAnswerWasLostCutsAllTheSame) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(300'000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  ASSERT_TRUE(ByAlice(file->Extend(300'001)).ok());  // ends the stream
  const auto cutting = Begin(alice_machine(), file->Truncate(100'000));
  world().RunFor(50us);
  world().net().Cut(meta_machine(), alice_machine());
  EXPECT_FALSE(Finish(cutting).ok());
  world().net().MendAll();
  const auto found = ByAlice(alice().GetAttributes(file->inode()));
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  ASSERT_EQ(found->size, 100'000U) << "the truncate had arrived";
  ASSERT_TRUE(ByAlice(file->Extend(300'000)).ok());
  EXPECT_EQ(Read(alice_machine(), file, 100'000, 200'000), std::string(200'000, '\0'));
}

// The answer to the create was lost, and with it the lease and the first chunk. Who opened the file
// then took its own chunk for another's, and every append was refused until the last close.
TEST_F(LostAnswerTest, AFileWhoseCreateWasNotAnsweredTakesAppends) {
  NewEntry entry;
  entry.expect_stream = true;
  const auto creating = Begin(alice_machine(), alice().Create(InodeId(1), "f", entry, true));
  world().RunFor(50us);
  world().net().Cut(meta_machine(), alice_machine());
  EXPECT_FALSE(Finish(creating).ok());
  world().net().MendAll();
  const auto found = ByAlice(alice().Lookup(InodeId(1), "f"));
  ASSERT_TRUE(found.ok()) << "the create had arrived: " << found.status().ToString();
  const auto file = Open(alice_machine(), found->inode, Client::OpenMode::kWrite);
  for (const char first : {'a', 'b'}) {
    const auto appended = ByAlice(file->Append(Bytes(Pattern(6000, first))));
    ASSERT_TRUE(appended.ok()) << appended.status().ToString();
    ASSERT_TRUE(ByAlice(file->Sync()).ok());
  }
  EXPECT_EQ(Read(alice_machine(), file, 0, 12'000), Pattern(6000, 'a') + Pattern(6000, 'b'));
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  EXPECT_EQ(Content(found->inode), Pattern(6000, 'a') + Pattern(6000, 'b'));
}

// Bytes that a stream had synced before it was given up were hidden from its own client.
TEST_F(LostAnswerTest, WhatADroppedStreamHadSyncedIsSeenByItsClient) {
  const auto file = Create("f.log");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(6000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  const SessionId session = alice().session();
  meta_machine().Kill();
  ByAlice(alice().Close(file)).Ignore();
  world().RunFor(3s);  // until all that it asks has timed out
  StartMeta();
  const auto again = Open(alice_machine(), file->inode(), Client::OpenMode::kWrite);
  EXPECT_EQ(alice().session(), session) << "it showed nothing";
  EXPECT_EQ(Read(alice_machine(), again, 0, 10'000), Pattern(6000));
  const auto appended = ByAlice(again->Append(Bytes(Pattern(100, 'b'))));
  EXPECT_TRUE(appended.ok()) << appended.status().ToString();
  ASSERT_TRUE(ByAlice(alice().Close(again)).ok());
  EXPECT_EQ(Content(file->inode()), Pattern(6000) + Pattern(100, 'b'));
}

// The same when the answer to the last close was lost.
TEST_F(LostAnswerTest, ALeaseWhoseCloseWasLostIsGivenBack) {
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(Pattern(6000)))).ok());
  ASSERT_TRUE(ByAlice(file->Sync()).ok());
  AttributeChange mode;
  mode.mode = 0600;
  ASSERT_TRUE(ByAlice(alice().SetAttributes(file->inode(), mode)).ok());
  const SessionId session = alice().session();
  ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
  meta_machine().Kill();
  world().RunFor(1200ms);
  StartMeta();
  const Status opened = OpenByBob(file->inode());
  EXPECT_TRUE(opened.ok()) << opened.ToString();
  EXPECT_EQ(alice().session(), session) << "it showed nothing";
}

}  // namespace
}  // namespace moraine::fs
