#include "kv/rocksfs/gathering_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/random.h"
#include "kv/rocksfs/memory_cluster.h"

namespace moraine::rocksfs {
namespace {

ConstBytes Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

class GatheringWriterTest : public ::testing::Test {
 protected:
  void Open(GatherOptions options = {}) {
    Result<std::shared_ptr<GatheringWriter>> made =
        cluster_.Block([&]() -> Task<Result<std::shared_ptr<GatheringWriter>>> {
          fs::NewEntry entry;
          entry.exclusive = false;
          MORAINE_CO_ASSIGN_OR_RETURN(fs::Created created,
                                      co_await cluster_.Create(kRootInode, "f", entry, true));
          auto writer =
              std::make_shared<GatheringWriter>(cluster_, kRootInode, created.file, options);
          if (started_) writer->Start();
          co_return writer;
        });
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    writer_ = *made;
  }
  std::string Stored() { return server_->Find("/f")->bytes; }
  // What the file holds, once it holds at least that much; the client's deadline is the test's.
  std::string StoredWhenSize(size_t size) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (Stored().size() < size && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
    return Stored();
  }

  std::shared_ptr<MemoryServer> server_ = std::make_shared<MemoryServer>();
  MemoryCluster cluster_{server_};
  bool started_ = true;
  std::shared_ptr<GatheringWriter> writer_;
};

constexpr Duration kNeverByItself = std::chrono::hours(1);

TEST_F(GatheringWriterTest, AppendMakesNoCall) {
  Open({.delay = kNeverByItself});
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(writer_->Append(Bytes("0123456789")).ok());
  EXPECT_EQ(writer_->size(), 1000u);
  EXPECT_EQ(server_->calls("append"), 0);
  EXPECT_EQ(Stored(), "");
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored().size(), 1000u);
  EXPECT_EQ(server_->calls("append"), 1);
}

TEST_F(GatheringWriterTest, SendsByItselfAfterTheDelay) {
  Open();
  ASSERT_TRUE(writer_->Append(Bytes("first")).ok());
  EXPECT_EQ(StoredWhenSize(5), "first");
  // Also after the timer has gone to rest: the next record starts it again.
  ASSERT_TRUE(writer_->Close().ok());
  Open({.delay = std::chrono::microseconds(100), .idle_rounds = 1});
  std::string expected = Stored();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(writer_->Append(Bytes("next")).ok());
    expected += "next";
    ASSERT_EQ(StoredWhenSize(expected.size()), expected);
  }
  ASSERT_TRUE(writer_->Close().ok());
}

// A record that came between the last drain and the close opened the file again, for ever.
TEST_F(GatheringWriterTest, ARecordDuringTheCloseIsRefusedOrStored) {
  Open({.delay = std::chrono::microseconds(50)});
  std::atomic<bool> closed{false};
  std::string accepted;
  std::thread appender([&] {
    while (writer_->Append(Bytes("x")).ok()) accepted += "x";
    EXPECT_TRUE(closed);
  });
  while (Stored().empty()) std::this_thread::yield();
  closed = true;
  ASSERT_TRUE(writer_->Close().ok());
  appender.join();
  EXPECT_EQ(Stored(), accepted);
  const std::string large(64 << 10, 'y');
  EXPECT_EQ(writer_->Append(Bytes(large)).code(), Code::kBadHandle);
  EXPECT_EQ(writer_->WriteAt(0, Bytes("z")).code(), Code::kBadHandle);
  EXPECT_EQ(writer_->Truncate(0).code(), Code::kBadHandle);
  EXPECT_EQ(Stored(), accepted);
}

TEST_F(GatheringWriterTest, TheFirstAppendStartsTheTimerWhenNobodyHas) {
  started_ = false;
  Open();
  ASSERT_TRUE(writer_->Append(Bytes("first")).ok());
  EXPECT_EQ(StoredWhenSize(5), "first");
  ASSERT_TRUE(writer_->Close().ok());
}

