#include "base/loop/uring_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "base/limits.h"
#include "base/loop/socket.h"
#include "base/loop/uring_loop.h"

namespace moraine {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr mode_t kDirectoryMode = 0755;
constexpr size_t kCallBytesMax = 1 << 30;  // the kernel takes at most 2 GiB in one call
constexpr size_t kVectorsMax = 64;         // of one call; the rest follows in the next

Status DiskError(int error, const char* what, const std::string& path) {
  return StatusFromErrno(error, std::string(what) + " " + path);
}

// Of an fsync, whatever the kernel calls it: what it covered may be gone, so nobody may take it for
// a passing lack of something and try again.
Status SyncError(int error, const char* what, const std::string& path) {
  return {Code::kIo, DiskError(error, what, path).message()};
}

class UringFile : public File {
 public:
  UringFile(UringLoop& loop, Descriptor fd, std::string path, bool direct)
      : loop_(loop), fd_(std::move(fd)), path_(std::move(path)), direct_(direct) {}

  Task<Result<size_t>> ReadAt(uint64_t offset, MutableBytes buffer) override;
  Task<Status> WriteAt(uint64_t offset, std::span<const ConstBytes> pieces) override;
  Task<Status> Sync() override;
  Task<Status> Allocate(uint64_t offset, uint64_t length) override;
  Task<Status> Truncate(uint64_t size) override;
  Task<Result<uint64_t>> Size() override;

 private:
  Task<Status> WriteMany(uint64_t offset, PieceCursor rest);
  // A transfer that stopped inside a page cannot go on directly; for a read it met the file's end.
  bool MayContinue(size_t bytes) const { return !direct_ || bytes % limits::kBlockBytes == 0; }

  UringLoop& loop_;
  const Descriptor fd_;
  const std::string path_;
  const bool direct_;
};

Task<Result<size_t>> UringFile::ReadAt(uint64_t offset, MutableBytes buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    const size_t bytes = std::min(buffer.size() - done, kCallBytesMax);
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_read(sqe, fd_.get(), buffer.data() + done, static_cast<unsigned>(bytes),
                         offset + done);
    });
    if (end.result == -EINTR || end.result == -EAGAIN) continue;
    if (end.result < 0) co_return DiskError(-end.result, "read", path_);
    if (end.result == 0) break;
    done += static_cast<size_t>(end.result);
    if (!MayContinue(done)) break;
  }
  co_return done;
}

Task<Status> UringFile::WriteAt(uint64_t offset, std::span<const ConstBytes> pieces) {
  if (pieces.size() != 1) co_return co_await WriteMany(offset, PieceCursor(pieces));
  const ConstBytes data = pieces.front();
  size_t done = 0;
  while (done < data.size()) {
    const size_t bytes = std::min(data.size() - done, kCallBytesMax);
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_write(sqe, fd_.get(), data.data() + done, static_cast<unsigned>(bytes),
                          offset + done);
    });
    if (end.result == -EINTR || end.result == -EAGAIN) continue;
    if (end.result <= 0) co_return DiskError(end.result == 0 ? EIO : -end.result, "write", path_);
    done += static_cast<size_t>(end.result);
    if (done < data.size() && !MayContinue(done)) co_return DiskError(EIO, "write", path_);
  }
  co_return Status::Ok();
}

Task<Status> UringFile::WriteMany(uint64_t offset, PieceCursor rest) {
  std::array<iovec, kVectorsMax> vectors;
  while (!rest.done()) {
    const size_t count = rest.Fill(vectors.data(), vectors.size());
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_writev(sqe, fd_.get(), vectors.data(), static_cast<unsigned>(count), offset);
    });
    if (end.result == -EINTR || end.result == -EAGAIN) continue;
    if (end.result <= 0) co_return DiskError(end.result == 0 ? EIO : -end.result, "write", path_);
    rest.Advance(static_cast<size_t>(end.result));
    offset += static_cast<size_t>(end.result);
    if (!rest.done() && !MayContinue(offset)) co_return DiskError(EIO, "write", path_);
  }
  co_return Status::Ok();
}

// Never repeated after an error: the kernel may have dropped the dirty pages with it.
Task<Status> UringFile::Sync() {
  const RingEnd end = co_await loop_.ring().Do(
      [&](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd_.get(), IORING_FSYNC_DATASYNC); });
  if (end.result < 0) co_return SyncError(-end.result, "sync", path_);
  co_return Status::Ok();
}

Task<Status> UringFile::Allocate(uint64_t offset, uint64_t length) {
  while (true) {
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_fallocate(sqe, fd_.get(), 0, static_cast<off_t>(offset),
                              static_cast<off_t>(length));
    });
    if (end.result == 0) co_return Status::Ok();
    if (end.result == -EINTR) continue;
    if (end.result != -EOPNOTSUPP) co_return DiskError(-end.result, "allocate", path_);
    // A file system that cannot reserve: growing the file is all that can be had.
    MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t size, co_await Size());
    if (size < offset + length) co_return co_await Truncate(offset + length);
    co_return Status::Ok();
  }
}

Task<Status> UringFile::Truncate(uint64_t size) {
  int error = 0;
  co_await loop_.RunBlocking([&] {
    if (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) error = errno;
  });
  if (error != 0) co_return DiskError(error, "truncate", path_);
  co_return Status::Ok();
}

Task<Result<uint64_t>> UringFile::Size() {
  struct stat attributes{};
  if (fstat(fd_.get(), &attributes) != 0) co_return DiskError(errno, "stat", path_);
  co_return static_cast<uint64_t>(attributes.st_size);
}

