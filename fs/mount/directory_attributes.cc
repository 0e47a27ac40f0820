#include "fs/mount/directory_attributes.h"

#include <algorithm>

namespace moraine::fs::mount {
namespace {

constexpr size_t kKnownMax = 1024;  // then it begins anew

}  // namespace

const Attributes* DirectoryAttributes::Find(InodeId directory) {
  const auto it = known_.find(directory);
  if (it == known_.end() || !it->second.attributes) return nullptr;
  if (loop_.Now() - it->second.learned < valid_) return &*it->second.attributes;
  known_.erase(it);
  return nullptr;
}

uint64_t DirectoryAttributes::Ask(InodeId inode) {
  if (known_.size() >= kKnownMax) known_.clear();
  known_.try_emplace(inode, Known{std::nullopt, Instant(), ++questions_});
  return questions_;
}

void DirectoryAttributes::Learn(const Attributes& attributes, uint64_t asked) {
  const auto it = known_.find(attributes.inode);
  if (it == known_.end() || asked < it->second.since) return;  // it was forgotten meanwhile
  if (attributes.type != FileType::kDirectory || attributes.ctime_ns < it->second.at_least_ns) {
    known_.erase(it);
    return;
  }
  it->second.attributes = attributes;
  it->second.learned = loop_.Now();
}

void DirectoryAttributes::NoteCreated(InodeId parent, const Attributes& child) {
  const auto it = known_.find(parent);
  if (it == known_.end()) return;
  it->second.at_least_ns = std::max(it->second.at_least_ns, child.ctime_ns);
  if (!it->second.attributes) return;
  Attributes& attributes = *it->second.attributes;
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
