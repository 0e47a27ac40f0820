// What RocksDB expects of a FileSystem, as one suite that runs on any: RocksDB's own for
// comparison, and ours. Instantiate FileSystemConformance with ConformanceTargets.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/file_system.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"

namespace moraine::rocksfs {

struct ConformanceFileSystem {
  std::shared_ptr<rocksdb::FileSystem> fs;
  std::string root;  // an existing directory, empty for this test
};

struct ConformanceTarget {
  std::string name;
  std::function<ConformanceFileSystem()> make;
  bool has_links = true;
  bool has_async_reads = true;
  bool has_truncate = true;
  bool is_strict = true;  // checks what the interface says about errors and directories
};

inline void PrintTo(const ConformanceTarget& target, std::ostream* out) { *out << target.name; }

class FileSystemConformance : public ::testing::TestWithParam<ConformanceTarget> {
 protected:
  using IOStatus = rocksdb::IOStatus;
  using Slice = rocksdb::Slice;

  void SetUp() override {
    made_ = GetParam().make();
    fs_ = made_.fs.get();
    ASSERT_NE(fs_, nullptr);
  }

  std::string P(const std::string& name) const { return made_.root + "/" + name; }

  static ::testing::AssertionResult Ok(const IOStatus& status) {
    if (status.ok()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << status.ToString();
  }
  std::unique_ptr<rocksdb::FSWritableFile> Create(const std::string& name) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    EXPECT_TRUE(Ok(fs_->NewWritableFile(P(name), files_, &file, nullptr)));
    return file;
  }
  void Write(const std::string& name, const std::string& bytes) {
    const auto file = Create(name);
    ASSERT_NE(file, nullptr);
    ASSERT_TRUE(Ok(file->Append(bytes, io_, nullptr)));
    ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  }
  std::string Read(const std::string& name) {
    std::string bytes;
    const IOStatus status = rocksdb::ReadFileToString(fs_, P(name), &bytes);
    return status.ok() ? bytes : "error: " + status.ToString();
  }
  std::unique_ptr<rocksdb::FSRandomAccessFile> OpenRandom(const std::string& name) {
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    EXPECT_TRUE(Ok(fs_->NewRandomAccessFile(P(name), files_, &file, nullptr)));
    return file;
  }
  uint64_t Size(const std::string& name) {
    uint64_t size = 0;
    EXPECT_TRUE(Ok(fs_->GetFileSize(P(name), io_, &size, nullptr)));
    return size;
  }
  bool Exists(const std::string& name) {
    const IOStatus status = fs_->FileExists(P(name), io_, nullptr);
    EXPECT_TRUE(status.ok() || status.IsNotFound()) << status.ToString();
    return status.ok();
  }
  // RocksDB's own give "." and ".." in some versions, and ours may hold a LOCK; both are left out.
  std::vector<std::string> Children(const std::string& path) {
    std::vector<std::string> names;
    EXPECT_TRUE(Ok(fs_->GetChildren(path, io_, &names, nullptr)));
    std::erase_if(names, [](const std::string& name) {
      return name == "." || name == ".." || name == "LOCK";
    });
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::string Pattern(uint64_t seed, size_t size) {
    Random random(seed);
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.Next());
    return bytes;
  }

