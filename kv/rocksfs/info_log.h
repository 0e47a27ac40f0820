// RocksDB's info log (LOG): a file whose writes never fail and never wait.
//
// Never fail: Debian's RocksDB has its assertions on, and its logger writes on after an error,
// which one of them answers by ending the process. A log that can not be written (this process was
// fenced, the cluster is away) loses its text and says so in our own log.
//
// Never wait: RocksDB writes to it with its mutex held. Text beyond the gathering bound is dropped.
//
// Postponed: RocksDB begins its LOG before it takes the directory's lock, and while another process
// owns the directory the metaserver refuses every change there. The text is kept in memory until
// this process has become the owner (Volume::Lock calls Begin), and is written then. A process that
// never becomes the owner, a read-only open for example, leaves no log there and the owner's alone.
//
// Any thread.
#pragma once

#include <memory>
#include <string>

#include "base/mutex.h"
#include "kv/rocksfs/gathering_writer.h"

namespace moraine::rocksfs {

class Volume;

class InfoLog {
 public:
  InfoLog(std::string path, std::string policy, uint64_t kept_bytes_max);

  // Makes the file anew and writes what was kept. Errors: those of making it; it stays postponed.
  Status Begin(Volume& volume) MORAINE_EXCLUDES(mutex_);

  void Append(ConstBytes bytes) MORAINE_EXCLUDES(mutex_);
  // The only call that tells the truth: kFenced while postponed, the file's error after one.
  Status Sync() MORAINE_EXCLUDES(mutex_);
  void Close(Volume& volume) MORAINE_EXCLUDES(mutex_);
  uint64_t size() const MORAINE_EXCLUDES(mutex_);

 private:
  std::shared_ptr<GatheringWriter> writer() const MORAINE_EXCLUDES(mutex_);
  void Write(GatheringWriter& writer, ConstBytes bytes) const;

  const std::string path_;
  const std::string policy_;
  const uint64_t kept_bytes_max_;
  mutable Mutex mutex_;
  std::string kept_ MORAINE_GUARDED_BY(mutex_);
  bool closed_ MORAINE_GUARDED_BY(mutex_) = false;
  std::shared_ptr<GatheringWriter> writer_ MORAINE_GUARDED_BY(mutex_);
};

}  // namespace moraine::rocksfs
