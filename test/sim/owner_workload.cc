#include "test/sim/owner_workload.h"

#include <algorithm>

#include "test/sim/content.h"
#include "test/sim/ownership.h"

namespace moraine::simulation {
namespace {

constexpr const char* kCurrent = "CURRENT";

Status Lost() { return {Code::kFenced, "taken meanwhile"}; }

}  // namespace

Task<void> OwnerWorkload::Run(fs::Client& client) {
  while (!stage_.stopping) {
    const Status acquired = co_await Acquire(client);
    if (acquired.ok() && !IsStale()) {
      const Status status = co_await Work(client);
      if (status.ok()) {
        ++rounds_;
      } else {
        Note(fmt::format("{} in term {}: {}", number_, term_, status.ToString()));
      }
      if (random_.OneIn(8)) (co_await client.ReleaseDirectory(stage_.owned)).Ignore();
    }
    // A former owner goes on for a while and must get nowhere.
    if (acquired.ok() && random_.OneIn(2)) (co_await Work(client)).Ignore();
    co_await Pause(client, 400ms);
  }
}

Task<Status> OwnerWorkload::Acquire(fs::Client& client) {
  auto owned = co_await client.AcquireDirectory(stage_.owned, fmt::format("owner {}", number_));
  if (!owned.ok()) co_return owned.status();
  // A late answer: another has taken it since, and this client is not the owner.
  if (owned->token < shared_.token) co_return Lost();
  if (owned->token == shared_.token) {
    Fail(fmt::format("token {} is given twice", owned->token.value()));
  }
  co_return co_await Adopt(client, *owned);
}

// Without a wait up to the point where the new term is in force.
Task<Status> OwnerWorkload::Adopt(fs::Client& client, const fs::OwnedDirectory& owned) {
  CheckNames(owned);
  shared_.token = owned.token;
  term_ = ++shared_.term;
  shared_.names.clear();
  shared_.doubt.clear();
  shared_.given.clear();
  shared_.cuts = stage_.meta_cuts;
  for (const auto& entry : owned.entries) {
    shared_.given[entry.name] = entry.attributes.inode;
    Bind(entry.name, entry.attributes.inode, /*durable=*/true);
    const auto model = shared_.files.find(entry.attributes.inode);
    if (model == shared_.files.end()) continue;
    FileModel& file = *model->second;
    const uint64_t size = entry.attributes.size;
    Note(fmt::format("{} is given {} with {} bytes in term {}", number_, file.path, size, term_));
    if (size < stage_.LeastSize(file) || size > file.submitted) {
      Fail(fmt::format("{} is given with {} bytes; synced {}, due {}, submitted {}", file.path,
                       size, file.synced, stage_.LeastSize(file), file.submitted));
    }
    // It is sealed: nothing may be added, nothing may go.
    file.submitted = file.acknowledged = file.synced = size;
  }
  for (const auto& entry : owned.entries) {
    MORAINE_CO_RETURN_IF_ERROR(co_await CheckEntry(client, entry));
  }
  co_return Status::Ok();
}

void OwnerWorkload::CheckNames(const fs::OwnedDirectory& owned) {
  std::map<std::string, InodeId> given;
  for (const auto& entry : owned.entries) given[entry.name] = entry.attributes.inode;
  for (const auto& [name, due] : shared_.names) {
    const auto found = given.find(name);
    const bool there = found != given.end() && found->second == due.inode;
    if (there || shared_.doubt.contains(name)) continue;
    if (!due.durable && due.cuts != stage_.meta_cuts) continue;
    Fail(fmt::format("/owned/{} (inode {}) is not given to the next owner", name,
                     due.inode.value()));
  }
  if (shared_.cuts != stage_.meta_cuts) return;  // a removal may be undone
  for (const auto& [name, inode] : given) {
    if (shared_.names.contains(name) || shared_.doubt.contains(name)) continue;
    if (shared_.term > 0) Fail(fmt::format("/owned/{} comes from nowhere", name));
  }
}

Task<Status> OwnerWorkload::CheckEntry(fs::Client& client, const fs::OwnedDirectory::Entry& entry) {
  const auto found = shared_.files.find(entry.attributes.inode);
  if (found == shared_.files.end()) co_return Status::Ok();
  const FileModel& model = *found->second;
  auto opened = co_await client.OpenOwned(entry.attributes, entry.layout);
  if (!opened.ok()) co_return opened.status();
  const uint64_t size = entry.attributes.size;
  Status status;
  if (size > 0) {
    auto read = co_await (*opened)->Read(0, size);
    status = read.status();
    if (read.ok() && !IsStale()) {
      if (read->size != size) Fail(fmt::format("{}: {} of {} bytes", model.path, read->size, size));
      const std::string difference = Difference(model, 0, *read);
      if (!difference.empty()) Fail(difference);
    }
  }
  (co_await client.Close(*opened)).Ignore();
  co_return status;
}

Task<Status> OwnerWorkload::Work(fs::Client& client) {
  for (uint64_t i = random_.Between(1, 5); i > 0 && !stage_.stopping; --i) {
    Status status;
    switch (random_.Uniform(4)) {
      case 0:
        status = co_await ReplaceCurrent(client);
        break;
      case 1:
        status = co_await RemoveOne(client);
        break;
      default:
        status = co_await WriteLog(client);
        break;
    }
    if (!status.ok()) co_return status;
    co_await Pause(client, 40ms);
  }
  co_return Status::Ok();
}

void OwnerWorkload::Judge(const char* what, bool was_stale, const Status& status) {
  if (status.ok() && was_stale) {
    Fail(fmt::format("client {}: {} is acknowledged in term {}, but it had only term {}", number_,
                     what, shared_.term, term_));
  }
}

void OwnerWorkload::Bind(const std::string& name, InodeId inode, bool durable) {
  shared_.names[name] = {inode, stage_.meta_cuts, durable};
}

FileModel& OwnerWorkload::NewFile(const std::string& name) {
  auto model = std::make_unique<FileModel>();
  model->name = name;
  model->path = "/owned/" + name;
  model->parent = stage_.owned;
  model->keys[0] = stage_.next_key++;
  model->doubtful = true;  // names come and go here; ownership looks after them
  stage_.files.push_back(std::move(model));
  return *stage_.files.back();
}

Task<Status> OwnerWorkload::WriteLog(fs::Client& client) {
  if (KnowsThatItIsLost(client)) co_return Lost();
  const std::string name = fmt::format("{}-{:05}.log", number_, next_file_++);
  const bool was_stale = IsStale();
  FileModel& model = NewFile(name);
  fs::NewEntry entry;
  entry.expect_stream = random_.OneIn(2);
  Doubt(name);
  const uint64_t cuts = stage_.meta_cuts;
  auto created = co_await client.Create(stage_.owned, name, entry, true);
  Judge("a create", was_stale, created.status());
  if (!created.ok()) co_return created.status();
  model.inode = created->attributes.inode;
  if (IsStale()) {
    // Acknowledged after another's acquisition, begun before: it was done before, or not at all.
    if (!was_stale && shared_.term == term_ + 1 && !shared_.given.contains(name) &&
        cuts == stage_.meta_cuts) {
      Fail(model.path + " was made, but the next owner is not given it");
    }
    (co_await client.Close(created->file)).Ignore();
    co_return Lost();
  }
  shared_.files[model.inode] = &model;
  Bind(name, model.inode, false);
  shared_.names[name].cuts = cuts;
  Certain(name);
  Status status;
  for (uint64_t i = random_.Between(1, 6); i > 0 && status.ok(); --i) {
    status = co_await AppendAndSync(*created->file, model);
    co_await Pause(client, 30ms);
  }
  const Status closed = co_await client.Close(created->file);
  co_return status.ok() ? closed : status;
}

Task<Status> OwnerWorkload::AppendAndSync(fs::File& file, FileModel& model) {
  const bool was_stale = IsStale();
  const uint64_t size = random_.OneIn(5) ? random_.Uniform(30'000) : random_.Between(1, 3'000);
  const uint64_t offset = file.size();
  const std::string bytes = ContentOf(model, offset, size);
  const uint64_t end = offset + size;
  if (!was_stale) model.submitted = std::max(model.submitted, end);
  ++operations_;
  auto appended = co_await file.Append(std::as_bytes(std::span(bytes)));
  if (!appended.ok()) co_return appended.status();
  const Status synced = co_await file.Sync();
  Note(fmt::format("{} syncs {} to {} in term {}{}: {}", number_, model.path, end, term_,
                   was_stale ? " (stale)" : "", synced.ToString()));
  Judge("a sync", was_stale, synced);
  if (!synced.ok()) co_return synced;
  if (end > model.submitted) {
    Fail(fmt::format("{}: a sync of {} bytes is acknowledged, but the next owner was given {}",
                     model.path, end, model.submitted));
  }
  if (IsStale()) co_return Lost();
  model.synced = model.acknowledged = end;
  model.acknowledged_cuts = stage_.meta_cuts;
  if (const auto it = shared_.names.find(model.name); it != shared_.names.end()) {
    it->second.durable = true;
  }
  co_return synced;
}

// As RocksDB does with its file CURRENT.
Task<Status> OwnerWorkload::ReplaceCurrent(fs::Client& client) {
  const std::string temporary = fmt::format("{}-{:05}.dbtmp", number_, next_file_++);
  if (KnowsThatItIsLost(client)) co_return Lost();
  FileModel& model = NewFile(temporary);
  bool was_stale = IsStale();
  Doubt(temporary);
  auto created = co_await client.Create(stage_.owned, temporary, {}, true);
  Judge("a create", was_stale, created.status());
  if (!created.ok()) co_return created.status();
  model.inode = created->attributes.inode;
  if (!IsStale()) {
    shared_.files[model.inode] = &model;
    Bind(temporary, model.inode, false);
    Certain(temporary);
  }
  const Status written = co_await AppendAndSync(*created->file, model);
  const Status closed = co_await client.Close(created->file);
  if (!written.ok()) co_return written;
  if (!closed.ok()) co_return closed;
  if (KnowsThatItIsLost(client)) co_return Lost();
  was_stale = IsStale();
  const uint64_t cuts = stage_.meta_cuts;
  Doubt(kCurrent);
  Doubt(temporary);
  const Status renamed = co_await client.Rename(stage_.owned, temporary, stage_.owned, kCurrent,
                                                fs::RenameMode::kReplace);
  Judge("a rename", was_stale, renamed);
  if (!renamed.ok()) co_return renamed;
  if (IsStale()) {
    const auto it = shared_.given.find(kCurrent);
    if (!was_stale && shared_.term == term_ + 1 && cuts == stage_.meta_cuts &&
        (it == shared_.given.end() || it->second != model.inode)) {
      Fail("a rename was acknowledged, but the next owner is not given it");
    }
    co_return Lost();
  }
  model.name = kCurrent;
  shared_.names.erase(temporary);
  Bind(kCurrent, model.inode, false);
  Certain(temporary);
  Certain(kCurrent);
  co_return renamed;
}

Task<Status> OwnerWorkload::RemoveOne(fs::Client& client) {
  if (KnowsThatItIsLost(client)) co_return Lost();
  if (shared_.names.empty()) co_return Status::Ok();
  auto it = shared_.names.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random_.Uniform(shared_.names.size())));
  const std::string name = it->first;
  const bool was_stale = IsStale();
  Doubt(name);
  const Status removed = co_await client.RemoveFile(stage_.owned, name);
  Judge("a removal", was_stale, removed);
  if (!removed.ok()) co_return removed;
  if (IsStale()) co_return Lost();
  shared_.names.erase(name);
  Certain(name);
  co_return removed;
}

Task<void> OwnerWorkload::Verify(fs::Client& client) {
  auto owned = co_await client.AcquireDirectory(stage_.owned, "verify");
  if (!owned.ok()) {
    Fail("the directory cannot be acquired: " + owned.status().ToString());
    co_return;
  }
  const Status status = co_await Adopt(client, *owned);
  if (!status.ok()) Fail("the directory cannot be read: " + status.ToString());
}

}  // namespace moraine::simulation
