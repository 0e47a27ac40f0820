// One FUSE mount: reads the kernel's requests on the loop, lets the dispatcher carry them out, and
// answers. Only this file, fuse_operations.cc and fuse_reply.* know libfuse (3.14, low level).
//
//   MORAINE_ASSIGN_OR_RETURN(auto session,
//                            FuseSession::Create(loop, file_system, options, metrics));
//   MORAINE_RETURN_IF_ERROR(session->Mount());
//   loop.Spawn(Serve(*session));        // co_await session->Serve()
//   co_await session->WaitReady(...);   // the kernel has shaken hands
//
// Each request runs as its own coroutine on the loop and is answered from there. Requests without
// side effects are answered with EINTR at once when the process that asked is being killed.
//
// Lifecycle: Create, Mount, Serve until it returns (unmounted) or the loop drops it; Stop while the
// loop runs; then destroy. Everything runs on the loop's thread, except the cache dropper's calls.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/loop/task_group.h"
#include "base/loop/uring_loop.h"
#include "base/metrics.h"
#include "fs/mount/cache_dropper.h"
#include "fs/mount/dispatcher.h"

struct fuse_session;
struct fuse_conn_info;

namespace moraine::fs::mount {

struct FuseOptions {
  std::string mountpoint;                // absolute
  std::string source;                    // shown by mount(8)
  std::vector<std::string> mount_flags;  // for the kernel: nosuid, ro, allow_other, ...
  uint64_t write_bytes_max = 1 << 20;    // in one request
  uint64_t read_ahead_bytes = 4 << 20;
  int background_requests_max = 64;         // of read-ahead and asynchronous I/O
  uint64_t io_bytes_preferred = 128 << 10;  // st_blksize
  DispatcherOptions dispatcher;
};

enum class Operation : uint8_t {
  kLookup,
  kGetAttributes,
  kSetAttributes,
  kReadLink,
  kMakeNode,
  kUnlink,
  kRemoveDirectory,
  kRename,
  kLink,
  kCreate,
  kOpen,
  kRead,
  kWrite,
  kFlush,
  kRelease,
  kSync,
  kAllocate,
  kOpenDirectory,
  kReadDirectory,
  kReleaseDirectory,
  kSyncDirectory,
  kSpace,
  kGetXattr,
  kSetXattr,
  kRemoveXattr,
  kListXattrs,
  kCount_,
};

class FuseSession {
 public:
  // kInvalidArgument: libfuse refuses the options.
  static Result<std::unique_ptr<FuseSession>> Create(UringLoop& loop, FileSystem& file_system,
                                                     FuseOptions options, MetricRegistry& metrics);
  ~FuseSession();

  // The numbers that every session keeps, by operation. Also for the manual page.
  struct OperationMetrics {
    Counter* errors = nullptr;
    Histogram* latency = nullptr;
  };
  using Metrics = std::array<OperationMetrics, static_cast<size_t>(Operation::kCount_)>;
  static Metrics MakeMetrics(MetricRegistry& registry);

  // kUnavailable with libfuse's reason.
  Status Mount();
  // Until the file system is unmounted or the kernel's side breaks.
  Task<Status> Serve();
  // False: the kernel did not shake hands in time.
  Task<bool> WaitReady(Instant deadline) { return ready_.Wait(deadline); }
  // Takes the mount out of the tree if it is still there; processes that have files open keep them
  // until Stop.
  Task<Status> Detach();
  // Waits for requests under way (until `deadline`), then closes every file. The first error of
  // closing.
  Task<Status> Stop(Instant deadline);
  // After Stop, when what the requests waited for has ended too (the client has stopped). False:
  // some are still under way, and this must not be destroyed.
  Task<bool> Drain(Instant deadline) { return requests_.Drain(deadline); }

  // Whether Serve has ended.
  bool ready() const { return ready_.is_set(); }
  bool served() const { return ended_.is_set(); }
  Task<bool> WaitServed(Instant deadline) { return ended_.Wait(deadline); }
  Dispatcher& dispatcher() { return *dispatcher_; }

  // ---- For fuse_operations.cc and fuse_reply.cc
  UringLoop& loop() { return loop_; }
  const FuseOptions& options() const { return options_; }
  TaskGroup& requests() { return requests_; }
  const OperationMetrics& metrics(Operation operation) const {
    return metrics_[static_cast<size_t>(operation)];
  }
  void OnInit(fuse_conn_info* connection);
  // The bytes of a write that stand in the buffer of the request being handed over, kept alive.
  struct KeptBytes {
    ConstBytes bytes;
    std::shared_ptr<const void> owner;
  };
  KeptBytes Keep(const char* data, size_t size);
  // Drops the kernel's attributes of an inode that is in use by the request being answered; does
  // not wait (no page is touched, and an inode in use is not being freed).
  void DropAttributes(InodeId inode);

 private:
  FuseSession(UringLoop& loop, FileSystem& file_system, FuseOptions options,
              MetricRegistry& metrics);
  // One request; false: none is waiting. Ends the session's life in `*end`.
  bool ReadOne(bool* ended, Status* end);
  void DropCache(InodeId inode);

  // Constant after construction.
  UringLoop& loop_;
  const FuseOptions options_;
  const Metrics metrics_;

  std::unique_ptr<CacheDropper> dropper_;
  std::unique_ptr<Dispatcher> dispatcher_;
  fuse_session* session_ = nullptr;
  int fd_ = -1;  // libfuse's
  bool mounted_ = false;
  unsigned device_minor_ = 0;       // of the mount's st_dev
  std::shared_ptr<Buffer> buffer_;  // of the next request
  TaskGroup requests_;
  Event ready_;
  Event ended_;
};

}  // namespace moraine::fs::mount
