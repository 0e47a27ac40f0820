#include "kv/rocksfs/volume.h"

#include "base/log.h"
#include "kv/rocksfs/path.h"

namespace moraine::rocksfs {
namespace {

constexpr int kListPageEntries = 1000;
constexpr uint32_t kDirectoryMode = 0755;

uint64_t NextOrdinal() {
  static constinit std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

bool IsDirectory(const fs::Attributes& attributes) {
  return attributes.type == fs::FileType::kDirectory;
}

// Claims on a name in each of two directories, always in the same order.
struct TwoClaims {
  OwnedNames::Claim first;
  OwnedNames::Claim second;
};

TwoClaims ClaimBoth(const std::shared_ptr<OwnedNames>& a, const std::string& name_a,
                    const std::shared_ptr<OwnedNames>& b, const std::string& name_b) {
  if (a == b) return {OwnedNames::Claim(a, {name_a, name_b}), OwnedNames::Claim()};
  if (std::less<>()(a.get(), b.get())) {
    OwnedNames::Claim first(a, {name_a});
    return {std::move(first), OwnedNames::Claim(b, {name_b})};
  }
  OwnedNames::Claim first(b, {name_b});
  return {std::move(first), OwnedNames::Claim(a, {name_a})};
}

}  // namespace

Volume::Volume(std::unique_ptr<Cluster> cluster, VolumeOptions options)
    : options_(std::move(options)), ordinal_(NextOrdinal()), cluster_(std::move(cluster)) {
  cluster_->OnDisowned([this](InodeId directory) { ForgetNames(directory); });
}

// ---- Places

std::shared_ptr<OwnedNames> Volume::OwnedAt(const std::string& directory_path) const {
  MutexLock lock(mutex_);
  const auto it = owned_.find(directory_path);
  return it == owned_.end() ? nullptr : it->second;
}

bool Volume::Owns(const std::string& path) const {
  const std::shared_ptr<OwnedNames> owned = OwnedAt(path);
  return owned != nullptr && owned->known();
}

Volume::Place Volume::Locate(const std::string& path) const {
  SplitPath split = Split(path);
  Place place;
  place.owned = OwnedAt(split.directory);
  place.directory_path = std::move(split.directory);
  place.name = std::move(split.name);
  return place;
}

std::optional<Result<fs::Attributes>> Volume::FindInMemory(const std::string& path) {
  const Place place = Locate(path);
  if (place.owned == nullptr || place.name.empty()) return std::nullopt;
  std::optional<Result<fs::Attributes>> found = place.owned->Find(place.name);
  if (found.has_value()) memory_answers_.fetch_add(1, std::memory_order_relaxed);
  return found;
}

void Volume::Doubt(const std::shared_ptr<OwnedNames>& owned, const Status& status) {
  if (owned == nullptr || status.ok()) return;
  // Below 100 the request itself was refused, and kOverloaded says that nothing was done.
  const bool certain = static_cast<int>(status.code()) < static_cast<int>(Code::kUnavailable) ||
                       status.code() == Code::kOverloaded;
  if (!certain) owned->Forget();
}

Task<Result<InodeId>> Volume::ResolveDirectory(std::string path) {
  if (path == "/") co_return kRootInode;
  MORAINE_CO_ASSIGN_OR_RETURN(const fs::Attributes attributes, co_await cluster_->Resolve(path));
  if (!IsDirectory(attributes)) co_return Status(Code::kNotDirectory, path + " is no directory");
  co_return attributes.inode;
}

Status Volume::CheckToken(const std::shared_ptr<OwnedNames>& owned) const {
  if (owned == nullptr || !owned->acquired()) return Status::Ok();
  if (!cluster_->TokenOf(owned->directory()).IsNone()) return Status::Ok();
  return Status(Code::kFenced, "this process has lost the directory to another owner");
}

Task<Result<InodeId>> Volume::DirectoryOf(Place place) {
  if (place.name.empty()) co_return Status(Code::kInvalidArgument, "the root has no name");
  MORAINE_CO_RETURN_IF_ERROR(CheckToken(place.owned));
  if (place.owned != nullptr && place.owned->known()) co_return place.owned->directory();
  co_return co_await ResolveDirectory(place.directory_path);
}

// ---- Questions

Result<fs::Attributes> Volume::Stat(const std::string& path) {
  if (std::optional<Result<fs::Attributes>> found = FindInMemory(path)) return *std::move(found);
  Result<fs::Attributes> attributes =
      cluster_->Block([this, &path] { return cluster_->Resolve(path); });
  if (attributes.ok()) WithWriterSize(&*attributes);
  return attributes;
}

Result<InodeId> Volume::OpenDirectory(const std::string& path) {
  if (const std::shared_ptr<OwnedNames> owned = OwnedAt(path); owned != nullptr && owned->known()) {
    memory_answers_.fetch_add(1, std::memory_order_relaxed);
    return owned->directory();
  }
  if (std::optional<Result<fs::Attributes>> found = FindInMemory(path)) {
    if (!found->ok()) return found->status();
    if (!IsDirectory(**found)) return Status(Code::kNotDirectory, path + " is no directory");
    return (*found)->inode;
  }
  return cluster_->Block([this, &path] { return ResolveDirectory(path); });
}

Task<Result<std::vector<fs::DirectoryEntry>>> Volume::ListTask(std::string path) {
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId directory, co_await ResolveDirectory(path));
  std::vector<fs::DirectoryEntry> entries;
  std::string after;
  for (bool more = true; more;) {
    MORAINE_CO_ASSIGN_OR_RETURN(fs::DirectoryPage page, co_await cluster_->ReadDirectory(
                                                            directory, after, kListPageEntries));
    more = page.more && !page.entries.empty();
    if (more) after = page.entries.back().name;
    for (fs::DirectoryEntry& entry : page.entries) entries.push_back(std::move(entry));
  }
  co_return entries;
}

Result<std::vector<fs::DirectoryEntry>> Volume::List(const std::string& path) {
  if (const std::shared_ptr<OwnedNames> owned = OwnedAt(path)) {
    if (std::optional<std::vector<fs::DirectoryEntry>> entries = owned->List()) {
      memory_answers_.fetch_add(1, std::memory_order_relaxed);
      return *std::move(entries);
    }
  }
  Result<std::vector<fs::DirectoryEntry>> entries =
      cluster_->Block([this, &path] { return ListTask(path); });
  if (!entries.ok()) return entries;
  for (fs::DirectoryEntry& entry : *entries) {
    if (entry.attributes.has_value()) WithWriterSize(&*entry.attributes);
  }
  return entries;
}

Result<uint64_t> Volume::LinkCount(const std::string& path) {
  const Result<fs::Attributes> attributes =
      cluster_->Block([this, &path] { return cluster_->Resolve(path); });
  if (!attributes.ok()) return attributes.status();
  return attributes->links;
}

Result<uint64_t> Volume::FreeBytes() {
  const Result<fs::FileSystemSpace> space = cluster_->Block([this] { return cluster_->Space(); });
  if (!space.ok()) return space.status();
  return space->free_bytes;
}

// ---- Changes of names

Task<Status> Volume::KeepForReaders(const Place& place) {
  const auto entry = place.owned == nullptr ? std::nullopt : place.owned->Get(place.name);
  if (!entry.has_value()) co_return Status::Ok();
  co_return co_await cluster_->RegisterOpen(entry->attributes.inode);
}

Task<Status> Volume::RemoveTask(Place place, bool directory) {
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId parent, co_await DirectoryOf(place));
  if (directory) co_return co_await cluster_->RemoveDirectory(parent, place.name);
  MORAINE_CO_RETURN_IF_ERROR(co_await KeepForReaders(place));
  co_return co_await cluster_->RemoveFile(parent, place.name);
}

