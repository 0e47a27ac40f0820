#include "fs/mount/fuse_reply.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>

#include "base/limits.h"

namespace moraine::fs::mount {
namespace {

constexpr uint64_t kStatBlockBytes = 512;  // of st_blocks, whatever st_blksize says
constexpr Duration kKillCheckInterval = 100ms;

timespec ToTimespec(int64_t ns) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  int64_t seconds = ns / kPerSecond;
  int64_t rest = ns % kPerSecond;
  if (rest < 0) {  // before 1970
    rest += kPerSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

}  // namespace

mode_t ModeOfType(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return S_IFREG;
    case FileType::kDirectory:
      return S_IFDIR;
    case FileType::kSymlink:
      return S_IFLNK;
    case FileType::kFifo:
      return S_IFIFO;
    case FileType::kSocket:
      return S_IFSOCK;
    case FileType::kCharDevice:
      return S_IFCHR;
    case FileType::kBlockDevice:
      return S_IFBLK;
  }
  CheckFailed("a FileType", __FILE__, __LINE__, "unknown file type");
}

FileType TypeOfMode(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    case S_IFCHR:
      return FileType::kCharDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    default:
      return FileType::kRegular;
  }
}

double Seconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::duration<double>>(duration).count();
}

struct stat ToStat(const Attributes& attributes, uint64_t io_bytes_preferred) {
  struct stat out{};
  out.st_ino = attributes.inode.value();
  out.st_mode = ModeOfType(attributes.type) | (attributes.mode & 07777);
  out.st_nlink = attributes.links;
  out.st_uid = attributes.uid;
  out.st_gid = attributes.gid;
  out.st_rdev = attributes.rdev;
  out.st_size = static_cast<off_t>(attributes.size);
  out.st_blksize = static_cast<blksize_t>(io_bytes_preferred);
  out.st_blocks =
      static_cast<blkcnt_t>((attributes.stored_bytes + kStatBlockBytes - 1) / kStatBlockBytes);
  out.st_atim = ToTimespec(attributes.atime_ns);
  out.st_mtim = ToTimespec(attributes.mtime_ns);
  out.st_ctim = ToTimespec(attributes.ctime_ns);
  return out;
}

fuse_entry_param ToEntryParam(const Entry& entry, uint64_t io_bytes_preferred) {
  fuse_entry_param out{};
  out.ino = entry.attributes.inode.value();
  out.generation = 0;  // inode ids are never reused
  out.attr = ToStat(entry.attributes, io_bytes_preferred);
  out.attr_timeout = Seconds(entry.attributes_valid);
  out.entry_timeout = Seconds(entry.entry_valid);
  return out;
}

PendingRequest::PendingRequest(fuse_req_t request, Operation operation)
    : session_(*SessionOf(request)),
      request_(request),
      operation_(operation),
      caller_(fuse_req_ctx(request)->pid),
      begun_(session_.loop().Now()) {}

PendingRequest::~PendingRequest() {
  if (!answered_) fuse_reply_none(request_);
}

void PendingRequest::Close(int error) {
  answered_ = true;
  const FuseSession::OperationMetrics& metrics = session_.metrics(operation_);
  metrics.latency->RecordTime(session_.loop().Now() - begun_);
  // "Not there" is an answer like any other.
  if (error != 0 && error != ENOENT && error != ENODATA) metrics.errors->Add();
}

bool PendingRequest::Error(int error) {
  if (answered_) return false;
  Close(error);
  return fuse_reply_err(request_, error) == 0;
}

void PendingRequest::AllowInterrupt(const std::shared_ptr<PendingRequest>& self) {
  self->self_ = self;
  fuse_req_interrupt_func(self->request_, OnInterrupt, self.get());
}

// libfuse calls this while it holds the request's lock, so nothing is answered here. The request
// lives: libfuse forgets the callback when it is answered.
void PendingRequest::OnInterrupt(fuse_req_t, void* self) {
  auto pending = static_cast<PendingRequest*>(self)->self_.lock();
  if (pending == nullptr) return;
  FuseSession& session = pending->session_;
  session.requests().Spawn(AnswerWhenKilled(std::move(pending)));
}

// The kernel says "interrupted" once, for any signal, and most programs do not expect EINTR from a
// file; only one that is being killed does not care. So look for that as long as it waits.
Task<void> PendingRequest::AnswerWhenKilled(std::shared_ptr<PendingRequest> self) {
  while (!self->answered_) {  // also at the beginning: the request's memory goes with its answer
    if (IsBeingKilled(self->caller_)) {
      self->Error(EINTR);
      co_return;
    }
    co_await self->session_.loop().Sleep(kKillCheckInterval);
  }
}

bool IsBeingKilled(pid_t thread) {
  if (thread <= 0) return false;
  std::ifstream file("/proc/" + std::to_string(thread) + "/status");
  constexpr uint64_t kKillBit = uint64_t{1} << (SIGKILL - 1);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("SigPnd:") && !line.starts_with("ShdPnd:")) continue;
    if (std::strtoull(line.c_str() + 7, nullptr, 16) & kKillBit) return true;
  }
  return false;
}

}  // namespace moraine::fs::mount
