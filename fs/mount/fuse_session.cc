#include "fs/mount/fuse_session.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "fs/mount/fuse_operations.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/mount_point.h"

namespace moraine::fs::mount {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kRequestHeaderBytesMax = 4096;
// fuse_in_header and fuse_write_in of the kernel's protocol. Where a request's buffer begins within
// its page, so that the bytes of a write begin at a page.
constexpr size_t kWriteHeaderBytes = 80;
constexpr size_t kBufferPageOffset = kPageBytes - kWriteHeaderBytes;
// Requests read before others that are ready get their turn.
constexpr int kRequestsPerTurn = 32;
// Smaller writes are copied out, so that many of them do not hold a whole request buffer each.
constexpr size_t kCopiedWriteBytesMax = 64 << 10;

constexpr std::array<const char*, static_cast<size_t>(Operation::kCount_)> kOperationNames = {
    "lookup",  "getattr",  "setattr",   "readlink",    "mknod",     "unlink",     "rmdir",
    "rename",  "link",     "create",    "open",        "read",      "write",      "flush",
    "release", "fsync",    "fallocate", "opendir",     "readdir",   "releasedir", "fsyncdir",
    "statfs",  "getxattr", "setxattr",  "removexattr", "listxattr",
};

// libfuse tells why something failed only through its log.
std::string& LastFuseMessage() {
  thread_local std::string message;
  return message;
}

__attribute__((format(printf, 2, 0))) void OnFuseLog(fuse_log_level level, const char* format,
                                                     va_list arguments) {
  std::array<char, 1024> text{};
  vsnprintf(text.data(), text.size(), format, arguments);
  std::string line = text.data();
  while (!line.empty() && line.back() == '\n') line.pop_back();
  if (level <= FUSE_LOG_WARNING) LogWarning("libfuse: {}", line);
  LastFuseMessage() = std::move(line);
}

// An option's value in libfuse's own quoting.
std::string Escape(const std::string& value) {
  std::string out;
  for (const char c : value) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

FuseSession::Metrics FuseSession::MakeMetrics(MetricRegistry& registry) {
  Metrics metrics;
  for (size_t i = 0; i < metrics.size(); ++i) {
    const MetricRegistry::Labels labels = {{"operation", kOperationNames[i]}};
    metrics[i].errors = &registry.GetCounter(
        "moraine_mount_errors_total", "Requests of the kernel answered with an error.", labels);
    metrics[i].latency =
        &registry.GetHistogram("moraine_mount_request_seconds",
                               "Requests of the kernel, from reading to answering.", labels);
  }
  return metrics;
}

FuseSession::FuseSession(UringLoop& loop, FileSystem& file_system, FuseOptions options,
                         MetricRegistry& metrics)
    : loop_(loop),
      options_(std::move(options)),
      metrics_(MakeMetrics(metrics)),
      dropper_(std::make_unique<CacheDropper>([this](InodeId inode) { DropCache(inode); })),
      dispatcher_(std::make_unique<Dispatcher>(loop, file_system, options_.dispatcher,
                                               [this](InodeId inode) { dropper_->Drop(inode); })),
      requests_(loop),
      ready_(loop),
      ended_(loop) {}

Result<std::unique_ptr<FuseSession>> FuseSession::Create(UringLoop& loop, FileSystem& file_system,
                                                         FuseOptions options,
                                                         MetricRegistry& metrics) {
  std::unique_ptr<FuseSession> session(
      new FuseSession(loop, file_system, std::move(options), metrics));
  std::string text =
      "fsname=" + Escape(session->options_.source) + ",subtype=moraine,default_permissions";
  for (const std::string& flag : session->options_.mount_flags) text += "," + flag;
  std::vector<std::string> words = {"moraine-mount", "-o", text};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
  fuse_set_log_func(OnFuseLog);
  session->session_ =
      fuse_session_new(&args, &FuseOperations(), sizeof(fuse_lowlevel_ops), session.get());
  fuse_opt_free_args(&args);
  if (session->session_ == nullptr) {
    return Status(Code::kInvalidArgument, fmt::format("mount options: {}", LastFuseMessage()));
  }
  return session;
}

FuseSession::~FuseSession() {
  dispatcher_.reset();
  dropper_.reset();
  if (session_ == nullptr) return;
  // The kernel has let go: this only closes. Otherwise the path may lead to another mount by now,
  // and must be left alone; destroying closes the connection.
  if (mounted_ && ended_.is_set()) fuse_session_unmount(session_);
  fuse_session_destroy(session_);
}

Status FuseSession::Mount() {
  if (fuse_session_mount(session_, options_.mountpoint.c_str()) != 0) {
    const std::string why = LastFuseMessage();
    return {Code::kUnavailable, fmt::format("cannot mount on {}: {}", options_.mountpoint,
                                            why.empty() ? std::strerror(errno) : why.c_str())};
  }
  mounted_ = true;
  fd_ = fuse_session_fd(session_);
  // Another reader, or a request that is taken back between poll and read, must not block the loop.
  const int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fcntl(fd_, F_SETFL, flags | O_NONBLOCK) != 0) {
    return StatusFromErrno(errno, "make the FUSE device non-blocking");
  }
  if (const std::optional<MountLine> mount = FindMount(options_.mountpoint)) {
    device_minor_ = mount->minor;
  }
  return Status::Ok();
}

void FuseSession::OnInit(fuse_conn_info* connection) {
  // Without AUTO_INVAL_DATA the kernel asks for attributes only when it needs them, not at each
  // read; pages are dropped at open, when the size changes, and when the metaserver says so.
  // Without HANDLE_KILLPRIV the kernel clears set-id bits itself.
  const unsigned off = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPLICIT_INVAL_DATA |
                       FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
                       FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_LOCKS |
                       FUSE_CAP_FLOCK_LOCKS;
  // A symlink's target never changes while the inode lives.
  const unsigned on = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                      FUSE_CAP_CACHE_SYMLINKS;
  connection->want = (connection->want & ~off) | (on & connection->capable);
  connection->max_write =
      std::min<unsigned>(connection->max_write, static_cast<unsigned>(options_.write_bytes_max));
  connection->max_readahead = static_cast<unsigned>(options_.read_ahead_bytes);
  connection->max_background = static_cast<unsigned>(options_.background_requests_max);
  connection->congestion_threshold = connection->max_background * 3 / 4;
  connection->time_gran = 1;
  ready_.Set();
}

Task<Status> FuseSession::Serve() {
  Status end;
  bool ended = false;
  while (!ended) {
    int budget = kRequestsPerTurn;
    while (budget > 0 && ReadOne(&ended, &end)) --budget;
    if (ended) break;
    if (budget == 0) {
      co_await loop_.Yield();
    } else {
      (co_await loop_.PollReadable(fd_)).Ignore();  // what is wrong, the next read tells
    }
  }
  ended_.Set();
  co_return end;
}

bool FuseSession::ReadOne(bool* ended, Status* end) {
  const size_t size = options_.write_bytes_max + kRequestHeaderBytesMax;
  if (buffer_ == nullptr || buffer_.use_count() > 1) {
    buffer_ = std::make_shared<Buffer>(Buffer::Allocate(size, kBufferPageOffset));
  }
  const ssize_t got = read(fd_, buffer_->data(), buffer_->size());
  if (got > 0) {
    fuse_buf request{};
    request.size = static_cast<size_t>(got);
    request.mem = buffer_->data();
    fuse_session_process_buf(session_, &request);
    return true;
  }
  const int error = got == 0 ? ENODEV : errno;
  switch (error) {
    case EAGAIN:
      return false;
    case EINTR:
    case ENOENT:  // the request was taken back
      return true;
    case ENODEV:  // unmounted
      break;
    case ECONNABORTED:
      *end = Status(Code::kUnavailable, "the connection to the kernel was aborted");
      break;
    default:
      *end = StatusFromErrno(error, "read from /dev/fuse");
  }
  *ended = true;
  return false;
}

FuseSession::KeptBytes FuseSession::Keep(const char* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  MORAINE_CHECK(bytes >= buffer_->data() && bytes + size <= buffer_->data() + buffer_->size(),
                "the bytes of a write stand in its request");
  if (size > kCopiedWriteBytesMax) return {ConstBytes(bytes, size), buffer_};
  auto copy = std::make_shared<Buffer>(Buffer::Allocate(size));
  std::memcpy(copy->data(), bytes, size);
  const ConstBytes kept = copy->bytes();
  return {kept, std::move(copy)};
}

void FuseSession::DropAttributes(InodeId inode) {
  fuse_lowlevel_notify_inval_inode(session_, inode.value(), -1, 0);
}

void FuseSession::DropCache(InodeId inode) {
  // ENOENT: the kernel does not know it; ENODEV and others: it is gone.
  fuse_lowlevel_notify_inval_inode(session_, inode.value(), 0, 0);
}

Task<Status> FuseSession::Detach() {
  if (!mounted_) co_return Status::Ok();
  Status status;
  co_await loop_.RunBlocking([&status, path = options_.mountpoint, minor = device_minor_] {
    status = DetachMount(path, minor);
  });
  co_return status.code() == Code::kNotFound ? Status::Ok() : status;
}

Task<Status> FuseSession::Stop(Instant deadline) {
  if (mounted_ && !ended_.is_set()) {
    // Files are still open somewhere: what was written into them goes out while they are answered.
    (co_await dispatcher_->FlushAll(deadline)).Ignore();  // Stop says it again
  }
  requests_.Close();
  const bool drained = co_await requests_.Drain(deadline);
  if (!drained) LogWarning("requests of the kernel are still under way at the end");
  const Status stopped = co_await dispatcher_->Stop(deadline);
  co_await dropper_->Stop(loop_);
  co_return stopped;
}

}  // namespace moraine::fs::mount