// An open-file-description lock: it also keeps out other holders in this process.
class DescriptorLock : public FileLock {
 public:
  explicit DescriptorLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  const Descriptor fd_;
};

class UringDisk : public Disk {
 public:
  explicit UringDisk(UringLoop& loop) : loop_(loop) {}

  Task<Result<std::unique_ptr<File>>> Open(std::string path, OpenOptions options) override;
  Task<Status> MakeDirectory(std::string path) override;
  Task<Status> Remove(std::string path) override;
  Task<Status> Rename(std::string from, std::string to) override;
  Task<Status> SyncDirectory(std::string path) override;
  Task<Result<std::vector<DirectoryEntry>>> List(std::string path) override;
  Result<DiskSpace> Space(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  Task<Result<Descriptor>> OpenDescriptor(std::string path, int flags);

  UringLoop& loop_;
};

Task<Result<Descriptor>> UringDisk::OpenDescriptor(std::string path, int flags) {
  while (true) {
    const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
      io_uring_prep_openat(sqe, AT_FDCWD, path.c_str(), flags | O_CLOEXEC, kFileMode);
    });
    if (end.result >= 0) co_return Descriptor(end.result);
    if (end.result != -EINTR) co_return DiskError(-end.result, "open", path);
  }
}

Task<Result<std::unique_ptr<File>>> UringDisk::Open(std::string path, OpenOptions options) {
  MORAINE_CHECK(options.write || !options.create, "a file is created to be written");
  int flags = options.write ? O_RDWR : O_RDONLY;
  if (options.create) flags |= O_CREAT;
  if (options.exclusive) flags |= O_EXCL;
  if (options.direct) flags |= O_DIRECT;
  if (options.durable_writes) flags |= O_DSYNC;
  MORAINE_CO_ASSIGN_OR_RETURN(Descriptor fd, co_await OpenDescriptor(path, flags));
  co_return std::make_unique<UringFile>(loop_, std::move(fd), std::move(path), options.direct);
}

Task<Status> UringDisk::MakeDirectory(std::string path) {
  const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
    io_uring_prep_mkdirat(sqe, AT_FDCWD, path.c_str(), kDirectoryMode);
  });
  if (end.result < 0) co_return DiskError(-end.result, "make directory", path);
  co_return Status::Ok();
}

Task<Status> UringDisk::Remove(std::string path) {
  int flags = 0;
  while (true) {
    const RingEnd end = co_await loop_.ring().Do(
        [&](io_uring_sqe* sqe) { io_uring_prep_unlinkat(sqe, AT_FDCWD, path.c_str(), flags); });
    if (end.result == -EISDIR && flags == 0) {
      flags = AT_REMOVEDIR;
      continue;
    }
    if (end.result < 0) co_return DiskError(-end.result, "remove", path);
    co_return Status::Ok();
  }
}

Task<Status> UringDisk::Rename(std::string from, std::string to) {
  const RingEnd end = co_await loop_.ring().Do([&](io_uring_sqe* sqe) {
    io_uring_prep_renameat(sqe, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0);
  });
  if (end.result < 0) co_return DiskError(-end.result, "rename", from + " to " + to);
  co_return Status::Ok();
}

Task<Status> UringDisk::SyncDirectory(std::string path) {
  MORAINE_CO_ASSIGN_OR_RETURN(const Descriptor fd,
                              co_await OpenDescriptor(path, O_RDONLY | O_DIRECTORY));
  const RingEnd end =
      co_await loop_.ring().Do([&](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd.get(), 0); });
  if (end.result < 0) co_return SyncError(-end.result, "sync directory", path);
  co_return Status::Ok();
}

Result<std::vector<DirectoryEntry>> ListNow(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (directory == nullptr) return DiskError(errno, "list", path);
  std::vector<DirectoryEntry> entries;
  while (true) {
    errno = 0;
    const dirent* found = readdir(directory.get());
    if (found == nullptr) {
      if (errno != 0) return DiskError(errno, "list", path);
      return entries;
    }
    DirectoryEntry entry{found->d_name, found->d_type == DT_DIR};
    if (entry.name == "." || entry.name == "..") continue;
    if (found->d_type == DT_UNKNOWN) {
      struct stat attributes{};
      if (fstatat(dirfd(directory.get()), found->d_name, &attributes, AT_SYMLINK_NOFOLLOW) == 0) {
        entry.is_directory = S_ISDIR(attributes.st_mode);
      }
    }
    entries.push_back(std::move(entry));
  }
}

Task<Result<std::vector<DirectoryEntry>>> UringDisk::List(std::string path) {
  Result<std::vector<DirectoryEntry>> entries = std::vector<DirectoryEntry>{};
  co_await loop_.RunBlocking([&] { entries = ListNow(path); });
  co_return entries;
}

Result<DiskSpace> UringDisk::Space(const std::string& path) {
  struct statvfs space{};
  if (statvfs(path.c_str(), &space) != 0) return DiskError(errno, "ask for the space of", path);
  return DiskSpace{.total_bytes = space.f_blocks * space.f_frsize,
                   .free_bytes = space.f_bavail * space.f_frsize};
}

Result<std::unique_ptr<FileLock>> UringDisk::Lock(const std::string& path) {
  Descriptor fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!fd.valid()) return DiskError(errno, "open", path);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno == EAGAIN || errno == EACCES) {
      return Status(Code::kBusy, "lock " + path + ": another process holds it");
    }
    return DiskError(errno, "lock", path);
  }
  return std::make_unique<DescriptorLock>(std::move(fd));
}

}  // namespace

std::unique_ptr<Disk> MakeUringDisk(UringLoop& loop) { return std::make_unique<UringDisk>(loop); }

}  // namespace moraine
