// Names, attributes and extended attributes of Client.
#include "fs/client/client.h"
#include "fs/client/client_state.h"
#include "fs/client/convert.h"

namespace moraine::fs {
namespace {

Result<Attributes> AttributesOf(const Result<idl::AttributesResponse>& answer) {
  if (!answer.ok()) return answer.status();
  Result<Attributes> attributes = FromWire(answer->attributes);
  if (attributes.ok() && answer->__isset.symlink_target)
    attributes->symlink_target = answer->symlink_target;
  return attributes;
}

}  // namespace

Task<Result<Attributes>> Client::Lookup(InodeId parent, std::string name) {
  idl::EntryRequest request;
  request.parent = ToWire(parent);
  request.name = std::move(name);
  MetaLink& link = state_->core.link;
  const Instant deadline = link.Deadline();
  auto attributes = AttributesOf(co_await link.Query(idl::kLookup, std::move(request), deadline));
  if (!attributes.ok()) co_return attributes;
  co_return co_await WithTail(std::move(*attributes), deadline);
}

// What the metaserver does not know: our own unsaved size, or another's open tail. `own_changes` of
// the inode are behind this answer.
Task<Result<Attributes>> Client::WithTail(Attributes attributes, Instant deadline,
                                          uint64_t own_changes) {
  ClientCore& core = state_->core;
  const auto open = core.files.find(attributes.inode);
  const auto file = open == core.files.end() ? nullptr : open->second;
  if (file != nullptr && file->leased) {
    // Somebody has changed its mode or its times, or it is another's now.
    const bool news = attributes.version > file->version() + own_changes ||
                      (attributes.open_tail && !file->HasOwnTail());
    if (news && !file->closing) {
      ++file->opening;
      const Status confirmed = co_await file->ConfirmLease(deadline);
      --file->opening;
      state_->EndIfUnused(file);
      MORAINE_CO_RETURN_IF_ERROR(confirmed);
    } else {
      MORAINE_CO_RETURN_IF_ERROR(co_await core.link.AwaitCertain(deadline));
    }
    if (file->leased && !news) file->AdoptAttributes(attributes);
    if (file->leased) co_return file->attributes();
  }
  // Who has it open reads as far as this tells, though the news of it may be under way.
  if (file != nullptr) file->NoteStaleIfOlder(attributes, own_changes);
  if (!attributes.open_tail) co_return attributes;
  FileImpl asking(core, attributes);
  MORAINE_CO_RETURN_IF_ERROR(co_await asking.Reload(deadline));
  co_return asking.attributes();
}

Task<Result<Attributes>> Client::Resolve(std::string path) {
  idl::PathRequest request;
  request.path = std::move(path);
  MetaLink& link = state_->core.link;
  const Instant deadline = link.Deadline();
  auto attributes = AttributesOf(co_await link.Query(idl::kResolve, std::move(request), deadline));
  if (!attributes.ok()) co_return attributes;
  co_return co_await WithTail(std::move(*attributes), deadline);
}

Task<Result<Attributes>> Client::GetAttributes(InodeId inode) {
  idl::InodeRequest request;
  request.inode = ToWire(inode);
  MetaLink& link = state_->core.link;
  const Instant deadline = link.Deadline();
  auto attributes =
      AttributesOf(co_await link.Query(idl::kGetAttributes, std::move(request), deadline));
  if (!attributes.ok()) co_return attributes;
  co_return co_await WithTail(std::move(*attributes), deadline);
}

Task<Result<Attributes>> Client::SetAttributes(InodeId inode, AttributeChange change) {
  ClientCore& core = state_->core;
  if (change.size) {
    auto file = co_await Open(inode, OpenMode::kWrite, false);
    if (!file.ok()) co_return file.status();
    const Status truncated = co_await (*file)->Truncate(*change.size);
    const Status closed = co_await Close(*file);
    if (!truncated.ok()) co_return truncated;
    if (!closed.ok()) co_return closed;
  } else if (change.mtime_ns) {
    // What is written so far must not move the time that is set now.
    if (auto open = core.files.find(inode); open != core.files.end()) {
      const std::shared_ptr<FileImpl> file = open->second;
      if (file->HasUnsaved()) MORAINE_CO_RETURN_IF_ERROR(co_await file->Settle(false));
    }
  }
  idl::SetAttributesRequest request;
  request.inode = ToWire(inode);
  if (change.mode) request.__set_mode(static_cast<int32_t>(*change.mode));
  if (change.uid) request.__set_uid(static_cast<int32_t>(*change.uid));
  if (change.gid) request.__set_gid(static_cast<int32_t>(*change.gid));
  if (change.atime_ns) request.__set_atime_ns(*change.atime_ns);
  if (change.mtime_ns) request.__set_mtime_ns(*change.mtime_ns);
  request.token = ToWire(core.TokenOfFile(inode));
  const bool nothing_else =
      !change.mode && !change.uid && !change.gid && !change.atime_ns && !change.mtime_ns;
  if (nothing_else) co_return co_await GetAttributes(inode);
  const Instant deadline = core.link.Deadline();
  auto attributes =
      AttributesOf(co_await core.link.Change(idl::kSetAttributes, std::move(request), deadline));
  if (!attributes.ok()) co_return attributes;
  core.NoteUnsynced(inode);
  co_return co_await WithTail(std::move(*attributes), deadline, 1);
}

Task<Result<Created>> Client::Create(InodeId parent, std::string name, NewEntry entry, bool open) {
  ClientCore& core = state_->core;
  idl::CreateRequest request;
  request.parent = ToWire(parent);
  request.name = std::move(name);
  request.type = ToWire(entry.type);
  request.mode = static_cast<int32_t>(entry.mode);
  request.uid = static_cast<int32_t>(entry.uid);
  request.gid = static_cast<int32_t>(entry.gid);
  request.rdev = static_cast<int32_t>(entry.rdev);
  request.symlink_target = std::move(entry.symlink_target);
  request.exclusive = entry.exclusive;
  request.token = ToWire(core.TokenOf(parent));
  request.open_for_write = open;
  request.want_chunk = open && entry.expect_stream;
  request.policy = std::move(entry.policy);
  const Instant deadline = core.link.Deadline();
  const CallsUnderWay::Call under_way(state_->creates);
  auto answer = co_await core.link.Change(idl::kCreate, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  Created created;
  MORAINE_CO_ASSIGN_OR_RETURN(created.attributes, FromWire(answer->attributes));
  created.created = answer->created;
  const InodeId inode = created.attributes.inode;
  if (core.tokens.contains(parent)) core.parents[inode] = {parent, created.attributes.links > 1};
  if (open && created.attributes.type == FileType::kRegular) {
    MORAINE_CO_ASSIGN_OR_RETURN(created.file, co_await OpenCreated(*answer, deadline));
    if (entry.expect_stream) static_cast<FileImpl&>(*created.file).SetNoInline();
    created.attributes = created.file->attributes();
  }
  co_return created;
}

Task<Result<std::shared_ptr<File>>> Client::OpenCreated(idl::CreateResponse answer,
                                                        Instant deadline) {
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes, FromWire(answer.attributes));
  std::optional<ChunkGrant> grant;
  if (answer.__isset.chunk) {
    MORAINE_CO_ASSIGN_OR_RETURN(grant, FromWire(answer.chunk, attributes.inode));
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const std::shared_ptr<FileImpl> file,
                              co_await state_->FileOf(attributes, deadline));
  Status status;
  if (answer.created) {
    status = file->AdoptLease(answer.attributes, answer.layout);
    // A chunk is granted durably, and with it the name. A name alone is synced when it is asked
    // for.
    if (grant) file->NoteSynced();
  } else {
    // The file was there: its lease is asked for in order with its closes and recalls.
    ++file->opening;
    status = co_await file->OpenAt(true, deadline);
    --file->opening;
  }
  if (!status.ok()) {
    state_->EndIfUnused(file);
    co_return status;
  }
  ++file->handles;
  if (grant) file->AdoptFirstChunk(std::move(*grant));
  co_return std::shared_ptr<File>(file);
}

Task<Status> Client::RemoveFile(InodeId parent, std::string name) {
  ClientCore& core = state_->core;
  idl::RemoveRequest request;
  request.parent = ToWire(parent);
  request.name = std::move(name);
  request.token = ToWire(core.TokenOf(parent));
  auto answer = co_await core.link.Change(idl::kRemove, std::move(request), core.link.Deadline());
  if (!answer.ok()) co_return answer.status();
  const InodeId inode(static_cast<uint64_t>(answer->inode));
  if (answer->links == 0) core.NoteNameless(inode);
  co_return Status();
}

Task<Status> Client::RemoveDirectory(InodeId parent, std::string name) {
  ClientCore& core = state_->core;
  idl::RemoveRequest request;
  request.parent = ToWire(parent);
  request.name = std::move(name);
  request.directory = true;
  request.token = ToWire(core.TokenOf(parent));
  auto answer = co_await core.link.Change(idl::kRemove, std::move(request), core.link.Deadline());
  if (answer.ok()) core.parents.erase(InodeId(static_cast<uint64_t>(answer->inode)));
  co_return answer.status();
}

Task<Status> Client::Rename(InodeId parent, std::string name, InodeId new_parent,
                            std::string new_name, RenameMode mode) {
  ClientCore& core = state_->core;
  idl::RenameRequest request;
  request.parent = ToWire(parent);
  request.name = std::move(name);
  request.new_parent = ToWire(new_parent);
  request.new_name = std::move(new_name);
  request.mode = static_cast<idl::RenameMode::type>(mode);
  request.token = ToWire(core.TokenOf(parent));
  request.new_token = ToWire(core.TokenOf(new_parent));
  auto answer = co_await core.link.Change(idl::kRename, std::move(request), core.link.Deadline());
  if (!answer.ok()) co_return answer.status();
  const InodeId inode(static_cast<uint64_t>(answer->inode));
  const auto known = core.parents.find(inode);
  const bool linked = known == core.parents.end() || known->second.linked;
  core.parents.erase(inode);
  if (core.tokens.contains(new_parent)) core.parents[inode] = {new_parent, linked};
  // Nobody else makes names in a directory that is owned here, so this was its only one.
  const InodeId replaced(static_cast<uint64_t>(answer->replaced_inode));
  const auto gone = core.parents.find(replaced);
  if (gone != core.parents.end() && !gone->second.linked) core.NoteNameless(replaced);
  core.NoteUnsynced(inode);
  co_return Status();
}

Task<Result<Attributes>> Client::Link(InodeId inode, InodeId new_parent, std::string new_name) {
  ClientCore& core = state_->core;
  idl::LinkRequest request;
  request.inode = ToWire(inode);
  request.new_parent = ToWire(new_parent);
  request.new_name = std::move(new_name);
  request.token = ToWire(core.TokenOf(new_parent));
  const Instant deadline = core.link.Deadline();
  auto attributes =
      AttributesOf(co_await core.link.Change(idl::kLink, std::move(request), deadline));
  if (!attributes.ok()) co_return attributes;
  core.NoteUnsynced(inode);
  if (core.tokens.contains(new_parent)) {
    core.parents.try_emplace(inode, new_parent).first->second.linked = true;
  }
  co_return co_await WithTail(std::move(*attributes), deadline, 1);
}

Task<Result<DirectoryPage>> Client::ReadDirectory(InodeId inode, std::string after, int limit,
                                                  bool with_attributes) {
  MetaLink& link = state_->core.link;
  idl::ReadDirectoryRequest request;
  request.inode = ToWire(inode);
  request.after = std::move(after);
  request.limit = limit;
  request.with_attributes = with_attributes;
  // One for all entries: many tails that cannot be told take no longer than one.
  const Instant deadline = link.Deadline();
  auto answer = co_await link.Query(idl::kReadDirectory, std::move(request), deadline);
  if (!answer.ok()) co_return answer.status();
  DirectoryPage page;
  page.more = answer->more;
  page.parent = InodeId(static_cast<uint64_t>(answer->parent));
  bool tails_answer = true;
  for (const idl::DirectoryEntry& wire : answer->entries) {
    DirectoryEntry entry;
    entry.name = wire.name;
    entry.inode = InodeId(static_cast<uint64_t>(wire.inode));
    entry.type = static_cast<FileType>(wire.type);
    if (wire.__isset.attributes) {
      MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes, FromWire(wire.attributes));
      if (tails_answer || !attributes.open_tail) {
        auto full = co_await WithTail(std::move(attributes), deadline);
        tails_answer = tails_answer && full.ok();
        if (full.ok()) entry.attributes = std::move(*full);
      }
    }
    page.entries.push_back(std::move(entry));
  }
  co_return page;
}

