// A file system in memory for tests of the mount: POSIX semantics, no servers, and a test's hands
// on its errors, its delays and its "other mounts". Names in a directory are in byte order,
// versions grow with every change, and a removed file lives on while it is open, as with the real
// client. Confined to one loop.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/loop/sync.h"
#include "fs/mount/file_system.h"

namespace moraine::fs::mount {

class MemoryFileSystem : public FileSystem {
 public:
  explicit MemoryFileSystem(Loop& loop);
  ~MemoryFileSystem() override;

  // ---- For tests
  // What a mount elsewhere does: changes the bytes of a file, with no word to this one.
  void WriteElsewhere(InodeId inode, std::string bytes);
  void RemoveElsewhere(InodeId parent, const std::string& name);
  // What the metaserver then says, later or never.
  void TellStale(InodeId inode) { on_stale_(inode); }
  std::string BytesOf(InodeId inode) const;
  InodeId Find(InodeId parent, const std::string& name) const;  // none if missing
  // Every call fails with this while it is not ok.
  void FailWith(Status status) { failure_ = std::move(status); }
  // Every call waits for Resume first.
  void Pause() { running_.Reset(); }
  void Resume() { running_.Set(); }
  int calls() const { return calls_; }
  int opens() const { return opens_; }  // Files handed out and not closed
  size_t inodes() const { return nodes_.size(); }

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
  void OnStale(std::function<void(InodeId)> callback) override { on_stale_ = std::move(callback); }

 private:
  class OpenFile;
  struct Node {
    Attributes attributes;
    std::string bytes;
    std::map<std::string, InodeId> names;
    InodeId parent;  // of a directory
    std::map<std::string, std::string> xattrs;
    std::shared_ptr<OpenFile> open;
    int handles = 0;
  };

  Task<Status> Enter();
  Node* FindNode(InodeId inode);
  Result<Node*> DirectoryNode(InodeId inode);
  Result<Node*> NamedNode(InodeId parent, const std::string& name);
  Node& MakeNode(Node& directory, const std::string& name, const NewEntry& entry);
  void Touch(Node& node);
  void TouchAttributes(Node& node);
  void Unlink(Node& directory, const std::string& name);
  void DropIfUnused(InodeId inode);
  Status CheckReplace(const Node& node, const Node& target) const;
  void Move(Node& from, const std::string& name, Node& to, const std::string& new_name);
  std::shared_ptr<File> OpenNode(Node& node);

  Loop& loop_;
  std::unordered_map<InodeId, Node> nodes_;
  InodeId next_inode_ = kRootInode.Next();
  uint64_t next_version_ = 1;
  std::function<void(InodeId)> on_stale_ = [](InodeId) {};
  Status failure_;
  Event running_;
  int calls_ = 0;
  int opens_ = 0;
};

}  // namespace moraine::fs::mount
