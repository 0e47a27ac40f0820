// Volume: files, ownership of directories, and the end.
#include "base/check.h"
#include "base/log.h"
#include "kv/rocksfs/path.h"
#include "kv/rocksfs/volume.h"

namespace moraine::rocksfs {
namespace {

constexpr int kReplaceAttempts = 8;  // while somebody else makes the same name again
constexpr Duration kStopSlack = std::chrono::seconds(5);  // beyond the client's own timeout

// Refers to nothing that may end before it.
Task<void> RunStop(Cluster* cluster, std::vector<std::shared_ptr<GatheringWriter>> writers,
                   std::shared_ptr<OneShot<Status>> done) {
  Status first;
  for (const std::shared_ptr<GatheringWriter>& writer : writers) {
    const Status drained = co_await writer->Drain();
    if (first.ok()) first = drained;
  }
  const Status stopped = co_await cluster->Stop();
  done->Set(first.ok() ? stopped : first);
}

struct Stopped {
  Status status;
};

Task<Result<Stopped>> StopWithin(Cluster* cluster,
                                 std::vector<std::shared_ptr<GatheringWriter>> writers,
                                 Duration bound) {
  Loop& loop = cluster->loop();
  auto done = std::make_shared<OneShot<Status>>(loop);
  loop.Spawn(RunStop(cluster, std::move(writers), done));
  const std::optional<Status> stopped = co_await done->Wait(loop.After(bound));
  if (!stopped.has_value()) co_return Status(Code::kTimeout, "the cluster does not answer");
  co_return Stopped{*stopped};
}

Status CheckRegular(const fs::Attributes& attributes, const std::string& path) {
  if (attributes.type == fs::FileType::kRegular) return Status::Ok();
  return Status(Code::kIsDirectory, path + " is no regular file");
}

Task<Result<uint64_t>> CountMetadataCalls(Cluster* cluster) { co_return cluster->metadata_calls(); }

}  // namespace

Volume::~Volume() {
  Stop(options_.timeout + kStopSlack);
  MutexLock lock(mutex_);
  // Coroutines of the client are still under way: destroying what they use would be worse than
  // leaving it behind.
  if (abandoned_) static_cast<void>(cluster_.release());
}

// ---- Files that are written

void Volume::AddWriter(const std::shared_ptr<GatheringWriter>& writer) {
  MutexLock lock(mutex_);
  std::erase_if(writers_, [](const auto& item) { return item.second.expired(); });
  writers_.insert_or_assign(writer->inode(), writer);
}

std::shared_ptr<GatheringWriter> Volume::FindWriter(InodeId inode) const {
  MutexLock lock(mutex_);
  const auto it = writers_.find(inode);
  return it == writers_.end() ? nullptr : it->second.lock();
}

std::vector<std::shared_ptr<GatheringWriter>> Volume::Writers() const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<GatheringWriter>> writers;
  for (const auto& [inode, weak] : writers_) {
    if (std::shared_ptr<GatheringWriter> writer = weak.lock()) writers.push_back(std::move(writer));
  }
  return writers;
}

void Volume::WithWriterSize(fs::Attributes* attributes) const {
  if (attributes->type != fs::FileType::kRegular) return;
  if (const std::shared_ptr<GatheringWriter> writer = FindWriter(attributes->inode)) {
    attributes->size = writer->size();
    attributes->mtime_ns = writer->growing()->mtime_ns.load(std::memory_order_relaxed);
  }
}

Task<Result<Volume::OpenedWriter>> Volume::CreateTask(Place place, std::string policy,
                                                      bool replace) {
  MORAINE_CO_ASSIGN_OR_RETURN(const InodeId directory, co_await DirectoryOf(place));
  fs::NewEntry entry;
  entry.exclusive = replace;
  entry.expect_stream = GrowsAsStream(place.name);
  entry.policy = std::move(policy);
  for (int attempt = 0; attempt < kReplaceAttempts; ++attempt) {
    Result<fs::Created> created = co_await cluster_->Create(directory, place.name, entry, true);
    if (created.ok()) {
      MORAINE_CHECK(created->file != nullptr, "a file that is created open comes with its File");
      auto writer = std::make_shared<GatheringWriter>(*cluster_, directory,
                                                      std::move(created->file), options_.gather);
      writer->Start();
      co_return OpenedWriter{std::move(writer), std::move(created->attributes)};
    }
    if (!replace || created.code() != Code::kAlreadyExists) co_return created.status();
    // A new inode, not a truncated one: readers and hard links keep the old bytes.
    MORAINE_CO_RETURN_IF_ERROR(co_await KeepForReaders(place));
    const Status removed = co_await cluster_->RemoveFile(directory, place.name);
    if (!removed.ok() && removed.code() != Code::kNotFound) co_return removed;
  }
  co_return Status(Code::kBusy, place.name + " is made again each time it is removed");
}

