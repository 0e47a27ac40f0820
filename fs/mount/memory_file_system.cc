#include "fs/mount/memory_file_system.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace moraine::fs::mount {
namespace {

Status Missing(const std::string& name) { return {Code::kNotFound, "no '" + name + "'"}; }

bool IsDirectory(const Attributes& attributes) { return attributes.type == FileType::kDirectory; }

}  // namespace

class MemoryFileSystem::OpenFile : public File {
 public:
  OpenFile(MemoryFileSystem& owner, InodeId inode) : File(inode), owner_(owner) {}

  Attributes attributes() const override { return closed_ ? last_ : node().attributes; }
  uint64_t size() const override { return attributes().size; }

  Task<Result<ReadBytes>> Read(uint64_t offset, uint64_t length) override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    ReadBytes read;
    const std::string& bytes = node().bytes;
    if (offset >= bytes.size()) co_return read;
    const auto copy = std::make_shared<std::string>(bytes.substr(offset, length));
    // In two pieces, as the real one gives several.
    const size_t half = copy->size() / 2;
    const ConstBytes all = std::as_bytes(std::span(copy->data(), copy->size()));
    read.pieces = {all.first(half), all.subspan(half)};
    read.owners = {copy};
    read.size = copy->size();
    co_return read;
  }
  Task<Result<std::vector<ReadBytes>>> ReadRanges(std::vector<Range> ranges) override {
    std::vector<ReadBytes> all;
    for (const Range& range : ranges) {
      MORAINE_CO_ASSIGN_OR_RETURN(ReadBytes read, co_await Read(range.offset, range.length));
      all.push_back(std::move(read));
    }
    co_return all;
  }
  Task<Status> Write(uint64_t offset, ConstBytes bytes) override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    Put(offset, bytes);
    co_return Status::Ok();
  }
  Task<Result<uint64_t>> Append(ConstBytes bytes) override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    const uint64_t at = node().bytes.size();
    Put(at, bytes);
    co_return at;
  }
  void Push() override {}
  // What is flushed gets its time now, as at the metaserver.
  Task<Status> Flush() override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    if (std::exchange(dirty_, false)) owner_.Touch(node());
    co_return Status::Ok();
  }
  Task<Status> Sync() override { return Flush(); }
  Task<Status> Truncate(uint64_t size) override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    Resize(size);
    co_return Status::Ok();
  }
  Task<Status> Extend(uint64_t size) override {
    MORAINE_CO_RETURN_IF_ERROR(co_await owner_.Enter());
    if (size > node().bytes.size()) Resize(size);
    co_return Status::Ok();
  }
  Status error() const override { return Status::Ok(); }

  // What is known of it when it is closed; the inode may go.
  void Closed() {
    last_ = node().attributes;
    closed_ = true;
  }
  void Resized() {
    node().attributes.size = node().bytes.size();
    node().attributes.stored_bytes = node().bytes.size();
  }

 private:
  Node& node() const { return *owner_.FindNode(inode_); }
  void Resize(uint64_t size) {
    node().bytes.resize(size);
    dirty_ = true;
    Resized();
  }
  void Put(uint64_t offset, ConstBytes bytes) {
    std::string& all = node().bytes;
    if (all.size() < offset + bytes.size()) all.resize(offset + bytes.size());
    if (!bytes.empty()) std::memcpy(all.data() + offset, bytes.data(), bytes.size());
    dirty_ = true;
    Resized();
  }

  MemoryFileSystem& owner_;
  bool dirty_ = false;
  bool closed_ = false;
  Attributes last_;
};

MemoryFileSystem::MemoryFileSystem(Loop& loop) : loop_(loop), running_(loop) {
  running_.Set();
  Node& root = nodes_[kRootInode];
  root.attributes.inode = kRootInode;
  root.attributes.type = FileType::kDirectory;
  root.attributes.mode = 0755;
  root.attributes.links = 2;
  root.parent = kRootInode;
  Touch(root);
}

MemoryFileSystem::~MemoryFileSystem() = default;

void MemoryFileSystem::WriteElsewhere(InodeId inode, std::string bytes) {
  Node& node = *FindNode(inode);
  node.bytes = std::move(bytes);
  node.attributes.size = node.attributes.stored_bytes = node.bytes.size();
  Touch(node);
}

