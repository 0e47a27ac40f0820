#include "base/loop/sim/sim_disk.h"

#include "base/loop/sim/pending.h"
#include "base/loop/sim/sim_file.h"
#include "base/loop/sim/sim_loop.h"

namespace moraine::sim {
namespace {

class SimFileLock final : public FileLock {
 public:
  explicit SimFileLock(NodePtr node) : node_(std::move(node)) { node_->locked = true; }
  ~SimFileLock() override { node_->locked = false; }

 private:
  const NodePtr node_;
};

}  // namespace

Task<Result<std::unique_ptr<File>>> SimDisk::Open(std::string path, OpenOptions options) {
  using Opened = Result<std::unique_ptr<File>>;
  auto pending = std::make_shared<Pending<Opened>>(loop_);
  auto find = [image = &image_, path, options]() -> Result<NodePtr> {
    if (options.create) return image->names().Create(path, options.exclusive);
    Result<NodePtr> node = image->names().Find(path);
    if (node.ok() && (*node)->is_directory) {
      return Status(Code::kIsDirectory, "'" + path + "' is a directory");
    }
    return node;
  };
  auto finish = [this, pending, path, options, find] {
    const Status fault = image_.Fault(DiskOp::kOpen, path);
    if (!fault.ok()) return pending->Complete(fault);
    Result<NodePtr> node = find();
    if (!node.ok()) return pending->Complete(node.status());
    if (!pending->Wanted()) return;
    pending->Complete(std::make_unique<SimFile>(loop_, image_, *node, path, options));
  };
  auto interrupt = [find](Random& random) {
    if (random.OneIn(2)) (void)find();
  };
  image_.Begin({DiskOp::kOpen, 0, false, std::move(finish), std::move(interrupt)});
  co_return co_await Await<Opened>(pending);
}

Task<Status> SimDisk::Change(DiskOp op, std::string path, std::function<Status()> apply) {
  auto pending = std::make_shared<Pending<Status>>(loop_);
  auto finish = [image = &image_, pending, op, path, apply] {
    Status status = image->Fault(op, path);
    if (status.ok()) status = apply();
    pending->Complete(std::move(status));
  };
  auto interrupt = [apply](Random& random) {
    if (random.OneIn(2)) apply().Ignore();
  };
  const bool to_medium = op == DiskOp::kSyncDirectory;
  image_.Begin({op, 0, to_medium, std::move(finish), std::move(interrupt)});
  co_return co_await Await<Status>(pending);
}

Task<Status> SimDisk::MakeDirectory(std::string path) {
  return Change(DiskOp::kMakeDirectory, path,
                [image = &image_, path] { return image->names().MakeDirectory(path); });
}

Task<Status> SimDisk::Remove(std::string path) {
  return Change(DiskOp::kRemove, path, [image = &image_, path]() -> Status {
    Result<NodePtr> node = image->names().Remove(path);
    if (!node.ok()) return node.status();
    image->Unlinked(**node, path);
    return {};
  });
}

Task<Status> SimDisk::Rename(std::string from, std::string to) {
  return Change(DiskOp::kRename, from, [image = &image_, from, to]() -> Status {
    if (!image->SameVolume(from, to)) {
      return {Code::kNotSupported, "'" + from + "' and '" + to + "' are on different disks"};
    }
    Result<NodePtr> replaced = image->names().Rename(from, to);
    if (!replaced.ok()) return replaced.status();
    if (*replaced != nullptr) image->Unlinked(**replaced, to);
    return {};
  });
}

Task<Status> SimDisk::SyncDirectory(std::string path) {
  return Change(DiskOp::kSyncDirectory, path, [image = &image_, path]() -> Status {
    if (image->options().ignores_name_syncs) return {};
    return image->names().Sync(path);
  });
}

Task<Result<std::vector<DirectoryEntry>>> SimDisk::List(std::string path) {
  using Listed = Result<std::vector<DirectoryEntry>>;
  auto pending = std::make_shared<Pending<Listed>>(loop_);
  auto finish = [image = &image_, pending, path] {
    const Status fault = image->Fault(DiskOp::kList, path);
    if (!fault.ok()) return pending->Complete(fault);
    Result<NodePtr> node = image->names().Find(path);
    if (!node.ok()) return pending->Complete(node.status());
    if (!(*node)->is_directory) {
      return pending->Complete(Status(Code::kNotDirectory, "'" + path + "' is a file"));
    }
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, entry] : (*node)->entries) {
      entries.push_back({name, entry->is_directory});
    }
    image->random().Shuffle(entries);  // a directory has no order
    pending->Complete(std::move(entries));
  };
  image_.Begin({DiskOp::kList, 0, false, std::move(finish), nullptr});
  co_return co_await Await<Listed>(pending);
}

Result<DiskSpace> SimDisk::Space(const std::string& path) {
  Result<NodePtr> node = image_.names().Find(path);
  if (!node.ok()) return node.status();
  return image_.Space(path);
}

Result<std::unique_ptr<FileLock>> SimDisk::Lock(const std::string& path) {
  MORAINE_RETURN_IF_ERROR(image_.Fault(DiskOp::kLock, path));
  MORAINE_ASSIGN_OR_RETURN(NodePtr node, image_.names().Create(path, /*exclusive=*/false));
  if (node->locked) return Status(Code::kBusy, "'" + path + "' is locked");
  return std::unique_ptr<FileLock>(std::make_unique<SimFileLock>(std::move(node)));
}

}  // namespace moraine::sim