Result<std::shared_ptr<GatheringWriter>> Volume::OpenWriter(const std::string& path,
                                                            const std::string& policy,
                                                            bool replace) {
  const Place place = Locate(path);
  const OwnedNames::Claim claim(place.owned, {place.name});
  Result<OpenedWriter> opened = cluster_->Block(
      [this, &place, &policy, replace] { return CreateTask(place, policy, replace); });
  if (!opened.ok()) {
    // The old file may be gone already.
    if (place.owned != nullptr) place.owned->Forget();
    return opened.status();
  }
  AddWriter(opened->writer);
  if (place.owned != nullptr) {
    place.owned->Put(place.name,
                     {std::move(opened->attributes), opened->writer->growing(), nullptr});
    opened->writer->set_owned(place.owned);
  }
  return std::move(opened->writer);
}

Result<std::shared_ptr<GatheringWriter>> Volume::CreateForAppend(const std::string& path,
                                                                 const std::string& policy) {
  return OpenWriter(path, policy, true);
}

Result<std::shared_ptr<GatheringWriter>> Volume::OpenForAppend(const std::string& path,
                                                               const std::string& policy) {
  return OpenWriter(path, policy, false);
}

Status Volume::Close(std::shared_ptr<GatheringWriter> writer) {
  const Status closed = writer->Close();
  MutexLock lock(mutex_);
  const auto it = writers_.find(writer->inode());
  if (it != writers_.end() && it->second.lock() == writer) writers_.erase(it);
  return closed;
}

Task<Result<fs::Attributes>> Volume::TruncateTask(Place place, InodeId inode, uint64_t size) {
  MORAINE_CO_RETURN_IF_ERROR(CheckToken(place.owned));
  MORAINE_CO_ASSIGN_OR_RETURN(std::shared_ptr<fs::File> file,
                              co_await cluster_->Open(inode, fs::Client::OpenMode::kWrite));
  const Status truncated = co_await file->Truncate(size);
  fs::Attributes attributes = file->attributes();
  const Status closed = co_await cluster_->Close(std::move(file));
  MORAINE_CO_RETURN_IF_ERROR(truncated);
  MORAINE_CO_RETURN_IF_ERROR(closed);
  co_return std::move(attributes);
}

Status Volume::Truncate(const std::string& path, uint64_t size) {
  const Place place = Locate(path);
  const OwnedNames::Claim claim(place.owned, {place.name});
  MORAINE_ASSIGN_OR_RETURN(const fs::Attributes attributes, Stat(path));
  MORAINE_RETURN_IF_ERROR(CheckRegular(attributes, path));
  if (const std::shared_ptr<GatheringWriter> writer = FindWriter(attributes.inode)) {
    return writer->Truncate(size);
  }
  Result<fs::Attributes> truncated = cluster_->Block(
      [this, &place, &attributes, size] { return TruncateTask(place, attributes.inode, size); });
  Doubt(place.owned, truncated.status());
  if (truncated.ok() && place.owned != nullptr) {
    place.owned->Put(place.name, {*std::move(truncated), nullptr, nullptr});
  }
  return truncated.status();
}

// ---- Files that are read

