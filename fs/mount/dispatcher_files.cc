// Open files and directories of the dispatcher.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/loop/run_bounded.h"
#include "fs/mount/dispatcher.h"

namespace moraine::fs::mount {
namespace {

constexpr size_t kHandlesAtOnce = 64;  // when the mount stops

Status NoSuchHandle(HandleId handle) {
  return {Code::kBadHandle, fmt::format("no open handle {}", handle.value())};
}

}  // namespace

HandleId Dispatcher::AddFile(std::shared_ptr<File> file, OpenFlags flags) {
  const HandleId handle(next_handle_++);
  files_.emplace(handle, OpenFile{std::move(file), flags});
  return handle;
}

Dispatcher::OpenFile* Dispatcher::FindFile(HandleId handle) {
  const auto it = files_.find(handle);
  return it == files_.end() ? nullptr : &it->second;
}

// The kernel's pages hold what this mount has read and written, and nobody else could write since
// the version was looked at.
void Dispatcher::RememberPages(const File& file) {
  Seen* seen = FindSeen(file.inode());
  if (seen == nullptr) return;
  const Attributes attributes = file.attributes();
  seen->pages = {attributes.version, attributes.size};
  seen->at = loop_.Now();
}

Task<Result<CreatedEntry>> Dispatcher::Create(InodeId parent, std::string name, NewEntry entry,
                                              OpenFlags flags) {
  if (name.size() > limits::kNameBytesMax) {
    co_return Status(Code::kNameTooLong, fmt::format("a name of {} bytes", name.size()));
  }
  entry.exclusive = true;
  MORAINE_CO_ASSIGN_OR_RETURN(CreatedFile created,
                              co_await file_system_.CreateOpen(parent, name, std::move(entry)));
  NoteName(parent, name);
  directory_attributes_.NoteCreated(parent, created.attributes);
  CreatedEntry answer;
  answer.entry = TellName(std::move(created.attributes));
  RememberPages(*created.file);
  flags.write = true;  // Client::Create always opens for writing
  answer.opened.handle = AddFile(std::move(created.file), flags);
  answer.opened.keep_cache = true;  // a new file: whatever is cached is its own
  co_return answer;
}

Task<Result<OpenedFile>> Dispatcher::Open(InodeId inode, OpenFlags flags) {
  const bool open_before = file_system_.FindOpen(inode) != nullptr;
  MORAINE_CO_ASSIGN_OR_RETURN(
      std::shared_ptr<File> file,
      // open(2) truncates even for reading.
      co_await file_system_.Open(inode, flags.write || flags.truncate, flags.truncate));
  const Attributes attributes = file->attributes();
  if (attributes.links == 0 && !open_before) {
    // Removed elsewhere and kept only because somebody has it open: its name may be another file's.
    MORAINE_CO_RETURN_IF_ERROR(co_await file_system_.Close(std::move(file)));
    co_return Status(Code::kNotFound, "the file was removed");
  }
  OpenedFile opened;
  const Content content{attributes.version, attributes.size};
  const Seen* seen = FindSeen(inode);
  opened.keep_cache = seen != nullptr && seen->pages == content;
  opened.attributes_stale = seen == nullptr || seen->attributes != content;
  NotePages(inode);
  RememberPages(*file);
  opened.handle = AddFile(std::move(file), flags);
  co_return opened;
}

// The kernel is about to have pages again, of whatever version: what is said to be stale from now
// on must be dropped. Those that it is reading it holds locked, and a drop waits for them.
void Dispatcher::NotePages(InodeId inode) {
  const auto known = known_.find(inode);
  if (known != known_.end() && !known->second.seen) known->second.seen = Seen{};
}

Task<Result<ReadBytes>> Dispatcher::Read(HandleId handle, uint64_t offset, uint64_t length) {
  const OpenFile* open = FindFile(handle);
  if (open == nullptr) co_return NoSuchHandle(handle);
  const std::shared_ptr<File> file = open->file;
  NotePages(file->inode());
  co_return co_await file->Read(offset, length);
}

Task<Result<size_t>> Dispatcher::Write(HandleId handle, uint64_t offset, ConstBytes bytes,
                                       std::shared_ptr<const void> owner, bool append) {
  const OpenFile* open = FindFile(handle);
  if (open == nullptr || !open->flags.write) co_return NoSuchHandle(handle);
  const std::shared_ptr<File> file = open->file;
  const std::shared_ptr<const void> kept = std::move(owner);
  NotePages(file->inode());
  if (!append) {
    if (bytes.size() > limits::kFileBytesMax || offset > limits::kFileBytesMax - bytes.size()) {
      co_return Status(Code::kTooLarge, "a file cannot be that long");
    }
    MORAINE_CO_RETURN_IF_ERROR(co_await file->Write(offset, bytes));
    co_return bytes.size();
  }
  MORAINE_CO_ASSIGN_OR_RETURN(const uint64_t at, co_await file->Append(bytes));
  // The kernel put the bytes into its cache where it believed the end to be.
  if (at != offset) DropStale(file->inode());
  co_return bytes.size();
}

Task<Status> Dispatcher::Flush(HandleId handle) {
  const OpenFile* open = FindFile(handle);
  if (open == nullptr) co_return NoSuchHandle(handle);
  if (!open->flags.write) co_return Status::Ok();
  const std::shared_ptr<File> file = open->file;
  MORAINE_CO_RETURN_IF_ERROR(co_await file->Flush());
  RememberPages(*file);
  co_return Status::Ok();
}

Task<Status> Dispatcher::Sync(HandleId handle) {
  const OpenFile* open = FindFile(handle);
  if (open == nullptr) co_return NoSuchHandle(handle);
  const std::shared_ptr<File> file = open->file;
  MORAINE_CO_RETURN_IF_ERROR(co_await file->Sync());
  if (FindFile(handle) != nullptr && FindFile(handle)->flags.write) RememberPages(*file);
  co_return Status::Ok();
}

Task<Status> Dispatcher::Release(HandleId handle) {
  const auto it = files_.find(handle);
  if (it == files_.end()) co_return NoSuchHandle(handle);
  const OpenFile open = std::move(it->second);
  files_.erase(it);
  const Status closed = co_await file_system_.Close(open.file);
  if (!closed.ok()) {
    // The kernel has no program left to tell; flush has told it already.
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "close of inode {}: {}", open.file->inode().value(),
                          closed.ToString());
    DropStale(open.file->inode());
  } else if (open.flags.write) {
    RememberPages(*open.file);
  }
  co_return closed;
}

