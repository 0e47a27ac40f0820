// Carries out what a kernel asks of a mounted file system, in plain values: no type of libfuse
// comes in here, so that all of it is tested without a kernel. fuse_session.h is the kernel's side.
//
// It owns the handles of open files and directories and remembers, for each inode that the kernel
// knows, which version the kernel has seen. The kernel counts how often it was told an inode by a
// name, and gives those counts back when it forgets; a forget may come late, when the inode has
// been looked up and opened again, so the counts are kept here too. The rules of caching that
// follow from it:
//  - a file's name is looked up again on each use (`entry_timeout` 0), which also brings its
//    attributes; directories on the way are believed for `directory_timeout`;
//  - an open asks the metaserver. The kernel keeps its pages of the file iff the version is the one
//    they were read at; the attributes it holds are dropped iff they are older;
//  - what another session changes is dropped from the kernel's cache when the metaserver says so.
// So a file that was written and closed, or synced, elsewhere is seen by the next open here.
//
// Errors are those of fs::Client, besides kBadHandle. Each coroutine ends by the client's timeout.
// Arguments are taken by value; bytes to write are kept alive by `owner`.
// Confined to one loop. Stop before destruction, when no call is under way.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/loop/loop.h"
#include "fs/mount/directory_attributes.h"
#include "fs/mount/directory_cursor.h"
#include "fs/mount/file_system.h"

namespace moraine::fs::mount {

using HandleId = StrongNumber<struct HandleTag>;

struct DispatcherOptions {
  Duration entry_timeout{0};                             // of names of files
  Duration directory_timeout = std::chrono::seconds(1);  // of names of directories
  Duration attr_timeout = std::chrono::seconds(1);
  Duration listing_timeout = std::chrono::seconds(1);  // of names that a listing brought
  int listing_page_entries = 1024;
};

// Attributes as the kernel may keep them, with the time it may do so.
struct Entry {
  Attributes attributes;
  Duration entry_valid{0};
  Duration attributes_valid{0};
};

struct OpenFlags {
  bool write = false;
  bool truncate = false;
};

struct OpenedFile {
  HandleId handle;
  bool keep_cache = false;        // the kernel's pages are of this version
  bool attributes_stale = false;  // the kernel's attributes are not: drop them before the answer
};

struct CreatedEntry {
  Entry entry;
  OpenedFile opened;
};

struct AttributeRequest {
  AttributeChange change;
  bool atime_now = false;
  bool mtime_now = false;
};

class Dispatcher {
 public:
  // `drop_cache`: called when all that the kernel caches of an inode is to be dropped soon; it must
  // not wait for the kernel.
  Dispatcher(Loop& loop, FileSystem& file_system, DispatcherOptions options,
             std::function<void(InodeId)> drop_cache);
  ~Dispatcher();

  // ---- Names and attributes
  Task<Result<Entry>> Lookup(InodeId parent, std::string name);
  // The kernel gives back `lookups` of those that it was answered (each Entry of Lookup, MakeNode,
  // Link, Create and ReadDirectory is one), or did not take them. With the last one it keeps
  // nothing of the inode.
  void Forget(InodeId inode, uint64_t lookups);
  Task<Result<Entry>> GetAttributes(InodeId inode);
  // `handle`: the open file the change came through, or none.
  Task<Result<Entry>> SetAttributes(InodeId inode, AttributeRequest request, HandleId handle);
  Task<Result<std::string>> ReadLink(InodeId inode);
  Task<Result<Entry>> MakeNode(InodeId parent, std::string name, NewEntry entry);
  Task<Status> Unlink(InodeId parent, std::string name);
  Task<Status> RemoveDirectory(InodeId parent, std::string name);
  Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent, std::string new_name,
                      RenameMode mode);
  Task<Result<Entry>> Link(InodeId inode, InodeId new_parent, std::string new_name);
  Task<Result<FileSystemSpace>> Space();

  // ---- Files
  // kAlreadyExists even when an open of what is there would do: only the kernel can check whether
  // this caller may (errno_map.h, ErrnoForCreate).
  Task<Result<CreatedEntry>> Create(InodeId parent, std::string name, NewEntry entry,
                                    OpenFlags flags);
  // kNotFound: the file has no name any more and is not open here.
  Task<Result<OpenedFile>> Open(InodeId inode, OpenFlags flags);
  Task<Result<ReadBytes>> Read(HandleId handle, uint64_t offset, uint64_t length);
  // `append`: to the end, wherever the kernel believes that to be. It comes with each write,
  // because fcntl(2) changes it while the file is open, and because pages that were written through
  // a mapping go where they belong.
  Task<Result<size_t>> Write(HandleId handle, uint64_t offset, ConstBytes bytes,
                             std::shared_ptr<const void> owner, bool append);
  Task<Status> Flush(HandleId handle);  // one descriptor was closed
  Task<Status> Sync(HandleId handle);
  Task<Status> Release(HandleId handle);  // the last one was
  // Makes the file at least `size` long. Space is not set aside.
  Task<Status> Extend(HandleId handle, uint64_t size);

