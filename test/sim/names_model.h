// A small tree of names as it should be: what each operation does to it and what it answers.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "base/random.h"
#include "base/status.h"

namespace moraine::simulation {

struct NameOperation {
  enum class Kind { kCreate, kMakeDirectory, kRemove, kRemoveDirectory, kRename, kLink };
  Kind kind = Kind::kCreate;
  std::string from;  // paths below the root of the tree, without a leading slash
  std::string to;
  std::string ToString() const;
};

class NamesModel {
 public:
  struct Entry {
    bool is_directory = false;
    InodeId inode;
    bool operator==(const Entry&) const = default;
  };
  using Entries = std::map<std::string, Entry>;

  // One that often succeeds and sometimes must not.
  NameOperation Pick(Random& random) const;
  // What the operation answers; if that is kOk, it is done. `made`: the inode of what is created.
  Code Apply(const NameOperation& operation, InodeId made);

  const Entries& entries() const { return entries_; }
  InodeId InodeOf(const std::string& path) const;
  // Empty when it has none here.
  std::string PathOf(InodeId inode) const;
  // Equal, where an inode that is not known (0) equals any.
  bool Matches(const Entries& seen) const;

 private:
  std::string SomePath(Random& random, bool known) const;
  Code Rename(const std::string& from, const std::string& to);
  bool HasParent(const std::string& path) const;
  bool HasChildren(const std::string& path) const;

  Entries entries_;
};

// The folder and the last part of a path.
std::pair<std::string, std::string> SplitPath(const std::string& path);

}  // namespace moraine::simulation
