// One cluster as all FileSystem objects of this process with the same connection share it: paths
// instead of inodes, blocking calls instead of coroutines, the directories owned by this process
// and the files it writes.
//
// Paths are full (below the cluster's root) and normalized. Calls block the calling RocksDB thread
// and end by the client's timeout. Any thread but the loop's.
//
// Ownership. Lock(path) takes the token of the directory that holds the lock file, from whoever has
// it, and remembers its names (owned_names.h): from then on the calls marked (memory) cost nothing
// there. A second Lock of one directory by this process is refused.
// An owner that was fenced stays so until it gives the lock back: its changes are refused here even
// when the directory has no owner at all by then.
//
// Errors are those of the client. kFenced from any of them means that another process owns the
// directory; the memory is forgotten then.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "kv/rocksfs/cluster.h"
#include "kv/rocksfs/gathering_writer.h"
#include "kv/rocksfs/info_log.h"
#include "kv/rocksfs/owned_names.h"

namespace moraine::rocksfs {

// A file open for reading, with its writer if this process has one: what that has gathered must be
// seen too.
struct ReadHandle {
  std::shared_ptr<fs::File> file;
  std::weak_ptr<GatheringWriter> writer;
  uint64_t size_at_open = 0;
};

struct VolumeOptions {
  Duration timeout = std::chrono::seconds(30);  // the client's; Stop waits a little longer
  uint64_t read_ahead_bytes = 4 << 20;
  bool has_cache = false;         // the client keeps what small reads brought
  std::string owner = "rocksdb";  // for people, beside a directory's token
  GatherOptions gather;
};

class Volume {
 public:
  Volume(std::unique_ptr<Cluster> cluster, VolumeOptions options);
  // Stops, if nobody has. A cluster that cannot be stopped in time is left behind, not destroyed.
  ~Volume();

  // ---- Names
  Result<fs::Attributes> Stat(const std::string& path);                   // (memory)
  Result<InodeId> OpenDirectory(const std::string& path);                 // (memory)
  Result<std::vector<fs::DirectoryEntry>> List(const std::string& path);  // (memory)
  Status Remove(const std::string& path);
  Status MakeDirectory(const std::string& path);
  // With all directories above; those that exist are fine.
  Status MakeDirectories(const std::string& path);
  Status RemoveDirectory(const std::string& path);
  Status Rename(const std::string& from, const std::string& to);
  Status Link(const std::string& from, const std::string& to);
  Status SyncNames(InodeId directory);
  Result<uint64_t> LinkCount(const std::string& path);  // never from memory: links may be elsewhere
  Result<uint64_t> FreeBytes();

  // ---- Files
  // A new empty file; a file of that name is removed first.
  Result<std::shared_ptr<GatheringWriter>> CreateForAppend(const std::string& path,
                                                           const std::string& policy);
  // The file of that name, made if it is missing, to be appended to.
  Result<std::shared_ptr<GatheringWriter>> OpenForAppend(const std::string& path,
                                                         const std::string& policy);
  Result<ReadHandle> OpenForReading(const std::string& path);
  Result<fs::ReadBytes> Read(const ReadHandle& handle, uint64_t offset, uint64_t length);
  Result<std::vector<fs::ReadBytes>> ReadRanges(const ReadHandle& handle,
                                                std::vector<fs::File::Range> ranges);
  // The same as Read, as a coroutine on the loop.
  static Task<Result<fs::ReadBytes>> ReadTask(ReadHandle handle, uint64_t offset, uint64_t length);
  // Gives an opening for reading back, without waiting; with the next call at the earliest.
  void CloseLater(std::shared_ptr<fs::File> file) { cluster_->CloseLater(std::move(file)); }
  Status Close(std::shared_ptr<GatheringWriter> writer);
  Status Truncate(const std::string& path, uint64_t size);

  // ---- Ownership
  // Gives the directory's inode, which Unlock takes. kBusy: this process holds it already.
  Result<InodeId> Lock(const std::string& lock_file_path);
  Status Unlock(InodeId directory);
  // For the LOG of a directory that another process owns: done when this process has become the
  // owner, by Lock. A later rename replaces an earlier one.
  void PostponeRename(const std::string& from, const std::string& to) MORAINE_EXCLUDES(mutex_);
  void Postpone(const std::string& path, const std::shared_ptr<InfoLog>& log)
      MORAINE_EXCLUDES(mutex_);
  // Whether `path` is a directory whose names are known here.
  bool Owns(const std::string& path) const;

  // ---- The whole
  // Sends what is gathered, closes all files, ends the session; false when that took longer than
  // `bound`. All later calls give kCanceled.
  bool Stop(Duration bound);
  uint64_t MetadataCalls();
  uint64_t memory_answers() const { return memory_answers_.load(std::memory_order_relaxed); }

