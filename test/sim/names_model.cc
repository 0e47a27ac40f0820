#include "test/sim/names_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

namespace moraine::simulation {

std::pair<std::string, std::string> SplitPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string NameOperation::ToString() const {
  static constexpr std::array kNames = {"create", "mkdir", "unlink", "rmdir", "rename", "link"};
  return fmt::format("{} {} {}", kNames[static_cast<size_t>(kind)], from, to);
}

std::string NamesModel::SomePath(Random& random, bool known) const {
  if (known && !entries_.empty()) {
    auto it = entries_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random.Uniform(entries_.size())));
    return it->first;
  }
  std::vector<std::string> folders = {""};
  for (const auto& [path, entry] : entries_) {
    if (entry.is_directory && std::ranges::count(path, '/') < 2) folders.push_back(path + "/");
  }
  // Few names, so that they meet.
  return random.Pick(folders) + fmt::format("n{}", random.Uniform(5));
}

NameOperation NamesModel::Pick(Random& random) const {
  using Kind = NameOperation::Kind;
  switch (random.Uniform(10)) {
    case 0:
    case 1:
    case 2:
      return {Kind::kCreate, SomePath(random, false), {}};
    case 3:
    case 4:
      return {Kind::kMakeDirectory, SomePath(random, false), {}};
    case 5:
      return {Kind::kRemove, SomePath(random, true), {}};
    case 6:
      return {Kind::kRemoveDirectory, SomePath(random, true), {}};
    case 7:
      return {Kind::kLink, SomePath(random, true), SomePath(random, false)};
    default:
      return {Kind::kRename, SomePath(random, true), SomePath(random, random.OneIn(4))};
  }
}

bool NamesModel::HasParent(const std::string& path) const {
  const auto [folder, name] = SplitPath(path);
  if (folder.empty()) return true;
  const auto it = entries_.find(folder);
  return it != entries_.end() && it->second.is_directory;
}

bool NamesModel::HasChildren(const std::string& path) const {
  const auto it = entries_.lower_bound(path + "/");
  return it != entries_.end() && it->first.starts_with(path + "/");
}

InodeId NamesModel::InodeOf(const std::string& path) const {
  const auto it = entries_.find(path);
  return it == entries_.end() ? InodeId() : it->second.inode;
}

std::string NamesModel::PathOf(InodeId inode) const {
  const auto it = std::ranges::find_if(
      entries_, [inode](const auto& entry) { return entry.second.inode == inode; });
  return it == entries_.end() ? std::string() : it->first;
}

Code NamesModel::Apply(const NameOperation& operation, InodeId made) {
  using Kind = NameOperation::Kind;
  const std::string& from = operation.from;
  const auto it = entries_.find(from);
  const bool there = it != entries_.end();
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kMakeDirectory:
      if (!HasParent(from)) return Code::kNotFound;
      if (there) return Code::kAlreadyExists;
      entries_[from] = {operation.kind == Kind::kMakeDirectory, made};
      return Code::kOk;
    case Kind::kRemove:
      if (!there) return Code::kNotFound;
      if (it->second.is_directory) return Code::kIsDirectory;
      entries_.erase(it);
      return Code::kOk;
    case Kind::kRemoveDirectory:
      if (!there) return Code::kNotFound;
      if (!it->second.is_directory) return Code::kNotDirectory;
      if (HasChildren(from)) return Code::kNotEmpty;
      entries_.erase(it);
      return Code::kOk;
    case Kind::kLink:
      if (!there || !HasParent(operation.to)) return Code::kNotFound;
      if (it->second.is_directory) return Code::kNotPermitted;
      if (entries_.contains(operation.to)) return Code::kAlreadyExists;
      entries_[operation.to] = it->second;
      return Code::kOk;
    case Kind::kRename:
      return Rename(from, operation.to);
  }
  return Code::kInternal;
}

Code NamesModel::Rename(const std::string& from, const std::string& to) {
  const auto source = entries_.find(from);
  if (source == entries_.end() || !HasParent(to)) return Code::kNotFound;
  if (from == to) return Code::kOk;
  const Entry moved = source->second;
  if (to.starts_with(from + "/")) return Code::kInvalidArgument;
  if (const auto target = entries_.find(to); target != entries_.end()) {
    if (moved.is_directory && !target->second.is_directory) return Code::kNotDirectory;
    if (!moved.is_directory && target->second.is_directory) return Code::kIsDirectory;
    if (moved.is_directory && HasChildren(to)) return Code::kNotEmpty;
    if (moved.inode == target->second.inode) return Code::kOk;  // two links of one file: nothing
  }
  Entries below;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->first.starts_with(from + "/")) {
      below[to + it->first.substr(from.size())] = it->second;
      it = entries_.erase(it);
    } else {
      ++it;
    }
  }
  entries_.erase(from);
  entries_[to] = moved;
  entries_.insert(below.begin(), below.end());
  return Code::kOk;
}

bool NamesModel::Matches(const Entries& seen) const {
  return std::ranges::equal(entries_, seen, [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.is_directory == b.second.is_directory &&
           (a.second.inode.IsNone() || a.second.inode == b.second.inode);
  });
}

}  // namespace moraine::simulation
