#include "kv/rocksfs/memory_cluster.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kv/rocksfs/path.h"

namespace moraine::rocksfs {
namespace {

int64_t WallNow() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Status Missing(const std::string& what) { return Status(Code::kNotFound, "no " + what); }

}  // namespace

// ---- The server

MemoryServer::MemoryServer() {
  MutexLock lock(mutex_);
  Inode& root = inodes_[kRootInode];
  root.attributes.inode = kRootInode;
  root.attributes.type = fs::FileType::kDirectory;
  root.attributes.links = 2;
}

void MemoryServer::Fail(const std::string& operation, Status status, int count, bool after) {
  MutexLock lock(mutex_);
  faults_[operation] = Planned{Fault{std::move(status), after}, count};
}

int MemoryServer::calls(const std::string& operation) const {
  MutexLock lock(mutex_);
  const auto it = calls_.find(operation);
  return it == calls_.end() ? 0 : it->second;
}

std::map<std::string, int> MemoryServer::metadata_calls_by_operation() const {
  MutexLock lock(mutex_);
  std::map<std::string, int> calls = calls_;
  for (const char* data : {"append", "read", "sync"}) calls.erase(data);
  return calls;
}

int MemoryServer::metadata_calls() const {
  int sum = 0;
  for (const auto& [operation, count] : metadata_calls_by_operation()) sum += count;
  return sum;
}

Result<MemoryServer::Inode> MemoryServer::Find(const std::string& path) const {
  MutexLock lock(mutex_);
  const Result<InodeId> id = Walk(path);
  if (!id.ok()) return id.status();
  return inodes_.at(*id);
}

void MemoryServer::SetPageEntries(size_t entries) {
  MutexLock lock(mutex_);
  page_entries_ = entries;
}

MemoryServer::Fault MemoryServer::Enter(const std::string& operation) {
  ++calls_[operation];
  const auto it = faults_.find(operation);
  if (it == faults_.end() || it->second.count == 0) return {};
  --it->second.count;
  return it->second.fault;
}

MemoryServer::Inode* MemoryServer::Get(InodeId id) {
  const auto it = inodes_.find(id);
  return it == inodes_.end() ? nullptr : &it->second;
}

Result<InodeId> MemoryServer::Walk(const std::string& path) const {
  if (path == "/") return kRootInode;
  const SplitPath split = Split(path);
  const Result<InodeId> parent = Walk(split.directory);
  if (!parent.ok()) return parent;
  const Inode& directory = inodes_.at(*parent);
  if (directory.attributes.type != fs::FileType::kDirectory) {
    return Status(Code::kNotDirectory, split.directory);
  }
  const auto it = directory.names.find(split.name);
  if (it == directory.names.end()) return Missing(path);
  return it->second;
}

Status MemoryServer::CheckToken(InodeId directory, Token token) {
  const Inode* inode = Get(directory);
  if (inode == nullptr) return Status::Ok();
  if (inode->owned ? token == inode->token : token.IsNone()) return Status::Ok();
  return Status(Code::kFenced, "another client owns the directory");
}

Result<InodeId> MemoryServer::Add(InodeId parent, const std::string& name,
                                  const fs::NewEntry& entry) {
  const InodeId id(next_inode_++);
  Inode& inode = inodes_[id];
  inode.attributes.inode = id;
  inode.attributes.type = entry.type;
  inode.attributes.mode = entry.mode;
  inode.attributes.links = entry.type == fs::FileType::kDirectory ? 2 : 1;
  inode.attributes.mtime_ns = WallNow();
  inode.policy = entry.policy;
  inode.expect_stream = entry.expect_stream;
  inode.directory = parent;
  inodes_[parent].names[name] = id;
  return id;
}

Result<fs::Created> MemoryServer::Create(Token token, InodeId parent, const std::string& name,
                                         const fs::NewEntry& entry) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("create");
  if (!fault.status.ok() && !fault.after) return fault.status;
  Inode* directory = Get(parent);
  if (directory == nullptr) return Missing("parent");
  if (directory->attributes.type != fs::FileType::kDirectory) {
    return Status(Code::kNotDirectory, "the parent");
  }
  MORAINE_RETURN_IF_ERROR(CheckToken(parent, token));
  fs::Created created;
  const auto it = directory->names.find(name);
  if (it != directory->names.end()) {
    created.attributes = inodes_[it->second].attributes;
    if (entry.exclusive) return Status(Code::kAlreadyExists, name);
    if (created.attributes.type != fs::FileType::kRegular) return Status(Code::kIsDirectory, name);
  } else {
    const Result<InodeId> id = Add(parent, name, entry);
    created.attributes = inodes_[*id].attributes;
    created.created = true;
  }
  if (!fault.status.ok()) return fault.status;
  created.attributes.size = inodes_[created.attributes.inode].bytes.size();
  return created;
}

