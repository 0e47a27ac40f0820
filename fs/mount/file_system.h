// What the mount needs of the file system: the calls of fs::Client that a kernel can cause, as an
// interface, so that the dispatcher and the kernel's side of it are tested without servers.
//
// Contracts are those of fs/client/client.h and fs/client/file.h; only what differs is said here.
// Confined to one loop. ClientFileSystem (client_file_system.h) is the real one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop/task.h"
#include "base/status.h"
#include "fs/client/file.h"
#include "fs/client/types.h"

namespace moraine::fs::mount {

struct CreatedFile {
  Attributes attributes;
  std::shared_ptr<File> file;
};

enum class SetXattrMode { kSet, kCreate, kReplace };

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Task<Result<Attributes>> Lookup(InodeId parent, std::string name) = 0;
  virtual Task<Result<Attributes>> GetAttributes(InodeId inode) = 0;
  virtual Task<Result<Attributes>> SetAttributes(InodeId inode, AttributeChange change) = 0;
  virtual Task<Result<Attributes>> Create(InodeId parent, std::string name, NewEntry entry) = 0;
  // A regular file that must not exist yet, opened for writing; matched by one Close.
  virtual Task<Result<CreatedFile>> CreateOpen(InodeId parent, std::string name,
                                               NewEntry entry) = 0;
  virtual Task<Status> RemoveFile(InodeId parent, std::string name) = 0;
  virtual Task<Status> RemoveDirectory(InodeId parent, std::string name) = 0;
  virtual Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent,
                              std::string new_name, RenameMode mode) = 0;
  virtual Task<Result<Attributes>> Link(InodeId inode, InodeId new_parent,
                                        std::string new_name) = 0;
  virtual Task<Result<DirectoryPage>> ReadDirectory(InodeId inode, std::string after, int limit,
                                                    bool with_attributes) = 0;
  virtual Task<Status> SyncNames(InodeId directory) = 0;
  virtual Task<Result<FileSystemSpace>> Space() = 0;

  virtual Task<Result<std::string>> GetXattr(InodeId inode, std::string name) = 0;
  virtual Task<Status> SetXattr(InodeId inode, std::string name, std::string value,
                                SetXattrMode mode) = 0;
  virtual Task<Status> RemoveXattr(InodeId inode, std::string name) = 0;
  virtual Task<Result<std::vector<std::string>>> ListXattrs(InodeId inode) = 0;

  // The attributes of the File are as fresh as the metaserver's when this returns.
  virtual Task<Result<std::shared_ptr<File>>> Open(InodeId inode, bool write, bool truncate) = 0;
  virtual Task<Status> Close(std::shared_ptr<File> file) = 0;
  // The file if it is open here; makes no call.
  virtual std::shared_ptr<File> FindOpen(InodeId inode) const = 0;

  // `callback` runs on the loop when another session changed what may be cached of an inode.
  virtual void OnStale(std::function<void(InodeId)> callback) = 0;
};

}  // namespace moraine::fs::mount