Task<Result<ReadHandle>> Volume::OpenTask(std::string path,
                                          std::optional<OwnedNames::Entry> known) {
  ReadHandle handle;
  if (known.has_value() && known->layout != nullptr) {
    MORAINE_CO_ASSIGN_OR_RETURN(handle.file,
                                co_await cluster_->OpenOwned(known->attributes, *known->layout));
  } else {
    if (!known.has_value()) {
      known.emplace();
      MORAINE_CO_ASSIGN_OR_RETURN(known->attributes, co_await cluster_->Resolve(path));
      MORAINE_CO_RETURN_IF_ERROR(CheckRegular(known->attributes, path));
    }
    MORAINE_CO_ASSIGN_OR_RETURN(
        handle.file, co_await cluster_->Open(known->attributes.inode, fs::Client::OpenMode::kRead));
  }
  handle.writer = FindWriter(known->attributes.inode);
  handle.size_at_open = handle.file->size();
  co_return std::move(handle);
}

Result<ReadHandle> Volume::OpenForReading(const std::string& path) {
  std::optional<OwnedNames::Entry> entry;
  if (const std::optional<Result<fs::Attributes>> known = FindInMemory(path)) {
    if (!known->ok()) return known->status();
    MORAINE_RETURN_IF_ERROR(CheckRegular(**known, path));
    const Place place = Locate(path);
    if (place.owned != nullptr) entry = place.owned->Get(place.name);
  }
  return cluster_->Block([this, &path, &entry] { return OpenTask(path, std::move(entry)); });
}

Task<Result<fs::ReadBytes>> Volume::ReadTask(ReadHandle handle, uint64_t offset, uint64_t length) {
  if (const std::shared_ptr<GatheringWriter> writer = handle.writer.lock()) {
    // What failed to be written is the writer's error, not the reader's.
    (co_await writer->Drain()).Ignore();
  }
  co_return co_await handle.file->Read(offset, length);
}

Result<fs::ReadBytes> Volume::Read(const ReadHandle& handle, uint64_t offset, uint64_t length) {
  return cluster_->Block([&handle, offset, length] { return ReadTask(handle, offset, length); });
}

Result<std::vector<fs::ReadBytes>> Volume::ReadRanges(const ReadHandle& handle,
                                                      std::vector<fs::File::Range> ranges) {
  const auto read =
      [](ReadHandle from,
         std::vector<fs::File::Range> wanted) -> Task<Result<std::vector<fs::ReadBytes>>> {
    if (const std::shared_ptr<GatheringWriter> writer = from.writer.lock()) {
      (co_await writer->Drain()).Ignore();
    }
    co_return co_await from.file->ReadRanges(std::move(wanted));
  };
  return cluster_->Block([&] { return read(handle, std::move(ranges)); });
}

// ---- Ownership

Task<Volume::HeldWriters> Volume::DetachWriters(InodeId directory) {
  HeldWriters held;
  for (const std::shared_ptr<GatheringWriter>& writer : Writers()) {
    if (writer->directory() == directory) held.push_back(co_await writer->DetachAndHold());
  }
  co_return held;
}

Task<Result<fs::OwnedDirectory>> Volume::LockTask(std::shared_ptr<OwnedNames> names,
                                                  std::string name) {
  const InodeId directory = names->directory();
  // Acquiring fences what is open in the directory, our own files too (RocksDB writes its LOG there
  // before it locks): they are sealed in good order and opened again under the token.
  const HeldWriters held = co_await DetachWriters(directory);
  MORAINE_CO_ASSIGN_OR_RETURN(fs::OwnedDirectory owned,
                              co_await cluster_->AcquireDirectory(directory, options_.owner));
  names->SetAcquired();
  for (const fs::OwnedDirectory::Entry& entry : owned.entries) {
    if (entry.name == name) co_return std::move(owned);
  }
  fs::NewEntry entry;
  entry.exclusive = false;
  Result<fs::Created> created = co_await cluster_->Create(directory, name, std::move(entry), false);
  if (!created.ok()) {
    (co_await cluster_->ReleaseDirectory(directory)).Ignore();
    co_return created.status();
  }
  owned.entries.push_back({std::move(name), std::move(created->attributes), {}});
  co_return std::move(owned);
}

bool Volume::BeginOwning(InodeId directory, const std::string& path,
                         const std::shared_ptr<OwnedNames>& names) {
  MutexLock lock(mutex_);
  for (const auto& [owned_path, owned] : owned_) {
    if (owned->directory() == directory) return false;
  }
  owned_.insert_or_assign(path, names);
  return true;
}

