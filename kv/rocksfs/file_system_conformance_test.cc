// The suite on RocksDB's own file systems, on ours over a cluster in memory (with the directory owned
// and not), and on ours over the real cluster that MORAINE_TEST_URI names.
#include "kv/rocksfs/file_system_conformance.h"

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "kv/rocksfs/file_system.h"
#include "kv/rocksfs/memory_cluster.h"
#include "kv/rocksfs/register.h"

namespace moraine::rocksfs {
namespace {

std::string FreshName() {
  static int number = 0;
  return "conformance-" + std::to_string(getpid()) + "-" + std::to_string(++number);
}

// Removes the directory with the test.
ConformanceFileSystem MakePosix() {
  const std::filesystem::path root = std::filesystem::temp_directory_path() / FreshName();
  std::filesystem::create_directories(root);
  std::shared_ptr<rocksdb::FileSystem> fs(
      rocksdb::FileSystem::Default().get(),
      [root](rocksdb::FileSystem*) { std::filesystem::remove_all(root); });
  return {std::move(fs), root.string()};
}

ConformanceFileSystem MakeRocksDbMemory() {
  const std::shared_ptr<rocksdb::Env> env(rocksdb::NewMemEnv(rocksdb::Env::Default()));
  rocksdb::FileSystem* fs = env->GetFileSystem().get();
  EXPECT_TRUE(fs->CreateDirIfMissing("/db", rocksdb::IOOptions(), nullptr).ok());
  return {std::shared_ptr<rocksdb::FileSystem>(env, fs), "/db"};
}

ConformanceFileSystem MakeOurs(bool owned) {
  auto volume = std::make_shared<Volume>(
      std::make_unique<MemoryCluster>(std::make_shared<MemoryServer>()), VolumeOptions());
  auto fs = std::make_shared<MoraineFileSystem>(volume, "/prefix/of/uri", PolicyNames());
  EXPECT_TRUE(fs->CreateDirIfMissing("/db", rocksdb::IOOptions(), nullptr).ok());
  if (owned) {
    const Result<InodeId> lock = volume->Lock("/prefix/of/uri/db/LOCK");
    EXPECT_TRUE(lock.ok()) << lock.status().ToString();
  }
  return {std::move(fs), "/db"};
}

ConformanceFileSystem MakeFromUri(const char* uri) {
  RegisterFileSystem();
  std::shared_ptr<rocksdb::FileSystem> fs;
  const rocksdb::Status made =
      rocksdb::FileSystem::CreateFromString(rocksdb::ConfigOptions(), uri, &fs);
  EXPECT_TRUE(made.ok()) << made.ToString();
  if (!made.ok()) return {};
  const std::string root = "/" + FreshName();
  EXPECT_TRUE(fs->CreateDirIfMissing(root, rocksdb::IOOptions(), nullptr).ok());
  return {std::move(fs), root};
}

std::vector<ConformanceTarget> Targets() {
  std::vector<ConformanceTarget> targets;
  targets.push_back({.name = "RocksDbPosix", .make = MakePosix, .has_async_reads = false});
  targets.push_back({.name = "RocksDbMemory",
                     .make = MakeRocksDbMemory,
                     .has_links = false,
                     .has_async_reads = false,
                     .is_strict = false});
  targets.push_back({.name = "MoraineInMemory", .make = [] { return MakeOurs(false); }});
  targets.push_back({.name = "MoraineInMemoryOwned", .make = [] { return MakeOurs(true); }});
  ConformanceTarget cluster;
  cluster.name = "MoraineCluster";
  const char* uri = std::getenv("MORAINE_TEST_URI");
  if (uri == nullptr) {
    cluster.skip_reason = "MORAINE_TEST_URI names no running cluster (moraine://HOST:PORT/path)";
  } else {
    cluster.make = [uri] { return MakeFromUri(uri); };
  }
  targets.push_back(std::move(cluster));
  return targets;
}

INSTANTIATE_TEST_SUITE_P(All, FileSystemConformance, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param.name; });

// ---- What only ours promises

TEST(MoraineFileSystem, TellsTheClusterThePolicyByFileName) {
  const auto server = std::make_shared<MemoryServer>();
  auto volume = std::make_shared<Volume>(std::make_unique<MemoryCluster>(server), VolumeOptions());
  MoraineFileSystem fs(volume, "/", PolicyNames{.state = "S", .table = "T", .other = "O"});
  const std::pair<const char*, const char*> kFiles[] = {
      {"/000001.log", "S"}, {"/MANIFEST-000002", "S"}, {"/000003.sst", "T"}, {"/LOG", "O"}};
  for (const auto& [path, policy] : kFiles) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    ASSERT_TRUE(fs.NewWritableFile(path, rocksdb::FileOptions(), &file, nullptr).ok());
    EXPECT_EQ(server->Find(path)->policy, policy) << path;
    EXPECT_EQ(server->Find(path)->expect_stream, std::string(path) != "/LOG") << path;
  }
}