void MemoryFileSystem::RemoveElsewhere(InodeId parent, const std::string& name) {
  Unlink(*FindNode(parent), name);
}

std::string MemoryFileSystem::BytesOf(InodeId inode) const { return nodes_.at(inode).bytes; }

InodeId MemoryFileSystem::Find(InodeId parent, const std::string& name) const {
  const auto& names = nodes_.at(parent).names;
  const auto it = names.find(name);
  return it == names.end() ? InodeId() : it->second;
}

Task<Status> MemoryFileSystem::Enter() {
  ++calls_;
  co_await running_.Wait();
  co_return failure_;
}

MemoryFileSystem::Node* MemoryFileSystem::FindNode(InodeId inode) {
  const auto it = nodes_.find(inode);
  return it == nodes_.end() ? nullptr : &it->second;
}

Result<MemoryFileSystem::Node*> MemoryFileSystem::DirectoryNode(InodeId inode) {
  Node* node = FindNode(inode);
  if (node == nullptr) return Missing(inode.ToString());
  if (!IsDirectory(node->attributes)) return {Code::kNotDirectory, inode.ToString()};
  return node;
}

Result<MemoryFileSystem::Node*> MemoryFileSystem::NamedNode(InodeId parent,
                                                            const std::string& name) {
  MORAINE_ASSIGN_OR_RETURN(Node * directory, DirectoryNode(parent));
  const auto it = directory->names.find(name);
  if (it == directory->names.end()) return Missing(name);
  return FindNode(it->second);
}

void MemoryFileSystem::Touch(Node& node) {
  TouchAttributes(node);
  node.attributes.mtime_ns = node.attributes.ctime_ns;
}

void MemoryFileSystem::TouchAttributes(Node& node) {
  node.attributes.version = next_version_++;
  node.attributes.ctime_ns = loop_.WallNanoseconds();
}

MemoryFileSystem::Node& MemoryFileSystem::MakeNode(Node& directory, const std::string& name,
                                                   const NewEntry& entry) {
  const InodeId inode = std::exchange(next_inode_, next_inode_.Next());
  Node& node = nodes_[inode];
  node.attributes.inode = inode;
  node.attributes.type = entry.type;
  node.attributes.mode = entry.mode;
  node.attributes.uid = entry.uid;
  node.attributes.gid = entry.gid;
  node.attributes.rdev = entry.rdev;
  node.attributes.symlink_target = entry.symlink_target;
  node.attributes.size = entry.symlink_target.size();
  node.attributes.links = entry.type == FileType::kDirectory ? 2 : 1;
  node.attributes.atime_ns = loop_.WallNanoseconds();
  node.parent = directory.attributes.inode;
  Touch(node);
  directory.names[name] = inode;  // an unordered_map moves no element
  if (entry.type == FileType::kDirectory) ++directory.attributes.links;
  Touch(directory);
  return node;
}

void MemoryFileSystem::DropIfUnused(InodeId inode) {
  const Node* node = FindNode(inode);
  if (node->attributes.links == 0 && node->handles == 0) nodes_.erase(inode);
}

void MemoryFileSystem::Unlink(Node& directory, const std::string& name) {
  const auto it = directory.names.find(name);
  Node& node = *FindNode(it->second);
  directory.names.erase(it);
  if (IsDirectory(node.attributes)) {
    node.attributes.links = 0;
    --directory.attributes.links;
  } else {
    --node.attributes.links;
  }
  node.attributes.ctime_ns = loop_.WallNanoseconds();
  Touch(directory);
  DropIfUnused(node.attributes.inode);
}

Task<Result<Attributes>> MemoryFileSystem::Lookup(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(const Node* node, NamedNode(parent, name));
  co_return node->attributes;
}

Task<Result<Attributes>> MemoryFileSystem::GetAttributes(InodeId inode) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  const Node* node = FindNode(inode);
  if (node == nullptr) co_return Missing(inode.ToString());
  co_return node->attributes;
}

