// A tree in memory that answers like the namespace operations, for comparing them. Only for tests.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/limits.h"
#include "base/status.h"
#include "metaserver/namespace/ops/ops.h"

namespace moraine::metaserver {

class NamespaceModel {
 public:
  struct Node {
    FileType type = FileType::kRegular;
    uint64_t links = 1;
    uint64_t id = 0;  // the real inode
    Node* parent = nullptr;
    std::map<std::string, std::shared_ptr<Node>> children;
  };
  using NodePtr = std::shared_ptr<Node>;

  NamespaceModel() {
    root_->type = FileType::kDirectory;
    root_->links = 2;
    root_->parent = root_.get();
    root_->id = kRootInode.value();
  }
  const NodePtr& root() const { return root_; }

  static bool Below(const Node* node, const Node* ancestor) {
    while (node != ancestor) {
      if (node->parent == node) return false;
      node = node->parent;
    }
    return true;
  }

  Code Create(const NodePtr& parent, const std::string& name, FileType type, NodePtr* made) {
    if (parent->children.contains(name)) return Code::kAlreadyExists;
    auto node = std::make_shared<Node>();
    node->type = type;
    if (type == FileType::kDirectory) {
      node->links = 2;
      ++parent->links;
      node->parent = parent.get();
    }
    parent->children[name] = node;
    *made = node;
    return Code::kOk;
  }

  Code Remove(const NodePtr& parent, const std::string& name, bool directory) {
    const auto it = parent->children.find(name);
    if (it == parent->children.end()) return Code::kNotFound;
    const NodePtr node = it->second;
    const bool is_directory = node->type == FileType::kDirectory;
    if (is_directory && !directory) return Code::kIsDirectory;
    if (!is_directory && directory) return Code::kNotDirectory;
    if (is_directory && !node->children.empty()) return Code::kNotEmpty;
    if (is_directory) --parent->links;
    node->links = is_directory ? 0 : node->links - 1;
    parent->children.erase(it);
    return Code::kOk;
  }

  Code Link(const NodePtr& node, const NodePtr& parent, const std::string& name) {
    if (node->type == FileType::kDirectory) return Code::kNotPermitted;
    if (node->links == 0) return Code::kNotFound;
    if (parent->children.contains(name)) return Code::kAlreadyExists;
    ++node->links;
    parent->children[name] = node;
    return Code::kOk;
  }

  Code Rename(const NodePtr& from, const std::string& name, const NodePtr& to,
              const std::string& new_name, RenameMode mode) {
    const auto source_it = from->children.find(name);
    if (source_it == from->children.end()) return Code::kNotFound;
    const NodePtr source = source_it->second;
    const auto target_it = to->children.find(new_name);
    const NodePtr target = target_it == to->children.end() ? nullptr : target_it->second;
    if (mode == RenameMode::kNoReplace && target != nullptr) return Code::kAlreadyExists;
    if (target == source) return Code::kOk;
    const bool source_dir = source->type == FileType::kDirectory;
    const bool target_dir = target != nullptr && target->type == FileType::kDirectory;
    if (source_dir && Below(to.get(), source.get())) return Code::kInvalidArgument;
    if (mode == RenameMode::kExchange) {
      if (target == nullptr) return Code::kNotFound;
      if (target_dir && Below(from.get(), target.get())) return Code::kInvalidArgument;
      from->children[name] = target;
      to->children[new_name] = source;
      MoveLinks(source, from, to);
      MoveLinks(target, to, from);
      return Code::kOk;
    }
    if (target != nullptr) {
      if (source_dir && !target_dir) return Code::kNotDirectory;
      if (!source_dir && target_dir) return Code::kIsDirectory;
      if (target_dir && !target->children.empty()) return Code::kNotEmpty;
      target->links = target_dir ? 0 : target->links - 1;
      if (target_dir) --to->links;
    }
    from->children.erase(name);
    to->children[new_name] = source;
    MoveLinks(source, from, to);
    return Code::kOk;
  }

 private:
  static void MoveLinks(const NodePtr& node, const NodePtr& from, const NodePtr& to) {
    if (node->type != FileType::kDirectory) return;
    --from->links;
    ++to->links;
    node->parent = to.get();
  }

  NodePtr root_ = std::make_shared<Node>();
};

}  // namespace moraine::metaserver
