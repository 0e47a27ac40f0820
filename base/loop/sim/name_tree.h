// The names of a simulated disk: directories, files, and which changes of them are not durable yet.
//
// Changes are applied at once and kept in a journal until SyncDirectory. A crash undoes some of
// those left: either all after a point, as a journaling file system does, or any set in which no
// kept change builds on an undone one. A rename is one change: it happens whole or not at all.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/loop/sim/file_image.h"
#include "base/random.h"
#include "base/status.h"

namespace moraine::sim {

struct Node {
  uint64_t id = 0;
  bool is_directory = false;
  FileImage file;
  std::map<std::string, std::shared_ptr<Node>> entries;
  // Kept by DiskImage.
  int opened = 0;      // handles
  bool linked = true;  // has a name
  bool locked = false;
  uint64_t charged_bytes = 0;
};
using NodePtr = std::shared_ptr<Node>;

class NameTree {
 public:
  NameTree();

  // kNotFound, kNotDirectory, kInvalidArgument, kNameTooLong.
  Result<NodePtr> Find(std::string_view path) const;
  // The file at `path`, made if it is missing. kIsDirectory; kAlreadyExists when `exclusive`.
  Result<NodePtr> Create(std::string_view path, bool exclusive);
  Status MakeDirectory(std::string_view path);
  // Returns the node that lost its name.
  Result<NodePtr> Remove(std::string_view path);  // kNotEmpty
  // Returns the node that was replaced, or null.
  Result<NodePtr> Rename(std::string_view from, std::string_view to);
  Status Sync(std::string_view directory);

  // Undoes some of the unsynced changes; `keep` is the chance of each to stay.
  void Crash(Random& random, double keep);

  // Calls visit(path, node) for every file that has a name, in the order of names.
  template <class Visit>
  void ForFiles(Visit visit) const {
    VisitFiles(*root_, "", visit);
  }
  size_t unsynced_changes() const { return journal_.size(); }

 private:
  using Key = std::pair<uint64_t, std::string>;  // directory, name
  struct EntryChange {
    NodePtr directory;
    std::string name;
    NodePtr before;  // null: there was none
  };
  struct Change {
    std::vector<EntryChange> entries;
  };
  struct Place {
    NodePtr directory;
    std::string name;
    NodePtr node;  // null: nothing there
  };

  template <class Visit>
  static void VisitFiles(const Node& directory, const std::string& prefix, Visit& visit) {
    for (const auto& [name, node] : directory.entries) {
      const std::string path = prefix.empty() ? name : prefix + "/" + name;
      if (node->is_directory) {
        VisitFiles(*node, path, visit);
      } else {
        visit(path, *node);
      }
    }
  }

  Result<std::vector<std::string>> Split(std::string_view path) const;
  Result<Place> Locate(std::string_view path) const;
  NodePtr NewNode(bool is_directory);
  void Set(Change& change, const NodePtr& directory, const std::string& name, NodePtr node);
  void Log(Change change);

  NodePtr root_;
  uint64_t next_id_ = 1;
  std::vector<Change> journal_;
};

}  // namespace moraine::sim
