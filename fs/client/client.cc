#include "fs/client/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "fs/client/client_state.h"
#include "fs/client/convert.h"

namespace moraine::fs {
namespace {

constexpr Duration kTick = std::chrono::seconds(1);
constexpr Duration kDirtyAgeMax = std::chrono::seconds(3);  // then it is stored without being asked

ChunkIoOptions IoOptions(const ClientOptions& options) {
  ChunkIoOptions io;
  io.timeout = options.timeout;
  io.window_bytes = options.window_bytes;
  return io;
}

}  // namespace

ClientCore::ClientCore(Loop& loop, const ClientOptions& options, MetricRegistry& metrics)
    : loop(loop),
      options(options),
      io(IoOptions(options)),
      link(loop, options, metrics),
      channels(loop, rpc::Identity{idl::Role::kClient, "", options.name, ServerId()}),
      reader(loop, channels, io, metrics,
             [this](ChunkId chunk, ServerId server, const Status& why) {
               const auto report = [](ClientCore* core,
                                      idl::ReportReplicaRequest request) -> Task<void> {
                 (void)co_await core->link.Query(idl::kReportReplica, std::move(request),
                                                 core->link.Deadline());
               };
               idl::ReportReplicaRequest request;
               request.chunk = ToWire(chunk);
               request.server_id = ToWire(server);
               request.code = static_cast<int32_t>(why.code());
               request.detail = why.message();
               tasks.Spawn(report(this, std::move(request)));
             }),
      tasks(loop) {}

Token ClientCore::TokenOf(InodeId directory) const {
  const auto it = tokens.find(directory);
  return it == tokens.end() ? Token() : it->second;
}

Token ClientCore::TokenOfFile(InodeId inode) const {
  const auto it = parents.find(inode);
  return it == parents.end() ? Token() : TokenOf(it->second);
}

Client::Client(Loop& loop, ClientOptions options, MetricRegistry& metrics)
    : loop_(loop),
      options_(std::move(options)),
      state_(std::make_unique<State>(loop, options_, metrics)) {
  ClientCore& core = state_->core;
  MetaLink::Callbacks callbacks;
  callbacks.held = [&core] {
    std::vector<int64_t> held;
    for (const auto& [inode, file] : core.files) {
      if (file->leased) held.push_back(ToWire(inode));
    }
    return held;
  };
  callbacks.open = [&core] {
    std::vector<int64_t> open;
    for (const auto& [inode, file] : core.files) open.push_back(ToWire(inode));
    return open;
  };
  callbacks.renewed = [this](const idl::RenewSessionResponse& response) {
    state_->OnRenewed(response);
  };
  callbacks.session_lost = [&core] {
    core.tokens.clear();
    core.parents.clear();
    for (const auto& [inode, file] : core.files) file->OnSessionLost();
  };
  core.link.SetCallbacks(std::move(callbacks));
}

Client::~Client() = default;

Task<Status> Client::Start() {
  const Status status = co_await state_->core.link.Start();
  if (!status.ok()) co_return status.Prefixed("metaserver " + options_.metaserver.ToString());
  state_->core.tasks.Spawn(state_->Tick());
  co_return Status();
}

Task<Status> Client::Stop() {
  ClientCore& core = state_->core;
  Status first;
  core.stopping = true;
  std::vector<std::shared_ptr<FileImpl>> files;
  for (const auto& [inode, file] : core.files) files.push_back(file);
  for (const auto& file : files) {
    const Status status = co_await file->GiveBack();
    if (!status.ok() && first.ok()) first = status;
  }
  core.tasks.Close();
  co_await core.link.Stop();
  core.reader.Close();
  core.channels.Close();
  co_await core.reader.Drain();
  (void)co_await core.tasks.Drain();
  co_await core.channels.Drain();
  co_await core.link.Drain();
  core.files.clear();
  co_return first;
}

SessionId Client::session() const { return state_->core.link.session(); }
uint64_t Client::metadata_calls() const { return state_->core.link.calls(); }
void Client::OnStale(std::function<void(InodeId)> callback) {
  state_->core.on_stale = std::move(callback);
}
Token Client::TokenOf(InodeId directory) const { return state_->core.TokenOf(directory); }

// ---- In the background

Task<void> Client::State::Tick() {
  while (!core.tasks.closed() && !core.stopping) {
    co_await core.loop.Sleep(kTick);
    std::vector<std::shared_ptr<FileImpl>> old;
    for (const auto& [inode, file] : core.files) {
      if (file->dirty_since() != kNever && core.loop.Now() - file->dirty_since() >= kDirtyAgeMax) {
        old.push_back(file);
      }
    }
    for (const auto& file : old) core.tasks.Spawn(StoreOld(file));
  }
}

Task<void> Client::State::StoreOld(std::shared_ptr<FileImpl> file) {
  const Status status = co_await file->Flush();
  if (!status.ok()) {
    MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "inode {}: writes are not stored yet: {}",
                          file->inode().value(), status.ToString());
  }
}