Task<Result<Attributes>> MemoryFileSystem::SetAttributes(InodeId inode, AttributeChange change) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  Node* node = FindNode(inode);
  if (node == nullptr) co_return Missing(inode.ToString());
  Attributes& attributes = node->attributes;
  if (change.mode) attributes.mode = *change.mode;
  if (change.uid) attributes.uid = *change.uid;
  if (change.gid) attributes.gid = *change.gid;
  attributes.version = next_version_++;
  attributes.ctime_ns = loop_.WallNanoseconds();
  if (change.size) {
    node->bytes.resize(*change.size);
    attributes.size = attributes.stored_bytes = *change.size;
    attributes.mtime_ns = attributes.ctime_ns;
  }
  if (change.atime_ns) attributes.atime_ns = *change.atime_ns;
  if (change.mtime_ns) attributes.mtime_ns = *change.mtime_ns;
  co_return attributes;
}

Task<Result<Attributes>> MemoryFileSystem::Create(InodeId parent, std::string name,
                                                  NewEntry entry) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(Node * directory, DirectoryNode(parent));
  if (directory->attributes.links == 0) co_return Missing(name);
  if (directory->names.contains(name)) co_return Status(Code::kAlreadyExists, name);
  co_return MakeNode(*directory, name, entry).attributes;
}

Task<Result<CreatedFile>> MemoryFileSystem::CreateOpen(InodeId parent, std::string name,
                                                       NewEntry entry) {
  MORAINE_CO_ASSIGN_OR_RETURN(const Attributes attributes,
                              co_await Create(parent, std::move(name), std::move(entry)));
  co_return CreatedFile{attributes, OpenNode(*FindNode(attributes.inode))};
}

Task<Status> MemoryFileSystem::RemoveFile(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(const Node* node, NamedNode(parent, name));
  if (IsDirectory(node->attributes)) co_return Status(Code::kIsDirectory, name);
  Unlink(*FindNode(parent), name);
  co_return Status::Ok();
}

Task<Status> MemoryFileSystem::RemoveDirectory(InodeId parent, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(const Node* node, NamedNode(parent, name));
  if (!IsDirectory(node->attributes)) co_return Status(Code::kNotDirectory, name);
  if (!node->names.empty()) co_return Status(Code::kNotEmpty, name);
  Unlink(*FindNode(parent), name);
  co_return Status::Ok();
}

Status MemoryFileSystem::CheckReplace(const Node& node, const Node& target) const {
  const bool directory = IsDirectory(node.attributes);
  if (directory && !IsDirectory(target.attributes)) return {Code::kNotDirectory, "target"};
  if (!directory && IsDirectory(target.attributes)) return {Code::kIsDirectory, "target"};
  if (!target.names.empty()) return {Code::kNotEmpty, "target"};
  return Status::Ok();
}

void MemoryFileSystem::Move(Node& from, const std::string& name, Node& to,
                            const std::string& new_name) {
  const InodeId inode = from.names.at(name);
  Node& node = *FindNode(inode);
  from.names.erase(name);
  to.names[new_name] = inode;
  if (IsDirectory(node.attributes)) {
    --from.attributes.links;
    ++to.attributes.links;
    node.parent = to.attributes.inode;
  }
  TouchAttributes(node);
  Touch(from);
  Touch(to);
}

Task<Status> MemoryFileSystem::Rename(InodeId parent, std::string name, InodeId new_parent,
                                      std::string new_name, RenameMode mode) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(const Node* node, NamedNode(parent, name));
  MORAINE_CO_ASSIGN_OR_RETURN(Node * to, DirectoryNode(new_parent));
  Node& from = *FindNode(parent);
  const auto target = to->names.find(new_name);
  const bool exists = target != to->names.end();
  if (mode == RenameMode::kExchange) {
    if (!exists) co_return Missing(new_name);
    // Over a name that no test and no program uses.
    const std::string between("\1between", 8);
    Move(*to, new_name, *to, between);
    Move(from, name, *to, new_name);
    Move(*to, between, from, name);
    co_return Status::Ok();
  }
  if (exists) {
    if (mode == RenameMode::kNoReplace) co_return Status(Code::kAlreadyExists, new_name);
    if (target->second == node->attributes.inode) co_return Status::Ok();
    MORAINE_CO_RETURN_IF_ERROR(CheckReplace(*node, *FindNode(target->second)));
    Unlink(*to, new_name);
  }
  Move(from, name, *to, new_name);
  co_return Status::Ok();
}