  Cluster& cluster() { return *cluster_; }
  const VolumeOptions& options() const { return options_; }
  // Different for each Volume of this process.
  uint64_t ordinal() const { return ordinal_; }

 private:
  // Where a path leads: its directory (by memory, else by its path) and its name there.
  struct Place {
    std::shared_ptr<OwnedNames> owned;
    std::string directory_path;
    std::string name;
  };
  struct OpenedWriter {
    std::shared_ptr<GatheringWriter> writer;
    fs::Attributes attributes;
  };
  struct PostponedChanges {
    std::string rename_from;
    std::string rename_to;
    std::weak_ptr<InfoLog> log;
  };
  using HeldWriters = std::vector<GatheringWriter::Held>;

  Place Locate(const std::string& path) const MORAINE_EXCLUDES(mutex_);
  std::shared_ptr<OwnedNames> OwnedAt(const std::string& directory_path) const
      MORAINE_EXCLUDES(mutex_);
  // What memory says about `path`, if it says anything.
  std::optional<Result<fs::Attributes>> FindInMemory(const std::string& path);
  // After a change in an owned directory: when its outcome is not certain, memory is forgotten.
  static void Doubt(const std::shared_ptr<OwnedNames>& owned, const Status& status);

  // ---- On the loop
  // The directory in which a change is to be made. kFenced: this process owned it and does no more.
  Task<Result<InodeId>> DirectoryOf(Place place);
  Status CheckToken(const std::shared_ptr<OwnedNames>& owned) const;
  Task<Result<InodeId>> ResolveDirectory(std::string path);
  Task<Status> RemoveTask(Place place, bool directory);
  // What has this name in an owned directory loses it now, and may be open here.
  Task<Status> KeepForReaders(const Place& place);
  Task<Result<fs::Attributes>> MakeDirectoryTask(Place place);
  // Gives the attributes of what was renamed when they are wanted.
  Task<Result<std::optional<fs::Attributes>>> RenameTask(Place from, Place to, bool want);
  Task<Result<fs::Attributes>> LinkTask(std::string from, std::optional<InodeId> inode, Place to);
  Task<Result<std::vector<fs::DirectoryEntry>>> ListTask(std::string path);
  Task<Result<OpenedWriter>> CreateTask(Place place, std::string policy, bool replace);
  // `known`: from memory; with a layout the file is opened without a call.
  Task<Result<ReadHandle>> OpenTask(std::string path, std::optional<OwnedNames::Entry> known);
  Task<Result<fs::Attributes>> TruncateTask(Place place, InodeId inode, uint64_t size);
  Task<Result<fs::OwnedDirectory>> LockTask(std::shared_ptr<OwnedNames> names, std::string name);
  Task<Status> UnlockTask(InodeId directory);
  // Closes the files written in `directory` and keeps them closed while the result lives.
  Task<HeldWriters> DetachWriters(InodeId directory);

  // ---- On RocksDB's threads
  Result<std::shared_ptr<GatheringWriter>> OpenWriter(const std::string& path,
                                                      const std::string& policy, bool replace);
  void AddWriter(const std::shared_ptr<GatheringWriter>& writer) MORAINE_EXCLUDES(mutex_);
  std::shared_ptr<GatheringWriter> FindWriter(InodeId inode) const MORAINE_EXCLUDES(mutex_);
  std::vector<std::shared_ptr<GatheringWriter>> Writers() const MORAINE_EXCLUDES(mutex_);
  void WithWriterSize(fs::Attributes* attributes) const;
  void RenameOwned(const std::string& from, const std::string& to) MORAINE_EXCLUDES(mutex_);
  bool BeginOwning(InodeId directory, const std::string& path,
                   const std::shared_ptr<OwnedNames>& names) MORAINE_EXCLUDES(mutex_);
  void ForgetNames(InodeId directory) MORAINE_EXCLUDES(mutex_);
  void DoPostponed(const std::string& directory_path) MORAINE_EXCLUDES(mutex_);
  void EndOwning(InodeId directory) MORAINE_EXCLUDES(mutex_);

  const VolumeOptions options_;
  const uint64_t ordinal_;
  std::unique_ptr<Cluster> cluster_;
  std::atomic<uint64_t> memory_answers_{0};
  std::atomic<uint64_t> metadata_calls_at_stop_{0};

  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<OwnedNames>> owned_ MORAINE_GUARDED_BY(mutex_);  // by path
  std::unordered_map<InodeId, std::weak_ptr<GatheringWriter>> writers_ MORAINE_GUARDED_BY(mutex_);
  std::map<std::string, PostponedChanges> postponed_ MORAINE_GUARDED_BY(mutex_);  // by directory
  bool stopped_ MORAINE_GUARDED_BY(mutex_) = false;
  bool abandoned_ MORAINE_GUARDED_BY(mutex_) = false;  // Stop did not end in time
};

}  // namespace moraine::rocksfs
