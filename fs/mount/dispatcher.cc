// Names, attributes and extended attributes; files and directories are in dispatcher_files.cc.
#include "fs/mount/dispatcher.h"

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"

namespace moraine::fs::mount {
namespace {

Status CheckName(const std::string& name) {
  if (name.size() > limits::kNameBytesMax) {
    return {Code::kNameTooLong, fmt::format("a name of {} bytes", name.size())};
  }
  return Status::Ok();
}

// What a `security.` or ACL name is answered with, without asking a server; ok for all others.
Status CheckXattrName(const std::string& name, Code security) {
  if (name.starts_with("security.")) return {security, "no security attributes here"};
  if (name.starts_with("system.posix_acl_")) return {Code::kNotSupported, "no POSIX ACLs here"};
  return Status::Ok();
}

bool ChangesAnything(const AttributeChange& change) {
  return change.mode || change.uid || change.gid || change.size || change.atime_ns ||
         change.mtime_ns;
}

}  // namespace

Dispatcher::Dispatcher(Loop& loop, FileSystem& file_system, DispatcherOptions options,
                       std::function<void(InodeId)> drop_cache)
    : loop_(loop),
      file_system_(file_system),
      options_(options),
      drop_cache_(std::move(drop_cache)),
      directory_attributes_(loop, options.attr_timeout) {
  known_[kRootInode].lookups = 1;  // the kernel has it without asking
  file_system_.OnStale([this](InodeId inode) { DropStale(inode); });
}

Dispatcher::~Dispatcher() {
  file_system_.OnStale([](InodeId) {});
}

void Dispatcher::DropStale(InodeId inode) {
  directory_attributes_.Forget(inode);
  // Nothing seen: the kernel has nothing to drop.
  if (FindSeen(inode) == nullptr) return;
  known_[inode].seen.reset();
  drop_cache_(inode);
}

Dispatcher::Seen* Dispatcher::FindSeen(InodeId inode) {
  const auto it = known_.find(inode);
  return it == known_.end() || !it->second.seen ? nullptr : &*it->second.seen;
}

// An inode that the kernel does not hold (it forgot it while this was asked) is not remembered:
// nobody would forget it again.
void Dispatcher::NoteTold(const Attributes& attributes) {
  const auto it = known_.find(attributes.inode);
  if (it == known_.end()) return;
  if (!it->second.seen) it->second.seen = Seen{};
  it->second.seen->attributes = {attributes.version, attributes.size};
  it->second.seen->at = loop_.Now();
}

Entry Dispatcher::EntryOf(Attributes attributes) const {
  const bool directory = attributes.type == FileType::kDirectory;
  return {.attributes = std::move(attributes),
          .entry_valid = directory ? options_.directory_timeout : options_.entry_timeout,
          .attributes_valid = options_.attr_timeout};
}

Entry Dispatcher::Tell(Attributes attributes) {
  NoteTold(attributes);
  return EntryOf(std::move(attributes));
}

Entry Dispatcher::TellName(Attributes attributes) {
  ++known_[attributes.inode].lookups;
  return Tell(std::move(attributes));
}

Task<Result<Entry>> Dispatcher::Lookup(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(name));
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes,
                              co_await file_system_.Lookup(parent, std::move(name)));
  co_return TellName(std::move(attributes));
}

void Dispatcher::Forget(InodeId inode, uint64_t lookups) {
  const auto it = known_.find(inode);
  if (it == known_.end()) return;
  it->second.lookups -= std::min(it->second.lookups, lookups);
  if (it->second.lookups == 0) known_.erase(it);
}

Task<Result<Entry>> Dispatcher::GetAttributes(InodeId inode) {
  if (const Attributes* known = directory_attributes_.Find(inode)) co_return Tell(*known);
  const uint64_t asked = directory_attributes_.Ask(inode);
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes, co_await file_system_.GetAttributes(inode));
  directory_attributes_.Learn(attributes, asked);
  co_return Tell(std::move(attributes));
}

