// The names of one directory that this process owns: what LockFile brought, kept up to date by this
// process's own changes. The owner is the only writer, so these answers are as good as the
// metaserver's, without a call.
//
// Made unknowing; Load brings the names, unless a change crossed it. Changes of one name are made
// one after the other (Claim), so that memory and metaserver change in the same order. When the
// outcome of a change is unknown, a write has failed, or the ownership is lost, everything is
// forgotten. While nothing is known the callers ask the metaserver.
//
// Any thread. No lock is held across a call: a Claim is a mark on a name, not a lock.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "fs/client/client.h"

namespace moraine::rocksfs {

// The size of a file that this process writes, as its last Append left it.
struct GrowingSize {
  std::atomic<uint64_t> bytes{0};
  std::atomic<int64_t> mtime_ns{0};
};

class OwnedNames {
 public:
  struct Entry {
    fs::Attributes attributes;
    std::shared_ptr<const GrowingSize> growing;  // while and after it was written here
    std::shared_ptr<const fs::Layout> layout;    // where its bytes are, while they do not change
  };

  // `certain`: whether the ownership certainly lives (any thread); while it does not, nothing is
  // known. Empty: always.
  explicit OwnedNames(InodeId directory, std::function<bool()> certain = {})
      : directory_(directory), certain_(std::move(certain)) {}
  // `entries`: what the directory held when it was acquired, which was after this was made.
  void Load(std::vector<fs::OwnedDirectory::Entry> entries) MORAINE_EXCLUDES(mutex_);

  InodeId directory() const { return directory_; }
  bool known() const MORAINE_EXCLUDES(mutex_);

  // Set once this process has the token. From then on a change without a token is refused here:
  // a former owner whose token is gone must not pass for somebody who never had one.
  void SetAcquired() { acquired_.store(true, std::memory_order_release); }
  bool acquired() const { return acquired_.load(std::memory_order_acquire); }

  // Nothing: ask the metaserver. Else what is there, or kNotFound.
  std::optional<Result<fs::Attributes>> Find(const std::string& name) const
      MORAINE_EXCLUDES(mutex_);
  std::optional<std::vector<fs::DirectoryEntry>> List() const MORAINE_EXCLUDES(mutex_);
  std::optional<Entry> Get(const std::string& name) const MORAINE_EXCLUDES(mutex_);

  // What the metaserver has done.
  void Put(const std::string& name, Entry entry) MORAINE_EXCLUDES(mutex_);
  void SetGrowing(InodeId inode, std::shared_ptr<const GrowingSize> growing)
      MORAINE_EXCLUDES(mutex_);
  void Erase(const std::string& name) MORAINE_EXCLUDES(mutex_);
  void Forget() MORAINE_EXCLUDES(mutex_);

  // Keeps other changes away from one or two names of this directory while it lives. Waits for
  // those under way, which end by the client's deadline.
  class [[nodiscard]] Claim {
   public:
    Claim() = default;
    Claim(std::shared_ptr<OwnedNames> names, std::set<std::string> claimed);
    Claim(Claim&& other) noexcept = default;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

   private:
    std::shared_ptr<OwnedNames> names_;
    std::set<std::string> claimed_;
  };

 private:
  static fs::Attributes Current(const Entry& entry);
  bool AnyClaimed(const std::set<std::string>& names) const MORAINE_REQUIRES(mutex_);

  bool MayAnswer() const MORAINE_REQUIRES(mutex_) { return known_ && (!certain_ || certain_()); }

  const InodeId directory_;
  const std::function<bool()> certain_;
  std::atomic<bool> acquired_{false};
  mutable Mutex mutex_;
  CondVar released_;
  bool known_ MORAINE_GUARDED_BY(mutex_) = false;
  bool changed_unknown_ MORAINE_GUARDED_BY(mutex_) = false;  // by a change before Load
  std::map<std::string, Entry> entries_ MORAINE_GUARDED_BY(mutex_);
  std::set<std::string> claimed_ MORAINE_GUARDED_BY(mutex_);
};

}  // namespace moraine::rocksfs
