#include "test/sim/names_workload.h"

#include <algorithm>

#include "test/sim/content.h"

namespace moraine::simulation {
namespace {

std::string Text(const NamesModel::Entries& entries) {
  std::string text;
  for (const auto& [path, entry] : entries) {
    text += fmt::format(" {}{}={}", path, entry.is_directory ? "/" : "", entry.inode.value());
  }
  return text.empty() ? " (nothing)" : text;
}

}  // namespace

Task<void> NamesWorkload::Run(fs::Client& client) {
  if (tree_ != nullptr && tree_->open.has_value()) Leave();  // the last life ended in the middle
  while (!stage_.stopping) {
    bool ready = tree_ != nullptr;
    if (!ready) ready = co_await BeginTree(client);
    if (ready) co_await Round(client);
    co_await Pause(client, 25ms);
  }
}

Task<bool> NamesWorkload::BeginTree(fs::Client& client) {
  auto tree = std::make_unique<Tree>();
  tree->name = fmt::format("t{}", next_tree_++);
  fs::NewEntry entry;
  entry.type = fs::FileType::kDirectory;
  entry.mode = 0755;
  auto made = co_await client.Create(stage_.names, tree->name, entry, false);
  if (!made.ok()) co_return false;
  tree->root = made->attributes.inode;
  const uint64_t cuts = stage_.meta_cuts;
  const Status durable = co_await client.SyncNames(stage_.names);
  if (!durable.ok() || cuts != stage_.meta_cuts) co_return false;
  tree->history.emplace_back();
  tree->cuts = cuts;
  tree_ = std::move(tree);
  co_return true;
}

Task<void> NamesWorkload::Round(fs::Client& client) {
  for (uint64_t i = random_.Between(1, 6); i > 0 && tree_ != nullptr && !stage_.stopping; --i) {
    tree_->open = tree_->history.back().Pick(random_);
    ++operations_;
    const Result<InodeId> result = co_await Do(client, *tree_->open);
    const bool unknown = !result.ok() && IsUnknown(result.status());
    if (unknown || tree_->cuts != stage_.meta_cuts) co_return Leave();
    Judge(result);
  }
  if (tree_ != nullptr && random_.OneIn(2)) {
    const bool durable = co_await MakeDurable(client);
    if (!durable) co_return;
  }
  ++rounds_;
}

void NamesWorkload::Judge(const Result<InodeId>& result) {
  NamesModel next = tree_->history.back();
  const InodeId made = result.ok() ? *result : InodeId();
  const Code right = next.Apply(*tree_->open, made);
  if (result.code() != right) {
    Fail(fmt::format("{} in {} answers {} instead of {}; there is{}", tree_->open->ToString(),
                     tree_->name, result.status().ToString(), CodeName(right),
                     Text(tree_->history.back().entries())));
  }
  if (result.ok()) tree_->history.push_back(std::move(next));
  tree_->open.reset();
}

Task<bool> NamesWorkload::MakeDurable(fs::Client& client) {
  const Status synced = co_await client.SyncNames(tree_->root);
  if (tree_->cuts != stage_.meta_cuts) {
    Leave();
    co_return false;
  }
  if (!synced.ok()) co_return false;
  tree_->history = {tree_->history.back()};
  co_return true;
}

Task<Result<InodeId>> NamesWorkload::Do(fs::Client& client, const NameOperation& operation) {
  using Kind = NameOperation::Kind;
  const NamesModel& now = tree_->history.back();
  const auto place = [&](const std::string& path) {
    const auto [folder, name] = SplitPath(path);
    return std::pair(folder.empty() ? tree_->root : now.InodeOf(folder), name);
  };
  const auto [parent, name] = place(operation.from);
  Status status;
  switch (operation.kind) {
    case Kind::kCreate:
    case Kind::kMakeDirectory: {
      fs::NewEntry entry;
      if (operation.kind == Kind::kMakeDirectory) entry.type = fs::FileType::kDirectory;
      auto made = co_await client.Create(parent, name, entry, false);
      if (!made.ok()) co_return made.status();
      co_return made->attributes.inode;
    }
    case Kind::kRemove:
      status = co_await client.RemoveFile(parent, name);
      break;
    case Kind::kRemoveDirectory:
      status = co_await client.RemoveDirectory(parent, name);
      break;
    case Kind::kLink: {
      const auto [new_parent, new_name] = place(operation.to);
      const InodeId inode = now.InodeOf(operation.from);
      if (inode.IsNone()) co_return Status(Code::kNotFound, "nothing to link");
      auto linked = co_await client.Link(inode, new_parent, new_name);
      status = linked.status();
      break;
    }
    case Kind::kRename: {
      const auto [new_parent, new_name] = place(operation.to);
      status = co_await client.Rename(parent, name, new_parent, new_name, fs::RenameMode::kReplace);
      break;
    }
  }
  if (!status.ok()) co_return status;
  co_return InodeId();
}

// What was under way named its directories by inode, in the newest tree of the history: in an older
// one they may have had other names.
NameOperation NamesWorkload::AsMeantIn(const NamesModel& older, const Tree& tree) {
  const NamesModel& newest = tree.history.back();
  const auto moved = [&](const std::string& path) {
    const auto [folder, name] = SplitPath(path);
    if (folder.empty() || newest.InodeOf(folder).IsNone()) return path;
    const std::string there = older.PathOf(newest.InodeOf(folder));
    return there.empty() ? path : there + "/" + name;
  };
  NameOperation operation = *tree.open;
  operation.from = moved(operation.from);
  operation.to = moved(operation.to);
  return operation;
}

// Each tree of the history may have been found, and what was under way may be done in it or not.
std::vector<NamesModel> NamesWorkload::Possible(const Tree& tree) const {
  const bool cut = tree.cuts != stage_.meta_cuts;
  std::vector<NamesModel> possible;
  for (size_t i = cut ? 0 : tree.history.size() - 1; i < tree.history.size(); ++i) {
    // Even an operation that was acknowledged may be lost with the power.
    possible.push_back(tree.history[i]);
    if (!tree.open.has_value()) continue;
    NamesModel done = tree.history[i];
    const NameOperation operation = AsMeantIn(done, tree);
    if (done.Apply(operation, InodeId()) == Code::kOk) possible.push_back(std::move(done));
  }
  return possible;
}

void NamesWorkload::Leave() {
  left_.push_back(std::move(tree_));
  tree_ = nullptr;
}

Task<Result<NamesModel::Entries>> NamesWorkload::List(fs::Client& client, InodeId root) {
  NamesModel::Entries seen;
  std::vector<std::pair<std::string, InodeId>> folders = {{"", root}};
  while (!folders.empty()) {
    const auto [path, inode] = folders.back();
    folders.pop_back();
    auto page = co_await client.ReadDirectory(inode, "", 1000, false);
    if (!page.ok()) co_return page.status();
    for (const fs::DirectoryEntry& entry : page->entries) {
      const std::string at = path.empty() ? entry.name : path + "/" + entry.name;
      const bool is_directory = entry.type == fs::FileType::kDirectory;
      seen[at] = {is_directory, entry.inode};
      if (is_directory) folders.emplace_back(at, entry.inode);
    }
  }
  co_return seen;
}

Task<void> NamesWorkload::Verify(fs::Client& client) {
  if (tree_ != nullptr) Leave();
  for (const auto& tree : left_) {
    auto seen = co_await List(client, tree->root);
    if (!seen.ok()) {
      Fail(tree->name + " cannot be listed: " + seen.status().ToString());
      co_return;
    }
    const std::vector<NamesModel> possible = Possible(*tree);
    if (std::ranges::none_of(possible,
                             [&](const NamesModel& model) { return model.Matches(*seen); })) {
      Fail(fmt::format("{} is{} in the end; it was{}{}", tree->name, Text(*seen),
                       Text(tree->history.back().entries()),
                       tree->open ? ", then " + tree->open->ToString() : ""));
    }
  }
}

}  // namespace moraine::simulation
