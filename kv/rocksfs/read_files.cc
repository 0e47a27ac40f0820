// SequentialFile, RandomAccessFile, Directory.
#include <algorithm>
#include <cstring>

#include "kv/rocksfs/async_read.h"
#include "kv/rocksfs/files.h"
#include "kv/rocksfs/io_status_map.h"

namespace moraine::rocksfs {
namespace {

using rocksdb::FSReadRequest;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr uint64_t kFirstWindowBytes = 128 << 10;
constexpr uint64_t kTailBytes = 64 << 10;  // no more than the client's cache takes at once

IOStatus NoBuffer(const std::string& path) {
  return ToIoStatus(Status(Code::kInvalidArgument, "a read without a buffer"), path);
}

// Reads into `scratch`; the result points there.
IOStatus ReadInto(Volume& volume, const ReadHandle& handle, const std::string& path,
                  uint64_t offset, size_t n, Slice* result, char* scratch) {
  *result = Slice();
  if (n == 0) return IOStatus::OK();
  if (scratch == nullptr) return NoBuffer(path);
  const Result<fs::ReadBytes> bytes = volume.Read(handle, offset, n);
  if (!bytes.ok()) return ToIoStatus(bytes.status(), path);
  bytes->CopyTo(reinterpret_cast<std::byte*>(scratch));
  *result = Slice(scratch, bytes->size);
  return IOStatus::OK();
}

void PutVarint64(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

}  // namespace

// Varints one after another: none is the prefix of another, and two are never one varint.
size_t WriteUniqueId(uint64_t volume, InodeId inode, char* id, size_t max_size) {
  std::string unique;
  PutVarint64(volume, &unique);
  PutVarint64(inode.value(), &unique);
  if (unique.size() > max_size) return 0;
  std::memcpy(id, unique.data(), unique.size());
  return unique.size();
}

// ---- SequentialFile

SequentialFile::SequentialFile(VolumePtr volume, ReadHandle handle, std::string path)
    : volume_(std::move(volume)),
      handle_(std::move(handle)),
      path_(std::move(path)),
      next_window_bytes_(std::min(kFirstWindowBytes, volume_->options().read_ahead_bytes)) {}

SequentialFile::~SequentialFile() { volume_->CloseLater(std::move(handle_.file)); }

size_t SequentialFile::TakeFromWindow(size_t n, char* out) {
  if (position_ < window_offset_ || position_ >= window_offset_ + window_.size()) return 0;
  const size_t begin = position_ - window_offset_;
  const size_t taken = std::min(n, window_.size() - begin);
  std::memcpy(out, window_.data() + begin, taken);
  position_ += taken;
  return taken;
}

// Small files get a window of their size only.
Status SequentialFile::FillWindow(size_t wanted) {
  uint64_t length = std::max<uint64_t>(wanted, next_window_bytes_);
  if (handle_.size_at_open > position_) {
    length = std::min(length, std::max<uint64_t>(wanted, handle_.size_at_open - position_));
  }
  next_window_bytes_ = std::min(next_window_bytes_ * 2, volume_->options().read_ahead_bytes);
  MORAINE_ASSIGN_OR_RETURN(const fs::ReadBytes bytes, volume_->Read(handle_, position_, length));
  window_ = Buffer::Allocate(bytes.size);
  if (bytes.size > 0) bytes.CopyTo(window_.data());
  window_offset_ = position_;
  return Status::Ok();
}

IOStatus SequentialFile::Read(size_t n, const IOOptions&, Slice* result, char* scratch,
                              IODebugContext*) {
  *result = Slice();
  if (n == 0) return IOStatus::OK();
  if (scratch == nullptr) return NoBuffer(path_);
  size_t done = TakeFromWindow(n, scratch);
  while (done < n) {
    const Status filled = FillWindow(n - done);
    if (!filled.ok()) return ToIoStatus(filled, path_);
    const size_t taken = TakeFromWindow(n - done, scratch + done);
    if (taken == 0) break;  // the end of the file
    done += taken;
  }
  *result = Slice(scratch, done);
  return IOStatus::OK();
}

IOStatus SequentialFile::Skip(uint64_t n) {
  const std::shared_ptr<GatheringWriter> writer = handle_.writer.lock();
  const uint64_t end =
      std::max(position_, writer != nullptr ? writer->size() : handle_.size_at_open);
  position_ += std::min(n, end - position_);
  return IOStatus::OK();
}

IOStatus SequentialFile::PositionedRead(uint64_t offset, size_t n, const IOOptions&, Slice* result,
                                        char* scratch, IODebugContext*) {
  return ReadInto(*volume_, handle_, path_, offset, n, result, scratch);
}

IOStatus SequentialFile::InvalidateCache(size_t, size_t) {
  window_ = Buffer();
  return IOStatus::OK();
}

// ---- RandomAccessFile

RandomAccessFile::RandomAccessFile(VolumePtr volume, ReadHandle handle, std::string path)
    : volume_(std::move(volume)), handle_(std::move(handle)), path_(std::move(path)) {}

RandomAccessFile::~RandomAccessFile() { volume_->CloseLater(std::move(handle_.file)); }

IOStatus RandomAccessFile::Read(uint64_t offset, size_t n, const IOOptions&, Slice* result,
                                char* scratch, IODebugContext*) const {
  return ReadInto(*volume_, handle_, path_, offset, n, result, scratch);
}

void RandomAccessFile::ReadOne(FSReadRequest* request) const {
  request->status = ReadInto(*volume_, handle_, path_, request->offset, request->len,
                             &request->result, request->scratch);
}

IOStatus RandomAccessFile::MultiRead(FSReadRequest* requests, size_t count, const IOOptions&,
                                     IODebugContext*) {
  std::vector<fs::File::Range> ranges;
  ranges.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (requests[i].scratch == nullptr && requests[i].len > 0) return NoBuffer(path_);
    ranges.push_back({requests[i].offset, requests[i].len});
  }
  const Result<std::vector<fs::ReadBytes>> read = volume_->ReadRanges(handle_, std::move(ranges));
  if (!read.ok()) {
    // One damaged block must not take the other requests along; any other failure is of all.
    for (size_t i = 0; i < count; ++i) {
      requests[i].result = Slice();
      requests[i].status = ToIoStatus(read.status(), path_);
      if (read.code() == Code::kCorruption) ReadOne(&requests[i]);
    }
    return IOStatus::OK();
  }
  for (size_t i = 0; i < count; ++i) {
    const fs::ReadBytes& bytes = (*read)[i];
    if (bytes.size > 0) bytes.CopyTo(reinterpret_cast<std::byte*>(requests[i].scratch));
    requests[i].result = Slice(requests[i].scratch, bytes.size);
    requests[i].status = IOStatus::OK();
  }
  return IOStatus::OK();
}

IOStatus RandomAccessFile::ReadAsync(FSReadRequest& request, const IOOptions&,
                                     std::function<void(const FSReadRequest&, void*)> callback,
                                     void* callback_argument, void** io_handle,
                                     rocksdb::IOHandleDeleter* deleter, IODebugContext*) {
  if (request.scratch == nullptr && request.len > 0) return NoBuffer(path_);
  *io_handle =
      AsyncRead::Start(volume_, handle_, path_, request, std::move(callback), callback_argument);
  *deleter = [](void* handle) { delete static_cast<AsyncRead*>(handle); };
  return IOStatus::OK();
}

IOStatus RandomAccessFile::Prefetch(uint64_t offset, size_t n, const IOOptions&, IODebugContext*) {
  const uint64_t end = handle_.size_at_open;
  if (!volume_->options().has_cache || n == 0 || offset + n != end)
    return IOStatus::NotSupported(path_);
  const uint64_t length = std::min<uint64_t>(n, kTailBytes);
  // An error comes again with the read that wants the bytes.
  const Result<fs::ReadBytes> tail = volume_->Read(handle_, end - length, length);
  return tail.ok() ? IOStatus::OK() : IOStatus::NotSupported(path_);
}

IOStatus RandomAccessFile::InvalidateCache(size_t, size_t) { return IOStatus::OK(); }

size_t RandomAccessFile::GetUniqueId(char* id, size_t max_size) const {
  return WriteUniqueId(volume_->ordinal(), handle_.file->inode(), id, max_size);
}

// ---- Directory

Directory::Directory(VolumePtr volume, InodeId inode, std::string path)
    : volume_(std::move(volume)), inode_(inode), path_(std::move(path)) {}

IOStatus Directory::Fsync(const IOOptions&, IODebugContext*) {
  return ToIoStatus(volume_->SyncNames(inode_), path_);
}

IOStatus Directory::Close(const IOOptions&, IODebugContext*) { return IOStatus::OK(); }

size_t Directory::GetUniqueId(char* id, size_t max_size) const {
  return WriteUniqueId(volume_->ordinal(), inode_, id, max_size);
}

}  // namespace moraine::rocksfs
