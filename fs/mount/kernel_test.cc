// Every operation of a mount, through system calls, /dev/fuse and libfuse.
#include <dirent.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <set>

#include "fs/mount/kernel_fixture.h"

// libfuse 3.14 keeps the path of a session that was detached rather than unmounted by it.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() { return "leak:fuse_session_mount"; }

namespace moraine::fs::mount {
namespace {

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

// The flag was the one of the open: bytes went to the end that belonged elsewhere, and the other
// way round they went over what another mount had appended.
TEST_F(KernelTest, AppendingIsTurnedOnAndOffWhileTheFileIsOpen) {
  const auto bytes = [this] {
    std::string all;
    OnLoop([&] { all = files_->BytesOf(files_->Find(kRootInode, "f")); });
    return all;
  };
  const Descriptor file = Open("f", O_WRONLY | O_CREAT | O_APPEND);
  const int flags = fcntl(file.get(), F_GETFL);
  ASSERT_EQ(write(file.get(), "0123456789", 10), 10);
  ASSERT_EQ(fcntl(file.get(), F_SETFL, flags & ~O_APPEND), 0) << Errno();
  ASSERT_EQ(pwrite(file.get(), "abc", 3, 0), 3);
  EXPECT_EQ(bytes(), "abc3456789");
  OnLoop([&] { files_->WriteElsewhere(files_->Find(kRootInode, "f"), "abc3456789 elsewhere"); });
  ASSERT_EQ(fcntl(file.get(), F_SETFL, flags | O_APPEND), 0) << Errno();
  ASSERT_EQ(write(file.get(), " here", 5), 5);
  EXPECT_EQ(bytes(), "abc3456789 elsewhere here");
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
  struct stat found{};
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
  const timespec now[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                           {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
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
      struct stat found{};  // makes the kernel ask for attributes with the names
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
  struct statvfs space{};
  ASSERT_EQ(statvfs(path_.c_str(), &space), 0) << Errno();
  EXPECT_EQ(space.f_blocks * space.f_frsize, 1ULL << 40);
  EXPECT_EQ(space.f_bavail * space.f_frsize, 1ULL << 39);
  EXPECT_EQ(space.f_namemax, 255u);
}

}  // namespace
}  // namespace moraine::fs::mount