Status Volume::Remove(const std::string& path) {
  const Place place = Locate(path);
  const OwnedNames::Claim claim(place.owned, {place.name});
  const Status removed = cluster_->Block([this, &place] { return RemoveTask(place, false); });
  if (removed.ok() && place.owned != nullptr) place.owned->Erase(place.name);
  Doubt(place.owned, removed);
  return removed;
}

Status Volume::RemoveDirectory(const std::string& path) {
  const Place place = Locate(path);
  const OwnedNames::Claim claim(place.owned, {place.name});
  const Status removed = cluster_->Block([this, &place] { return RemoveTask(place, true); });
  if (removed.ok() && place.owned != nullptr) place.owned->Erase(place.name);
  Doubt(place.owned, removed);
  return removed;
}

Task<Result<fs::Attributes>> Volume::MakeDirectoryTask(Place place) {
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId parent, co_await DirectoryOf(place));
  fs::NewEntry entry;
  entry.type = fs::FileType::kDirectory;
  entry.mode = kDirectoryMode;
  MORAINE_CO_ASSIGN_OR_RETURN(
      fs::Created created, co_await cluster_->Create(parent, place.name, std::move(entry), false));
  co_return std::move(created.attributes);
}

Status Volume::MakeDirectory(const std::string& path) {
  if (path == "/") return Status(Code::kAlreadyExists, "the root is there");
  const Place place = Locate(path);
  const OwnedNames::Claim claim(place.owned, {place.name});
  const Result<fs::Attributes> made =
      cluster_->Block([this, &place] { return MakeDirectoryTask(place); });
  if (made.ok() && place.owned != nullptr) place.owned->Put(place.name, {*made, nullptr, nullptr});
  Doubt(place.owned, made.status());
  return made.status();
}

