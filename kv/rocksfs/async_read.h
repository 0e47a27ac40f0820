// One ReadAsync under way: the io_handle that RocksDB holds.
//
// The bytes are fetched on the loop and copied into RocksDB's buffer by the thread that polls,
// which also runs the callback. So an aborted read touches nothing of RocksDB's any more, and
// AbortIO need not wait. The callback of an aborted read runs with kAborted, as that of RocksDB's
// own file system does and against the words of its header: it frees what RocksDB keeps per read.
// The handle may be deleted at any time.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <string>
#include <vector>

#include "base/loop/sync.h"
#include "kv/rocksfs/volume.h"

namespace moraine::rocksfs {

class AsyncRead {
 public:
  using Callback = std::function<void(const rocksdb::FSReadRequest&, void*)>;

  // Starts the read; the caller owns the result.
  static AsyncRead* Start(std::shared_ptr<Volume> volume, ReadHandle handle, std::string path,
                          const rocksdb::FSReadRequest& request, Callback callback,
                          void* callback_argument);

  // Waits until all of `reads` have ended (by the client's timeout at the latest), then runs the
  // callbacks that have not run yet.
  static rocksdb::IOStatus Poll(const std::vector<AsyncRead*>& reads);
  // Runs the callback now, unless it has run; it will not run again.
  void Abort();

 private:
  // Shared with the coroutine, which may outlive the handle.
  struct Fetch {
    explicit Fetch(Loop& loop) : ended(loop) {}
    Event ended;
    Result<fs::ReadBytes> bytes = Status(Code::kCanceled, "the read was not made");
  };
  AsyncRead(std::shared_ptr<Volume> volume, std::string path);
  static Task<void> Run(std::shared_ptr<Fetch> fetch, ReadHandle handle, uint64_t offset,
                        uint64_t length);
  static Task<Status> WaitForAll(std::vector<std::shared_ptr<Fetch>> fetches);
  void Deliver();

  const std::shared_ptr<Volume> volume_;
  const std::string path_;
  const std::shared_ptr<Fetch> fetch_;
  rocksdb::FSReadRequest request_;
  Callback callback_;
  void* callback_argument_ = nullptr;
  bool over_ = false;  // called back
};

}  // namespace moraine::rocksfs