Task<Result<Entry>> Dispatcher::SetAttributes(InodeId inode, AttributeRequest request,
                                              HandleId handle) {
  AttributeChange change = request.change;
  if (request.atime_now) change.atime_ns = loop_.WallNanoseconds();
  if (request.mtime_now) change.mtime_ns = loop_.WallNanoseconds();

  const OpenFile* open = handle.IsNone() ? nullptr : FindFile(handle);
  if (open != nullptr && open->flags.write && change.size) {
    const std::shared_ptr<File> file = open->file;
    MORAINE_CO_RETURN_IF_ERROR(co_await file->Truncate(*change.size));
    change.size.reset();
  }
  if (!ChangesAnything(change)) co_return co_await GetAttributes(inode);
  if (change.mtime_ns || change.atime_ns) {
    // Bytes that are still buffered would set the time anew when they go out: tar and cp -p set it
    // before they close.
    if (const std::shared_ptr<File> file = file_system_.FindOpen(inode)) {
      MORAINE_CO_RETURN_IF_ERROR(co_await file->Flush());
    }
  }
  Result<Attributes> attributes = co_await file_system_.SetAttributes(inode, change);
  directory_attributes_.Forget(inode);  // also after an error: the outcome may be unknown
  if (!attributes.ok()) co_return attributes.status();
  co_return Tell(*std::move(attributes));
}

Task<Result<std::string>> Dispatcher::ReadLink(InodeId inode) {
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes, co_await file_system_.GetAttributes(inode));
  if (attributes.type != FileType::kSymlink) {
    co_return Status(Code::kInvalidArgument, "not a symlink");
  }
  co_return std::move(attributes.symlink_target);
}

Task<Result<Entry>> Dispatcher::MakeNode(InodeId parent, std::string name, NewEntry entry) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(name));
  entry.exclusive = true;
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes,
                              co_await file_system_.Create(parent, name, std::move(entry)));
  NoteName(parent, name);
  directory_attributes_.NoteCreated(parent, attributes);
  co_return TellName(std::move(attributes));
}

Task<Status> Dispatcher::Unlink(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(name));
  const Status removed = co_await file_system_.RemoveFile(parent, name);
  NoteName(parent, name);
  directory_attributes_.Forget(parent);
  co_return removed;
}

Task<Status> Dispatcher::RemoveDirectory(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(name));
  const Status removed = co_await file_system_.RemoveDirectory(parent, name);
  NoteName(parent, name);
  directory_attributes_.ForgetAll();  // the one removed is known only by its name here
  co_return removed;
}

Task<Status> Dispatcher::Rename(InodeId parent, std::string name, InodeId new_parent,
                                std::string new_name, RenameMode mode) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(name));
  MORAINE_CO_RETURN_IF_ERROR(CheckName(new_name));
  const Status renamed = co_await file_system_.Rename(parent, name, new_parent, new_name, mode);
  NoteName(parent, name);
  NoteName(new_parent, new_name);
  directory_attributes_.ForgetAll();  // what was moved or replaced may be a directory, too
  co_return renamed;
}

Task<Result<Entry>> Dispatcher::Link(InodeId inode, InodeId new_parent, std::string new_name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckName(new_name));
  MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes,
                              co_await file_system_.Link(inode, new_parent, new_name));
  NoteName(new_parent, new_name);
  directory_attributes_.Forget(new_parent);
  co_return TellName(std::move(attributes));
}

Task<Result<FileSystemSpace>> Dispatcher::Space() { return file_system_.Space(); }

Task<Result<std::string>> Dispatcher::GetXattr(InodeId inode, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckXattrName(name, Code::kNoAttribute));
  co_return co_await file_system_.GetXattr(inode, std::move(name));
}

Task<Status> Dispatcher::SetXattr(InodeId inode, std::string name, std::string value,
                                  SetXattrMode mode) {
  MORAINE_CO_RETURN_IF_ERROR(CheckXattrName(name, Code::kNotSupported));
  if (name.size() > limits::kXattrNameBytesMax || value.size() > limits::kXattrValueBytesMax) {
    co_return Status(Code::kOutOfRange, "an extended attribute that is too long");
  }
  const Status set = co_await file_system_.SetXattr(inode, std::move(name), std::move(value), mode);
  directory_attributes_.Forget(inode);
  co_return set;
}

Task<Status> Dispatcher::RemoveXattr(InodeId inode, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(CheckXattrName(name, Code::kNoAttribute));
  const Status removed = co_await file_system_.RemoveXattr(inode, std::move(name));
  directory_attributes_.Forget(inode);
  co_return removed;
}

Task<Result<std::string>> Dispatcher::ListXattrs(InodeId inode) {
  MORAINE_CO_ASSIGN_OR_RETURN(std::vector<std::string> names,
                              co_await file_system_.ListXattrs(inode));
  std::string list;
  for (const std::string& name : names) {
    list += name;
    list += '\0';
  }
  co_return list;
}

}  // namespace moraine::fs::mount