  // ---- Directories
  Result<HandleId> OpenDirectory(InodeId inode);
  struct Listed {
    const DirectoryEntry& entry;
    const Entry* attributes;  // null: none; the kernel will ask if it wants them
    uint64_t next;            // position behind it
  };
  // False: it did not fit, and the kernel is not told. Attributes that were added count as a
  // lookup.
  using AddListed = std::function<bool(const Listed&)>;
  // See directory_cursor.h.
  Task<Status> ReadDirectory(HandleId handle, uint64_t position, bool with_attributes,
                             AddListed add);
  Status ReleaseDirectory(HandleId handle);
  Task<Status> SyncDirectory(InodeId inode);

  // ---- Extended attributes. Those of `security.` do not exist here (the kernel asks for one at
  // each write), and no POSIX ACLs; both are answered without a call.
  Task<Result<std::string>> GetXattr(InodeId inode, std::string name);
  Task<Status> SetXattr(InodeId inode, std::string name, std::string value, SetXattrMode mode);
  Task<Status> RemoveXattr(InodeId inode, std::string name);
  // Names, each followed by a zero byte.
  Task<Result<std::string>> ListXattrs(InodeId inode);

  // Flushes every file that is open for writing, many at a time; the handles stay. The first error.
  // What has not begun by `deadline` is left out: kTimeout.
  Task<Status> FlushAll(Instant deadline);
  // Closes every handle, likewise; those that are left out go without a word to the file system.
  Task<Status> Stop(Instant deadline);

  size_t open_files() const { return files_.size(); }
  size_t open_directories() const { return directories_.size(); }
  size_t known_inodes() const { return known_.size(); }  // with the root

 private:
  struct OpenFile {
    std::shared_ptr<File> file;
    OpenFlags flags;
  };
  // What a file's content depends on: a file that is being appended to elsewhere grows without a
  // new version.
  struct Content {
    uint64_t version = 0;
    uint64_t size = 0;
    bool operator==(const Content&) const = default;
  };
  // What the kernel has of an inode.
  struct Seen {
    Content attributes;
    std::optional<Content> pages;
    Instant at{};  // of the last attributes or own change
  };
  struct Known {
    uint64_t lookups = 0;      // told to the kernel and not given back
    std::optional<Seen> seen;  // none: all of it is to be dropped
  };

  // Notes that the kernel is told these attributes.
  Entry Tell(Attributes attributes);
  // The same as the answer to a name: a lookup.
  Entry TellName(Attributes attributes);
  void NoteTold(const Attributes& attributes);
  Entry EntryOf(Attributes attributes) const;
  Seen* FindSeen(InodeId inode);
  bool MayTellListed(const DirectoryEntry& entry, const DirectoryCursor& cursor) const;
  // This mount has changed what stands under a name, or has tried to.
  void NoteName(InodeId parent, const std::string& name);
  // Calls it for all of them, many at a time.
  using HandleCall = Task<Status> (Dispatcher::*)(HandleId);
  Task<Status> FlushIfOpen(HandleId handle);
  Task<Status> ReleaseIfOpen(HandleId handle);
  Task<Status> ForEach(std::vector<HandleId> handles, HandleCall call, Instant deadline);
  HandleId AddFile(std::shared_ptr<File> file, OpenFlags flags);
  OpenFile* FindFile(HandleId handle);
  void RememberPages(const File& file);
  void NotePages(InodeId inode);
  void DropStale(InodeId inode);

  // Constant after construction.
  Loop& loop_;
  FileSystem& file_system_;
  const DispatcherOptions options_;
  const std::function<void(InodeId)> drop_cache_;

  uint64_t next_handle_ = 1;
  std::unordered_map<HandleId, OpenFile> files_;
  std::unordered_map<HandleId, std::shared_ptr<DirectoryCursor>> directories_;
  std::unordered_map<InodeId, Known> known_;
  DirectoryAttributes directory_attributes_;
};

}  // namespace moraine::fs::mount
