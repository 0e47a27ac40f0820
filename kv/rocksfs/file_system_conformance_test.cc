// The suite on RocksDB's own file systems, on ours over a cluster in memory (with the directory
// owned and not), and on ours over the real cluster that MORAINE_TEST_URI names.
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
  targets.push_back(
      {.name = "RocksDbPosix", .make = MakePosix, .has_async_reads = false, .has_truncate = false});
  targets.push_back({.name = "RocksDbMemory",
                     .make = MakeRocksDbMemory,
                     .has_links = false,
                     .has_async_reads = false,
                     .is_strict = false});
  targets.push_back({.name = "MoraineInMemory", .make = [] { return MakeOurs(false); }});
  targets.push_back({.name = "MoraineInMemoryOwned", .make = [] { return MakeOurs(true); }});
  if (const char* uri = std::getenv("MORAINE_TEST_URI")) {
    targets.push_back({.name = "MoraineCluster", .make = [uri] { return MakeFromUri(uri); }});
  }
  return targets;
}

INSTANTIATE_TEST_SUITE_P(All, FileSystemConformance, ::testing::ValuesIn(Targets()),
                         [](const auto& info) { return info.param.name; });

TEST(FileSystemConformanceOnACluster, IsAskedFor) {
  if (std::getenv("MORAINE_TEST_URI") != nullptr) return;
  std::cerr << "\n*** THE CONFORMANCE SUITE DID NOT RUN ON A REAL CLUSTER: set MORAINE_TEST_URI to "
               "moraine://HOST:PORT/path\n\n";
  GTEST_SKIP() << "MORAINE_TEST_URI names no running cluster";
}

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

TEST(MoraineFileSystem, ReadsOfNothingAndWithoutABuffer) {
  auto volume = std::make_shared<Volume>(
      std::make_unique<MemoryCluster>(std::make_shared<MemoryServer>()), VolumeOptions());
  MoraineFileSystem fs(volume, "/", PolicyNames());
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(fs.NewWritableFile("/f", rocksdb::FileOptions(), &file, nullptr).ok());
  ASSERT_TRUE(file->Append("0123456789", rocksdb::IOOptions(), nullptr).ok());
  std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
  ASSERT_TRUE(fs.NewRandomAccessFile("/f", rocksdb::FileOptions(), &reader, nullptr).ok());
  rocksdb::Slice got("x");
  EXPECT_TRUE(reader->Read(5, 0, rocksdb::IOOptions(), &got, nullptr, nullptr).ok());
  EXPECT_TRUE(got.empty());
  EXPECT_TRUE(reader->Read(5, 2, rocksdb::IOOptions(), &got, nullptr, nullptr).IsInvalidArgument());
}

// Debian's RocksDB ends the process when its logger's file gives an error twice.
TEST(MoraineFileSystem, TheLogNeverFails) {
  const auto server = std::make_shared<MemoryServer>();
  auto volume = std::make_shared<Volume>(std::make_unique<MemoryCluster>(server), VolumeOptions());
  MoraineFileSystem fs(volume, "/", PolicyNames());
  const rocksdb::IOOptions io;
  std::unique_ptr<rocksdb::FSWritableFile> log;
  ASSERT_TRUE(fs.NewWritableFile("/LOG", rocksdb::FileOptions(), &log, nullptr).ok());
  server->Fail("append", Status(Code::kFenced, "another owner"));
  ASSERT_TRUE(log->Append("lost", io, nullptr).ok());
  EXPECT_TRUE(log->Sync(io, nullptr).IsIOFenced());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(log->Append("lost too", io, nullptr).ok());
    EXPECT_TRUE(log->Flush(io, nullptr).ok());
  }
  EXPECT_TRUE(log->Close(io, nullptr).ok());
}

TEST(MoraineFileSystem, TheLogWaitsForTheOwnership) {
  const auto server = std::make_shared<MemoryServer>();
  const rocksdb::IOOptions io;
  const auto process = [&server] {
    return std::make_shared<MoraineFileSystem>(
        std::make_shared<Volume>(std::make_unique<MemoryCluster>(server), VolumeOptions()), "/",
        PolicyNames());
  };
  const auto owner = process();
  const auto heir = process();
  ASSERT_TRUE(owner->CreateDirIfMissing("/db", io, nullptr).ok());
  rocksdb::FileLock* owners_lock = nullptr;
  ASSERT_TRUE(owner->LockFile("/db/LOCK", io, &owners_lock, nullptr).ok());
  std::unique_ptr<rocksdb::FSWritableFile> owners_log;
  ASSERT_TRUE(owner->NewWritableFile("/db/LOG", rocksdb::FileOptions(), &owners_log, nullptr).ok());
  ASSERT_TRUE(owners_log->Append("owner", io, nullptr).ok());
  ASSERT_TRUE(owners_log->Sync(io, nullptr).ok());

  ASSERT_TRUE(heir->CreateDirIfMissing("/db", io, nullptr).ok());
  ASSERT_TRUE(heir->RenameFile("/db/LOG", "/db/LOG.old.1", io, nullptr).ok());
  std::unique_ptr<rocksdb::FSWritableFile> log;
  ASSERT_TRUE(heir->NewWritableFile("/db/LOG", rocksdb::FileOptions(), &log, nullptr).ok());
  ASSERT_TRUE(log->Append("before ", io, nullptr).ok());
  EXPECT_TRUE(log->Sync(io, nullptr).IsIOFenced());
  EXPECT_EQ(server->Find("/db/LOG")->bytes, "owner");
  std::unique_ptr<rocksdb::FSWritableFile> other;
  EXPECT_TRUE(
      heir->NewWritableFile("/db/1.log", rocksdb::FileOptions(), &other, nullptr).IsIOFenced());
  EXPECT_TRUE(heir->RenameFile("/db/LOCK", "/db/x", io, nullptr).IsIOFenced());

  rocksdb::FileLock* lock = nullptr;
  ASSERT_TRUE(heir->LockFile("/db/LOCK", io, &lock, nullptr).ok());
  ASSERT_TRUE(log->Append("after", io, nullptr).ok());
  EXPECT_EQ(log->GetFileSize(io, nullptr), 12u);
  ASSERT_TRUE(log->Sync(io, nullptr).ok());
  EXPECT_EQ(server->Find("/db/LOG")->bytes, "before after");
  EXPECT_EQ(server->Find("/db/LOG.old.1")->bytes, "owner");
  ASSERT_TRUE(log->Close(io, nullptr).ok());
  ASSERT_TRUE(heir->UnlockFile(lock, io, nullptr).ok());
  EXPECT_TRUE(owner->UnlockFile(owners_lock, io, nullptr).IsIOFenced());
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