TEST_F(GatheringWriterTest, SendsAFullPieceAtOnce) {
  Open({.piece_bytes = 1024, .delay = kNeverByItself});
  const std::string record(100, 'r');
  for (int i = 0; i < 11; ++i) ASSERT_TRUE(writer_->Append(Bytes(record)).ok());
  EXPECT_GE(StoredWhenSize(1000).size(), 1000u);
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), std::string(1100, 'r'));
}

TEST_F(GatheringWriterTest, PushSendsAtOnce) {
  Open({.delay = kNeverByItself});
  writer_->Push();
  ASSERT_TRUE(writer_->Append(Bytes("pushed")).ok());
  writer_->Push();
  EXPECT_EQ(StoredWhenSize(6), "pushed");
  EXPECT_EQ(server_->calls("sync"), 0);
  ASSERT_TRUE(writer_->Close().ok());
}

TEST_F(GatheringWriterTest, SyncSyncsEverythingThatCameBefore) {
  Open({.delay = kNeverByItself});
  ASSERT_TRUE(writer_->Append(Bytes("abc")).ok());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(server_->Find("/f")->synced_bytes, 3u);
  ASSERT_TRUE(writer_->Append(Bytes("def")).ok());
  EXPECT_EQ(server_->Find("/f")->synced_bytes, 3u);
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(server_->Find("/f")->synced_bytes, 6u);
  ASSERT_TRUE(writer_->Close().ok());
}

TEST_F(GatheringWriterTest, KeepsTheOrderOfSmallAndLargeAppends) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  Open({.piece_bytes = 512, .waiting_bytes_max = 2048, .delay = std::chrono::microseconds(50)});
  std::string expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string record(random.Between(0, random.OneIn(5) ? 3000 : 200),
                             static_cast<char>('a' + i % 26));
    ASSERT_TRUE(writer_->Append(Bytes(record)).ok());
    expected += record;
    ASSERT_EQ(writer_->size(), expected.size());
    if (random.OneIn(50)) ASSERT_TRUE(writer_->Sync().ok());
    if (random.OneIn(50)) writer_->Push();
  }
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), expected);
}

TEST_F(GatheringWriterTest, BlocksWhileTooMuchWaits) {
  Open({.piece_bytes = 1024, .waiting_bytes_max = 4096, .delay = std::chrono::microseconds(50)});
  cluster_.SetGate(false);
  std::atomic<uint64_t> appended{0};
  std::thread appender([&] {
    const std::string record(500, 'x');
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(writer_->Append(Bytes(record)).ok());
      appended += record.size();
    }
  });
  // It stops at the bound, give or take a record; the size that it has reached does not grow.
  while (writer_->size() <= 4096) std::this_thread::yield();
  EXPECT_LE(appended.load(), 4096u + 1024u);
  EXPECT_EQ(Stored(), "");
  cluster_.SetGate(true);
  appender.join();
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored().size(), 50'000u);
}

TEST_F(GatheringWriterTest, TryAppendNeverWaits) {
  Open({.piece_bytes = 1024, .waiting_bytes_max = 4096, .delay = kNeverByItself});
  cluster_.SetGate(false);
  const std::string large(3000, 'x');
  ASSERT_TRUE(writer_->TryAppend(Bytes(large)).ok());
  EXPECT_EQ(writer_->TryAppend(Bytes(large)).code(), Code::kOverloaded);
  ASSERT_TRUE(writer_->TryAppend(Bytes("small")).ok());
  EXPECT_EQ(writer_->size(), 3005u);
  cluster_.SetGate(true);
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), large + "small");
}