Task<void> Client::State::Recall(std::shared_ptr<FileImpl> file) {
  const Status status = co_await file->GiveBack();
  if (!status.ok()) {
    LogWarning("inode {}: giving back the lease: {}", file->inode().value(), status.ToString());
  }
}

void Client::State::OnRenewed(const idl::RenewSessionResponse& response) {
  const auto file_of = [&](int64_t inode) -> std::shared_ptr<FileImpl> {
    const auto it = core.files.find(InodeId(static_cast<uint64_t>(inode)));
    return it == core.files.end() ? nullptr : it->second;
  };
  for (int64_t inode : response.recalled) {
    if (auto file = file_of(inode); file != nullptr && file->leased) core.tasks.Spawn(Recall(file));
  }
  for (int64_t inode : response.lost) {
    const InodeId id(static_cast<uint64_t>(inode));
    core.tokens.erase(id);
    if (auto file = file_of(inode); file != nullptr) file->OnSessionLost();
  }
  if (!core.on_stale) return;
  for (int64_t inode : response.stale) core.on_stale(InodeId(static_cast<uint64_t>(inode)));
}

// ---- Files

std::shared_ptr<File> Client::FindOpen(InodeId inode) const {
  const auto it = state_->core.files.find(inode);
  return it == state_->core.files.end() ? nullptr : it->second;
}

Task<Result<std::shared_ptr<File>>> Client::Open(InodeId inode, OpenMode mode, bool truncate) {
  ClientCore& core = state_->core;
  const Instant deadline = core.link.Deadline();
  // A file whose last close is still on its way is opened anew after it.
  for (auto it = core.files.find(inode); it != core.files.end() && it->second->closing;
       it = core.files.find(inode)) {
    co_await core.loop.Sleep(kLeasePause / 20);
    if (core.loop.Now() >= deadline)
      co_return Status(Code::kTimeout, "the file is still being closed");
  }
  const bool writing = mode == OpenMode::kWrite;
  std::shared_ptr<FileImpl> file;
  if (const auto it = core.files.find(inode); it != core.files.end() && it->second->leased) {
    file = it->second;  // we write it: nobody knows better
    ++file->handles;
  } else {
    idl::OpenRequest request;
    request.inode = ToWire(inode);
    request.for_writing = writing;
    request.token = ToWire(core.TokenOfFile(inode));
    Result<idl::OpenResponse> answer{Code::kTimeout, ""};
    while (true) {
      answer = co_await core.link.Change(idl::kOpen, request, deadline);
      const bool wait = answer.code() == Code::kLeaseTaken || answer.code() == Code::kBusy;
      if (answer.ok() || !wait || core.loop.Now() + kLeasePause >= deadline) break;
      co_await core.loop.Sleep(kLeasePause);
    }
    if (!answer.ok()) co_return answer.status();
    MORAINE_CO_ASSIGN_OR_RETURN(Attributes attributes, FromWire(answer->attributes));
    file = state_->FileOf(attributes);
    ++file->handles;
    if (writing) file->leased = true;
    Status status = file->Adopt(answer->attributes, answer->layout);
    if (status.ok()) status = co_await file->RefreshTail(deadline);
    if (!status.ok()) {
      (co_await Close(file)).Ignore();
      co_return status;
    }
  }
  if (writing) ++file->writers;
  if (truncate) {
    const Status status = co_await file->Truncate(0);
    if (!status.ok()) {
      (co_await Close(file)).Ignore();
      co_return status;
    }
  }
  co_return std::shared_ptr<File>(file);
}