  ConformanceFileSystem made_;
  rocksdb::FileSystem* fs_ = nullptr;
  const rocksdb::FileOptions files_;
  const rocksdb::IOOptions io_;
};

using NameList = std::vector<std::string>;

TEST_P(FileSystemConformance, WhatIsFlushedCanBeReadWhileTheWriterIsOpen) {
  const auto file = Create("f");
  ASSERT_TRUE(Ok(file->Append("hello ", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Flush(io_, nullptr)));
  EXPECT_EQ(Read("f"), "hello ");
  EXPECT_EQ(Size("f"), 6u);
  ASSERT_TRUE(Ok(file->Append("world", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Sync(io_, nullptr)));
  EXPECT_EQ(file->GetFileSize(io_, nullptr), 11u);
  EXPECT_EQ(Size("f"), 11u);
  EXPECT_EQ(Read("f"), "hello world");
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_EQ(Read("f"), "hello world");
}

TEST_P(FileSystemConformance, AReaderFollowsAFileThatGrows) {
  const auto writer = Create("1.log");
  ASSERT_TRUE(Ok(writer->Append("first", io_, nullptr)));
  ASSERT_TRUE(Ok(writer->Flush(io_, nullptr)));
  std::unique_ptr<rocksdb::FSSequentialFile> reader;
  ASSERT_TRUE(Ok(fs_->NewSequentialFile(P("1.log"), files_, &reader, nullptr)));
  char scratch[64];
  Slice got;
  ASSERT_TRUE(Ok(reader->Read(sizeof(scratch), io_, &got, scratch, nullptr)));
  EXPECT_EQ(got.ToString(), "first");
  ASSERT_TRUE(Ok(writer->Append("second", io_, nullptr)));
  ASSERT_TRUE(Ok(writer->Flush(io_, nullptr)));
  ASSERT_TRUE(Ok(reader->Read(sizeof(scratch), io_, &got, scratch, nullptr)));
  EXPECT_EQ(got.ToString(), "second");
  ASSERT_TRUE(Ok(writer->Close(io_, nullptr)));
}

TEST_P(FileSystemConformance, SequentialReadsOfAnySizeAndSkips) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  const std::string bytes = Pattern(seed, 1'500'000);
  Write("f", bytes);
  std::unique_ptr<rocksdb::FSSequentialFile> file;
  ASSERT_TRUE(Ok(fs_->NewSequentialFile(P("f"), files_, &file, nullptr)));
  std::string scratch(1 << 20, '\0');
  size_t at = 0;
  while (at < bytes.size()) {
    if (random.OneIn(8)) {
      const size_t skip = random.Uniform(40'000);
      ASSERT_TRUE(Ok(file->Skip(skip)));
      at = std::min(at + skip, bytes.size());
      continue;
    }
    const size_t n = 1 + random.Uniform(random.OneIn(4) ? 500'000 : 5'000);
    Slice got;
    ASSERT_TRUE(Ok(file->Read(n, io_, &got, scratch.data(), nullptr)));
    ASSERT_EQ(got.size(), std::min(n, bytes.size() - at));
    ASSERT_TRUE(got == Slice(bytes.data() + at, got.size())) << "at " << at;
    at += got.size();
  }
  Slice got;
  ASSERT_TRUE(Ok(file->Read(10, io_, &got, scratch.data(), nullptr)));
  EXPECT_EQ(got.size(), 0u);
}

TEST_P(FileSystemConformance, RandomReadsEndAtTheEndOfTheFile) {
  const std::string bytes = Pattern(1, 100'000);
  Write("f", bytes);
  const auto file = OpenRandom("f");
  std::string scratch(200'000, '\0');
  const std::pair<uint64_t, size_t> kReads[] = {{0, 1},       {0, 200'000},   {99'999, 10},
                                                {100'000, 1}, {50'000, 4096}, {4095, 2}};
  for (const auto& [offset, n] : kReads) {
    Slice got;
    ASSERT_TRUE(Ok(file->Read(offset, n, io_, &got, scratch.data(), nullptr)));
    const size_t expected = std::min<size_t>(n, bytes.size() - offset);
    ASSERT_EQ(got.size(), expected) << offset << " " << n;
    EXPECT_TRUE(got == Slice(bytes.data() + offset, expected)) << offset << " " << n;
  }
}

TEST_P(FileSystemConformance, MultiReadFillsEachRequest) {
  const std::string bytes = Pattern(2, 300'000);
  Write("f", bytes);
  const auto file = OpenRandom("f");
  std::vector<rocksdb::FSReadRequest> requests;
  std::vector<std::string> buffers;
  for (const uint64_t offset : {0u, 5'000u, 100'000u, 299'990u}) {
    buffers.emplace_back(4096, '\0');
    rocksdb::FSReadRequest request;
    request.offset = offset;
    request.len = 4096;
    requests.push_back(std::move(request));
  }
  for (size_t i = 0; i < requests.size(); ++i) requests[i].scratch = buffers[i].data();
  ASSERT_TRUE(Ok(file->MultiRead(requests.data(), requests.size(), io_, nullptr)));
  for (const rocksdb::FSReadRequest& request : requests) {
    ASSERT_TRUE(Ok(request.status));
    ASSERT_EQ(request.result.size(), std::min<size_t>(4096, bytes.size() - request.offset));
    EXPECT_TRUE(request.result == Slice(bytes.data() + request.offset, request.result.size()));
  }
}

TEST_P(FileSystemConformance, AsyncReadsCallBackOnceInPollOrAbort) {
  if (!GetParam().has_async_reads) GTEST_SKIP() << "has no ReadAsync";
  const std::string bytes = Pattern(3, 100'000);
  Write("f", bytes);
  const auto file = OpenRandom("f");
  struct Seen {
    int calls = 0;
    IOStatus status;
    std::string bytes;
  };
  constexpr size_t kReads = 6;
  std::vector<Seen> seen(kReads);
  std::vector<std::string> buffers(kReads, std::string(8192, '\0'));
  std::vector<void*> handles(kReads, nullptr);
  std::vector<rocksdb::IOHandleDeleter> deleters(kReads);
  for (size_t i = 0; i < kReads; ++i) {
    rocksdb::FSReadRequest request;
    request.offset = i * 19'000;
    request.len = 8192;
    request.scratch = buffers[i].data();
    ASSERT_TRUE(Ok(file->ReadAsync(
        request, io_,
        [](const rocksdb::FSReadRequest& done, void* argument) {
          auto* seen = static_cast<Seen*>(argument);
          ++seen->calls;
          seen->status = done.status;
          seen->bytes = done.result.ToString();
        },
        &seen[i], &handles[i], &deleters[i], nullptr)));
  }
  std::vector<void*> aborted = {handles[0], handles[1]};
  std::vector<void*> polled(handles.begin() + 2, handles.end());
  ASSERT_TRUE(Ok(fs_->AbortIO(aborted)));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Ok(fs_->Poll(polled, polled.size())));
  ASSERT_TRUE(Ok(fs_->AbortIO(polled)));
  ASSERT_TRUE(Ok(fs_->Poll(aborted, aborted.size())));
  for (size_t i = 0; i < kReads; ++i) {
    EXPECT_EQ(seen[i].calls, 1);
    if (i < 2) {
      EXPECT_TRUE(seen[i].status.IsAborted()) << seen[i].status.ToString();
    } else {
      EXPECT_TRUE(Ok(seen[i].status));
      EXPECT_EQ(seen[i].bytes, bytes.substr(i * 19'000, 8192));
    }
    deleters[i](handles[i]);
  }
}

TEST_P(FileSystemConformance, NewWritableFileBeginsAnew) {
  Write("f", "the old content, which is longer");
  Write("f", "new");
  EXPECT_EQ(Read("f"), "new");
  EXPECT_EQ(Size("f"), 3u);
}

TEST_P(FileSystemConformance, ReopenAppends) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  for (const char* part : {"one ", "two ", "three"}) {
    ASSERT_TRUE(Ok(fs_->ReopenWritableFile(P("f"), files_, &file, nullptr)));
    ASSERT_TRUE(Ok(file->Append(part, io_, nullptr)));
    ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  }
  EXPECT_EQ(Read("f"), "one two three");
}

TEST_P(FileSystemConformance, ReuseTakesTheOldFileAway) {
  Write("old.log", "old content");
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(Ok(fs_->ReuseWritableFile(P("new.log"), P("old.log"), files_, &file, nullptr)));
  ASSERT_TRUE(Ok(file->Append("fresh", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_FALSE(Exists("old.log"));
  EXPECT_EQ(Read("new.log").substr(0, 5), "fresh");
  EXPECT_FALSE(fs_->ReuseWritableFile(P("x"), P("missing"), files_, &file, nullptr).ok());
}

TEST_P(FileSystemConformance, LargeFilesInPiecesOfAllSizes) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  const std::string bytes = Pattern(seed, 6 << 20);
  const auto file = Create("000001.sst");
  for (size_t at = 0; at < bytes.size();) {
    const size_t n = std::min<size_t>(1 + random.Uniform(random.OneIn(3) ? 1'200'000 : 3'000),
                                      bytes.size() - at);
    ASSERT_TRUE(Ok(file->Append(Slice(bytes.data() + at, n), io_, nullptr)));
    at += n;
    ASSERT_EQ(file->GetFileSize(io_, nullptr), at);
  }
  ASSERT_TRUE(Ok(file->RangeSync(0, 1 << 20, io_, nullptr)));
  ASSERT_TRUE(Ok(file->Fsync(io_, nullptr)));
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_TRUE(Read("000001.sst") == bytes);
}

TEST_P(FileSystemConformance, MissingFilesAreSaidToBeMissing) {
  std::unique_ptr<rocksdb::FSSequentialFile> sequential;
  std::unique_ptr<rocksdb::FSRandomAccessFile> random;
  const IOStatus opened = fs_->NewSequentialFile(P("none"), files_, &sequential, nullptr);
  EXPECT_FALSE(opened.ok());
  EXPECT_EQ(sequential, nullptr);
  EXPECT_FALSE(fs_->NewRandomAccessFile(P("none"), files_, &random, nullptr).ok());
  EXPECT_EQ(random, nullptr);
  EXPECT_FALSE(Exists("none"));
  uint64_t number = 0;
  EXPECT_FALSE(fs_->GetFileSize(P("none"), io_, &number, nullptr).ok());
  EXPECT_FALSE(fs_->DeleteFile(P("none"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->RenameFile(P("none"), P("other"), io_, nullptr).ok());
  if (!GetParam().is_strict) return;
  EXPECT_TRUE(opened.IsPathNotFound()) << opened.ToString();
  std::vector<std::string> names;
  EXPECT_TRUE(fs_->GetChildren(P("nodir"), io_, &names, nullptr).IsNotFound());
  std::unique_ptr<rocksdb::FSWritableFile> file;
  EXPECT_TRUE(fs_->NewWritableFile(P("nodir/f"), files_, &file, nullptr).IsPathNotFound());
  EXPECT_EQ(file, nullptr);
  std::unique_ptr<rocksdb::FSDirectory> directory;
  EXPECT_FALSE(fs_->NewDirectory(P("nodir"), io_, &directory, nullptr).ok());
  EXPECT_FALSE(fs_->GetFileModificationTime(P("none"), io_, &number, nullptr).ok());
}

TEST_P(FileSystemConformance, RenameReplaces) {
  Write("a", "A");
  Write("b", "B, longer");
  ASSERT_TRUE(Ok(fs_->RenameFile(P("a"), P("b"), io_, nullptr)));
  EXPECT_EQ(Read("b"), "A");
  EXPECT_FALSE(Exists("a"));
  EXPECT_EQ(Children(made_.root), (NameList{"b"}));
}

TEST_P(FileSystemConformance, RenameOfTheFileThatIsBeingWritten) {
  const auto file = Create("x.dbtmp");
  ASSERT_TRUE(Ok(file->Append("12", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Flush(io_, nullptr)));
  ASSERT_TRUE(Ok(fs_->RenameFile(P("x.dbtmp"), P("CURRENT"), io_, nullptr)));
  ASSERT_TRUE(Ok(file->Append("34", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_EQ(Read("CURRENT"), "1234");
  EXPECT_EQ(Size("CURRENT"), 4u);
}

TEST_P(FileSystemConformance, Directories) {
  ASSERT_TRUE(Ok(fs_->CreateDir(P("d"), io_, nullptr)));
  ASSERT_TRUE(Ok(fs_->CreateDirIfMissing(P("d"), io_, nullptr)));
  ASSERT_TRUE(Ok(fs_->CreateDirIfMissing(P("d/e"), io_, nullptr)));
  Write("d/f", "12345");
  EXPECT_EQ(Children(P("d")), (NameList{"e", "f"}));
  EXPECT_EQ(Children(P("d/")), (NameList{"e", "f"}));
  EXPECT_TRUE(Exists("d"));
  std::vector<rocksdb::FileAttributes> attributes;
  ASSERT_TRUE(Ok(fs_->GetChildrenFileAttributes(P("d"), io_, &attributes, nullptr)));
  uint64_t size_of_f = 0;
  for (const rocksdb::FileAttributes& entry : attributes) {
    if (entry.name == "f") size_of_f = entry.size_bytes;
  }
  EXPECT_EQ(size_of_f, 5u);
  std::unique_ptr<rocksdb::FSDirectory> directory;
  ASSERT_TRUE(Ok(fs_->NewDirectory(P("d"), io_, &directory, nullptr)));
  ASSERT_TRUE(Ok(directory->Fsync(io_, nullptr)));
  ASSERT_TRUE(Ok(directory->FsyncWithDirOptions(io_, nullptr, rocksdb::DirFsyncOptions("f"))));
  if (!GetParam().is_strict) return;
  ASSERT_TRUE(Ok(directory->Close(io_, nullptr)));
  bool is_directory = false;
  ASSERT_TRUE(Ok(fs_->IsDirectory(P("d"), io_, &is_directory, nullptr)));
  EXPECT_TRUE(is_directory);
  ASSERT_TRUE(Ok(fs_->IsDirectory(P("d/f"), io_, &is_directory, nullptr)));
  EXPECT_FALSE(is_directory);
  EXPECT_FALSE(fs_->CreateDir(P("d"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->CreateDirIfMissing(P("d/f"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->DeleteDir(P("d"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->DeleteFile(P("d/e"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->DeleteDir(P("d/f"), io_, nullptr).ok());
  ASSERT_TRUE(Ok(fs_->RenameFile(P("d"), P("moved"), io_, nullptr)));
  EXPECT_EQ(Read("moved/f"), "12345");
  EXPECT_FALSE(Exists("d"));
  ASSERT_TRUE(Ok(fs_->DeleteFile(P("moved/f"), io_, nullptr)));
  ASSERT_TRUE(Ok(fs_->DeleteDir(P("moved/e"), io_, nullptr)));
  ASSERT_TRUE(Ok(fs_->DeleteDir(P("moved"), io_, nullptr)));
  EXPECT_FALSE(Exists("moved"));
}

TEST_P(FileSystemConformance, HardLinks) {
  if (!GetParam().has_links) GTEST_SKIP() << "has no hard links";
  Write("a", "shared");
  ASSERT_TRUE(Ok(fs_->LinkFile(P("a"), P("b"), io_, nullptr)));
  EXPECT_EQ(Read("b"), "shared");
  uint64_t links = 0;
  ASSERT_TRUE(Ok(fs_->NumFileLinks(P("a"), io_, &links, nullptr)));
  EXPECT_EQ(links, 2u);
  bool same = false;
  ASSERT_TRUE(Ok(fs_->AreFilesSame(P("a"), P("b"), io_, &same, nullptr)));
  EXPECT_TRUE(same);
  Write("c", "shared");
  ASSERT_TRUE(Ok(fs_->AreFilesSame(P("a"), P("c"), io_, &same, nullptr)));
  EXPECT_FALSE(same);
  EXPECT_FALSE(fs_->LinkFile(P("a"), P("c"), io_, nullptr).ok());
  EXPECT_FALSE(fs_->LinkFile(P("none"), P("d"), io_, nullptr).ok());
  ASSERT_TRUE(Ok(fs_->DeleteFile(P("a"), io_, nullptr)));
  EXPECT_EQ(Read("b"), "shared");
}

TEST_P(FileSystemConformance, TheLockIsTakenOnce) {
  ASSERT_TRUE(Ok(fs_->CreateDirIfMissing(P("db"), io_, nullptr)));
  for (int round = 0; round < 2; ++round) {
    rocksdb::FileLock* lock = nullptr;
    ASSERT_TRUE(Ok(fs_->LockFile(P("db/LOCK"), io_, &lock, nullptr)));
    ASSERT_NE(lock, nullptr);
    rocksdb::FileLock* second = nullptr;
    EXPECT_FALSE(fs_->LockFile(P("db/LOCK"), io_, &second, nullptr).ok());
    EXPECT_EQ(second, nullptr);
    ASSERT_TRUE(Ok(fs_->UnlockFile(lock, io_, nullptr)));
  }
}

TEST_P(FileSystemConformance, TruncateShortens) {
  Write("f", "0123456789");
  const IOStatus truncated = fs_->Truncate(P("f"), 4, io_, nullptr);
  if (!GetParam().has_truncate) {
    EXPECT_TRUE(truncated.IsNotSupported());
    GTEST_SKIP() << "has no Truncate";
  }
  ASSERT_TRUE(Ok(truncated));
  EXPECT_EQ(Read("f"), "0123");
  EXPECT_EQ(Size("f"), 4u);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  ASSERT_TRUE(Ok(fs_->ReopenWritableFile(P("f"), files_, &file, nullptr)));
  ASSERT_TRUE(Ok(file->Append("abcdef", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Truncate(6, io_, nullptr)));
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_EQ(Read("f"), "0123ab");
}

TEST_P(FileSystemConformance, RandomRwFilesWriteAnywhere) {
  Write("f", "0123456789");
  std::unique_ptr<rocksdb::FSRandomRWFile> file;
  ASSERT_TRUE(Ok(fs_->NewRandomRWFile(P("f"), files_, &file, nullptr)));
  ASSERT_TRUE(Ok(file->Write(3, "abc", io_, nullptr)));
  ASSERT_TRUE(Ok(file->Write(10, "end", io_, nullptr)));
  char scratch[32];
  Slice got;
  ASSERT_TRUE(Ok(file->Read(2, 5, io_, &got, scratch, nullptr)));
  EXPECT_EQ(got.ToString(), "2abc6");
  ASSERT_TRUE(Ok(file->Sync(io_, nullptr)));
  ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
  EXPECT_EQ(Read("f"), "012abc6789end");
}

TEST_P(FileSystemConformance, ModificationTimesAreNow) {
  const auto now = [] {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count());
  };
  const uint64_t before = now();
  Write("f", "x");
  uint64_t modified = 0;
  ASSERT_TRUE(Ok(fs_->GetFileModificationTime(P("f"), io_, &modified, nullptr)));
  EXPECT_GE(modified + 2, before);  // another machine's clock may be a little behind
  EXPECT_LE(modified, now() + 2);
}

TEST_P(FileSystemConformance, UniqueIdsBelongToTheFile) {
  Write("a", "same bytes");
  Write("b", "same bytes");
  const auto id = [&](const std::string& name) {
    char buffer[64];
    const auto file = OpenRandom(name);
    return std::string(buffer, file->GetUniqueId(buffer, sizeof(buffer)));
  };
  const std::string a = id("a");
  if (a.empty()) GTEST_SKIP() << "has no unique ids";
  EXPECT_EQ(id("a"), a);
  EXPECT_NE(id("b"), a);
  EXPECT_FALSE(id("b").starts_with(a));
}

TEST_P(FileSystemConformance, SmallQuestions) {
  std::string absolute;
  ASSERT_TRUE(Ok(fs_->GetAbsolutePath("/x/y", io_, &absolute, nullptr)));
  EXPECT_EQ(absolute, "/x/y");
  std::string directory;
  ASSERT_TRUE(Ok(fs_->GetTestDirectory(io_, &directory, nullptr)));
  EXPECT_FALSE(directory.empty());
  uint64_t bytes = 0;
  const IOStatus space = fs_->GetFreeSpace(made_.root, io_, &bytes, nullptr);
  if (GetParam().is_strict) {
    ASSERT_TRUE(Ok(space));
    EXPECT_GT(bytes, 0u);
  }
}

TEST_P(FileSystemConformance, ManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 40;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < kRounds; ++i) {
        const std::string mine = std::to_string(t) + "-" + std::to_string(i);
        const std::string bytes = Pattern(static_cast<uint64_t>(t * 1000 + i), 1000 + i * 500);
        Write(mine + ".dbtmp", bytes);
        ASSERT_TRUE(Ok(fs_->RenameFile(P(mine + ".dbtmp"), P(mine + ".sst"), io_, nullptr)));
        ASSERT_TRUE(Read(mine + ".sst") == bytes) << mine;
        Children(made_.root);
        if (i % 2 == 0) ASSERT_TRUE(Ok(fs_->DeleteFile(P(mine + ".sst"), io_, nullptr)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Children(made_.root).size(), static_cast<size_t>(kThreads * kRounds / 2));
}

// Random changes of a few files against a map of what they must hold.
TEST_P(FileSystemConformance, RandomChangesAgainstAModel) {
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE("MORAINE_SEED=" + std::to_string(seed));
  Random random(seed);
  const std::vector<std::string> names = {"1.log", "2.sst", "CURRENT", "LOG", "x.dbtmp"};
  std::map<std::string, std::string> model;
  for (int step = 0; step < 600; ++step) {
    const std::string name = names[random.Uniform(names.size())];
    const std::string other = names[random.Uniform(names.size())];
    const bool exists = model.contains(name);
    const std::string bytes =
        Pattern(random.Next(), random.Uniform(random.OneIn(6) ? 90'000 : 300));
    SCOPED_TRACE("step " + std::to_string(step) + " on " + name);
    switch (random.Uniform(6)) {
      case 0:
        Write(name, bytes);
        model[name] = bytes;
        break;
      case 1: {
        std::unique_ptr<rocksdb::FSWritableFile> file;
        ASSERT_TRUE(Ok(fs_->ReopenWritableFile(P(name), files_, &file, nullptr)));
        ASSERT_TRUE(Ok(file->Append(bytes, io_, nullptr)));
        if (random.OneIn(2)) ASSERT_TRUE(Ok(file->Sync(io_, nullptr)));
        ASSERT_TRUE(Ok(file->Append(bytes, io_, nullptr)));
        ASSERT_TRUE(Ok(file->Close(io_, nullptr)));
        model[name] += bytes + bytes;
        break;
      }
      case 2:
        if (name == other) break;
        ASSERT_EQ(fs_->RenameFile(P(name), P(other), io_, nullptr).ok(), exists);
        if (!exists) break;
        model[other] = model[name];
        model.erase(name);
        break;
      case 3:
        ASSERT_EQ(fs_->DeleteFile(P(name), io_, nullptr).ok(), exists);
        model.erase(name);
        break;
      case 4:
        ASSERT_EQ(Exists(name), exists);
        if (exists) ASSERT_TRUE(Read(name) == model[name]);
        break;
      default: {
        NameList expected;
        for (const auto& [known, content] : model) {
          expected.push_back(known);
          ASSERT_EQ(Size(known), content.size()) << known;
        }
        ASSERT_EQ(Children(made_.root), expected);
        break;
      }
    }
  }
  for (const auto& [name, content] : model) EXPECT_TRUE(Read(name) == content) << name;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FileSystemConformance);

}  // namespace moraine::rocksfs
