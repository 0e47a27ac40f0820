// WritableFile, InfoLogFile, RandomRWFile.
#include "kv/rocksfs/files.h"
#include "kv/rocksfs/io_status_map.h"

namespace moraine::rocksfs {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

ConstBytes BytesOf(const Slice& data) {
  return ConstBytes(reinterpret_cast<const std::byte*>(data.data()), data.size());
}

}  // namespace

// ---- WritableFile

WritableFile::WritableFile(VolumePtr volume, std::shared_ptr<GatheringWriter> writer,
                           std::string path, const rocksdb::FileOptions& options)
    : FSWritableFile(options),
      volume_(std::move(volume)),
      writer_(std::move(writer)),
      path_(std::move(path)) {}

WritableFile::~WritableFile() {
  if (!closed_) volume_->Close(writer_).Ignore();
}

IOStatus WritableFile::Append(const Slice& data, const IOOptions&, IODebugContext*) {
  const Status appended = writer_->Append(BytesOf(data));
  return appended.ok() ? IOStatus::OK() : ToIoStatus(appended, path_);
}

IOStatus WritableFile::Append(const Slice& data, const IOOptions& options,
                              const rocksdb::DataVerificationInfo&, IODebugContext* dbg) {
  return Append(data, options, dbg);
}

IOStatus WritableFile::PositionedAppend(const Slice& data, uint64_t offset, const IOOptions&,
                                        IODebugContext*) {
  return ToIoStatus(writer_->WriteAt(offset, BytesOf(data)), path_);
}

IOStatus WritableFile::PositionedAppend(const Slice& data, uint64_t offset,
                                        const IOOptions& options,
                                        const rocksdb::DataVerificationInfo&, IODebugContext* dbg) {
  return PositionedAppend(data, offset, options, dbg);
}

IOStatus WritableFile::Truncate(uint64_t size, const IOOptions&, IODebugContext*) {
  return ToIoStatus(writer_->Truncate(size), path_);
}

IOStatus WritableFile::Close(const IOOptions&, IODebugContext*) {
  if (closed_) return IOStatus::OK();
  closed_ = true;
  return ToIoStatus(volume_->Close(writer_), path_);
}

IOStatus WritableFile::Flush(const IOOptions&, IODebugContext*) { return IOStatus::OK(); }

IOStatus WritableFile::Sync(const IOOptions&, IODebugContext*) {
  return ToIoStatus(writer_->Sync(), path_);
}

IOStatus WritableFile::RangeSync(uint64_t, uint64_t, const IOOptions& options,
                                 IODebugContext* dbg) {
  if (strict_bytes_per_sync_) return Sync(options, dbg);
  writer_->Push();
  return IOStatus::OK();
}

uint64_t WritableFile::GetFileSize(const IOOptions&, IODebugContext*) { return writer_->size(); }

IOStatus WritableFile::InvalidateCache(size_t, size_t) { return IOStatus::OK(); }

void WritableFile::PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) {}

IOStatus WritableFile::Allocate(uint64_t, uint64_t, const IOOptions&, IODebugContext*) {
  return IOStatus::OK();
}

size_t WritableFile::GetUniqueId(char* id, size_t max_size) const {
  return WriteUniqueId(volume_->ordinal(), writer_->inode(), id, max_size);
}

// ---- InfoLogFile

InfoLogFile::InfoLogFile(VolumePtr volume, std::shared_ptr<InfoLog> log, std::string path)
    : volume_(std::move(volume)), log_(std::move(log)), path_(std::move(path)) {}

InfoLogFile::~InfoLogFile() {
  IOStatus closed = Close(IOOptions(), nullptr);
  closed.PermitUncheckedError();
}

IOStatus InfoLogFile::Append(const Slice& data, const IOOptions&, IODebugContext*) {
  log_->Append(BytesOf(data));
  return IOStatus::OK();
}

IOStatus InfoLogFile::Close(const IOOptions&, IODebugContext*) {
  if (closed_) return IOStatus::OK();
  closed_ = true;
  log_->Close(*volume_);
  return IOStatus::OK();
}

IOStatus InfoLogFile::Flush(const IOOptions&, IODebugContext*) { return IOStatus::OK(); }

IOStatus InfoLogFile::Sync(const IOOptions&, IODebugContext*) {
  return ToIoStatus(log_->Sync(), path_);
}

uint64_t InfoLogFile::GetFileSize(const IOOptions&, IODebugContext*) { return log_->size(); }

// ---- RandomRWFile

RandomRWFile::RandomRWFile(VolumePtr volume, std::shared_ptr<GatheringWriter> writer,
                           ReadHandle handle, std::string path)
    : volume_(std::move(volume)),
      writer_(std::move(writer)),
      handle_(std::move(handle)),
      path_(std::move(path)) {}

RandomRWFile::~RandomRWFile() {
  IOStatus closed = Close(IOOptions(), nullptr);
  closed.PermitUncheckedError();
}

IOStatus RandomRWFile::Write(uint64_t offset, const Slice& data, const IOOptions&,
                             IODebugContext*) {
  // A hole is made by growing the file first, as a write behind the end does elsewhere.
  if (offset > writer_->size()) {
    const Status grown = writer_->Truncate(offset);
    if (!grown.ok()) return ToIoStatus(grown, path_);
  }
  return ToIoStatus(writer_->WriteAt(offset, BytesOf(data)), path_);
}

IOStatus RandomRWFile::Read(uint64_t offset, size_t n, const IOOptions&, Slice* result,
                            char* scratch, IODebugContext*) const {
  *result = Slice();
  if (n == 0) return IOStatus::OK();
  const Result<fs::ReadBytes> bytes = volume_->Read(handle_, offset, n);
  if (!bytes.ok()) return ToIoStatus(bytes.status(), path_);
  bytes->CopyTo(reinterpret_cast<std::byte*>(scratch));
  *result = Slice(scratch, bytes->size);
  return IOStatus::OK();
}

IOStatus RandomRWFile::Flush(const IOOptions&, IODebugContext*) {
  writer_->Push();
  return IOStatus::OK();
}

IOStatus RandomRWFile::Sync(const IOOptions&, IODebugContext*) {
  return ToIoStatus(writer_->Sync(), path_);
}

IOStatus RandomRWFile::Close(const IOOptions&, IODebugContext*) {
  if (closed_) return IOStatus::OK();
  closed_ = true;
  volume_->CloseLater(std::move(handle_.file));
  return ToIoStatus(volume_->Close(writer_), path_);
}

}  // namespace moraine::rocksfs