Task<Status> Client::Close(std::shared_ptr<File> handle) {
  auto file = std::static_pointer_cast<FileImpl>(std::move(handle));
  MORAINE_CHECK(file->handles > 0, "closed more often than opened");
  if (--file->handles > 0) co_return file->leased ? co_await file->Flush() : Status();
  file->closing = true;
  Status status = co_await file->Settle(false);
  if (status.ok()) status = file->error();
  // The lease and the registration go in the background; a new Open waits for that.
  if (!state_->core.tasks.Spawn(state_->Forget(file))) state_->core.files.erase(file->inode());
  co_return status;
}

Task<void> Client::State::Forget(std::shared_ptr<FileImpl> file) {
  const bool leased = file->leased;
  const Status status = co_await file->GiveBack();
  if (!status.ok()) LogWarning("inode {}: close: {}", file->inode().value(), status.ToString());
  if (!leased && !file->unregistered) {
    idl::CloseRequest request;
    request.inode = ToWire(file->inode());
    (void)co_await core.link.Change(idl::kClose, std::move(request), core.link.Deadline());
  }
  core.files.erase(file->inode());
}

// ---- Directory ownership

Task<Result<OwnedDirectory>> Client::AcquireDirectory(InodeId inode, std::string owner) {
  ClientCore& core = state_->core;
  idl::AcquireDirectoryRequest request;
  request.inode = ToWire(inode);
  request.owner = std::move(owner);
  auto answer =
      co_await core.link.Change(idl::kAcquireDirectory, std::move(request), core.link.Deadline());
  if (!answer.ok()) co_return answer.status();
  OwnedDirectory owned;
  owned.inode = inode;
  owned.token = Token(static_cast<uint64_t>(answer->token));
  core.tokens[inode] = owned.token;
  for (const idl::OwnedEntry& wire : answer->entries) {
    OwnedDirectory::Entry entry;
    entry.name = wire.name;
    MORAINE_CO_ASSIGN_OR_RETURN(entry.attributes, FromWire(wire.attributes));
    MORAINE_CO_ASSIGN_OR_RETURN(entry.layout, FromWire(wire.layout, entry.attributes.inode));
    core.parents[entry.attributes.inode] = inode;
    owned.entries.push_back(std::move(entry));
  }
  co_return owned;
}

Task<Result<std::shared_ptr<File>>> Client::OpenOwned(Attributes attributes, Layout layout) {
  ClientCore& core = state_->core;
  const Instant deadline = core.link.Deadline();
  for (auto it = core.files.find(attributes.inode); it != core.files.end() && it->second->closing;
       it = core.files.find(attributes.inode)) {
    co_await core.loop.Sleep(kLeasePause / 20);
    if (core.loop.Now() >= deadline)
      co_return Status(Code::kTimeout, "the file is still being closed");
  }
  std::shared_ptr<FileImpl> file = state_->FileOf(attributes);
  if (file->handles++ == 0) file->AdoptOwned(attributes, layout);
  file->unregistered = true;
  co_return std::shared_ptr<File>(file);
}

Task<Status> Client::ReleaseDirectory(InodeId inode) {
  ClientCore& core = state_->core;
  const Token token = core.TokenOf(inode);
  if (token.IsNone())
    co_return Status(Code::kNotPermitted, "this client does not own the directory");
  idl::ReleaseDirectoryRequest request;
  request.inode = ToWire(inode);
  request.token = ToWire(token);
  auto answer =
      co_await core.link.Change(idl::kReleaseDirectory, std::move(request), core.link.Deadline());
  core.tokens.erase(inode);
  std::erase_if(core.parents, [&](const auto& entry) { return entry.second == inode; });
  co_return answer.status();
}

}  // namespace moraine::fs
