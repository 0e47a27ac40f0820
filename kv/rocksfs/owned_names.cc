#include "kv/rocksfs/owned_names.h"

namespace moraine::rocksfs {

void OwnedNames::Load(std::vector<fs::OwnedDirectory::Entry> entries) {
  MutexLock lock(mutex_);
  if (changed_unknown_ || !claimed_.empty()) return;
  for (fs::OwnedDirectory::Entry& entry : entries) {
    auto layout = std::make_shared<const fs::Layout>(std::move(entry.layout));
    entries_.insert_or_assign(std::move(entry.name),
                              Entry{std::move(entry.attributes), nullptr, std::move(layout)});
  }
  known_ = true;
}

bool OwnedNames::known() const {
  MutexLock lock(mutex_);
  return MayAnswer();
}

fs::Attributes OwnedNames::Current(const Entry& entry) {
  fs::Attributes attributes = entry.attributes;
  if (entry.growing != nullptr) {
    attributes.size = entry.growing->bytes.load(std::memory_order_relaxed);
    attributes.mtime_ns = entry.growing->mtime_ns.load(std::memory_order_relaxed);
  }
  return attributes;
}

std::optional<Result<fs::Attributes>> OwnedNames::Find(const std::string& name) const {
  MutexLock lock(mutex_);
  if (!MayAnswer()) return std::nullopt;
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    return Result<fs::Attributes>(Status(Code::kNotFound, "no such name in the owned directory"));
  }
  return Result<fs::Attributes>(Current(it->second));
}

std::optional<std::vector<fs::DirectoryEntry>> OwnedNames::List() const {
  MutexLock lock(mutex_);
  if (!MayAnswer()) return std::nullopt;
  std::vector<fs::DirectoryEntry> list;
  list.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) {
    list.push_back({name, entry.attributes.inode, entry.attributes.type, Current(entry)});
  }
  return list;
}

std::optional<OwnedNames::Entry> OwnedNames::Get(const std::string& name) const {
  MutexLock lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return std::nullopt;
  return it->second;
}

void OwnedNames::Put(const std::string& name, Entry entry) {
  MutexLock lock(mutex_);
  if (known_) {
    entries_.insert_or_assign(name, std::move(entry));
  } else {
    changed_unknown_ = true;
  }
}

void OwnedNames::SetGrowing(InodeId inode, std::shared_ptr<const GrowingSize> growing) {
  MutexLock lock(mutex_);
  for (auto& [name, entry] : entries_) {
    if (entry.attributes.inode != inode) continue;
    entry.growing = growing;
    entry.layout = nullptr;
  }
}

void OwnedNames::Erase(const std::string& name) {
  MutexLock lock(mutex_);
  if (known_) {
    entries_.erase(name);
  } else {
    changed_unknown_ = true;
  }
}

void OwnedNames::Forget() {
  MutexLock lock(mutex_);
  known_ = false;
  changed_unknown_ = true;
  entries_.clear();
}

bool OwnedNames::AnyClaimed(const std::set<std::string>& names) const {
  for (const std::string& name : names) {
    if (claimed_.contains(name)) return true;
  }
  return false;
}

OwnedNames::Claim::Claim(std::shared_ptr<OwnedNames> names, std::set<std::string> claimed)
    : names_(std::move(names)), claimed_(std::move(claimed)) {
  if (names_ == nullptr) return;
  MutexLock lock(names_->mutex_);
  while (names_->AnyClaimed(claimed_)) names_->released_.Wait(names_->mutex_);
  names_->claimed_.insert(claimed_.begin(), claimed_.end());
}

OwnedNames::Claim::~Claim() {
  if (names_ == nullptr) return;
  {
    MutexLock lock(names_->mutex_);
    for (const std::string& name : claimed_) names_->claimed_.erase(name);
  }
  names_->released_.NotifyAll();
}

}  // namespace moraine::rocksfs
