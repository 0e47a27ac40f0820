// What small reads brought is kept: reading it again asks nobody, and is never wrong.
#include <gmock/gmock.h>

#include "base/random.h"
#include "test/client/client_fixture.h"

namespace moraine::fs {
namespace {

class CacheTest : public ClientTest {
 protected:
  static ClientOptions WithCache() {
    ClientOptions options = WithTimeout(5s);
    options.cache_bytes = 256_KiB;
    return options;
  }
  CacheTest() : ClientTest(WithCache()) {}

  // A closed file of one chunk.
  InodeId Written(const std::string& name, const std::string& content) {
    const auto file = Create(name);
    MORAINE_CHECK(ByAlice(file->Append(Bytes(content))).ok());
    MORAINE_CHECK(ByAlice(file->Sync()).ok());
    MORAINE_CHECK(ByAlice(alice().Close(file)).ok());
    return file->inode();
  }
};

TEST_F(CacheTest, WhatWasReadIsReadAgainWithoutAnyServer) {
  const std::string content = Pattern(300'000);
  const auto file = Open(bob_machine(), Written("f", content), Client::OpenMode::kRead);
  ASSERT_EQ(Read(bob_machine(), file, 100'000, 4096), content.substr(100'000, 4096));
  const uint64_t end = content.size();
  ASSERT_EQ(Read(bob_machine(), file, end - 48, 48), content.substr(end - 48));
  for (size_t i = 0; i < kServers; ++i) server(i).Kill();
  EXPECT_EQ(Read(bob_machine(), file, 100'000, 4096), content.substr(100'000, 4096));
  EXPECT_EQ(Read(bob_machine(), file, 98'304, 32'768), content.substr(98'304, 32'768));
  EXPECT_EQ(Read(bob_machine(), file, end - 5000, 5000), content.substr(end - 5000));
  EXPECT_THAT(Read(bob_machine(), file, 0, 4096), testing::StartsWith("error"));
}

TEST_F(CacheTest, EveryWindowIsRightWhenTheCacheIsSmallerThanTheFile) {
  const std::string content = Pattern(1'500'003);
  const auto file = Open(bob_machine(), Written("f", content), Client::OpenMode::kRead);
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(seed);
  Random random(seed);
  for (int i = 0; i < 400; ++i) {
    const uint64_t offset = random.Uniform(content.size());
    const uint64_t length = 1 + random.Uniform(70'000);
    ASSERT_EQ(Read(bob_machine(), file, offset, length), content.substr(offset, length))
        << "at " << offset << ", " << length << " bytes";
  }
}

// The block in which a file ends while it is still written.
TEST_F(CacheTest, ABlockThatGrowsIsReadToItsNewEnd) {
  std::string content = Pattern(10'000);
  const auto file = Create("f");
  ASSERT_TRUE(ByAlice(file->Append(Bytes(content))).ok());
  ASSERT_TRUE(ByAlice(file->Flush()).ok());
  const auto reader = Open(bob_machine(), file->inode(), Client::OpenMode::kRead);
  for (int i = 0; i < 5; ++i) {
    const uint64_t end = content.size();
    ASSERT_EQ(Read(bob_machine(), reader, end - 1000, 1000), content.substr(end - 1000));
    ASSERT_EQ(Read(alice_machine(), file, end - 1000, 1000), content.substr(end - 1000));
    const std::string more = Pattern(700, static_cast<char>('b' + i));
    ASSERT_TRUE(ByAlice(file->Append(Bytes(more))).ok());
    ASSERT_TRUE(ByAlice(file->Flush()).ok());
    content += more;
  }
  EXPECT_EQ(Read(bob_machine(), reader, 8000, 10'000), content.substr(8000));
}

TEST_F(CacheTest, WhatWasOverwrittenElsewhereIsSeenByTheNextOpen) {
  std::string content = Pattern(200'000);
  const InodeId inode = Written("f", content);
  ASSERT_EQ(Content(inode), content);
  for (const uint64_t offset : {0, 33'000, 150'000}) {
    const auto read = Open(bob_machine(), inode, Client::OpenMode::kRead);
    ASSERT_EQ(Read(bob_machine(), read, offset, 5000), content.substr(offset, 5000));
    ASSERT_TRUE(ByBob(bob().Close(read)).ok());

    const std::string patch = Pattern(3000, 'p');
    const auto write = Open(alice_machine(), inode, Client::OpenMode::kWrite);
    ASSERT_TRUE(ByAlice(write->Write(offset + 1000, Bytes(patch))).ok());
    ASSERT_TRUE(ByAlice(alice().Close(write)).ok());
    content.replace(offset + 1000, patch.size(), patch);

    const auto again = Open(bob_machine(), inode, Client::OpenMode::kRead);
    ASSERT_EQ(Read(bob_machine(), again, offset, 5000), content.substr(offset, 5000));
    ASSERT_TRUE(ByBob(bob().Close(again)).ok());
  }
}

}  // namespace
}  // namespace moraine::fs
