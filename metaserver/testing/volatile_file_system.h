// A RocksDB file system in memory that keeps its word like a disk in a power cut: bytes that were
// not synced, and names whose directory was not synced, may be gone afterwards.
//
// Model: a file is a byte string with a synced length; a directory's changes are applied in order,
// and those since its last sync form a queue. A cut keeps, by chance, a prefix of that queue and,
// of each file, everything synced and a prefix of the rest, sometimes with a damaged last sector.
//
// Any thread, as RocksDB's own. Old objects go on working on the old state after a cut; the state
// after it is a new file system.
#pragma once

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/random.h"

namespace moraine::metaserver {

class VolatileFileSystem : public rocksdb::FileSystem {
 public:
  VolatileFileSystem();
  ~VolatileFileSystem() override;

  // What a machine would find after a power cut now.
  std::shared_ptr<VolatileFileSystem> AfterPowerCut(Random& random);
  // From now on every sync, or every write, fails.
  void FailSyncs() { fail_syncs_.store(true); }
  void FailWrites() { fail_writes_.store(true); }
  // From now on a sync does nothing and says that it has. Kept over AfterPowerCut. For mutants.
  void IgnoreSyncs() { ignore_syncs_.store(true); }
  uint64_t syncs() const { return syncs_.load(); }

  // An Env over this file system; it must not outlive it.
  static std::unique_ptr<rocksdb::Env> MakeEnv(std::shared_ptr<VolatileFileSystem> file_system);

  const char* Name() const override { return "moraine-volatile"; }
  const char* NickName() const override { return ""; }

  using Options = rocksdb::IOOptions;
  using Debug = rocksdb::IODebugContext;
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      Debug*) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions&,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        Debug*) override;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    Debug*) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       Debug*) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const Options&,
                                 std::unique_ptr<rocksdb::FSDirectory>* result, Debug*) override;
  rocksdb::IOStatus FileExists(const std::string& path, const Options&, Debug*) override;
  rocksdb::IOStatus GetChildren(const std::string& path, const Options&,
                                std::vector<std::string>* result, Debug*) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const Options&, Debug*) override;
  rocksdb::IOStatus CreateDir(const std::string& path, const Options&, Debug*) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& path, const Options&, Debug*) override;
  rocksdb::IOStatus DeleteDir(const std::string& path, const Options&, Debug*) override;
  rocksdb::IOStatus GetFileSize(const std::string& path, const Options&, uint64_t* size,
                                Debug*) override;
  rocksdb::IOStatus GetFileModificationTime(const std::string& path, const Options&, uint64_t* time,
                                            Debug*) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const Options&,
                               Debug*) override;
  rocksdb::IOStatus LockFile(const std::string& path, const Options&, rocksdb::FileLock** lock,
                             Debug*) override;
  rocksdb::IOStatus UnlockFile(rocksdb::FileLock* lock, const Options&, Debug*) override;
  rocksdb::IOStatus NewLogger(const std::string& path, const Options&,
                              std::shared_ptr<rocksdb::Logger>* result, Debug*) override;
  rocksdb::IOStatus GetAbsolutePath(const std::string& path, const Options&, std::string* result,
                                    Debug*) override;
  rocksdb::IOStatus GetTestDirectory(const Options&, std::string* result, Debug*) override;
  rocksdb::IOStatus IsDirectory(const std::string& path, const Options&, bool* is_directory,
                                Debug*) override;

 private:
  class Sequential;
  class RandomAccess;
  class Writable;
  class Directory;
  class Lock;

  struct FileState {
    Mutex mutex;
    std::string bytes MORAINE_GUARDED_BY(mutex);
    uint64_t synced MORAINE_GUARDED_BY(mutex) = 0;
  };
  using Names = std::map<std::string, std::shared_ptr<FileState>>;
  struct Change {
    std::string from;  // removed, if not empty
    std::string to;    // bound to `file`, if not empty
    std::shared_ptr<FileState> file;
  };

  static void Apply(const Change& change, Names& names);
  void Bind(const std::string& path, std::shared_ptr<FileState> file) MORAINE_REQUIRES(mutex_);
  std::shared_ptr<FileState> Find(const std::string& path);
  void SyncNames();

  Mutex mutex_;
  // All directories are one: RocksDB syncs the single one that it uses.
  Names names_ MORAINE_GUARDED_BY(mutex_);
  Names durable_ MORAINE_GUARDED_BY(mutex_);
  std::vector<Change> unsynced_ MORAINE_GUARDED_BY(mutex_);
  std::map<std::string, bool> directories_ MORAINE_GUARDED_BY(mutex_);
  std::map<std::string, bool> locks_ MORAINE_GUARDED_BY(mutex_);
  std::atomic<bool> fail_syncs_{false};
  std::atomic<bool> fail_writes_{false};
  std::atomic<bool> ignore_syncs_{false};
  std::atomic<uint64_t> syncs_{0};
};

}  // namespace moraine::metaserver