// Inodes stay when their last name goes: someone may have them open.
void MemoryServer::Unlink(InodeId inode) {
  Inode& gone = inodes_[inode];
  if (gone.attributes.links > 0) --gone.attributes.links;
}

Status MemoryServer::Remove(Token token, InodeId parent, const std::string& name, bool directory) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("remove");
  if (!fault.status.ok() && !fault.after) return fault.status;
  Inode* from = Get(parent);
  if (from == nullptr) return Missing("parent");
  MORAINE_RETURN_IF_ERROR(CheckToken(parent, token));
  const auto it = from->names.find(name);
  if (it == from->names.end()) return Missing(name);
  const Inode& target = inodes_[it->second];
  const bool is_directory = target.attributes.type == fs::FileType::kDirectory;
  if (is_directory && !directory) return Status(Code::kIsDirectory, name);
  if (!is_directory && directory) return Status(Code::kNotDirectory, name);
  if (is_directory && !target.names.empty()) return Status(Code::kNotEmpty, name);
  Unlink(it->second);
  from->names.erase(it);
  return fault.status;
}

Status MemoryServer::Rename(Token token, InodeId parent, const std::string& name, Token new_token,
                            InodeId new_parent, const std::string& new_name) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("rename");
  if (!fault.status.ok() && !fault.after) return fault.status;
  Inode* from = Get(parent);
  Inode* to = Get(new_parent);
  if (from == nullptr || to == nullptr) return Missing("parent");
  MORAINE_RETURN_IF_ERROR(CheckToken(parent, token));
  MORAINE_RETURN_IF_ERROR(CheckToken(new_parent, new_token));
  const auto source = from->names.find(name);
  if (source == from->names.end()) return Missing(name);
  const InodeId moved = source->second;
  const auto target = to->names.find(new_name);
  if (target != to->names.end()) {
    if (target->second == moved) return fault.status;
    const Inode& replaced = inodes_[target->second];
    if (!replaced.names.empty()) return Status(Code::kNotEmpty, new_name);
    Unlink(target->second);
  }
  from->names.erase(name);
  to->names[new_name] = moved;
  inodes_[moved].directory = new_parent;
  return fault.status;
}

Result<fs::Attributes> MemoryServer::Link(Token token, InodeId inode, InodeId parent,
                                          const std::string& name) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("link");
  if (!fault.status.ok()) return fault.status;
  Inode* linked = Get(inode);
  Inode* to = Get(parent);
  if (linked == nullptr || to == nullptr) return Missing("inode");
  MORAINE_RETURN_IF_ERROR(CheckToken(parent, token));
  if (to->names.contains(name)) return Status(Code::kAlreadyExists, name);
  to->names[name] = inode;
  ++linked->attributes.links;
  fs::Attributes attributes = linked->attributes;
  attributes.size = linked->bytes.size();
  return attributes;
}

Result<fs::OwnedDirectory> MemoryServer::Acquire(InodeId inode) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("acquire");
  if (!fault.status.ok()) return fault.status;
  Inode* directory = Get(inode);
  if (directory == nullptr) return Missing("directory");
  directory->owned = true;
  directory->token = directory->token.Next();
  fs::OwnedDirectory owned{inode, directory->token, {}};
  for (const auto& [name, id] : directory->names) {
    fs::Attributes attributes = inodes_[id].attributes;
    attributes.size = inodes_[id].bytes.size();
    owned.entries.push_back({name, attributes, {}});
  }
  return owned;
}

Status MemoryServer::Release(Token token, InodeId inode) {
  MutexLock lock(mutex_);
  const Fault fault = Enter("release");
  if (!fault.status.ok()) return fault.status;
  MORAINE_RETURN_IF_ERROR(CheckToken(inode, token));
  Inode* directory = Get(inode);
  if (directory == nullptr) return Missing("directory");
  directory->owned = false;
  directory->token = directory->token.Next();  // what was open under the old one is sealed
  return Status::Ok();
}