void Volume::ForgetNames(InodeId directory) {
  MutexLock lock(mutex_);
  for (const auto& [path, owned] : owned_) {
    if (directory.IsNone() || owned->directory() == directory) owned->Forget();
  }
}

void Volume::EndOwning(InodeId directory) {
  ForgetNames(directory);
  MutexLock lock(mutex_);
  std::erase_if(owned_,
                [directory](const auto& item) { return item.second->directory() == directory; });
}

Result<InodeId> Volume::Lock(const std::string& lock_file_path) {
  const SplitPath split = Split(lock_file_path);
  if (split.name.empty()) return Status(Code::kInvalidArgument, "the root is no lock file");
  MORAINE_ASSIGN_OR_RETURN(const InodeId directory, OpenDirectory(split.directory));
  const auto names = std::make_shared<OwnedNames>(
      directory, [cluster = cluster_.get()] { return cluster->SessionIsCertain(); });
  if (!BeginOwning(directory, split.directory, names)) {
    return Status(Code::kBusy, "lock hold by current process: it owns " + split.directory);
  }
  Result<fs::OwnedDirectory> owned =
      cluster_->Block([this, &names, &split] { return LockTask(names, split.name); });
  if (!owned.ok()) {
    EndOwning(directory);
    return owned.status();
  }
  names->Load(std::move(owned->entries));
  for (const std::shared_ptr<GatheringWriter>& writer : Writers()) {
    if (writer->directory() != directory) continue;
    names->SetGrowing(writer->inode(), writer->growing());
    writer->set_owned(names);
  }
  DoPostponed(split.directory);
  return directory;
}

void Volume::PostponeRename(const std::string& from, const std::string& to) {
  MutexLock lock(mutex_);
  PostponedChanges& changes = postponed_[Split(from).directory];
  changes.rename_from = from;
  changes.rename_to = to;
}

void Volume::Postpone(const std::string& path, const std::shared_ptr<InfoLog>& log) {
  MutexLock lock(mutex_);
  postponed_[Split(path).directory].log = log;
}

void Volume::DoPostponed(const std::string& directory_path) {
  PostponedChanges changes;
  {
    MutexLock lock(mutex_);
    auto node = postponed_.extract(directory_path);
    if (node.empty()) return;
    changes = std::move(node.mapped());
  }
  if (!changes.rename_from.empty()) {
    const Status renamed = Rename(changes.rename_from, changes.rename_to);
    if (!renamed.ok()) LogInfo("{} is not kept: {}", changes.rename_from, renamed.ToString());
  }
  if (const std::shared_ptr<InfoLog> log = changes.log.lock()) {
    const Status begun = log->Begin(*this);
    if (!begun.ok()) LogWarning("{}: no log is written: {}", directory_path, begun.ToString());
  }
}

Task<Status> Volume::UnlockTask(InodeId directory) {
  // What goes on being written (the LOG) does so without the token.
  const HeldWriters held = co_await DetachWriters(directory);
  co_return co_await cluster_->ReleaseDirectory(directory);
}

Status Volume::Unlock(InodeId directory) {
  ForgetNames(directory);
  const Status released = cluster_->Block([this, directory] { return UnlockTask(directory); });
  EndOwning(directory);
  return released;
}

// ---- The whole

bool Volume::Stop(Duration bound) {
  {
    MutexLock lock(mutex_);
    if (stopped_) return !abandoned_;
    stopped_ = true;
  }
  metadata_calls_at_stop_ = MetadataCalls();
  const Result<Stopped> stopped =
      cluster_->Block([this, bound] { return StopWithin(cluster_.get(), Writers(), bound); });
  cluster_->Refuse();
  if (!stopped.ok()) {
    LogWarning("the connection to the cluster was left open: {}", stopped.status().ToString());
    MutexLock lock(mutex_);
    abandoned_ = true;
    return false;
  }
  if (!stopped->status.ok()) {
    LogWarning("closing the connection: {}", stopped->status.ToString());
  }
  return true;
}

uint64_t Volume::MetadataCalls() {
  const Result<uint64_t> calls =
      cluster_->Block([this] { return CountMetadataCalls(cluster_.get()); });
  return calls.ok() ? *calls : metadata_calls_at_stop_.load();
}

}  // namespace moraine::rocksfs