TEST(MoraineFileSystem, DamageNamesTheFileAndTakesOneRequestOnly) {
  const auto server = std::make_shared<MemoryServer>();
  auto volume = std::make_shared<Volume>(std::make_unique<MemoryCluster>(server), VolumeOptions());
  MoraineFileSystem fs(volume, "/", PolicyNames());
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(fs.NewWritableFile("/1.sst", rocksdb::FileOptions(), &file, nullptr).ok());
  ASSERT_TRUE(file->Append("0123456789", rocksdb::IOOptions(), nullptr).ok());
  ASSERT_TRUE(file->Close(rocksdb::IOOptions(), nullptr).ok());
  std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
  ASSERT_TRUE(fs.NewRandomAccessFile("/1.sst", rocksdb::FileOptions(), &reader, nullptr).ok());
  // The first fault hits the parallel read, the second the first request alone.
  server->Fail("read", Status(Code::kCorruption, "no good replica"), 2);
  char scratch[2][4];
  rocksdb::FSReadRequest requests[2];
  for (int i = 0; i < 2; ++i) {
    requests[i].offset = static_cast<uint64_t>(i * 4);
    requests[i].len = 4;
    requests[i].scratch = scratch[i];
  }
  ASSERT_TRUE(reader->MultiRead(requests, 2, rocksdb::IOOptions(), nullptr).ok());
  EXPECT_TRUE(requests[0].status.IsCorruption());
  EXPECT_TRUE(requests[0].status.GetDataLoss());
  EXPECT_THAT(requests[0].status.ToString(), ::testing::HasSubstr("/1.sst"));
  ASSERT_TRUE(requests[1].status.ok()) << requests[1].status.ToString();
  EXPECT_EQ(requests[1].result.ToString(), "4567");
}

TEST(RegisterFileSystem, ABadUriGivesOneClearSentence) {
  RegisterFileSystem();
  std::shared_ptr<rocksdb::FileSystem> fs;
  const std::pair<const char*, const char*> kCases[] = {
      {"moraine://nowhere", "HOST:PORT"},
      {"moraine://127.0.0.1:1/x?colour=red", "no option 'colour'"},
      {"moraine://127.0.0.1:1/x?timeout=never", "timeout=never"},
  };
  for (const auto& [uri, expected] : kCases) {
    const rocksdb::Status made =
        rocksdb::FileSystem::CreateFromString(rocksdb::ConfigOptions(), uri, &fs);
    EXPECT_TRUE(made.IsInvalidArgument()) << made.ToString();
    EXPECT_THAT(made.ToString(), ::testing::HasSubstr(expected));
  }
}

TEST(RegisterFileSystem, AClusterThatIsNotThereIsAnErrorWithinTheTimeout) {
  RegisterFileSystem();
  std::shared_ptr<rocksdb::FileSystem> fs;
  const rocksdb::Status made = rocksdb::FileSystem::CreateFromString(
      rocksdb::ConfigOptions(), "moraine://127.0.0.1:1/x?timeout=200ms", &fs);
  EXPECT_FALSE(made.ok());
  EXPECT_THAT(made.ToString(), ::testing::HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(fs, nullptr);
}

}  // namespace
}  // namespace moraine::rocksfs