// ---- Files

// Appends go to the server at once; what a real client must have sealed before a change of owner
// shows as a refused token here.
class MemoryFile final : public fs::File {
 public:
  MemoryFile(MemoryCluster& cluster, InodeId inode, bool writing, bool registered = true)
      : File(inode),
        cluster_(cluster),
        server_(*cluster.server_),
        writing_(writing),
        registered_(registered) {
    MutexLock lock(server_.mutex_);
    token_ = TokenNow();
    ++cluster_.open_files_;
  }

  fs::Attributes attributes() const override {
    MutexLock lock(server_.mutex_);
    const MemoryServer::Inode& inode = server_.inodes_.at(inode_);
    fs::Attributes attributes = inode.attributes;
    attributes.size = inode.bytes.size();
    return attributes;
  }
  uint64_t size() const override { return attributes().size; }

  Task<Result<fs::ReadBytes>> Read(uint64_t offset, uint64_t length) override {
    co_await cluster_.loop().Yield();
    co_return ReadNow(offset, length);
  }
  Task<Result<std::vector<fs::ReadBytes>>> ReadRanges(std::vector<Range> ranges) override {
    co_await cluster_.loop().Yield();
    std::vector<fs::ReadBytes> all;
    for (const Range& range : ranges) {
      MORAINE_CO_ASSIGN_OR_RETURN(fs::ReadBytes bytes, ReadNow(range.offset, range.length));
      all.push_back(std::move(bytes));
    }
    co_return all;
  }
  Task<Status> Write(uint64_t offset, ConstBytes bytes) override {
    const std::string copy(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_await cluster_.gate_->Wait();
    co_return WriteNow(offset, copy);
  }
  Task<Result<uint64_t>> Append(ConstBytes bytes) override {
    const std::string copy(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_await cluster_.gate_->Wait();
    const uint64_t offset = size();
    MORAINE_CO_RETURN_IF_ERROR(WriteNow(offset, copy));
    co_return offset;
  }
  void Push() override {}
  Task<Status> Flush() override { co_return Status::Ok(); }
  Task<Status> Sync() override {
    co_await cluster_.loop().Yield();
    MutexLock lock(server_.mutex_);
    const MemoryServer::Fault fault = server_.Enter("sync");
    if (!fault.status.ok()) co_return fault.status;
    MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
    MemoryServer::Inode& inode = server_.inodes_.at(inode_);
    inode.synced_bytes = inode.bytes.size();
    co_return Status::Ok();
  }
  Task<Status> Truncate(uint64_t new_size) override {
    co_await cluster_.loop().Yield();
    MutexLock lock(server_.mutex_);
    const MemoryServer::Fault fault = server_.Enter("truncate");
    if (!fault.status.ok()) co_return fault.status;
    MORAINE_CO_RETURN_IF_ERROR(CheckWritable());
    server_.inodes_.at(inode_).bytes.resize(new_size);
    co_return Status::Ok();
  }
  Task<Status> Extend(uint64_t) override {
    co_return Status(Code::kNotSupported, "nothing in RocksDB's file system extends a file");
  }
  Status error() const override { return {}; }
  bool registered() const { return registered_; }

 private:
  Token TokenNow() const MORAINE_REQUIRES(server_.mutex_) {
    const auto directory = server_.inodes_.find(server_.inodes_.at(inode_).directory);
    return directory == server_.inodes_.end() ? Token() : directory->second.token;
  }
  Status CheckWritable() const MORAINE_REQUIRES(server_.mutex_) {
    MORAINE_CHECK(writing_, "a file that is open for reading is written");
    if (TokenNow() == token_) return Status::Ok();
    return Status(Code::kFenced, "the file was opened under another token");
  }
  Status WriteNow(uint64_t offset, const std::string& bytes) MORAINE_EXCLUDES(server_.mutex_) {
    MutexLock lock(server_.mutex_);
    const MemoryServer::Fault fault = server_.Enter("append");
    if (!fault.status.ok()) return fault.status;
    MORAINE_RETURN_IF_ERROR(CheckWritable());
    MemoryServer::Inode& inode = server_.inodes_.at(inode_);
    if (inode.bytes.size() < offset + bytes.size()) inode.bytes.resize(offset + bytes.size());
    inode.bytes.replace(offset, bytes.size(), bytes);
    inode.attributes.mtime_ns = WallNow();
    return Status::Ok();
  }
  Result<fs::ReadBytes> ReadNow(uint64_t offset, uint64_t length) MORAINE_EXCLUDES(server_.mutex_) {
    MutexLock lock(server_.mutex_);
    const MemoryServer::Fault fault = server_.Enter("read");
    if (!fault.status.ok()) return fault.status;
    const std::string& bytes = server_.inodes_.at(inode_).bytes;
    const uint64_t begin = std::min<uint64_t>(offset, bytes.size());
    auto copy = std::make_shared<std::string>(bytes.substr(begin, length));
    fs::ReadBytes read;
    read.size = copy->size();
    read.pieces.emplace_back(reinterpret_cast<const std::byte*>(copy->data()), copy->size());
    read.owners.push_back(std::move(copy));
    return read;
  }

  MemoryCluster& cluster_;
  MemoryServer& server_;
  const bool writing_;
  const bool registered_;  // the server was told of this opening
  Token token_;
};

// ---- The client

MemoryCluster::MemoryCluster(std::shared_ptr<MemoryServer> server) : server_(std::move(server)) {
  Result<std::unique_ptr<DrivenLoop>> loop = DrivenLoop::Create();
  MORAINE_CHECK(loop.ok(), loop.status().ToString());
  loop_ = *std::move(loop);
  gate_ = std::make_unique<Event>(*loop_);
  SetGate(true);
}

MemoryCluster::~MemoryCluster() = default;

void MemoryCluster::SetGate(bool open) {
  loop_->Block([this, open]() -> Task<void> {
    if (open) {
      gate_->Set();
    } else {
      gate_->Reset();
    }
    co_return;
  });
}

void MemoryCluster::Drive(std::function<Task<void>()> work) {
  loop_->Block([&work] { return work(); });
}

Task<Result<fs::Attributes>> MemoryCluster::Resolve(std::string path) {
  co_await loop_->Yield();
  MutexLock lock(server_->mutex_);
  const MemoryServer::Fault fault = server_->Enter("resolve");
  if (!fault.status.ok()) co_return fault.status;
  const Result<InodeId> id = server_->Walk(path);
  if (!id.ok()) co_return id.status();
  fs::Attributes attributes = server_->inodes_[*id].attributes;
  attributes.size = server_->inodes_[*id].bytes.size();
  co_return attributes;
}

Task<Result<fs::Attributes>> MemoryCluster::Lookup(InodeId parent, std::string name) {
  co_await loop_->Yield();
  MutexLock lock(server_->mutex_);
  const MemoryServer::Fault fault = server_->Enter("lookup");
  if (!fault.status.ok()) co_return fault.status;
  const MemoryServer::Inode* directory = server_->Get(parent);
  if (directory == nullptr || !directory->names.contains(name)) co_return Missing(name);
  const MemoryServer::Inode& inode = server_->inodes_[directory->names.at(name)];
  fs::Attributes attributes = inode.attributes;
  attributes.size = inode.bytes.size();
  co_return attributes;
}

Task<Result<fs::Created>> MemoryCluster::Create(InodeId parent, std::string name,
                                                fs::NewEntry entry, bool open) {
  co_await loop_->Yield();
  Result<fs::Created> created = server_->Create(TokenOf(parent), parent, name, entry);
  if (created.ok() && open) {
    created->file = std::make_shared<MemoryFile>(*this, created->attributes.inode, true);
  }
  co_return created;
}

Task<Status> MemoryCluster::RemoveFile(InodeId parent, std::string name) {
  co_await loop_->Yield();
  co_return server_->Remove(TokenOf(parent), parent, name, false);
}

Task<Status> MemoryCluster::RemoveDirectory(InodeId parent, std::string name) {
  co_await loop_->Yield();
  co_return server_->Remove(TokenOf(parent), parent, name, true);
}

Task<Status> MemoryCluster::Rename(InodeId parent, std::string name, InodeId new_parent,
                                   std::string new_name) {
  co_await loop_->Yield();
  co_return server_->Rename(TokenOf(parent), parent, name, TokenOf(new_parent), new_parent,
                            new_name);
}

Task<Result<fs::Attributes>> MemoryCluster::Link(InodeId inode, InodeId new_parent,
                                                 std::string new_name) {
  co_await loop_->Yield();
  co_return server_->Link(TokenOf(new_parent), inode, new_parent, new_name);
}

Task<Result<fs::DirectoryPage>> MemoryCluster::ReadDirectory(InodeId inode, std::string after,
                                                             int limit) {
  co_await loop_->Yield();
  MutexLock lock(server_->mutex_);
  const MemoryServer::Fault fault = server_->Enter("readdir");
  if (!fault.status.ok()) co_return fault.status;
  const MemoryServer::Inode* directory = server_->Get(inode);
  if (directory == nullptr) co_return Missing("directory");
  const size_t entries_max = std::min(static_cast<size_t>(limit), server_->page_entries_);
  fs::DirectoryPage page;
  auto it = directory->names.upper_bound(after);
  for (; it != directory->names.end() && page.entries.size() < entries_max; ++it) {
    fs::Attributes attributes = server_->inodes_[it->second].attributes;
    attributes.size = server_->inodes_[it->second].bytes.size();
    page.entries.push_back({it->first, it->second, attributes.type, attributes});
  }
  page.more = it != directory->names.end();
  co_return page;
}

Task<Status> MemoryCluster::SyncNames(InodeId) {
  co_await loop_->Yield();
  MutexLock lock(server_->mutex_);
  co_return server_->Enter("sync_names").status;
}

Task<Result<fs::FileSystemSpace>> MemoryCluster::Space() {
  co_await loop_->Yield();
  MutexLock lock(server_->mutex_);
  const MemoryServer::Fault fault = server_->Enter("space");
  if (!fault.status.ok()) co_return fault.status;
  co_return fs::FileSystemSpace{1 << 30, 1 << 29, server_->inodes_.size()};
}

Task<Result<std::shared_ptr<fs::File>>> MemoryCluster::Open(InodeId inode,
                                                            fs::Client::OpenMode mode) {
  co_await loop_->Yield();
  {
    MutexLock lock(server_->mutex_);
    const MemoryServer::Fault fault = server_->Enter("open");
    if (!fault.status.ok()) co_return fault.status;
    MemoryServer::Inode* found = server_->Get(inode);
    if (found == nullptr) co_return Missing("inode");
    if (mode == fs::Client::OpenMode::kWrite) {
      MORAINE_CO_RETURN_IF_ERROR(server_->CheckToken(found->directory, TokenOf(found->directory)));
    }
  }
  co_return std::make_shared<MemoryFile>(*this, inode, mode == fs::Client::OpenMode::kWrite);
}

Task<Result<std::shared_ptr<fs::File>>> MemoryCluster::OpenOwned(fs::Attributes attributes,
                                                                 fs::Layout) {
  co_await loop_->Yield();
  co_return std::make_shared<MemoryFile>(*this, attributes.inode, false, false);
}

// Inodes are never freed here.
Task<Status> MemoryCluster::RegisterOpen(InodeId) { co_return Status(); }

Task<Status> MemoryCluster::Close(std::shared_ptr<fs::File> file) {
  co_await loop_->Yield();
  MORAINE_CHECK(file != nullptr, "closing nothing");
  --open_files_;
  if (!static_cast<MemoryFile&>(*file).registered()) co_return Status::Ok();
  MutexLock lock(server_->mutex_);
  co_return server_->Enter("close").status;
}

Task<Result<fs::OwnedDirectory>> MemoryCluster::AcquireDirectory(InodeId inode, std::string) {
  co_await loop_->Yield();
  Result<fs::OwnedDirectory> owned = server_->Acquire(inode);
  if (owned.ok()) tokens_[inode] = owned->token;
  co_return owned;
}

Task<Status> MemoryCluster::ReleaseDirectory(InodeId inode) {
  co_await loop_->Yield();
  const Status released = server_->Release(TokenOf(inode), inode);
  tokens_.erase(inode);
  co_return released;
}

Token MemoryCluster::TokenOf(InodeId directory) const {
  const auto it = tokens_.find(directory);
  return it == tokens_.end() ? Token() : it->second;
}

void MemoryCluster::LoseTokens() {
  loop_->Block([this]() -> Task<void> {
    tokens_.clear();
    co_return;
  });
}

Task<Status> MemoryCluster::Stop() {
  co_await loop_->Yield();
  co_return Status::Ok();
}

uint64_t MemoryCluster::metadata_calls() const {
  return static_cast<uint64_t>(server_->metadata_calls());
}

}  // namespace moraine::rocksfs
