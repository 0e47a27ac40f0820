// The mount against the kernel of this machine, over a file system in memory: every operation goes
// through system calls, /dev/fuse and libfuse. Skipped where FUSE cannot be mounted.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "base/loop/descriptor.h"
#include "base/loop/uring_loop.h"
#include "base/random.h"
#include "fs/mount/fuse_session.h"
#include "fs/mount/memory_file_system.h"
#include "fs/mount/mount_point.h"

namespace moraine::fs::mount {
namespace {

using ::testing::ElementsAre;
using ::testing::IsSupersetOf;

std::string Errno() { return std::strerror(errno); }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  return file.good();
}

struct stat StatOf(const std::string& path) {
  struct stat found {};
  EXPECT_EQ(lstat(path.c_str(), &found), 0) << path << ": " << Errno();
  return found;
}

int RunShell(const std::string& command) {
  const int state = std::system(command.c_str());
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

std::string RandomBytes(Random& random, size_t size) {
  std::vector<uint64_t> words(size / sizeof(uint64_t) + 1);
  for (uint64_t& word : words) word = random.Next();
  return {reinterpret_cast<const char*>(words.data()), size};
}

class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!CheckFuseDevice().ok() || geteuid() != 0) GTEST_SKIP() << "FUSE cannot be mounted here";
    char pattern[] = "/tmp/moraine-kernel-test-XXXXXX";
    root_ = mkdtemp(pattern);
    path_ = root_ + "/mount";
    ASSERT_EQ(mkdir(path_.c_str(), 0755), 0);
    auto loop = UringLoop::Create();
    if (!loop.ok()) GTEST_SKIP() << loop.status().ToString();
    loop_ = std::move(*loop);
    files_ = std::make_unique<MemoryFileSystem>(*loop_);
    const Status mounted = StartMount();
    if (mounted.code() == Code::kUnavailable) GTEST_SKIP() << mounted.ToString();
    ASSERT_TRUE(mounted.ok()) << mounted.ToString();
  }

  void TearDown() override {
    if (thread_.joinable()) StopMount().Ignore();
    session_.reset();
    files_.reset();
    loop_.reset();
    if (!root_.empty()) {
      rmdir(path_.c_str());
      std::filesystem::remove_all(root_ + "/local");
      rmdir(root_.c_str());
    }
  }

  Status StartMount() {
    FuseOptions options;
    options.mountpoint = path_;
    options.source = "memory";
    options.mount_flags = {"allow_other"};
    auto session = FuseSession::Create(*loop_, *files_, options, metrics_);
    if (!session.ok()) return session.status();
    session_ = std::move(*session);
    MORAINE_RETURN_IF_ERROR(session_->Mount());
    thread_ = std::thread([this] { loop_->Run(); });
    std::promise<Status> ready;
    loop_->Post([&] {
      loop_->Spawn(Serve(this));
      loop_->Spawn(WaitReady(this, &ready));
    });
    return ready.get_future().get();
  }
  static Task<void> Serve(KernelTest* test) {
    const Status served = co_await test->session_->Serve();
    EXPECT_TRUE(served.ok()) << served.ToString();
  }
  static Task<void> WaitReady(KernelTest* test, std::promise<Status>* ready) {
    const bool is_ready = co_await test->session_->WaitReady(test->loop_->After(10s));
    ready->set_value(is_ready ? Status::Ok() : Status(Code::kTimeout, "no handshake"));
  }

  // As the program ends: detach, flush, let go. The first error of closing.
  Status StopMount() {
    std::promise<Status> stopped;
    loop_->Post([&] { loop_->Spawn(StopSession(this, &stopped)); });
    const Status status = stopped.get_future().get();
    thread_.join();
    return status;
  }
  static Task<void> StopSession(KernelTest* test, std::promise<Status>* stopped) {
    UringLoop& loop = *test->loop_;
    EXPECT_TRUE((co_await test->session_->Detach()).ok());
    co_await test->session_->WaitServed(loop.After(200ms));
    const Status status = co_await test->session_->Stop(loop.After(10s));
    loop.Stop();
    stopped->set_value(status);
  }

  // Runs `work` on the loop's thread.
  void OnLoop(std::function<void()> work) {
    std::promise<void> done;
    loop_->Post([&] {
      work();
      done.set_value();
    });
    done.get_future().get();
  }

  std::string At(const std::string& name) const { return path_ + "/" + name; }
  // A directory that is not on the mount.
  std::string Local() {
    std::filesystem::create_directories(root_ + "/local");
    return root_ + "/local";
  }
  Descriptor Open(const std::string& name, int flags, mode_t mode = 0644) {
    Descriptor file(open(At(name).c_str(), flags | O_CLOEXEC, mode));
    EXPECT_TRUE(file.valid()) << name << ": " << Errno();
    return file;
  }

  MetricRegistry metrics_;
  std::string root_;
  std::string path_;
  std::unique_ptr<UringLoop> loop_;
  std::unique_ptr<MemoryFileSystem> files_;
  std::unique_ptr<FuseSession> session_;
  std::thread thread_;
};

