// What directories in which this mount makes names look like, for as long as the kernel may cache
// attributes anyway. After every name that is made the kernel asks for the directory's attributes
// again, to check permissions; they are known here: a new name sets the times of its directory to
// its own, in the same transaction.
//
// Never serves anything that the metaserver has not said within `valid`; own changes other than new
// names, and news from others, make it forget, also what is being asked for. Confined to the loop.
#pragma once

#include <optional>
#include <unordered_map>

#include "base/loop/loop.h"
#include "fs/client/types.h"

namespace moraine::fs::mount {

class DirectoryAttributes {
 public:
  DirectoryAttributes(Loop& loop, Duration valid) : loop_(loop), valid_(valid) {}

  // Null: ask the metaserver. Valid until the next call.
  const Attributes* Find(InodeId directory);
  // Before the metaserver is asked; Learn wants to know when that was.
  uint64_t Ask(InodeId inode);
  // What it has answered. Others than directories are ignored, and so is what was asked before an
  // own change or the news of another's.
  void Learn(const Attributes& attributes, uint64_t asked);
  // `child` was made in `parent`.
  void NoteCreated(InodeId parent, const Attributes& child);
  void Forget(InodeId directory) { known_.erase(directory); }
  void ForgetAll() { known_.clear(); }

 private:
  struct Known {
    std::optional<Attributes> attributes;  // none: asked for
    Instant learned{};
    uint64_t since = 0;       // the first question since it was forgotten
    int64_t at_least_ns = 0;  // the time of the last name made here while it was asked for
  };

  Loop& loop_;
  const Duration valid_;
  std::unordered_map<InodeId, Known> known_;
  uint64_t questions_ = 0;
};

}  // namespace moraine::fs::mount
