// Reads one open directory in pieces, with positions that stay true while the directory changes.
//
// A position is a number that the kernel hands back: 0 the beginning, 1 behind ".", 2 behind "..",
// 2 + n behind the n-th name that this cursor has seen. The cursor remembers the names, so going
// back to an old position continues behind the same name: a name that is there all the time comes
// exactly once per pass, whatever is made or removed meanwhile. Names that were made inside a part
// already seen come with the next rewind (position 0), as readdir(3) allows.
//
// Cost: one call per page of names; about 40 bytes per name seen, for at most
// limits::kListingNamesKept names. Going back further than that is kInvalidArgument.
// Confined to one loop; concurrent reads of one cursor take turns.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/loop/sync.h"
#include "fs/mount/file_system.h"

namespace moraine::fs::mount {

class DirectoryCursor {
 public:
  // `page_entries`: names asked for in one call.
  DirectoryCursor(Loop& loop, FileSystem& file_system, InodeId inode, int page_entries)
      : loop_(loop),
        file_system_(file_system),
        inode_(inode),
        page_entries_(page_entries),
        turn_(loop) {}

  InodeId inode() const { return inode_; }
  // When the call began that brought the entries given out last.
  Instant page_time() const { return page_time_; }
  // This mount has changed what stands under a name: what was asked for before does not tell.
  void NoteChanged(const std::string& name);
  bool MayBeOld(const std::string& name) const {
    return changed_.size() >= changed_max() || changed_.contains(name);
  }

  // One entry, with the position behind it. False: it was not taken, stop here.
  using Add = std::function<bool(const DirectoryEntry& entry, uint64_t next)>;

  // Gives out entries from `position` on, at most one page of them, until `add` refuses one or the
  // directory ends. No entry at all means the end.
  Task<Status> Read(uint64_t position, bool with_attributes, Add add);

 private:
  struct Item {
    DirectoryEntry entry;
    uint64_t index;  // of the name among all names seen
  };
  static constexpr uint64_t kDots = 2;

  size_t changed_max() const { return static_cast<size_t>(page_entries_); }
  void Rewind();
  Task<Status> Fetch(uint64_t index, bool with_attributes);
  void TakeOver(DirectoryPage page);
  void Remember(const std::string& name);
  uint64_t names_end() const { return names_begin_ + names_.size(); }
  const std::string& NameAt(uint64_t index) const { return names_[index - names_begin_]; }

  Loop& loop_;
  FileSystem& file_system_;
  const InodeId inode_;
  const int page_entries_;

  AsyncMutex turn_;
  std::deque<std::string> names_;  // names_begin_ is the index of the first
  uint64_t names_begin_ = 0;

  std::vector<Item> page_;
  uint64_t page_begin_ = 0;  // the page answers for the indexes [page_begin_, page_end_)
  uint64_t page_end_ = 0;
  bool page_valid_ = false;
  Instant page_time_{};
  std::set<std::string> changed_;  // since page_time_; when there are too many, all are
  bool page_has_attributes_ = false;
  bool more_ = true;  // behind the page
  InodeId parent_;
};

}  // namespace moraine::fs::mount