TEST_F(KernelTest, MountsUnderItsNameAndUnmounts) {
  const auto mount = FindMount(path_);
  ASSERT_TRUE(mount.has_value());
  EXPECT_EQ(mount->type, "fuse.moraine");
  EXPECT_EQ(mount->source, "memory");
  EXPECT_EQ(PrepareMountPoint(path_).code(), Code::kAlreadyExists);
  EXPECT_TRUE(SetReadAhead(path_, 4 << 20).ok());
  ASSERT_EQ(umount(path_.c_str()), 0) << Errno();
  EXPECT_TRUE(StopMount().ok());
  EXPECT_FALSE(FindMount(path_).has_value());
}

TEST_F(KernelTest, FilesHoldTheirBytes) {
  Random random(1);
  for (const size_t size : {0u, 1u, 4095u, 4096u, 100'000u, 3u << 20}) {
    const std::string bytes = RandomBytes(random, size);
    ASSERT_TRUE(WriteFile(At("f"), bytes)) << size;
    EXPECT_TRUE(ReadFile(At("f")) == bytes) << size;
    const struct stat found = StatOf(At("f"));
    EXPECT_EQ(static_cast<size_t>(found.st_size), size);
    EXPECT_EQ(static_cast<size_t>(found.st_blocks), (size + 511) / 512);
    EXPECT_EQ(found.st_mode, static_cast<mode_t>(S_IFREG | 0644));
  }
}

// Random reads, writes, truncations and mappings of one file, against a string.
TEST_F(KernelTest, RandomAccessAgreesWithAModel) {
  constexpr uint64_t kSeed = 4711;
  SCOPED_TRACE(fmt::format("seed {}", kSeed));
  constexpr size_t kSizeMax = 300'000;
  Random random(kSeed);
  std::string model;
  Descriptor file = Open("f", O_RDWR | O_CREAT | O_EXCL);
  for (int step = 0; step < 600; ++step) {
    const size_t offset = random.Uniform(kSizeMax / 2);
    const size_t length = random.Between(1, random.OneIn(4) ? kSizeMax / 2 : 5000);
    switch (random.Uniform(7)) {
      case 0:
      case 1: {
        const std::string bytes = RandomBytes(random, length);
        if (model.size() < offset + length) model.resize(offset + length);
        model.replace(offset, length, bytes);
        ASSERT_EQ(pwrite(file.get(), bytes.data(), length, static_cast<off_t>(offset)),
                  static_cast<ssize_t>(length));
        break;
      }
      case 2:
        model.resize(offset);
        ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(offset)), 0) << Errno();
        break;
      case 3:
        file.Reset();
        file = Open("f", O_RDWR);
        break;
      case 4: {
        if (model.empty()) break;
        void* at = mmap(nullptr, model.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        ASSERT_NE(at, MAP_FAILED) << Errno();
        ASSERT_EQ(std::memcmp(at, model.data(), model.size()), 0) << step;
        const size_t place = random.Uniform(model.size());
        static_cast<char*>(at)[place] = model[place] = static_cast<char>(random.Next());
        ASSERT_EQ(msync(at, model.size(), MS_SYNC), 0) << Errno();
        munmap(at, model.size());
        break;
      }
      default: {
        std::string got(length, '\0');
        const ssize_t size = pread(file.get(), got.data(), length, static_cast<off_t>(offset));
        ASSERT_GE(size, 0) << Errno();
        got.resize(static_cast<size_t>(size));
        const std::string expected =
            offset < model.size() ? model.substr(offset, length) : std::string();
        ASSERT_TRUE(got == expected) << "step " << step << " at " << offset;
      }
    }
  }
  file.Reset();
  EXPECT_TRUE(ReadFile(At("f")) == model);
}