Task<Status> Client::SyncNames(InodeId directory) {
  MetaLink& link = state_->core.link;
  idl::InodeRequest request;
  request.inode = ToWire(directory);
  co_return (co_await link.Query(idl::kSyncMetadata, std::move(request), link.Deadline())).status();
}

Task<Result<FileSystemSpace>> Client::Space() {
  MetaLink& link = state_->core.link;
  auto answer = co_await link.Query(idl::kFileSystemStatus, idl::Empty(), link.Deadline());
  if (!answer.ok()) co_return answer.status();
  co_return FileSystemSpace{static_cast<uint64_t>(answer->total_bytes),
                            static_cast<uint64_t>(answer->free_bytes),
                            static_cast<uint64_t>(answer->inodes)};
}

// ---- Extended attributes

Task<Result<std::string>> Client::GetXattr(InodeId inode, std::string name) {
  MetaLink& link = state_->core.link;
  idl::GetXattrRequest request;
  request.inode = ToWire(inode);
  request.name = std::move(name);
  auto answer = co_await link.Query(idl::kGetXattr, std::move(request), link.Deadline());
  if (!answer.ok()) co_return answer.status();
  co_return std::move(answer->value);
}

Task<Status> Client::SetXattr(InodeId inode, std::string name, std::string value, XattrMode mode) {
  ClientCore& core = state_->core;
  idl::SetXattrRequest request;
  request.inode = ToWire(inode);
  request.name = std::move(name);
  request.value = std::move(value);
  request.create_only = mode == XattrMode::kCreate;
  request.replace_only = mode == XattrMode::kReplace;
  request.token = ToWire(core.TokenOfFile(inode));
  auto answer = co_await core.link.Change(idl::kSetXattr, std::move(request), core.link.Deadline());
  core.NoteUnsynced(inode);
  co_return answer.status();
}

Task<Status> Client::RemoveXattr(InodeId inode, std::string name) {
  ClientCore& core = state_->core;
  idl::RemoveXattrRequest request;
  request.inode = ToWire(inode);
  request.name = std::move(name);
  request.token = ToWire(core.TokenOfFile(inode));
  auto answer =
      co_await core.link.Change(idl::kRemoveXattr, std::move(request), core.link.Deadline());
  core.NoteUnsynced(inode);
  co_return answer.status();
}

Task<Result<std::vector<std::string>>> Client::ListXattrs(InodeId inode) {
  MetaLink& link = state_->core.link;
  idl::InodeRequest request;
  request.inode = ToWire(inode);
  auto answer = co_await link.Query(idl::kListXattrs, std::move(request), link.Deadline());
  if (!answer.ok()) co_return answer.status();
  co_return std::move(answer->names);
}

}  // namespace moraine::fs
