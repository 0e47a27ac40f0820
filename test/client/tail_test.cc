// What others see of a file that somebody has open and appends to no more.
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

class TailTest : public ClientTest {
 protected:
  // Of a policy that acknowledges what all three replicas hold.
  std::shared_ptr<File> Written(const std::string& name) {
    auto file = Create(name);
    MORAINE_CHECK(ByAlice(file->Append(Bytes(text_))).ok());
    MORAINE_CHECK(ByAlice(file->Flush()).ok());
    return file;
  }
  // Bob finds the end of the file, long before his patience is over.
  void ExpectSeenSoon(const std::string& name, const std::string& when) {
    const Duration begin = world().now();
    const auto found = ByBob(bob().Lookup(InodeId(1), name));
    ASSERT_TRUE(found.ok()) << found.status().ToString() << " " << when;
    EXPECT_EQ(found->size, text_.size()) << when;
    const auto file = ByBob(bob().Open(found->inode, Client::OpenMode::kRead));
    ASSERT_TRUE(file.ok()) << file.status().ToString() << " " << when;
    EXPECT_EQ(Read(bob_machine(), *file, 0, (*file)->size()), text_) << when;
    EXPECT_TRUE(ByBob(bob().Close(*file)).ok());
    EXPECT_LT(world().now() - begin, bob().options().timeout / 4) << when;
  }

  const std::string text_ = Pattern(50'000);
};

// The writer never said how far the last append was committed. With one of three replicas gone its
// end was not to be told, and each look-up and each open failed after the whole timeout.
TEST_F(TailTest, AnIdleWritersFileIsSeenThoughAServerIsGone) {
  for (const Duration idle : {Duration(0ms), Duration(3s)}) {
    for (size_t i = 0; i < kServers; ++i) {
      const std::string name = fmt::format("f{}-{}", idle / 1s, i);
      const auto file = Written(name);
      world().RunFor(idle);
      server(i).Kill();
      ExpectSeenSoon(name, fmt::format("{} s, server {}", idle / 1s, i));
      ASSERT_TRUE(ByAlice(alice().Close(file)).ok());
      StartServer(i);
      ASSERT_TRUE(world().RunUntil([&] { return AllServersUp(); }, 60s));
    }
  }
}

// An open chunk is its writer's to mend. One that wrote nothing never saw that its servers went,
// one after the other, each long after the chunks of everybody else were whole again.
TEST_F(TailTest, AnIdleWritersFilesOutliveTheirServersOneAfterAnother) {
  std::vector<std::shared_ptr<File>> files;
  for (int i = 0; i < 24; ++i) {
    files.push_back(Written(fmt::format("f{}", i)));
    ASSERT_TRUE(ByAlice(files.back()->Sync()).ok());
  }
  for (size_t i = 0; i < 3; ++i) {
    server(i).Kill();
    world().RunFor(90s);
  }
  for (const auto& file : files) EXPECT_EQ(Content(file->inode()), text_);
}

// The file went on in another chunk while a reader asked for the end of the last one, and another
// reader had heard of it: the first one took the end of the old chunk for that of the file.
TEST_F(TailTest, AReaderWhoWasOvertakenAsksAgain) {
  const auto made = Written("f");
  ASSERT_TRUE(ByAlice(made->Sync()).ok());
  const auto reader = Open(bob_machine(), made->inode(), Client::OpenMode::kRead);
  EXPECT_EQ(Read(bob_machine(), reader, 0, 100'000), text_);
  // The answers of the chunk's servers are on their way for a while.
  for (size_t i = 0; i < kServers; ++i) world().net().Cut(server(i), bob_machine());
  const auto reading = Begin(bob_machine(), reader->Read(text_.size(), 100'000));
  world().RunFor(50ms);
  ASSERT_TRUE(ByAlice(alice().Close(made)).ok());
  const auto writer = Open(alice_machine(), made->inode(), Client::OpenMode::kWrite);
  const std::string more = Pattern(6000, 'A');
  ASSERT_TRUE(ByAlice(writer->Append(Bytes(more))).ok());
  ASSERT_TRUE(ByAlice(writer->Sync()).ok());
  world().RunFor(50ms);  // bob hears of it
  const auto other = Begin(bob_machine(), reader->Read(0, 100));
  world().RunFor(50ms);
  ASSERT_FALSE(reading->has_value()) << "it showed nothing";
  ASSERT_FALSE(other->has_value()) << "it showed nothing";
  world().net().MendAll();
  const auto bytes = Finish(reading);
  ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
  EXPECT_EQ(bytes->size, more.size());
  EXPECT_TRUE(Finish(other).ok());
}

// Each entry took a timeout of its own.
TEST_F(TailTest, AListingWaitsForAllTailsTogether) {
  constexpr size_t kFiles = 8;
  for (size_t i = 0; i < kFiles; ++i) Written(fmt::format("f{}", i));
  std::vector<const sim::Machine*> servers;
  for (size_t i = 0; i < kServers; ++i) servers.push_back(&server(i));
  world().net().Partition({&bob_machine()}, servers);
  const Duration begin = world().now();
  const auto page = ByBob(bob().ReadDirectory(InodeId(1), "", 100, true));
  EXPECT_LT(world().now() - begin, 2 * bob().options().timeout);
  ASSERT_TRUE(page.ok()) << page.status().ToString();
  ASSERT_EQ(page->entries.size(), kFiles);
  for (const DirectoryEntry& entry : page->entries) EXPECT_FALSE(entry.attributes) << entry.name;
}

}  // namespace
}  // namespace moraine::fs