TEST_F(KernelTest, AppendsOfSeveralDescriptorsKeepEveryRecord) {
  constexpr int kWriters = 4;
  constexpr int kRecords = 200;
  std::vector<std::thread> writers;
  Open("f", O_WRONLY | O_CREAT).Reset();
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([this, i] {
      const Descriptor file = Open("f", O_WRONLY | O_APPEND);
      for (int j = 0; j < kRecords; ++j) {
        const std::string record = fmt::format("{:02} {:04}\n", i, j);
        EXPECT_EQ(write(file.get(), record.data(), record.size()),
                  static_cast<ssize_t>(record.size()));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  std::ifstream file(At("f"));
  std::vector<int> next(kWriters, 0);
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const int i = std::stoi(line.substr(0, 2));
    EXPECT_EQ(std::stoi(line.substr(3)), next.at(i)++);
  }
  EXPECT_EQ(count, kWriters * kRecords);
}

TEST_F(KernelTest, OpenFlagsMeanWhatTheySay) {
  ASSERT_TRUE(WriteFile(At("f"), "content"));
  EXPECT_EQ(open(At("f").c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(open(At("nothing").c_str(), O_RDONLY), -1);
  EXPECT_EQ(errno, ENOENT);
  Open("f", O_WRONLY | O_CREAT).Reset();
  EXPECT_EQ(ReadFile(At("f")), "content");
  Open("f", O_WRONLY | O_TRUNC).Reset();
  EXPECT_EQ(ReadFile(At("f")), "");
  EXPECT_EQ(open(path_.c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, EISDIR);
  const std::string long_name(256, 'n');
  EXPECT_EQ(open(At(long_name).c_str(), O_RDWR | O_CREAT, 0644), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
  Open(std::string(255, 'n'), O_RDWR | O_CREAT).Reset();
}

TEST_F(KernelTest, ARemovedFileLivesWhileItIsOpen) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(unlink(At("f").c_str()), 0);
  ASSERT_EQ(pwrite(file.get(), "still", 5, 0), 5);
  char got[6] = {};
  ASSERT_EQ(pread(file.get(), got, 5, 0), 5) << Errno();
  EXPECT_STREQ(got, "still");
  struct stat found {};
  ASSERT_EQ(fstat(file.get(), &found), 0) << Errno();
  EXPECT_EQ(found.st_nlink, 0u);
  ASSERT_EQ(fchmod(file.get(), 0600), 0) << Errno();
  ASSERT_EQ(ftruncate(file.get(), 2), 0) << Errno();
  // Again, by the way that leads past its name.
  const Descriptor again(open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), O_RDONLY));
  ASSERT_TRUE(again.valid()) << Errno();
  EXPECT_EQ(read(again.get(), got, 5), 2);
}

TEST_F(KernelTest, NamesAreMadeMovedAndRemoved) {
  ASSERT_EQ(mkdir(At("d").c_str(), 0750), 0);
  EXPECT_EQ(StatOf(At("d")).st_mode, static_cast<mode_t>(S_IFDIR | 0750));
  EXPECT_EQ(StatOf(path_).st_nlink, 3u);
  ASSERT_TRUE(WriteFile(At("d/f"), "f"));
  ASSERT_EQ(link(At("d/f").c_str(), At("hard").c_str()), 0) << Errno();
  EXPECT_EQ(StatOf(At("hard")).st_ino, StatOf(At("d/f")).st_ino);
  EXPECT_EQ(StatOf(At("hard")).st_nlink, 2u);
  ASSERT_EQ(symlink("d/f", At("soft").c_str()), 0) << Errno();
  EXPECT_EQ(ReadFile(At("soft")), "f");
  EXPECT_EQ(StatOf(At("soft")).st_size, 3);
  ASSERT_EQ(mkfifo(At("pipe").c_str(), 0600), 0) << Errno();
  EXPECT_TRUE(S_ISFIFO(StatOf(At("pipe")).st_mode));
  ASSERT_EQ(mknod(At("dev").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0) << Errno();
  EXPECT_EQ(StatOf(At("dev")).st_rdev, makedev(1, 3));

  EXPECT_EQ(rmdir(At("d").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  ASSERT_EQ(rename(At("d/f").c_str(), At("g").c_str()), 0) << Errno();
  ASSERT_TRUE(WriteFile(At("h"), "h"));
  EXPECT_EQ(renameat2(AT_FDCWD, At("g").c_str(), AT_FDCWD, At("h").c_str(), RENAME_NOREPLACE), -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(renameat2(AT_FDCWD, At("g").c_str(), AT_FDCWD, At("h").c_str(), RENAME_EXCHANGE), 0)
      << Errno();
  EXPECT_EQ(ReadFile(At("g")), "h");
  EXPECT_EQ(ReadFile(At("h")), "f");
  EXPECT_EQ(renameat2(AT_FDCWD, At("g").c_str(), AT_FDCWD, At("h").c_str(), RENAME_WHITEOUT), -1);
  ASSERT_EQ(rename(At("g").c_str(), At("h").c_str()), 0) << Errno();
  EXPECT_EQ(ReadFile(At("h")), "h");
  EXPECT_EQ(rename(At("h").c_str(), At("d").c_str()), -1);
  EXPECT_EQ(errno, EISDIR);
  EXPECT_EQ(rename(At("d").c_str(), At("d/below").c_str()), -1);
  EXPECT_EQ(errno, EINVAL);
  ASSERT_EQ(rmdir(At("d").c_str()), 0) << Errno();
  EXPECT_EQ(StatOf(path_).st_nlink, 2u);
}

TEST_F(KernelTest, AttributesAreSet) {
  ASSERT_TRUE(WriteFile(At("f"), "12345"));
  ASSERT_EQ(chmod(At("f").c_str(), 04755), 0);
  ASSERT_EQ(chown(At("f").c_str(), 12, 34), 0);
  struct stat found = StatOf(At("f"));
  EXPECT_EQ(found.st_uid, 12u);
  EXPECT_EQ(found.st_gid, 34u);
  EXPECT_EQ(found.st_mode & 07777, 0755u) << "chown clears set-id bits";
  const timespec times[2] = {{.tv_sec = 5, .tv_nsec = 6}, {.tv_sec = 7, .tv_nsec = 8}};
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), times, 0), 0);
  found = StatOf(At("f"));
  EXPECT_EQ(found.st_atim.tv_sec, 5);
  EXPECT_EQ(found.st_atim.tv_nsec, 6);
  EXPECT_EQ(found.st_mtim.tv_sec, 7);
  EXPECT_EQ(found.st_mtim.tv_nsec, 8);
  const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
  const time_t before = time(nullptr);
  ASSERT_EQ(utimensat(AT_FDCWD, At("f").c_str(), now, 0), 0);
  found = StatOf(At("f"));
  EXPECT_EQ(found.st_atim.tv_sec, 5);
  EXPECT_GE(found.st_mtim.tv_sec, before - 1);
  ASSERT_EQ(truncate(At("f").c_str(), 2), 0);
  EXPECT_EQ(ReadFile(At("f")), "12");

  // As tar does it: written, dated, closed.
  Descriptor file = Open("t", O_WRONLY | O_CREAT);
  ASSERT_EQ(write(file.get(), "data", 4), 4);
  ASSERT_EQ(futimens(file.get(), times), 0);
  file.Reset();
  EXPECT_EQ(StatOf(At("t")).st_mtim.tv_sec, 7);
}

TEST_F(KernelTest, SetIdBitsGoWhenAStrangerWrites) {
  ASSERT_TRUE(WriteFile(At("f"), "12345"));
  ASSERT_EQ(chmod(At("f").c_str(), 06777), 0);
  ASSERT_EQ(chmod(path_.c_str(), 0777), 0);
  const Descriptor file = Open("f", O_WRONLY);
  const pid_t child = fork();
  if (child == 0) {
    if (setresuid(1000, 1000, 1000) != 0) _exit(3);
    _exit(write(file.get(), "x", 1) == 1 ? 0 : 4);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  EXPECT_EQ(WEXITSTATUS(state), 0);
  EXPECT_EQ(StatOf(At("f")).st_mode & 07777, 0777u);
}

TEST_F(KernelTest, FallocateMakesLongerAndPunchesNothing) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(fallocate(file.get(), 0, 100, 900), 0) << Errno();
  EXPECT_EQ(StatOf(At("f")).st_size, 1000);
  EXPECT_EQ(fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10), -1);
  EXPECT_EQ(errno, EOPNOTSUPP);
  EXPECT_EQ(lseek(file.get(), 0, SEEK_END), 1000);
  EXPECT_EQ(lseek(file.get(), 10, SEEK_DATA), 10);
  EXPECT_EQ(lseek(file.get(), 10, SEEK_HOLE), 1000);
}

TEST_F(KernelTest, ExtendedAttributes) {
  ASSERT_TRUE(WriteFile(At("f"), "x"));
  const std::string name = At("f");
  const char* path = name.c_str();
  ASSERT_EQ(setxattr(path, "user.key", "value", 5, XATTR_CREATE), 0) << Errno();
  EXPECT_EQ(setxattr(path, "user.key", "value", 5, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  char got[16] = {};
  EXPECT_EQ(getxattr(path, "user.key", nullptr, 0), 5);
  EXPECT_EQ(getxattr(path, "user.key", got, 3), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(getxattr(path, "user.key", got, sizeof got), 5);
  EXPECT_STREQ(got, "value");
  EXPECT_EQ(listxattr(path, got, sizeof got), 9);
  ASSERT_EQ(removexattr(path, "user.key"), 0);
  EXPECT_EQ(getxattr(path, "user.key", got, sizeof got), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(KernelTest, ListsLargeDirectoriesAndSeeksInThem) {
  constexpr int kNames = 3000;
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < kNames; ++i) {
    const std::string name = fmt::format("a-name-of-some-length-{:05}", i);
    expected.insert(name);
    Open(name, O_WRONLY | O_CREAT).Reset();
  }
  for (int pass = 0; pass < 2; ++pass) {
    DIR* directory = opendir(path_.c_str());
    ASSERT_NE(directory, nullptr);
    std::vector<std::string> names;
    std::vector<long> positions;
    while (const dirent* entry = readdir(directory)) {
      names.push_back(entry->d_name);
      positions.push_back(telldir(directory));
      struct stat found {};  // makes the kernel ask for attributes with the names
      EXPECT_EQ(fstatat(dirfd(directory), entry->d_name, &found, AT_SYMLINK_NOFOLLOW), 0);
    }
    EXPECT_EQ(names.size(), expected.size());
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), expected);
    for (const size_t i : {size_t{5}, size_t{2500}, size_t{0}, size_t{1}, size_t{1200}}) {
      seekdir(directory, positions[i]);
      const dirent* entry = readdir(directory);
      ASSERT_NE(entry, nullptr);
      EXPECT_EQ(entry->d_name, names[i + 1]);
    }
    rewinddir(directory);
    EXPECT_STREQ(readdir(directory)->d_name, ".");
    closedir(directory);
  }
}

TEST_F(KernelTest, SpaceIsReported) {
  struct statvfs space {};
  ASSERT_EQ(statvfs(path_.c_str(), &space), 0) << Errno();
  EXPECT_EQ(space.f_blocks * space.f_frsize, 1ULL << 40);
  EXPECT_EQ(space.f_bavail * space.f_frsize, 1ULL << 39);
  EXPECT_EQ(space.f_namemax, 255u);
}

TEST_F(KernelTest, WhatAnotherMountWroteIsSeenByTheNextOpen) {
  ASSERT_TRUE(WriteFile(At("f"), "old content"));
  InodeId inode;
  OnLoop([&] { inode = files_->Find(kRootInode, "f"); });
  for (const std::string bytes : {"new", "a much longer one", "the same length..", ""}) {
    ReadFile(At("f"));
    OnLoop([&] { files_->WriteElsewhere(inode, bytes); });
    EXPECT_EQ(ReadFile(At("f")), bytes);
    EXPECT_EQ(static_cast<size_t>(StatOf(At("f")).st_size), bytes.size());
  }
}

TEST_F(KernelTest, AnotherMountsRenameOverIsSeenByTheNextOpen) {
  ASSERT_TRUE(WriteFile(At("f"), "old"));
  ASSERT_TRUE(WriteFile(At("new"), "new"));
  DIR* directory = opendir(path_.c_str());  // the kernel now believes the names for a while
  while (readdir(directory) != nullptr) {
  }
  closedir(directory);
  std::promise<void> renamed;
  loop_->Post([&] {
    const auto rename = [](MemoryFileSystem* files, std::promise<void>* done) -> Task<void> {
      EXPECT_TRUE((co_await files->Rename(kRootInode, "new", kRootInode, "f",
                                          RenameMode::kReplace)).ok());
      done->set_value();
    };
    loop_->Spawn(rename(files_.get(), &renamed));
  });
  renamed.get_future().get();
  EXPECT_EQ(ReadFile(At("f")), "new");
}

TEST_F(KernelTest, StalePagesOfAnOpenFileAreDropped) {
  ASSERT_TRUE(WriteFile(At("f"), "aaaa"));
  const Descriptor file = Open("f", O_RDONLY);
  char got[5] = {};
  ASSERT_EQ(pread(file.get(), got, 4, 0), 4);
  InodeId inode;
  OnLoop([&] {
    inode = files_->Find(kRootInode, "f");
    files_->WriteElsewhere(inode, "bbbb");
    files_->TellStale(inode);
  });
  // The kernel is told by another thread, so it takes a moment.
  for (int i = 0; i < 1000 && got[0] != 'b'; ++i) {
    usleep(1000);
    ASSERT_EQ(pread(file.get(), got, 4, 0), 4);
  }
  EXPECT_STREQ(got, "bbbb");
}

TEST_F(KernelTest, ErrorsReachTheProgram) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(pwrite(file.get(), "x", 1, 0), 1);
  const auto fail = [this](Code code) {
    OnLoop([&] { files_->FailWith(code == Code::kOk ? Status() : Status(code, "as told")); });
  };
  fail(Code::kNoSpace);
  EXPECT_EQ(pwrite(file.get(), "x", 1, 0), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(fsync(file.get()), -1);
  EXPECT_EQ(errno, ENOSPC);
  fail(Code::kTimeout);
  struct stat found {};
  EXPECT_EQ(stat(At("f").c_str(), &found), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
  fail(Code::kUnavailable);
  EXPECT_EQ(close(dup(file.get())), -1);
  EXPECT_EQ(errno, EIO);
  fail(Code::kOk);
  EXPECT_EQ(stat(At("f").c_str(), &found), 0) << "the mount works again by itself";
  EXPECT_EQ(pwrite(file.get(), "y", 1, 0), 1);
}

TEST_F(KernelTest, AProcessThatIsKilledDoesNotWaitForTheServers) {
  ASSERT_TRUE(WriteFile(At("f"), "x"));
  int before = 0;
  OnLoop([&] {
    files_->Pause();
    before = files_->calls();
  });
  const std::string name = At("f");
  const pid_t child = fork();
  if (child == 0) {
    struct stat found {};
    _exit(stat(name.c_str(), &found) == 0 ? 0 : 1);
  }
  int calls = before;
  while (calls == before) {
    usleep(1000);
    OnLoop([&] { calls = files_->calls(); });
  }
  ASSERT_EQ(kill(child, SIGKILL), 0);
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);  // the test's time limit is the assertion
  EXPECT_TRUE(WIFSIGNALED(state));
  OnLoop([&] { files_->Resume(); });
  EXPECT_EQ(ReadFile(name), "x");
}

TEST_F(KernelTest, OrdinarySignalsInterruptNothing) {
  ASSERT_TRUE(WriteFile(At("f"), "x"));
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction old {};
  sigaction(SIGUSR1, &action, &old);  // without SA_RESTART
  OnLoop([&] { files_->Pause(); });
  const pthread_t self = pthread_self();
  std::thread signaller([&] {
    for (int i = 0; i < 20; ++i) {
      pthread_kill(self, SIGUSR1);
      usleep(10'000);
    }
    OnLoop([&] { files_->Resume(); });
  });
  struct stat found {};
  EXPECT_EQ(stat(At("f").c_str(), &found), 0) << Errno();
  signaller.join();
  sigaction(SIGUSR1, &old, nullptr);
}

TEST_F(KernelTest, StopFlushesWhatIsStillOpen) {
  const Descriptor file = Open("f", O_RDWR | O_CREAT);
  ASSERT_EQ(pwrite(file.get(), "kept", 4, 0), 4);
  EXPECT_TRUE(StopMount().ok());
  EXPECT_FALSE(FindMount(path_).has_value());
  EXPECT_EQ(files_->opens(), 0);
  EXPECT_EQ(files_->BytesOf(files_->Find(kRootInode, "f")), "kept");
  session_.reset();
  EXPECT_EQ(pwrite(file.get(), "late", 4, 0), -1);
}

TEST_F(KernelTest, ManyProcessesAtOnce) {
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([this, i] {
      Random random(static_cast<uint64_t>(i));
      const std::string directory = fmt::format("d{}", i);
      ASSERT_EQ(mkdir(At(directory).c_str(), 0755), 0);
      for (int j = 0; j < 60; ++j) {
        const std::string name = At(fmt::format("{}/{}", directory, j));
        const std::string bytes = RandomBytes(random, random.Uniform(200'000));
        ASSERT_TRUE(WriteFile(name, bytes));
        ASSERT_TRUE(ReadFile(name) == bytes) << name;
        if (j % 3 == 0) ASSERT_EQ(unlink(name.c_str()), 0);
      }
      EXPECT_EQ(std::distance(std::filesystem::directory_iterator(At(directory)),
                              std::filesystem::directory_iterator()),
                40);
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST_F(KernelTest, OrdinaryProgramsWork) {
  const std::string local = Local();
  ASSERT_EQ(RunShell(fmt::format("mkdir -p {0}/tree/sub && cp /bin/ls {0}/tree/ && "
                                 "head -c 3000000 /dev/urandom > {0}/tree/sub/big && "
                                 "ln -s sub/big {0}/tree/link && ln {0}/tree/ls {0}/tree/ls2 && "
                                 "touch -d 2001-02-03T04:05:06.789 {0}/tree/sub/old",
                                 local)),
            0);
  EXPECT_EQ(RunShell(fmt::format("cp -a {0}/tree {1}/copy && diff -r {0}/tree {1}/copy", local,
                                 path_)),
            0);
  EXPECT_EQ(RunShell(fmt::format("tar -C {0} -cf - tree | tar -C {1} -xf - && "
                                 "diff -r {0}/tree {1}/tree",
                                 local, path_)),
            0);
  EXPECT_EQ(StatOf(At("tree/sub/old")).st_mtim.tv_sec,
            StatOf(local + "/tree/sub/old").st_mtim.tv_sec);
  EXPECT_EQ(StatOf(At("tree/ls")).st_nlink, 2u);
  EXPECT_EQ(RunShell(fmt::format("{}/copy/ls / > /dev/null", path_)), 0) << "can be executed";
  EXPECT_EQ(RunShell(fmt::format("cd {} && seq 1000 > n && sed -i s/5/five/ n && "
                                 "test $(grep -c five n) = 271 && mv n m && rm -r copy tree",
                                 path_)),
            0);
}

TEST_F(KernelTest, GitWorks) {
  if (RunShell("git --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no git";
  const std::string git = "git -c user.name=t -c user.email=t@t -c init.defaultBranch=m ";
  EXPECT_EQ(RunShell(fmt::format("cd {} && mkdir r && cd r && {{ {git} init -q . && "
                                 "for i in $(seq 50); do echo $i > f$i; done && {git} add . && "
                                 "{git} commit -qm one && echo two > f1 && {git} commit -qam two && "
                                 "{git} clone -q . ../c && {git} -C ../c fsck --strict && "
                                 "{git} gc -q && test $(cat ../c/f1) = two && "
                                 "test -z \"$({git} status --porcelain)\"; }} > /dev/null 2>&1",
                                 path_, fmt::arg("git", git))),
            0);
}

}  // namespace
}  // namespace moraine::fs::mount