Status Volume::MakeDirectories(const std::string& path) {
  Status made = MakeDirectory(path);
  if (made.code() == Code::kNotFound) {
    const std::string above = Split(path).directory;
    if (above == path) return made;
    MORAINE_RETURN_IF_ERROR(MakeDirectories(above));
    made = MakeDirectory(path);
  }
  if (made.code() != Code::kAlreadyExists) return made;
  return OpenDirectory(path).status();
}

Task<Result<std::optional<fs::Attributes>>> Volume::RenameTask(Place from, Place to, bool want) {
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId parent, co_await DirectoryOf(from));
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId new_parent, co_await DirectoryOf(to));
  MORAINE_CO_RETURN_IF_ERROR(co_await KeepForReaders(to));
  MORAINE_CO_RETURN_IF_ERROR(co_await cluster_->Rename(parent, from.name, new_parent, to.name));
  if (!want) co_return std::optional<fs::Attributes>();
  Result<fs::Attributes> attributes = co_await cluster_->Lookup(new_parent, to.name);
  // The rename is done; without the attributes memory is unsure, which is no error of the rename.
  if (!attributes.ok()) co_return std::optional<fs::Attributes>();
  co_return std::optional<fs::Attributes>(*std::move(attributes));
}

Status Volume::Rename(const std::string& from, const std::string& to) {
  const Place source = Locate(from);
  const Place target = Locate(to);
  const TwoClaims claims = ClaimBoth(source.owned, source.name, target.owned, target.name);
  std::optional<OwnedNames::Entry> entry;
  if (source.owned != nullptr) entry = source.owned->Get(source.name);
  const bool want = target.owned != nullptr && !entry.has_value();
  const Result<std::optional<fs::Attributes>> renamed =
      cluster_->Block([this, &source, &target, want] { return RenameTask(source, target, want); });
  Doubt(source.owned, renamed.status());
  Doubt(target.owned, renamed.status());
  if (!renamed.ok()) return renamed.status();
  if (from == to) return Status::Ok();
  if (want && renamed->has_value()) entry = OwnedNames::Entry{**renamed, nullptr, nullptr};
  if (source.owned != nullptr) source.owned->Erase(source.name);
  if (target.owned != nullptr) {
    if (entry.has_value()) {
      target.owned->Put(target.name, *std::move(entry));
    } else {
      target.owned->Forget();
    }
  }
  RenameOwned(from, to);
  return Status::Ok();
}

Task<Result<fs::Attributes>> Volume::LinkTask(std::string from, std::optional<InodeId> inode,
                                              Place to) {
  if (!inode.has_value()) {
    MORAINE_CO_ASSIGN_OR_RETURN(const fs::Attributes source, co_await cluster_->Resolve(from));
    inode = source.inode;
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId parent, co_await DirectoryOf(to));
  co_return co_await cluster_->Link(*inode, parent, to.name);
}

Status Volume::Link(const std::string& from, const std::string& to) {
  const std::optional<Result<fs::Attributes>> known = FindInMemory(from);
  if (known.has_value() && !known->ok()) return known->status();
  std::optional<InodeId> inode;
  if (known.has_value()) inode = (*known)->inode;
  const Place target = Locate(to);
  const OwnedNames::Claim claim(target.owned, {target.name});
  const Result<fs::Attributes> linked =
      cluster_->Block([this, &from, inode, &target] { return LinkTask(from, inode, target); });
  Doubt(target.owned, linked.status());
  if (!linked.ok()) return linked.status();
  const std::shared_ptr<GatheringWriter> writer = FindWriter(linked->inode);
  if (target.owned != nullptr) {
    target.owned->Put(target.name,
                      {*linked, writer != nullptr ? writer->growing() : nullptr, nullptr});
  }
  return Status::Ok();
}

Status Volume::SyncNames(InodeId directory) {
  return cluster_->Block([this, directory] { return cluster_->SyncNames(directory); });
}

// A directory that was renamed takes the owned directories below it along.
void Volume::RenameOwned(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  std::vector<std::pair<std::string, std::shared_ptr<OwnedNames>>> moved;
  for (auto it = owned_.begin(); it != owned_.end();) {
    if (IsWithin(it->first, from)) {
      moved.emplace_back(to + it->first.substr(from.size()), std::move(it->second));
      it = owned_.erase(it);
    } else {
      ++it;
    }
  }
  for (auto& [path, names] : moved) owned_.insert_or_assign(path, std::move(names));
}

}  // namespace moraine::rocksfs
