// The mount's file system over a real client. Thin: every call goes straight through.
#pragma once

#include "fs/client/client.h"
#include "fs/mount/file_system.h"

namespace moraine::fs::mount {

class ClientFileSystem : public FileSystem {
 public:
  explicit ClientFileSystem(Client& client) : client_(client) {}

  Task<Result<Attributes>> Lookup(InodeId parent, std::string name) override;
  Task<Result<Attributes>> GetAttributes(InodeId inode) override;
  Task<Result<Attributes>> SetAttributes(InodeId inode, AttributeChange change) override;
  Task<Result<Attributes>> Create(InodeId parent, std::string name, NewEntry entry) override;
  Task<Result<CreatedFile>> CreateOpen(InodeId parent, std::string name, NewEntry entry) override;
  Task<Status> RemoveFile(InodeId parent, std::string name) override;
  Task<Status> RemoveDirectory(InodeId parent, std::string name) override;
  Task<Status> Rename(InodeId parent, std::string name, InodeId new_parent, std::string new_name,
                      RenameMode mode) override;
  Task<Result<Attributes>> Link(InodeId inode, InodeId new_parent, std::string new_name) override;
  Task<Result<DirectoryPage>> ReadDirectory(InodeId inode, std::string after, int limit,
                                            bool with_attributes) override;
  Task<Status> SyncNames(InodeId directory) override;
  Task<Result<FileSystemSpace>> Space() override;
  Task<Result<std::string>> GetXattr(InodeId inode, std::string name) override;
  Task<Status> SetXattr(InodeId inode, std::string name, std::string value,
                        SetXattrMode mode) override;
  Task<Status> RemoveXattr(InodeId inode, std::string name) override;
  Task<Result<std::vector<std::string>>> ListXattrs(InodeId inode) override;
  Task<Result<std::shared_ptr<File>>> Open(InodeId inode, bool write, bool truncate) override;
  Task<Status> Close(std::shared_ptr<File> file) override;
  std::shared_ptr<File> FindOpen(InodeId inode) const override;
  void OnStale(std::function<void(InodeId)> callback) override;

 private:
  Client& client_;
};

}  // namespace moraine::fs::mount
