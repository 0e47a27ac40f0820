#include "metaserver/testing/volatile_file_system.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/hash.h"

namespace moraine::metaserver {
namespace {

using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr size_t kSector = 512;

// Without doubled or trailing slashes.
std::string Plain(const std::string& path) {
  std::string plain;
  for (const char c : path) {
    if (c != '/' || !plain.ends_with('/')) plain.push_back(c);
  }
  if (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  return plain;
}

IOStatus Missing(const std::string& path) { return IOStatus::NotFound(path, "no such file"); }

}  // namespace

class VolatileFileSystem::Sequential : public rocksdb::FSSequentialFile {
 public:
  explicit Sequential(std::shared_ptr<FileState> file) : file_(std::move(file)) {}
  IOStatus Read(size_t n, const Options&, Slice* result, char* scratch, Debug*) override {
    MutexLock lock(file_->mutex);
    const size_t available = file_->bytes.size() - std::min(position_, file_->bytes.size());
    const size_t count = std::min(n, available);
    memcpy(scratch, file_->bytes.data() + (available == 0 ? 0 : position_), count);
    position_ += count;
    *result = Slice(scratch, count);
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t n) override {
    position_ += n;
    return IOStatus::OK();
  }

 private:
  std::shared_ptr<FileState> file_;
  size_t position_ = 0;
};

class VolatileFileSystem::RandomAccess : public rocksdb::FSRandomAccessFile {
 public:
  explicit RandomAccess(std::shared_ptr<FileState> file) : file_(std::move(file)) {}
  IOStatus Read(uint64_t offset, size_t n, const Options&, Slice* result, char* scratch,
                Debug*) const override {
    MutexLock lock(file_->mutex);
    const size_t begin = std::min<size_t>(offset, file_->bytes.size());
    const size_t count = std::min(n, file_->bytes.size() - begin);
    memcpy(scratch, file_->bytes.data() + begin, count);
    *result = Slice(scratch, count);
    return IOStatus::OK();
  }

 private:
  std::shared_ptr<FileState> file_;
};

class VolatileFileSystem::Writable : public rocksdb::FSWritableFile {
 public:
  Writable(VolatileFileSystem& owner, std::shared_ptr<FileState> file)
      : owner_(owner), file_(std::move(file)) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const Options&, Debug*) override {
    if (owner_.fail_writes_.load()) return IOStatus::IOError("simulated write error");
    MutexLock lock(file_->mutex);
    file_->bytes.append(data.data(), data.size());
    return IOStatus::OK();
  }
  IOStatus Truncate(uint64_t size, const Options&, Debug*) override {
    MutexLock lock(file_->mutex);
    file_->bytes.resize(size);
    file_->synced = std::min<uint64_t>(file_->synced, size);
    return IOStatus::OK();
  }
  IOStatus Close(const Options&, Debug*) override { return IOStatus::OK(); }
  IOStatus Flush(const Options&, Debug*) override { return IOStatus::OK(); }
  IOStatus Sync(const Options&, Debug*) override {
    if (owner_.fail_syncs_.load()) return IOStatus::IOError("simulated sync error");
    if (owner_.ignore_syncs_.load()) return IOStatus::OK();
    MutexLock lock(file_->mutex);
    file_->synced = file_->bytes.size();
    owner_.syncs_.fetch_add(1);
    return IOStatus::OK();
  }
  IOStatus Fsync(const Options& options, Debug* debug) override { return Sync(options, debug); }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const Options&, Debug*) override {
    MutexLock lock(file_->mutex);
    return file_->bytes.size();
  }

 private:
  VolatileFileSystem& owner_;
  std::shared_ptr<FileState> file_;
};

class VolatileFileSystem::Directory : public rocksdb::FSDirectory {
 public:
  explicit Directory(VolatileFileSystem& owner) : owner_(owner) {}
  IOStatus Fsync(const Options&, Debug*) override {
    if (owner_.fail_syncs_.load()) return IOStatus::IOError("simulated sync error");
    if (owner_.ignore_syncs_.load()) return IOStatus::OK();
    owner_.SyncNames();
    return IOStatus::OK();
  }
  IOStatus Close(const Options&, Debug*) override { return IOStatus::OK(); }

