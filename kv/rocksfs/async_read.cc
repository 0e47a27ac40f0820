#include "kv/rocksfs/async_read.h"

#include <utility>

#include "kv/rocksfs/io_status_map.h"

namespace moraine::rocksfs {

using rocksdb::FSReadRequest;
using rocksdb::IOStatus;
using rocksdb::Slice;

AsyncRead::AsyncRead(std::shared_ptr<Volume> volume, std::string path)
    : volume_(std::move(volume)),
      path_(std::move(path)),
      fetch_(std::make_shared<Fetch>(volume_->cluster().loop())) {}

Task<void> AsyncRead::Run(std::shared_ptr<Fetch> fetch, ReadHandle handle, uint64_t offset,
                          uint64_t length) {
  fetch->bytes = co_await Volume::ReadTask(std::move(handle), offset, length);
  fetch->ended.Set();
}

AsyncRead* AsyncRead::Start(std::shared_ptr<Volume> volume, ReadHandle handle, std::string path,
                            const FSReadRequest& request, Callback callback,
                            void* callback_argument) {
  auto* read = new AsyncRead(std::move(volume), std::move(path));
  read->request_.offset = request.offset;
  read->request_.len = request.len;
  read->request_.scratch = request.scratch;
  read->callback_ = std::move(callback);
  read->callback_argument_ = callback_argument;
  Loop& loop = read->volume_->cluster().loop();
  loop.Post([&loop, fetch = read->fetch_, handle = std::move(handle), offset = request.offset,
             length = request.len] { loop.Spawn(Run(fetch, handle, offset, length)); });
  return read;
}

Task<Status> AsyncRead::WaitForAll(std::vector<std::shared_ptr<Fetch>> fetches) {
  for (const std::shared_ptr<Fetch>& fetch : fetches) co_await fetch->ended.Wait();
  co_return Status::Ok();
}

void AsyncRead::Deliver() {
  over_ = true;
  const Result<fs::ReadBytes>& bytes = fetch_->bytes;
  request_.status = ToIoStatus(bytes.status(), path_);
  request_.result = Slice(request_.scratch, 0);
  if (bytes.ok() && bytes->size > 0) {
    bytes->CopyTo(reinterpret_cast<std::byte*>(request_.scratch));
    request_.result = Slice(request_.scratch, bytes->size);
  }
  callback_(request_, callback_argument_);
}

void AsyncRead::Abort() {
  if (std::exchange(over_, true)) return;
  request_.status = IOStatus::Aborted(path_);
  request_.result = Slice(request_.scratch, 0);
  callback_(request_, callback_argument_);
}

IOStatus AsyncRead::Poll(const std::vector<AsyncRead*>& reads) {
  std::vector<std::shared_ptr<Fetch>> fetches;
  for (const AsyncRead* read : reads) {
    if (!read->over_) fetches.push_back(read->fetch_);
  }
  if (fetches.empty()) return IOStatus::OK();
  const Status waited = reads.front()->volume_->cluster().Block(
      [&fetches] { return WaitForAll(std::move(fetches)); });
  if (!waited.ok()) return ToIoStatus(waited, reads.front()->path_);
  for (AsyncRead* read : reads) {
    if (!read->over_) read->Deliver();
  }
  return IOStatus::OK();
}

}  // namespace moraine::rocksfs
