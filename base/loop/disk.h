// Files on this machine, as a loop provides them (io_uring in a real process, a hostile fake in
// the simulation). Durability is what Linux gives and no more:
//  - written bytes are durable after Sync, or at completion for a file opened with
//  `durable_writes`;
//    before that, any subset of the written 512-byte sectors may survive a power cut;
//  - a created, renamed or removed name is durable after SyncDirectory of its directory.
// Errors: kNotFound, kAlreadyExists, kNoSpace, kIo, kBusy (Lock).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/loop/net.h"
#include "base/loop/task.h"
#include "base/status.h"

namespace moraine {

inline constexpr uint64_t kSectorBytes = 512;  // written whole or not at all

struct OpenOptions {
  bool write = false;
  bool create = false;          // makes the file if it is missing
  bool exclusive = false;       // with create: kAlreadyExists if it is there
  bool direct = false;          // O_DIRECT: offset, length and addresses in multiples of 4096
  bool durable_writes = false;  // O_DSYNC: a write has reached the disk when it completes
};

// Several operations may be under way at once, also overlapping reads; two overlapping writes give
// either order. Buffers must stay until the operation ends. Destroying a File closes it; nothing
// may be under way then.
class File {
 public:
  virtual ~File() = default;
  // Reads until the buffer is full or the file ends; returns the bytes read.
  virtual Task<Result<size_t>> ReadAt(uint64_t offset, MutableBytes buffer) = 0;
  virtual Task<Status> WriteAt(uint64_t offset, std::span<const ConstBytes> pieces) = 0;
  virtual Task<Status> Sync() = 0;  // fdatasync
  virtual Task<Status> Allocate(uint64_t offset,
                                uint64_t length) = 0;  // grows the file, reads as zeros
  virtual Task<Status> Truncate(uint64_t size) = 0;
  virtual Task<Result<uint64_t>> Size() = 0;
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
};

struct DiskSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};

// Held while alive; another process that asks for it gets kBusy.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Disk {
 public:
  virtual ~Disk() = default;
  virtual Task<Result<std::unique_ptr<File>>> Open(std::string path, OpenOptions options) = 0;
  virtual Task<Status> MakeDirectory(std::string path) = 0;  // kAlreadyExists if there
  virtual Task<Status> Remove(std::string path) = 0;         // a file or an empty directory
  virtual Task<Status> Rename(std::string from, std::string to) = 0;
  virtual Task<Status> SyncDirectory(std::string path) = 0;
  virtual Task<Result<std::vector<DirectoryEntry>>> List(std::string path) = 0;
  virtual Result<DiskSpace> Space(const std::string& path) = 0;
  virtual Result<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;  // makes the file
};

}  // namespace moraine