 private:
  VolatileFileSystem& owner_;
};

class VolatileFileSystem::Lock : public rocksdb::FileLock {
 public:
  explicit Lock(std::string path) : path(std::move(path)) {}
  const std::string path;
};

VolatileFileSystem::VolatileFileSystem() = default;
VolatileFileSystem::~VolatileFileSystem() = default;

std::unique_ptr<rocksdb::Env> VolatileFileSystem::MakeEnv(
    std::shared_ptr<VolatileFileSystem> file_system) {
  return rocksdb::NewCompositeEnv(std::move(file_system));
}

void VolatileFileSystem::Apply(const Change& change, Names& names) {
  if (!change.from.empty()) names.erase(change.from);
  if (!change.to.empty()) names[change.to] = change.file;
}

std::shared_ptr<VolatileFileSystem> VolatileFileSystem::AfterPowerCut(Random& random) {
  auto after = std::make_shared<VolatileFileSystem>();
  after->ignore_syncs_.store(ignore_syncs_.load());
  MutexLock lock(mutex_);
  Names names = durable_;
  const uint64_t seed = random.Next();
  const size_t kept = Random(seed).Uniform(unsynced_.size() + 1);
  for (size_t i = 0; i < kept; ++i) Apply(unsynced_[i], names);
  MutexLock after_lock(after->mutex_);
  after->directories_ = directories_;
  for (const auto& [name, file] : names) {
    MutexLock file_lock(file->mutex);
    const uint64_t unsynced = file->bytes.size() - file->synced;
    // By its name: which other files there are, and how large, differs with RocksDB's real times.
    Random own(seed ^ BlockChecksum(std::as_bytes(std::span(name))));
    const uint64_t length = file->synced + own.Uniform(unsynced + 1);
    auto copy = std::make_shared<FileState>();
    MutexLock copy_lock(copy->mutex);
    copy->bytes = file->bytes.substr(0, length);
    if (length > file->synced && own.OneIn(4)) {
      // The last sector that was under way is garbage, but not below what was synced.
      const uint64_t from = std::max<uint64_t>(file->synced, length / kSector * kSector);
      for (uint64_t i = from; i < length; ++i) {
        copy->bytes[i] = static_cast<char>(own.Next());
      }
    }
    copy->synced = length;
    after->names_[name] = copy;
  }
  after->durable_ = after->names_;
  return after;
}

void VolatileFileSystem::SyncNames() {
  MutexLock lock(mutex_);
  durable_ = names_;
  unsynced_.clear();
}

void VolatileFileSystem::Bind(const std::string& path, std::shared_ptr<FileState> file) {
  unsynced_.push_back({{}, path, file});
  Apply(unsynced_.back(), names_);
}

std::shared_ptr<VolatileFileSystem::FileState> VolatileFileSystem::Find(const std::string& path) {
  MutexLock lock(mutex_);
  const auto it = names_.find(Plain(path));
  return it == names_.end() ? nullptr : it->second;
}