Task<Result<Attributes>> MemoryFileSystem::Link(InodeId inode, InodeId new_parent,
                                                std::string new_name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(Node * directory, DirectoryNode(new_parent));
  Node* node = FindNode(inode);
  if (node == nullptr) co_return Missing(inode.ToString());
  if (directory->names.contains(new_name)) co_return Status(Code::kAlreadyExists, new_name);
  directory->names[new_name] = inode;
  ++node->attributes.links;
  node->attributes.ctime_ns = loop_.WallNanoseconds();
  Touch(*directory);
  co_return node->attributes;
}

Task<Result<DirectoryPage>> MemoryFileSystem::ReadDirectory(InodeId inode, std::string after,
                                                            int limit, bool with_attributes) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  MORAINE_CO_ASSIGN_OR_RETURN(Node * directory, DirectoryNode(inode));
  DirectoryPage page;
  page.parent = directory->parent;
  auto it = after.empty() ? directory->names.begin() : directory->names.upper_bound(after);
  for (; it != directory->names.end() && limit > 0; ++it, --limit) {
    const Attributes& attributes = FindNode(it->second)->attributes;
    DirectoryEntry entry{it->first, it->second, attributes.type, std::nullopt};
    if (with_attributes) entry.attributes = attributes;
    page.entries.push_back(std::move(entry));
  }
  page.more = it != directory->names.end();
  co_return page;
}

Task<Status> MemoryFileSystem::SyncNames(InodeId) { return Enter(); }

Task<Result<FileSystemSpace>> MemoryFileSystem::Space() {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  co_return FileSystemSpace{1ULL << 40, 1ULL << 39, nodes_.size()};
}

Task<Result<std::string>> MemoryFileSystem::GetXattr(InodeId inode, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  Node& node = *FindNode(inode);
  const auto it = node.xattrs.find(name);
  if (it == node.xattrs.end()) co_return Status(Code::kNoAttribute, name);
  co_return it->second;
}

Task<Status> MemoryFileSystem::SetXattr(InodeId inode, std::string name, std::string value,
                                        SetXattrMode mode) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  Node& node = *FindNode(inode);
  const bool exists = node.xattrs.contains(name);
  if (mode == SetXattrMode::kCreate && exists) co_return Status(Code::kAlreadyExists, name);
  if (mode == SetXattrMode::kReplace && !exists) co_return Status(Code::kNoAttribute, name);
  node.xattrs[name] = std::move(value);
  TouchAttributes(node);
  co_return Status::Ok();
}

Task<Status> MemoryFileSystem::RemoveXattr(InodeId inode, std::string name) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  Node& node = *FindNode(inode);
  if (node.xattrs.erase(name) == 0) co_return Status(Code::kNoAttribute, name);
  TouchAttributes(node);
  co_return Status::Ok();
}

Task<Result<std::vector<std::string>>> MemoryFileSystem::ListXattrs(InodeId inode) {
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  std::vector<std::string> names;
  for (const auto& [name, value] : FindNode(inode)->xattrs) names.push_back(name);
  co_return names;
}

std::shared_ptr<File> MemoryFileSystem::OpenNode(Node& node) {
  if (node.handles++ == 0) node.open = std::make_shared<OpenFile>(*this, node.attributes.inode);
  ++opens_;
  return node.open;
}

Task<Result<std::shared_ptr<File>>> MemoryFileSystem::Open(InodeId inode, bool write,
                                                           bool truncate) {
  MORAINE_CHECK(write || !truncate, "only a writer truncates");
  MORAINE_CO_RETURN_IF_ERROR(co_await Enter());
  Node* node = FindNode(inode);
  if (node == nullptr) co_return Missing(inode.ToString());
  const std::shared_ptr<File> file = OpenNode(*node);
  if (truncate) {
    node->bytes.clear();
    node->open->Resized();
    Touch(*node);
  }
  co_return file;
}

Task<Status> MemoryFileSystem::Close(std::shared_ptr<File> file) {
  const Status flushed = co_await file->Flush();
  --opens_;
  Node& node = *FindNode(file->inode());
  MORAINE_CHECK(node.handles > 0, "closed more often than opened");
  if (--node.handles == 0) {
    node.open->Closed();
    node.open.reset();
    DropIfUnused(file->inode());
  }
  co_return flushed;
}

std::shared_ptr<File> MemoryFileSystem::FindOpen(InodeId inode) const {
  const auto it = nodes_.find(inode);
  return it == nodes_.end() ? nullptr : it->second.open;
}

}  // namespace moraine::fs::mount
