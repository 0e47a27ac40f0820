#include "fs/mount/client_file_system.h"

#include <utility>

namespace moraine::fs::mount {

Task<Result<Attributes>> ClientFileSystem::Lookup(InodeId parent, std::string name) {
  return client_.Lookup(parent, std::move(name));
}

Task<Result<Attributes>> ClientFileSystem::GetAttributes(InodeId inode) {
  return client_.GetAttributes(inode);
}

Task<Result<Attributes>> ClientFileSystem::SetAttributes(InodeId inode, AttributeChange change) {
  return client_.SetAttributes(inode, change);
}

Task<Result<Attributes>> ClientFileSystem::Create(InodeId parent, std::string name,
                                                  NewEntry entry) {
  MORAINE_CO_ASSIGN_OR_RETURN(
      Created created, co_await client_.Create(parent, std::move(name), std::move(entry), false));
  co_return std::move(created.attributes);
}

Task<Result<CreatedFile>> ClientFileSystem::CreateOpen(InodeId parent, std::string name,
                                                       NewEntry entry) {
  MORAINE_CO_ASSIGN_OR_RETURN(
      Created created, co_await client_.Create(parent, std::move(name), std::move(entry), true));
  MORAINE_CHECK(created.file != nullptr, "a file that is made open comes open");
  co_return CreatedFile{std::move(created.attributes), std::move(created.file)};
}

Task<Status> ClientFileSystem::RemoveFile(InodeId parent, std::string name) {
  return client_.RemoveFile(parent, std::move(name));
}

Task<Status> ClientFileSystem::RemoveDirectory(InodeId parent, std::string name) {
  return client_.RemoveDirectory(parent, std::move(name));
}

Task<Status> ClientFileSystem::Rename(InodeId parent, std::string name, InodeId new_parent,
                                      std::string new_name, RenameMode mode) {
  return client_.Rename(parent, std::move(name), new_parent, std::move(new_name), mode);
}

Task<Result<Attributes>> ClientFileSystem::Link(InodeId inode, InodeId new_parent,
                                                std::string new_name) {
  return client_.Link(inode, new_parent, std::move(new_name));
}

Task<Result<DirectoryPage>> ClientFileSystem::ReadDirectory(InodeId inode, std::string after,
                                                            int limit, bool with_attributes) {
  return client_.ReadDirectory(inode, std::move(after), limit, with_attributes);
}

Task<Status> ClientFileSystem::SyncNames(InodeId directory) { return client_.SyncNames(directory); }

Task<Result<FileSystemSpace>> ClientFileSystem::Space() { return client_.Space(); }

Task<Result<std::string>> ClientFileSystem::GetXattr(InodeId inode, std::string name) {
  return client_.GetXattr(inode, std::move(name));
}

Task<Status> ClientFileSystem::SetXattr(InodeId inode, std::string name, std::string value,
                                        SetXattrMode mode) {
  Client::XattrMode how = Client::XattrMode::kSet;
  if (mode == SetXattrMode::kCreate) how = Client::XattrMode::kCreate;
  if (mode == SetXattrMode::kReplace) how = Client::XattrMode::kReplace;
  return client_.SetXattr(inode, std::move(name), std::move(value), how);
}

Task<Status> ClientFileSystem::RemoveXattr(InodeId inode, std::string name) {
  return client_.RemoveXattr(inode, std::move(name));
}

Task<Result<std::vector<std::string>>> ClientFileSystem::ListXattrs(InodeId inode) {
  return client_.ListXattrs(inode);
}

Task<Result<std::shared_ptr<File>>> ClientFileSystem::Open(InodeId inode, bool write,
                                                           bool truncate) {
  return client_.Open(inode, write ? Client::OpenMode::kWrite : Client::OpenMode::kRead, truncate);
}

Task<Status> ClientFileSystem::Close(std::shared_ptr<File> file) {
  return client_.Close(std::move(file));
}

std::shared_ptr<File> ClientFileSystem::FindOpen(InodeId inode) const {
  return client_.FindOpen(inode);
}

void ClientFileSystem::OnStale(std::function<void(InodeId)> callback) {
  client_.OnStale(std::move(callback));
}

}  // namespace moraine::fs::mount