TEST_F(GatheringWriterTest, AnErrorStays) {
  Open({.delay = kNeverByItself});
  server_->Fail("append", Status(Code::kTooFewServers, "no servers"));
  ASSERT_TRUE(writer_->Append(Bytes("lost")).ok());
  EXPECT_EQ(writer_->Sync().code(), Code::kTooFewServers);
  EXPECT_EQ(writer_->Append(Bytes("after a hole")).code(), Code::kTooFewServers);
  EXPECT_EQ(writer_->Append(ConstBytes(Bytes(std::string(100'000, 'x')))).code(),
            Code::kTooFewServers);
  EXPECT_EQ(writer_->Truncate(0).code(), Code::kTooFewServers);
  EXPECT_EQ(writer_->Close().code(), Code::kTooFewServers);
  EXPECT_EQ(Stored(), "");
  EXPECT_EQ(cluster_.open_files(), 0);
}

TEST_F(GatheringWriterTest, AFencedWriterMakesTheDirectoryForgotten) {
  Open({.delay = kNeverByItself});
  const auto names = std::make_shared<OwnedNames>(kRootInode);
  names->Load({});
  writer_->set_owned(names);
  server_->Fail("append", Status(Code::kFenced, "another owner"));
  ASSERT_TRUE(writer_->Append(Bytes("zombie")).ok());
  EXPECT_EQ(writer_->Sync().code(), Code::kFenced);
  EXPECT_FALSE(names->known());
  EXPECT_EQ(writer_->Close().code(), Code::kFenced);
}

TEST_F(GatheringWriterTest, TruncatesAndRewrites) {
  Open({.delay = kNeverByItself});
  ASSERT_TRUE(writer_->Append(Bytes("0123456789")).ok());
  ASSERT_TRUE(writer_->Truncate(4).ok());
  EXPECT_EQ(writer_->size(), 4u);
  ASSERT_TRUE(writer_->WriteAt(4, Bytes("abc")).ok());
  ASSERT_TRUE(writer_->WriteAt(1, Bytes("XY")).ok());
  EXPECT_EQ(writer_->WriteAt(100, Bytes("hole")).code(), Code::kInvalidArgument);
  EXPECT_EQ(writer_->size(), 7u);
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), "0XY3abc");
}

TEST_F(GatheringWriterTest, DetachClosesAndTheNextPieceOpensAgain) {
  Open({.delay = kNeverByItself});
  ASSERT_TRUE(writer_->Append(Bytes("before ")).ok());
  ASSERT_TRUE(cluster_
                  .Block([&]() -> Task<Status> {
                    const GatheringWriter::Held held = co_await writer_->DetachAndHold();
                    EXPECT_EQ(cluster_.open_files(), 0);
                    co_return Status::Ok();
                  })
                  .ok());
  EXPECT_EQ(server_->Find("/f")->synced_bytes, 7u);
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(cluster_.open_files(), 0);  // nothing new to sync
  ASSERT_TRUE(writer_->Append(Bytes("after")).ok());
  ASSERT_TRUE(writer_->Sync().ok());
  EXPECT_EQ(cluster_.open_files(), 1);
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), "before after");
  EXPECT_EQ(cluster_.open_files(), 0);
}

TEST_F(GatheringWriterTest, RefusesAppendsAfterClose) {
  Open();
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(writer_->Append(Bytes("x")).code(), Code::kBadHandle);
  EXPECT_TRUE(writer_->Close().ok());
}

TEST_F(GatheringWriterTest, SyncsOfOtherThreadsDoNotDisturbTheAppender) {
  Open({.piece_bytes = 1024, .delay = std::chrono::microseconds(100)});
  std::atomic<bool> done{false};
  std::thread syncer([&] {
    while (!done) ASSERT_TRUE(writer_->Sync().ok());
  });
  std::string expected;
  for (int i = 0; i < 20'000; ++i) {
    const std::string record = std::to_string(i) + ",";
    ASSERT_TRUE(writer_->Append(Bytes(record)).ok());
    expected += record;
  }
  done = true;
  syncer.join();
  ASSERT_TRUE(writer_->Close().ok());
  EXPECT_EQ(Stored(), expected);
}

}  // namespace
}  // namespace moraine::rocksfs
