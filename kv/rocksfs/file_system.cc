#include "kv/rocksfs/file_system.h"

#include <unistd.h>

#include "base/log.h"
#include "kv/rocksfs/async_read.h"
#include "kv/rocksfs/files.h"
#include "kv/rocksfs/io_status_map.h"

namespace moraine::rocksfs {
namespace {

// Refused because another process owns the directory now: this one never did (kBusy) or no longer
// does (kFenced).
bool IsOwnedElsewhere(const Status& status) {
  return status.code() == Code::kFenced || status.code() == Code::kBusy;
}

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

struct DirectoryLock : rocksdb::FileLock {
  DirectoryLock(std::string path, InodeId directory)
      : path(std::move(path)), directory(directory) {}
  const std::string path;
  const InodeId directory;
};

}  // namespace

MoraineFileSystem::MoraineFileSystem(std::shared_ptr<Volume> volume, std::string root,
                                     PolicyNames policies)
    : volume_(std::move(volume)), root_(std::move(root)), policies_(std::move(policies)) {}

MoraineFileSystem::~MoraineFileSystem() {
  if (LogEnabled(LogLevel::kInfo)) {
    LogInfo("{}: {} metadata calls, {} questions answered from memory", root_,
            volume_->MetadataCalls(), volume_->memory_answers());
  }
}

const std::string& MoraineFileSystem::Policy(const std::string& full) const {
  return PolicyFor(Split(full).name, policies_);
}

// ---- Files

IOStatus MoraineFileSystem::NewSequentialFile(const std::string& path, const FileOptions&,
                                              std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                              IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  Result<ReadHandle> handle = volume_->OpenForReading(full);
  if (!handle.ok()) return ToIoStatus(handle.status(), full);
  *result = std::make_unique<SequentialFile>(volume_, *std::move(handle), full);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::NewRandomAccessFile(
    const std::string& path, const FileOptions&,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* result, IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  Result<ReadHandle> handle = volume_->OpenForReading(full);
  if (!handle.ok()) return ToIoStatus(handle.status(), full);
  *result = std::make_unique<RandomAccessFile>(volume_, *std::move(handle), full);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                            std::unique_ptr<rocksdb::FSWritableFile>* result,
                                            IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  if (IsInfoLog(Split(full).name)) return NewInfoLog(full, result);
  Result<std::shared_ptr<GatheringWriter>> writer = volume_->CreateForAppend(full, Policy(full));
  if (!writer.ok()) return ToIoStatus(writer.status(), full);
  *result = std::make_unique<WritableFile>(volume_, *std::move(writer), full, options);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::NewInfoLog(const std::string& full,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result) {
  auto log =
      std::make_shared<InfoLog>(full, Policy(full), volume_->options().gather.waiting_bytes_max);
  const Status begun = log->Begin(*volume_);
  if (!begun.ok() && !IsOwnedElsewhere(begun)) return ToIoStatus(begun, full);
  if (!begun.ok()) volume_->Postpone(full, log);
  *result = std::make_unique<InfoLogFile>(volume_, std::move(log), full);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                               std::unique_ptr<rocksdb::FSWritableFile>* result,
                                               IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  Result<std::shared_ptr<GatheringWriter>> writer = volume_->OpenForAppend(full, Policy(full));
  if (!writer.ok()) return ToIoStatus(writer.status(), full);
  *result = std::make_unique<WritableFile>(volume_, *std::move(writer), full, options);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::ReuseWritableFile(const std::string& path, const std::string& old_path,
                                              const FileOptions& options,
                                              std::unique_ptr<rocksdb::FSWritableFile>* result,
                                              IODebugContext* dbg) {
  result->reset();
  const std::string old_full = Full(old_path);
  const Result<fs::Attributes> old_file = volume_->Stat(old_full);
  if (!old_file.ok()) return ToIoStatus(old_file.status(), old_full);
  IOStatus made = NewWritableFile(path, options, result, dbg);
  if (!made.ok() || Full(path) == old_full) return made;
  const Status removed = volume_->Remove(old_full);
  if (removed.ok()) return made;
  result->reset();
  return ToIoStatus(removed, old_full);
}

IOStatus MoraineFileSystem::NewRandomRWFile(const std::string& path, const FileOptions&,
                                            std::unique_ptr<rocksdb::FSRandomRWFile>* result,
                                            IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  Result<std::shared_ptr<GatheringWriter>> writer = volume_->OpenForAppend(full, Policy(full));
  if (!writer.ok()) return ToIoStatus(writer.status(), full);
  Result<ReadHandle> handle = volume_->OpenForReading(full);
  if (!handle.ok()) {
    volume_->Close(*writer).Ignore();
    return ToIoStatus(handle.status(), full);
  }
  *result = std::make_unique<RandomRWFile>(volume_, *std::move(writer), *std::move(handle), full);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::NewDirectory(const std::string& path, const IOOptions&,
                                         std::unique_ptr<rocksdb::FSDirectory>* result,
                                         IODebugContext*) {
  result->reset();
  const std::string full = Full(path);
  const Result<InodeId> inode = volume_->OpenDirectory(full);
  if (!inode.ok()) return ToIoStatus(inode.status(), full);
  *result = std::make_unique<Directory>(volume_, *inode, full);
  return IOStatus::OK();
}

// ---- Questions

IOStatus MoraineFileSystem::FileExists(const std::string& path, const IOOptions&, IODebugContext*) {
  const std::string full = Full(path);
  if (volume_->Owns(full)) return IOStatus::OK();
  return ToIoStatus(volume_->Stat(full).status(), full, Missing::kAsNotFound);
}

IOStatus MoraineFileSystem::GetChildren(const std::string& path, const IOOptions&,
                                        std::vector<std::string>* result, IODebugContext*) {
  result->clear();
  const std::string full = Full(path);
  Result<std::vector<fs::DirectoryEntry>> entries = volume_->List(full);
  if (!entries.ok()) return ToIoStatus(entries.status(), full, Missing::kAsNotFound);
  result->reserve(entries->size());
  for (fs::DirectoryEntry& entry : *entries) result->push_back(std::move(entry.name));
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetChildrenFileAttributes(const std::string& path, const IOOptions&,
                                                      std::vector<rocksdb::FileAttributes>* result,
                                                      IODebugContext*) {
  result->clear();
  const std::string full = Full(path);
  Result<std::vector<fs::DirectoryEntry>> entries = volume_->List(full);
  if (!entries.ok()) return ToIoStatus(entries.status(), full, Missing::kAsNotFound);
  for (fs::DirectoryEntry& entry : *entries) {
    rocksdb::FileAttributes attributes;
    attributes.name = std::move(entry.name);
    attributes.size_bytes = entry.attributes.has_value() ? entry.attributes->size : 0;
    result->push_back(std::move(attributes));
  }
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetFileSize(const std::string& path, const IOOptions&, uint64_t* size,
                                        IODebugContext*) {
  *size = 0;
  const std::string full = Full(path);
  const Result<fs::Attributes> attributes = volume_->Stat(full);
  if (!attributes.ok()) return ToIoStatus(attributes.status(), full);
  *size = attributes->size;
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetFileModificationTime(const std::string& path, const IOOptions&,
                                                    uint64_t* seconds, IODebugContext*) {
  *seconds = 0;
  const std::string full = Full(path);
  const Result<fs::Attributes> attributes = volume_->Stat(full);
  if (!attributes.ok()) return ToIoStatus(attributes.status(), full);
  *seconds = static_cast<uint64_t>(attributes->mtime_ns / kNanosecondsPerSecond);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::NumFileLinks(const std::string& path, const IOOptions&, uint64_t* count,
                                         IODebugContext*) {
  const std::string full = Full(path);
  const Result<uint64_t> links = volume_->LinkCount(full);
  if (!links.ok()) return ToIoStatus(links.status(), full);
  *count = *links;
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::AreFilesSame(const std::string& first, const std::string& second,
                                         const IOOptions&, bool* same, IODebugContext*) {
  const Result<fs::Attributes> one = volume_->Stat(Full(first));
  if (!one.ok()) return ToIoStatus(one.status(), Full(first));
  const Result<fs::Attributes> other = volume_->Stat(Full(second));
  if (!other.ok()) return ToIoStatus(other.status(), Full(second));
  *same = one->inode == other->inode;
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::IsDirectory(const std::string& path, const IOOptions&,
                                        bool* is_directory, IODebugContext*) {
  const std::string full = Full(path);
  *is_directory = volume_->Owns(full);
  if (*is_directory) return IOStatus::OK();
  const Result<fs::Attributes> attributes = volume_->Stat(full);
  if (!attributes.ok()) return ToIoStatus(attributes.status(), full);
  *is_directory = attributes->type == fs::FileType::kDirectory;
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetFreeSpace(const std::string& path, const IOOptions&, uint64_t* bytes,
                                         IODebugContext*) {
  const Result<uint64_t> free = volume_->FreeBytes();
  if (!free.ok()) return ToIoStatus(free.status(), Full(path));
  *bytes = *free;
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetAbsolutePath(const std::string& path, const IOOptions&,
                                            std::string* absolute, IODebugContext*) {
  *absolute = NormalizePath(path);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::GetTestDirectory(const IOOptions&, std::string* path, IODebugContext*) {
  *path = "/rocksdbtest-" + std::to_string(geteuid());
  return ToIoStatus(volume_->MakeDirectories(Full(*path)), Full(*path));
}

// ---- Changes of names

IOStatus MoraineFileSystem::DeleteFile(const std::string& path, const IOOptions&, IODebugContext*) {
  const std::string full = Full(path);
  return ToIoStatus(volume_->Remove(full), full);
}

IOStatus MoraineFileSystem::Truncate(const std::string& path, size_t size, const IOOptions&,
                                     IODebugContext*) {
  const std::string full = Full(path);
  return ToIoStatus(volume_->Truncate(full, size), full);
}

Status MoraineFileSystem::MakeDirectory(const std::string& full) {
  const Status made = volume_->MakeDirectory(full);
  if (made.code() != Code::kNotFound || full == root_ || Split(full).directory != root_) {
    return made;
  }
  MORAINE_RETURN_IF_ERROR(volume_->MakeDirectories(root_));
  return volume_->MakeDirectory(full);
}

IOStatus MoraineFileSystem::CreateDir(const std::string& path, const IOOptions&, IODebugContext*) {
  const std::string full = Full(path);
  return ToIoStatus(MakeDirectory(full), full);
}

IOStatus MoraineFileSystem::CreateDirIfMissing(const std::string& path, const IOOptions&,
                                               IODebugContext*) {
  const std::string full = Full(path);
  // RocksDB asks this of directories that are there at each open.
  const Status there = volume_->OpenDirectory(full).status();
  if (there.code() != Code::kNotFound) return ToIoStatus(there, full);
  // The root stands for what the URI names, which may have several parts.
  const Status made = full == root_ ? volume_->MakeDirectories(full) : MakeDirectory(full);
  if (made.code() != Code::kAlreadyExists) return ToIoStatus(made, full);
  return ToIoStatus(volume_->OpenDirectory(full).status(), full);
}

IOStatus MoraineFileSystem::DeleteDir(const std::string& path, const IOOptions&, IODebugContext*) {
  const std::string full = Full(path);
  return ToIoStatus(volume_->RemoveDirectory(full), full);
}

IOStatus MoraineFileSystem::RenameFile(const std::string& source, const std::string& target,
                                       const IOOptions&, IODebugContext*) {
  const std::string full = Full(source);
  const std::string full_target = Full(target);
  const Status renamed = volume_->Rename(full, full_target);
  const bool same_directory = Split(full).directory == Split(full_target).directory;
  if (IsOwnedElsewhere(renamed) && IsInfoLog(Split(full).name) && same_directory) {
    volume_->PostponeRename(full, full_target);
    return IOStatus::OK();
  }
  return ToIoStatus(renamed, full);
}

IOStatus MoraineFileSystem::LinkFile(const std::string& source, const std::string& target,
                                     const IOOptions&, IODebugContext*) {
  const std::string full = Full(source);
  return ToIoStatus(volume_->Link(full, Full(target)), full);
}

// ---- Ownership

IOStatus MoraineFileSystem::LockFile(const std::string& path, const IOOptions&,
                                     rocksdb::FileLock** lock, IODebugContext*) {
  *lock = nullptr;
  const std::string full = Full(path);
  const Result<InodeId> directory = volume_->Lock(full);
  if (!directory.ok()) return ToIoStatus(directory.status(), full);
  *lock = new DirectoryLock(full, *directory);
  return IOStatus::OK();
}

IOStatus MoraineFileSystem::UnlockFile(rocksdb::FileLock* lock, const IOOptions&, IODebugContext*) {
  const std::unique_ptr<DirectoryLock> held(static_cast<DirectoryLock*>(lock));
  return ToIoStatus(volume_->Unlock(held->directory), held->path);
}

// ---- Reads in the background

IOStatus MoraineFileSystem::Poll(std::vector<void*>& io_handles, size_t) {
  std::vector<AsyncRead*> reads;
  for (void* handle : io_handles) {
    if (handle != nullptr) reads.push_back(static_cast<AsyncRead*>(handle));
  }
  return AsyncRead::Poll(reads);
}

IOStatus MoraineFileSystem::AbortIO(std::vector<void*>& io_handles) {
  for (void* handle : io_handles) {
    if (handle != nullptr) static_cast<AsyncRead*>(handle)->Abort();
  }
  return IOStatus::OK();
}

}  // namespace moraine::rocksfs
