#include "base/loop/sim/name_tree.h"

#include <algorithm>

#include "base/limits.h"

namespace moraine::sim {
namespace {

std::string Quoted(std::string_view path) { return "'" + std::string(path) + "'"; }

bool Within(const Node& directory, const Node& node) {
  if (&directory == &node) return true;
  return std::ranges::any_of(directory.entries, [&](const auto& entry) {
    return entry.second->is_directory && Within(*entry.second, node);
  });
}

}  // namespace

NameTree::NameTree() : root_(NewNode(/*is_directory=*/true)) {}

NodePtr NameTree::NewNode(bool is_directory) {
  auto node = std::make_shared<Node>();
  node->id = next_id_++;
  node->is_directory = is_directory;
  return node;
}

Result<std::vector<std::string>> NameTree::Split(std::string_view path) const {
  if (path.empty()) return Status(Code::kNotFound, "an empty path");
  if (path.size() > limits::kPathBytesMax) return Status(Code::kNameTooLong, "path too long");
  std::vector<std::string> names;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (name.size() > limits::kNameBytesMax) return Status(Code::kNameTooLong, "name too long");
    if (name == "..") {
      if (!names.empty()) names.pop_back();
      continue;
    }
    names.emplace_back(name);
  }
  return names;
}

Result<NameTree::Place> NameTree::Locate(std::string_view path) const {
  MORAINE_ASSIGN_OR_RETURN(const std::vector<std::string> names, Split(path));
  Place place{nullptr, "", root_};
  for (size_t i = 0; i < names.size(); ++i) {
    if (place.node == nullptr) return Status(Code::kNotFound, "no directory for " + Quoted(path));
    if (!place.node->is_directory) {
      return Status(Code::kNotDirectory, "a file in the middle of " + Quoted(path));
    }
    const auto it = place.node->entries.find(names[i]);
    NodePtr found = it == place.node->entries.end() ? nullptr : it->second;
    place = Place{place.node, names[i], std::move(found)};
  }
  return place;
}

Result<NodePtr> NameTree::Find(std::string_view path) const {
  MORAINE_ASSIGN_OR_RETURN(Place place, Locate(path));
  if (place.node == nullptr) return Status(Code::kNotFound, "no " + Quoted(path));
  return place.node;
}

void NameTree::Set(Change& change, const NodePtr& directory, const std::string& name,
                   NodePtr node) {
  const auto it = directory->entries.find(name);
  change.entries.push_back(
      {directory, name, it == directory->entries.end() ? nullptr : it->second});
  if (node == nullptr) {
    directory->entries.erase(name);
  } else {
    directory->entries[name] = std::move(node);
  }
}

// Nobody waits for a directory sync for ever: the kernel commits old changes by itself.
void NameTree::Log(Change change) {
  constexpr size_t kChangesMax = 512;
  journal_.push_back(std::move(change));
  if (journal_.size() > kChangesMax) {
    journal_.erase(journal_.begin(), journal_.begin() + kChangesMax / 2);
  }
}

Result<NodePtr> NameTree::Create(std::string_view path, bool exclusive) {
  MORAINE_ASSIGN_OR_RETURN(Place place, Locate(path));
  if (place.node != nullptr) {
    if (exclusive) return Status(Code::kAlreadyExists, Quoted(path) + " exists");
    if (place.node->is_directory)
      return Status(Code::kIsDirectory, Quoted(path) + " is a directory");
    return place.node;
  }
  NodePtr node = NewNode(/*is_directory=*/false);
  Change change;
  Set(change, place.directory, place.name, node);
  Log(std::move(change));
  return node;
}

Status NameTree::MakeDirectory(std::string_view path) {
  Result<Place> place = Locate(path);
  if (!place.ok()) return place.status();
  if (place->node != nullptr) return {Code::kAlreadyExists, Quoted(path) + " exists"};
  Change change;
  Set(change, place->directory, place->name, NewNode(/*is_directory=*/true));
  Log(std::move(change));
  return {};
}

