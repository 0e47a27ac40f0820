// What directories in which this mount makes names look like, for as long as the kernel may cache
// attributes anyway. After every name that is made the kernel asks for the directory's attributes
// again, to check permissions; they are known here: a new name sets the times of its directory to
// its own, in the same transaction.
//
// Never serves anything that the metaserver has not said within `valid`; own changes other than new
// names, and news from others, make it forget. Confined to the loop.
#pragma once

#include <unordered_map>

#include "base/loop/loop.h"
#include "fs/client/types.h"

namespace moraine::fs::mount {

class DirectoryAttributes {
 public:
  DirectoryAttributes(Loop& loop, Duration valid) : loop_(loop), valid_(valid) {}

  // Null: ask the metaserver. Valid until the next call.
  const Attributes* Find(InodeId directory);
  // As the metaserver says now; others than directories are ignored.
  void Learn(const Attributes& attributes);
  // `child` was made in `parent`.
  void NoteCreated(InodeId parent, const Attributes& child);
  void Forget(InodeId directory) { known_.erase(directory); }

 private:
  struct Known {
    Attributes attributes;
    Instant learned{};
  };

  Loop& loop_;
  const Duration valid_;
  std::unordered_map<InodeId, Known> known_;
};

}  // namespace moraine::fs::mount
