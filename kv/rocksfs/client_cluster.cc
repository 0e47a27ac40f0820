#include "kv/rocksfs/client_cluster.h"

#include <unistd.h>

namespace moraine::rocksfs {
namespace {

fs::ClientOptions OptionsFrom(const Uri& uri) {
  fs::ClientOptions options;
  options.metaserver = uri.metaserver;
  options.name = uri.name;
  options.kind = "rocksdb";
  options.timeout = uri.timeout;
  options.window_bytes = uri.window_bytes;
  options.cache_bytes = uri.cache_bytes;
  return options;
}

}  // namespace

ClientCluster::ClientCluster(std::unique_ptr<DrivenLoop> loop, const Uri& uri)
    : process_(getpid()), loop_(std::move(loop)) {
  Drive([this, options = OptionsFrom(uri)]() -> Task<void> {
    client_ = std::make_unique<fs::Client>(*loop_, options, metrics_);
    co_return;
  });
}

Result<std::unique_ptr<ClientCluster>> ClientCluster::Connect(const Uri& uri) {
  MORAINE_ASSIGN_OR_RETURN(std::unique_ptr<DrivenLoop> loop, DrivenLoop::Create());
  std::unique_ptr<ClientCluster> cluster(new ClientCluster(std::move(loop), uri));
  fs::Client& client = *cluster->client_;
  const Status started = cluster->Block([&client] { return client.Start(); });
  if (started.ok()) return cluster;
  cluster->Block([&client] { return client.Stop(); }).Ignore();
  return started;
}

ClientCluster::~ClientCluster() {
  Drive([this]() -> Task<void> {
    client_ = nullptr;
    co_return;
  });
}

// The function stands in the caller's frame until its task has ended.
void ClientCluster::Drive(std::function<Task<void>()> work) {
  if (getpid() != process_) return;
  loop_->Block([&work] { return work(); });
}

Task<Result<fs::Attributes>> ClientCluster::Resolve(std::string path) {
  return client_->Resolve(std::move(path));
}

Task<Result<fs::Attributes>> ClientCluster::Lookup(InodeId parent, std::string name) {
  return client_->Lookup(parent, std::move(name));
}

Task<Result<fs::Created>> ClientCluster::Create(InodeId parent, std::string name,
                                                fs::NewEntry entry, bool open) {
  return client_->Create(parent, std::move(name), std::move(entry), open);
}

Task<Status> ClientCluster::RemoveFile(InodeId parent, std::string name) {
  return client_->RemoveFile(parent, std::move(name));
}

Task<Status> ClientCluster::RemoveDirectory(InodeId parent, std::string name) {
  return client_->RemoveDirectory(parent, std::move(name));
}

Task<Status> ClientCluster::Rename(InodeId parent, std::string name, InodeId new_parent,
                                   std::string new_name) {
  return client_->Rename(parent, std::move(name), new_parent, std::move(new_name),
                         fs::RenameMode::kReplace);
}

Task<Result<fs::Attributes>> ClientCluster::Link(InodeId inode, InodeId new_parent,
                                                 std::string new_name) {
  return client_->Link(inode, new_parent, std::move(new_name));
}

Task<Result<fs::DirectoryPage>> ClientCluster::ReadDirectory(InodeId inode, std::string after,
                                                             int limit) {
  return client_->ReadDirectory(inode, std::move(after), limit, /*with_attributes=*/true);
}

Task<Status> ClientCluster::SyncNames(InodeId directory) { return client_->SyncNames(directory); }

Task<Result<fs::FileSystemSpace>> ClientCluster::Space() { return client_->Space(); }

Task<Result<std::shared_ptr<fs::File>>> ClientCluster::Open(InodeId inode,
                                                            fs::Client::OpenMode mode) {
  return client_->Open(inode, mode);
}

Task<Result<std::shared_ptr<fs::File>>> ClientCluster::OpenOwned(fs::Attributes attributes,
                                                                 fs::Layout layout) {
  return client_->OpenOwned(std::move(attributes), std::move(layout));
}

Task<Status> ClientCluster::RegisterOpen(InodeId inode) { return client_->RegisterOpen(inode); }

Task<Status> ClientCluster::Close(std::shared_ptr<fs::File> file) {
  return client_->Close(std::move(file));
}

Task<Result<fs::OwnedDirectory>> ClientCluster::AcquireDirectory(InodeId inode, std::string owner) {
  return client_->AcquireDirectory(inode, std::move(owner));
}

Task<Status> ClientCluster::ReleaseDirectory(InodeId inode) {
  return client_->ReleaseDirectory(inode);
}

Token ClientCluster::TokenOf(InodeId directory) const { return client_->TokenOf(directory); }

void ClientCluster::OnDisowned(std::function<void(InodeId)> callback) {
  Drive([this, &callback]() -> Task<void> {
    client_->OnDisowned(std::move(callback));
    co_return;
  });
}

Task<Status> ClientCluster::Stop() { return client_->Stop(); }

uint64_t ClientCluster::metadata_calls() const { return client_->metadata_calls(); }

}  // namespace moraine::rocksfs