Result<NodePtr> NameTree::Remove(std::string_view path) {
  MORAINE_ASSIGN_OR_RETURN(Place place, Locate(path));
  if (place.node == nullptr) return Status(Code::kNotFound, "no " + Quoted(path));
  if (place.directory == nullptr) return Status(Code::kBusy, "the root stays");
  if (!place.node->entries.empty()) return Status(Code::kNotEmpty, Quoted(path) + " is not empty");
  Change change;
  Set(change, place.directory, place.name, nullptr);
  Log(std::move(change));
  return place.node;
}

Result<NodePtr> NameTree::Rename(std::string_view from, std::string_view to) {
  MORAINE_ASSIGN_OR_RETURN(Place source, Locate(from));
  MORAINE_ASSIGN_OR_RETURN(Place target, Locate(to));
  if (source.node == nullptr) return Status(Code::kNotFound, "no " + Quoted(from));
  if (source.directory == nullptr || target.directory == nullptr) {
    return Status(Code::kBusy, "the root stays");
  }
  if (source.node == target.node) return NodePtr();
  if (source.node->is_directory && Within(*source.node, *target.directory)) {
    return Status(Code::kInvalidArgument, Quoted(to) + " lies within " + Quoted(from));
  }
  if (target.node != nullptr) {
    if (target.node->is_directory && !source.node->is_directory) {
      return Status(Code::kIsDirectory, Quoted(to) + " is a directory");
    }
    if (!target.node->is_directory && source.node->is_directory) {
      return Status(Code::kNotDirectory, Quoted(to) + " is not a directory");
    }
    if (!target.node->entries.empty()) {
      return Status(Code::kNotEmpty, Quoted(to) + " is not empty");
    }
  }
  Change change;
  Set(change, source.directory, source.name, nullptr);
  Set(change, target.directory, target.name, source.node);
  Log(std::move(change));
  return target.node;
}

Status NameTree::Sync(std::string_view directory) {
  Result<NodePtr> node = Find(directory);
  if (!node.ok()) return node.status();
  if (!(*node)->is_directory) return {Code::kNotDirectory, Quoted(directory) + " is a file"};
  // From the newest back: what touches the directory is durable, and what that builds on.
  std::set<Key> needed;
  for (size_t i = journal_.size(); i-- > 0;) {
    const bool durable = std::ranges::any_of(journal_[i].entries, [&](const EntryChange& entry) {
      return entry.directory == *node || needed.contains(Key{entry.directory->id, entry.name});
    });
    if (!durable) continue;
    for (const EntryChange& entry : journal_[i].entries) {
      needed.insert({entry.directory->id, entry.name});
    }
    journal_.erase(journal_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return {};
}

void NameTree::Crash(Random& random, double keep) {
  const bool in_order = random.OneIn(2);
  const size_t cut = random.Uniform(journal_.size() + 1);
  std::set<Key> undone_keys;
  std::vector<size_t> undone;
  for (size_t i = 0; i < journal_.size(); ++i) {
    bool undo = in_order ? i >= cut : !random.Chance(keep);
    for (const EntryChange& entry : journal_[i].entries) {
      undo = undo || undone_keys.contains(Key{entry.directory->id, entry.name});
    }
    if (!undo) continue;
    for (const EntryChange& entry : journal_[i].entries) {
      undone_keys.insert({entry.directory->id, entry.name});
    }
    undone.push_back(i);
  }
  for (size_t k = undone.size(); k-- > 0;) {
    auto& entries = journal_[undone[k]].entries;
    for (size_t e = entries.size(); e-- > 0;) {
      EntryChange& entry = entries[e];
      if (entry.before == nullptr) {
        entry.directory->entries.erase(entry.name);
      } else {
        entry.directory->entries[entry.name] = entry.before;
      }
    }
  }
  journal_.clear();
}

}  // namespace moraine::sim