Task<Status> Dispatcher::Extend(HandleId handle, uint64_t size) {
  const OpenFile* open = FindFile(handle);
  if (open == nullptr || !open->flags.write) co_return NoSuchHandle(handle);
  if (size > limits::kFileBytesMax) {
    co_return Status(Code::kTooLarge, "a file cannot be that long");
  }
  const std::shared_ptr<File> file = open->file;
  co_return co_await file->Extend(size);
}

Result<HandleId> Dispatcher::OpenDirectory(InodeId inode) {
  const HandleId handle(next_handle_++);
  directories_.emplace(handle, std::make_shared<DirectoryCursor>(loop_, file_system_, inode,
                                                                 options_.listing_page_entries));
  return handle;
}

Task<Status> Dispatcher::ReadDirectory(HandleId handle, uint64_t position, bool with_attributes,
                                       AddListed add) {
  const auto it = directories_.find(handle);
  if (it == directories_.end()) co_return NoSuchHandle(handle);
  const std::shared_ptr<DirectoryCursor> cursor = it->second;
  co_return co_await cursor->Read(
      position, with_attributes,
      [this, &add, &cursor, with_attributes](const DirectoryEntry& entry, uint64_t next) {
        if (!with_attributes || !MayTellListed(entry, *cursor)) return add({entry, nullptr, next});
        Entry listed = EntryOf(*entry.attributes);
        listed.entry_valid = std::max(listed.entry_valid, options_.listing_timeout);
        if (!add({entry, &listed, next})) return false;
        TellName(std::move(listed.attributes));
        return true;
      });
}

// The entries wait here between two reads of the kernel, while files are written: an old size would
// cut the kernel's cache of such a file. And while names go: the kernel would have one again that
// it has just removed.
bool Dispatcher::MayTellListed(const DirectoryEntry& entry, const DirectoryCursor& cursor) const {
  const Instant page_time = cursor.page_time();
  if (!entry.attributes || loop_.Now() - page_time > options_.listing_timeout) return false;
  if (cursor.MayBeOld(entry.name)) return false;
  if (file_system_.FindOpen(entry.inode) != nullptr) return false;
  const auto known = known_.find(entry.inode);
  const bool seen = known != known_.end() && known->second.seen.has_value();
  return !seen || known->second.seen->at < page_time;
}

void Dispatcher::NoteName(InodeId parent, const std::string& name) {
  for (const auto& [handle, cursor] : directories_) {
    if (cursor->inode() == parent) cursor->NoteChanged(name);
  }
}

Status Dispatcher::ReleaseDirectory(HandleId handle) {
  return directories_.erase(handle) > 0 ? Status::Ok() : NoSuchHandle(handle);
}

Task<Status> Dispatcher::SyncDirectory(InodeId inode) { return file_system_.SyncNames(inode); }

Task<Status> Dispatcher::ForEach(std::vector<HandleId> handles, HandleCall call, Instant deadline) {
  auto first = std::make_shared<Status>();
  std::vector<std::function<Task<void>()>> jobs;
  for (const HandleId handle : handles) {
    jobs.emplace_back([this, handle, call, deadline, first]() -> Task<void> {
      Status status(Code::kTimeout, "not all open files were stored in time");
      if (loop_.Now() < deadline) status = co_await (this->*call)(handle);
      if (first->ok()) *first = status;
    });
  }
  TaskGroup group(loop_);
  co_await RunBounded(loop_, group, std::move(jobs), kHandlesAtOnce);
  co_await group.Drain();
  co_return *first;
}

Task<Status> Dispatcher::FlushAll(Instant deadline) {
  std::vector<HandleId> handles;
  for (const auto& [handle, open] : files_) {
    if (open.flags.write) handles.push_back(handle);
  }
  co_return co_await ForEach(std::move(handles), &Dispatcher::FlushIfOpen, deadline);
}

// It may have been closed since it was listed.
Task<Status> Dispatcher::FlushIfOpen(HandleId handle) {
  if (FindFile(handle) == nullptr) co_return Status::Ok();
  co_return co_await Flush(handle);
}

Task<Status> Dispatcher::ReleaseIfOpen(HandleId handle) {
  if (FindFile(handle) == nullptr) co_return Status::Ok();
  co_return co_await Release(handle);
}

Task<Status> Dispatcher::Stop(Instant deadline) {
  std::vector<HandleId> handles;
  for (const auto& [handle, open] : files_) handles.push_back(handle);
  const Status closed = co_await ForEach(std::move(handles), &Dispatcher::ReleaseIfOpen, deadline);
  files_.clear();
  directories_.clear();
  co_return closed;
}

}  // namespace moraine::fs::mount