IOStatus VolatileFileSystem::NewSequentialFile(const std::string& path, const rocksdb::FileOptions&,
                                               std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                               Debug*) {
  auto file = Find(path);
  if (file == nullptr) return Missing(path);
  *result = std::make_unique<Sequential>(std::move(file));
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::NewRandomAccessFile(
    const std::string& path, const rocksdb::FileOptions&,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* result, Debug*) {
  auto file = Find(path);
  if (file == nullptr) return Missing(path);
  *result = std::make_unique<RandomAccess>(std::move(file));
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                                             Debug*) {
  auto file = std::make_shared<FileState>();
  MutexLock lock(mutex_);
  Bind(Plain(path), file);
  *result = std::make_unique<Writable>(*this, std::move(file));
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::ReopenWritableFile(const std::string& path,
                                                const rocksdb::FileOptions& options,
                                                std::unique_ptr<rocksdb::FSWritableFile>* result,
                                                Debug* debug) {
  auto file = Find(path);
  if (file == nullptr) return NewWritableFile(path, options, result, debug);
  *result = std::make_unique<Writable>(*this, std::move(file));
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::NewDirectory(const std::string&, const Options&,
                                          std::unique_ptr<rocksdb::FSDirectory>* result, Debug*) {
  *result = std::make_unique<Directory>(*this);
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::FileExists(const std::string& path, const Options&, Debug*) {
  MutexLock lock(mutex_);
  return names_.contains(Plain(path)) || directories_.contains(Plain(path)) ? IOStatus::OK()
                                                                            : Missing(path);
}

IOStatus VolatileFileSystem::GetChildren(const std::string& path, const Options&,
                                         std::vector<std::string>* result, Debug*) {
  MutexLock lock(mutex_);
  if (!directories_.contains(Plain(path))) return Missing(path);
  result->clear();
  const std::string prefix = Plain(path) + "/";
  for (const auto& [name, file] : names_) {
    if (name.starts_with(prefix)) result->push_back(name.substr(prefix.size()));
  }
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::DeleteFile(const std::string& path, const Options&, Debug*) {
  MutexLock lock(mutex_);
  if (!names_.contains(Plain(path))) return Missing(path);
  unsynced_.push_back({Plain(path), {}, nullptr});
  Apply(unsynced_.back(), names_);
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::CreateDir(const std::string& path, const Options&, Debug*) {
  MutexLock lock(mutex_);
  directories_[Plain(path)] = true;
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::CreateDirIfMissing(const std::string& path, const Options& options,
                                                Debug* debug) {
  return CreateDir(path, options, debug);
}

IOStatus VolatileFileSystem::DeleteDir(const std::string& path, const Options&, Debug*) {
  MutexLock lock(mutex_);
  directories_.erase(Plain(path));
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::GetFileSize(const std::string& path, const Options&, uint64_t* size,
                                         Debug*) {
  const auto file = Find(path);
  if (file == nullptr) return Missing(path);
  MutexLock lock(file->mutex);
  *size = file->bytes.size();
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::GetFileModificationTime(const std::string& path, const Options&,
                                                     uint64_t* time, Debug*) {
  *time = 0;
  return Find(path) == nullptr ? Missing(path) : IOStatus::OK();
}

IOStatus VolatileFileSystem::RenameFile(const std::string& from, const std::string& to,
                                        const Options&, Debug*) {
  MutexLock lock(mutex_);
  const auto it = names_.find(Plain(from));
  if (it == names_.end()) return Missing(from);
  unsynced_.push_back({Plain(from), Plain(to), it->second});
  Apply(unsynced_.back(), names_);
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::LockFile(const std::string& path, const Options&,
                                      rocksdb::FileLock** lock, Debug*) {
  MutexLock hold(mutex_);
  if (locks_.contains(path)) return IOStatus::IOError("lock " + path, "already held");
  locks_[path] = true;
  *lock = new Lock(path);
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::UnlockFile(rocksdb::FileLock* lock, const Options&, Debug*) {
  std::unique_ptr<Lock> ours(static_cast<Lock*>(lock));
  MutexLock hold(mutex_);
  locks_.erase(ours->path);
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::NewLogger(const std::string&, const Options&,
                                       std::shared_ptr<rocksdb::Logger>*, Debug*) {
  return IOStatus::NotSupported("the store brings its own logger");
}

IOStatus VolatileFileSystem::GetAbsolutePath(const std::string& path, const Options&,
                                             std::string* result, Debug*) {
  *result = path;
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::GetTestDirectory(const Options&, std::string* result, Debug*) {
  *result = "/test";
  return IOStatus::OK();
}

IOStatus VolatileFileSystem::IsDirectory(const std::string& path, const Options&,
                                         bool* is_directory, Debug*) {
  MutexLock lock(mutex_);
  *is_directory = directories_.contains(Plain(path));
  return IOStatus::OK();
}

}  // namespace moraine::metaserver
