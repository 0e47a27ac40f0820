// The file objects that RocksDB gets. Thin: paths, caches and ownership are Volume's, gathering is
// GatheringWriter's; here are RocksDB's rules about buffers, ends of files and threads.
//
// Each object keeps its Volume alive. None throws. Direct I/O flags are accepted and mean nothing.
#pragma once

#include <rocksdb/file_system.h>

#include <memory>
#include <string>

#include "kv/rocksfs/volume.h"

namespace moraine::rocksfs {

using VolumePtr = std::shared_ptr<Volume>;

// Reads in order through a window that doubles up to the read-ahead, so that a WAL's 32 KiB reads
// do not each cost a call. Bytes written behind the end later are seen. One thread at a time.
class SequentialFile : public rocksdb::FSSequentialFile {
 public:
  SequentialFile(VolumePtr volume, ReadHandle handle, std::string path);
  ~SequentialFile() override;

  rocksdb::IOStatus Read(size_t n, const rocksdb::IOOptions& options, rocksdb::Slice* result,
                         char* scratch, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Skip(uint64_t n) override;
  rocksdb::IOStatus PositionedRead(uint64_t offset, size_t n, const rocksdb::IOOptions& options,
                                   rocksdb::Slice* result, char* scratch,
                                   rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus InvalidateCache(size_t offset, size_t length) override;

 private:
  // Copies what the window has at the position; gives how much that was.
  size_t TakeFromWindow(size_t n, char* out);
  Status FillWindow(size_t wanted);

  const VolumePtr volume_;
  ReadHandle handle_;
  const std::string path_;
  uint64_t position_ = 0;
  Buffer window_;
  uint64_t window_offset_ = 0;
  uint64_t next_window_bytes_;
};

// Any thread.
class RandomAccessFile : public rocksdb::FSRandomAccessFile {
 public:
  RandomAccessFile(VolumePtr volume, ReadHandle handle, std::string path);
  ~RandomAccessFile() override;

  rocksdb::IOStatus Read(uint64_t offset, size_t n, const rocksdb::IOOptions& options,
                         rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext* dbg) const override;
  // In parallel; each request has its own status.
  rocksdb::IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count,
                              const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* dbg) override;
  // See async_read.h.
  rocksdb::IOStatus ReadAsync(rocksdb::FSReadRequest& request, const rocksdb::IOOptions& options,
                              std::function<void(const rocksdb::FSReadRequest&, void*)> callback,
                              void* callback_argument, void** io_handle,
                              rocksdb::IOHandleDeleter* deleter,
                              rocksdb::IODebugContext* dbg) override;
  // The end of the file is brought into the client's cache, as much as a footer and an index want
  // of it: RocksDB asks for half a megabyte of each table that it opens. Anything else is refused,
  // so that RocksDB reads ahead into its own buffers.
  rocksdb::IOStatus Prefetch(uint64_t offset, size_t n, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus InvalidateCache(size_t offset, size_t length) override;
  size_t GetUniqueId(char* id, size_t max_size) const override;

 private:
  void ReadOne(rocksdb::FSReadRequest* request) const;

  const VolumePtr volume_;
  ReadHandle handle_;
  const std::string path_;
};

// One thread appends; Sync from any thread meanwhile. Destruction without Close closes, and drops
// the error.
class WritableFile : public rocksdb::FSWritableFile {
 public:
  WritableFile(VolumePtr volume, std::shared_ptr<GatheringWriter> writer, std::string path,
               const rocksdb::FileOptions& options);
  ~WritableFile() override;

  using FSWritableFile::Append;
  using FSWritableFile::PositionedAppend;
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* dbg) override;
  // The handed-over CRC32C is not looked at: from here on our own checksums guard the bytes.
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo& verification,
                           rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus PositionedAppend(const rocksdb::Slice& data, uint64_t offset,
                                     const rocksdb::IOOptions& options,
                                     rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus PositionedAppend(const rocksdb::Slice& data, uint64_t offset,
                                     const rocksdb::IOOptions& options,
                                     const rocksdb::DataVerificationInfo& verification,
                                     rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Truncate(uint64_t size, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  // Costs nothing: what is gathered goes out by itself within a millisecond.
  rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus RangeSync(uint64_t offset, uint64_t bytes, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* dbg) override;
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus InvalidateCache(size_t offset, size_t length) override;
  void PrepareWrite(size_t offset, size_t length, const rocksdb::IOOptions& options,
                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Allocate(uint64_t offset, uint64_t length, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* dbg) override;
  size_t GetUniqueId(char* id, size_t max_size) const override;

 private:
  const VolumePtr volume_;
  const std::shared_ptr<GatheringWriter> writer_;
  const std::string path_;
  bool closed_ = false;
};

// RocksDB's LOG (info_log.h): Append, Flush and Close never fail.
class InfoLogFile : public rocksdb::FSWritableFile {
 public:
  InfoLogFile(VolumePtr volume, std::shared_ptr<InfoLog> log, std::string path);
  ~InfoLogFile() override;

  using FSWritableFile::Append;
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  uint64_t GetFileSize(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;

 private:
  const VolumePtr volume_;
  const std::shared_ptr<InfoLog> log_;
  const std::string path_;
  bool closed_ = false;
};

// Reads and writes anywhere. One thread at a time.
class RandomRWFile : public rocksdb::FSRandomRWFile {
 public:
  RandomRWFile(VolumePtr volume, std::shared_ptr<GatheringWriter> writer, ReadHandle handle,
               std::string path);
  ~RandomRWFile() override;

  rocksdb::IOStatus Write(uint64_t offset, const rocksdb::Slice& data,
                          const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Read(uint64_t offset, size_t n, const rocksdb::IOOptions& options,
                         rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext* dbg) const override;
  rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;

 private:
  const VolumePtr volume_;
  const std::shared_ptr<GatheringWriter> writer_;
  ReadHandle handle_;
  const std::string path_;
  bool closed_ = false;
};

// Fsync: the names made, removed and changed so far are on the metaserver's disk. Any thread.
class Directory : public rocksdb::FSDirectory {
 public:
  Directory(VolumePtr volume, InodeId inode, std::string path);

  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* dbg) override;
  size_t GetUniqueId(char* id, size_t max_size) const override;

 private:
  const VolumePtr volume_;
  const InodeId inode_;
  const std::string path_;
};

// A unique id in RocksDB's sense: of the cluster and the inode, whose sealed bytes never change, so
// it stays the same each time the file is opened. 0 when it does not fit.
size_t WriteUniqueId(uint64_t volume, InodeId inode, char* id, size_t max_size);

}  // namespace moraine::rocksfs
