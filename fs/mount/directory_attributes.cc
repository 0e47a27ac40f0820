#include "fs/mount/directory_attributes.h"

namespace moraine::fs::mount {
namespace {

constexpr size_t kKnownMax = 1024;  // then it begins anew

}  // namespace

const Attributes* DirectoryAttributes::Find(InodeId directory) {
  const auto it = known_.find(directory);
  if (it == known_.end()) return nullptr;
  if (loop_.Now() - it->second.learned < valid_) return &it->second.attributes;
  known_.erase(it);
  return nullptr;
}

void DirectoryAttributes::Learn(const Attributes& attributes) {
  if (attributes.type != FileType::kDirectory) return;
  if (known_.size() >= kKnownMax) known_.clear();
  known_[attributes.inode] = {attributes, loop_.Now()};
}

void DirectoryAttributes::NoteCreated(InodeId parent, const Attributes& child) {
  const auto it = known_.find(parent);
  if (it == known_.end()) return;
  Attributes& attributes = it->second.attributes;
  // What was learned may be younger than the answer to the creation.
  if (child.ctime_ns <= attributes.mtime_ns) {
    known_.erase(it);
    return;
  }
  attributes.mtime_ns = attributes.ctime_ns = child.ctime_ns;
  ++attributes.size;
  ++attributes.version;
  if (child.type == FileType::kDirectory) ++attributes.links;
}

}  // namespace moraine::fs::mount
