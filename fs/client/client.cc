#include "fs/client/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "fs/client/client_state.h"
#include "fs/client/convert.h"

namespace moraine::fs {
namespace {

constexpr int kEndsAtOnce = 64;  // when the client stops
constexpr Duration kTick = std::chrono::seconds(1);
constexpr Duration kDirtyAgeMax = std::chrono::seconds(3);  // then it is stored without being asked

ChunkIoOptions IoOptions(const ClientOptions& options) {
  ChunkIoOptions io;
  io.timeout = options.timeout;
  io.window_bytes = options.window_bytes;
  io.cache_bytes = options.cache_bytes;
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
      tasks(loop),
      stopping(loop) {}

Token ClientCore::TokenOf(InodeId directory) const {
  const auto it = tokens.find(directory);
  return it == tokens.end() ? Token() : it->second.token;
}

Token ClientCore::TokenOfFile(InodeId inode) const {
  const auto it = parents.find(inode);
  return it == parents.end() ? Token() : TokenOf(it->second.directory);
}

void ClientCore::NoteNameless(InodeId inode) {
  if (const auto it = files.find(inode); it != files.end()) {
    it->second->nameless = true;
  } else {
    parents.erase(inode);
  }
}

void ClientCore::NoteUnsynced(InodeId inode) {
  if (const auto it = files.find(inode); it != files.end()) it->second->NoteUnsynced();
}

void ClientCore::NoteAllStale() {
  for (const auto& [inode, file] : files) {
    file->NoteRestart();
    TellStale(inode);
  }
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
    for (const auto& [directory, owned] : core.tokens) {
      if (!owned.lost) held.push_back(ToWire(directory));
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
  callbacks.regained = [&core] { core.NoteAllStale(); };
  callbacks.session_lost = [&core] {
    for (auto& [directory, owned] : core.tokens) owned.lost = true;
    if (core.on_disowned) core.on_disowned(InodeId());
    for (const auto& [inode, file] : core.files) file->OnLeaseLost();
    core.NoteAllStale();  // who changes them from now on need not tell
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
  core.stopping.Set();
  const Status status = co_await state_->EndAll(core.link.Deadline());
  core.tasks.Close();
  co_await core.link.Stop();
  core.reader.Close();
  core.channels.Close();
  co_await core.reader.Drain();
  (void)co_await core.tasks.Drain();
  // What could not be ended in time; nothing waits for anybody any more.
  for (const auto& [inode, file] : core.files) {
    co_await file->GiveUp(Status(Code::kCanceled, "the client has stopped"));
  }
  co_await core.channels.Drain();
  co_await core.link.Drain();
  core.files.clear();
  co_return status;
}

// All files at once, as far as they get by `deadline`; the first error.
Task<Status> Client::State::EndAll(Instant deadline) {
  struct All {
    explicit All(Loop& loop) : changed(loop) {}
    Condition changed;
    std::vector<std::shared_ptr<FileImpl>> files;
    size_t next = 0;
    int workers = 0;
    Status first;
  };
  auto all = std::make_shared<All>(core.loop);
  for (const auto& [inode, file] : core.files) all->files.push_back(file);
  const auto work = [](std::shared_ptr<All> shared, Instant until) -> Task<void> {
    while (shared->next < shared->files.size()) {
      const std::shared_ptr<FileImpl> file = shared->files[shared->next++];
      const Status status = co_await file->End(until);
      if (!status.ok() && shared->first.ok()) shared->first = status;
    }
    --shared->workers;
    shared->changed.NotifyAll();
  };
  const auto workers = std::min<size_t>(kEndsAtOnce, all->files.size());
  for (size_t i = 0; i < workers; ++i) {
    if (core.tasks.Spawn(work(all, deadline))) ++all->workers;
  }
  while (all->workers > 0) {
    const bool woken = co_await all->changed.Wait(deadline);
    if (!woken && all->workers > 0) {
      all->next = all->files.size();
      if (all->first.ok()) all->first = Status(Code::kTimeout, "not all files were stored in time");
      break;
    }
  }
  co_return all->first;
}

SessionId Client::session() const { return state_->core.link.session(); }
size_t Client::owned_files() const { return state_->core.parents.size(); }
uint64_t Client::metadata_calls() const { return state_->core.link.calls(); }
void Client::OnStale(std::function<void(InodeId)> callback) {
  state_->core.on_stale = std::move(callback);
}
void Client::OnDisowned(std::function<void(InodeId)> callback) {
  state_->core.on_disowned = std::move(callback);
}
bool Client::SessionIsCertain() const { return state_->core.link.IsCertain(); }
Token Client::TokenOf(InodeId directory) const {
  const auto owned = state_->core.tokens.find(directory);
  const bool owns = owned != state_->core.tokens.end() && !owned->second.lost;
  return owns ? owned->second.token : Token();
}

// ---- In the background

Task<void> Client::State::Tick() {
  while (!core.stopping.is_set()) {
    const bool stopping = co_await core.stopping.Wait(core.loop.After(kTick));
    if (stopping) co_return;
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

Task<void> Client::State::Recall(InodeId inode) {
  const Instant deadline = core.link.Deadline();
  Attributes unknown;
  unknown.inode = inode;
  const auto found = co_await FileOf(std::move(unknown), deadline);
  if (!found.ok()) co_return;  // it is being closed; whoever wants it asks again and again
  const std::shared_ptr<FileImpl>& file = *found;
  if (std::exchange(file->recalling, true)) co_return;
  ++file->opening;
  // The lease may be in the answer to a create.
  if (!file->leased) co_await creates.AwaitOlder(deadline);
  const Status status = co_await file->GiveBack(deadline);
  if (!status.ok()) {
    LogWarning("inode {}: giving back the lease: {}", inode.value(), status.ToString());
  }
  --file->opening;
  file->recalling = false;
  EndIfUnused(file);
}

void Client::State::OnRenewed(const idl::RenewSessionResponse& response) {
  const auto file_of = [&](int64_t inode) -> std::shared_ptr<FileImpl> {
    const auto it = core.files.find(InodeId(static_cast<uint64_t>(inode)));
    return it == core.files.end() ? nullptr : it->second;
  };
  for (int64_t inode : response.recalled) {
    const auto file = file_of(inode);
    if (file != nullptr && (file->recalling || file->closing)) continue;
    core.tasks.Spawn(Recall(InodeId(static_cast<uint64_t>(inode))));
  }
  for (int64_t inode : response.lost) {
    const InodeId id(static_cast<uint64_t>(inode));
    if (const auto owned = core.tokens.find(id); owned != core.tokens.end()) {
      if (!std::exchange(owned->second.lost, true) && core.on_disowned) core.on_disowned(id);
    }
    if (auto file = file_of(inode); file != nullptr) file->OnLeaseLost();
  }
  for (int64_t inode : response.stale) {
    if (auto file = file_of(inode)) file->NoteStale();
    core.TellStale(InodeId(static_cast<uint64_t>(inode)));
  }
}

// ---- Files

std::shared_ptr<File> Client::FindOpen(InodeId inode) const {
  const auto it = state_->core.files.find(inode);
  return it == state_->core.files.end() || it->second->handles == 0 ? nullptr : it->second;
}

Task<Result<std::shared_ptr<FileImpl>>> Client::State::FileOf(Attributes attributes,
                                                              Instant deadline) {
  while (true) {
    std::shared_ptr<FileImpl>& file = core.files[attributes.inode];
    if (file == nullptr) file = std::make_shared<FileImpl>(core, attributes);
    // An error is for those who had it open.
    if (!file->error().ok()) EndIfUnused(file);
    if (!file->closing) co_return file;
    if (core.loop.Now() + kClosingPause >= deadline) {
      co_return Status(Code::kTimeout, "the file is still being closed");
    }
    co_await core.loop.Sleep(kClosingPause);
  }
}

void Client::State::EndIfUnused(const std::shared_ptr<FileImpl>& file) {
  if (file->handles > 0 || file->opening > 0 || file->closing) return;
  if (!file->error().ok()) {
    file->closing = true;
    (void)core.tasks.Spawn(Forget({file}));  // if not, Stop does that
    return;
  }
  if (!std::exchange(file->idle, true)) idle.push_back(file);
  if (!std::exchange(ending_idle, true)) ending_idle = core.tasks.Spawn(EndIdle());
}

Task<void> Client::State::EndIdle() {
  while (!idle.empty()) {
    const bool stopping = co_await core.stopping.Wait(core.loop.After(kIdleTime));
    if (stopping) co_return;  // the end of the session is the end of them all
    std::vector<std::shared_ptr<FileImpl>> batch;
    for (const auto& file : std::exchange(idle, {})) {
      file->idle = false;
      if (file->handles > 0 || file->opening > 0 || file->closing) continue;
      file->closing = true;
      if (file->HasUnsaved()) {  // of a close that failed: the others do not wait for it
        core.tasks.Spawn(Forget({file}));
        continue;
      }
      batch.push_back(file);
      if (batch.size() < limits::kClosesAtOnceMax) continue;
      core.tasks.Spawn(Forget(std::exchange(batch, {})));
    }
    if (!batch.empty()) core.tasks.Spawn(Forget(std::move(batch)));
  }
  ending_idle = false;
}

Task<Result<std::shared_ptr<File>>> Client::Open(InodeId inode, OpenMode mode, bool truncate) {
  ClientCore& core = state_->core;
  const Instant deadline = core.link.Deadline();
  Attributes unknown;
  unknown.inode = inode;
  MORAINE_CO_ASSIGN_OR_RETURN(const std::shared_ptr<FileImpl> file,
                              co_await state_->FileOf(std::move(unknown), deadline));
  ++file->opening;
  Status status = co_await file->OpenAt(mode == OpenMode::kWrite, deadline);
  --file->opening;
  if (!status.ok()) {
    state_->EndIfUnused(file);
    co_return status;
  }
  ++file->handles;
  status = co_await file->RefreshTail(deadline);
  if (status.ok() && truncate) status = co_await file->Truncate(0);
  if (!status.ok()) {
    (co_await Close(file)).Ignore();
    co_return status;
  }
  co_return std::shared_ptr<File>(file);
}

Task<Status> Client::Close(std::shared_ptr<File> handle) {
  auto file = std::static_pointer_cast<FileImpl>(std::move(handle));
  MORAINE_CHECK(file->handles > 0, "closed more often than opened");
  if (--file->handles > 0 || file->opening > 0) {
    co_return file->leased ? co_await file->Flush() : file->error();
  }
  Status status = co_await file->Settle(false);
  if (status.ok()) status = file->error();
  state_->EndIfUnused(file);
  co_return status;
}

// The lease and the registration go in the background; a new Open waits for that.
Task<void> Client::State::Forget(std::vector<std::shared_ptr<FileImpl>> files) {
  idl::CloseRequest request;
  for (const auto& file : files) {
    // Nobody else uses the file: what holds it is bounded.
    const Status status = co_await file->End(kNever);
    if (!status.ok()) LogWarning("inode {}: close: {}", file->inode().value(), status.ToString());
    if (!file->leased && !file->registered) continue;
    idl::ClosedFile closed;
    closed.inode = ToWire(file->inode());
    closed.release_lease = std::exchange(file->leased, false);
    request.files.push_back(closed);
  }
  if (!request.files.empty()) {
    const size_t count = request.files.size();
    const auto answer =
        co_await core.link.Change(idl::kClose, std::move(request), core.link.Deadline());
    if (!answer.ok()) LogWarning("closing {} files: {}", count, answer.status().ToString());
  }
  for (const auto& file : files) {
    MORAINE_CHECK(file->handles == 0 && file->opening == 0,
                  "a file was opened while it was closed");
    if (file->nameless) core.parents.erase(file->inode());
    core.files.erase(file->inode());
  }
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
  core.tokens[inode] = {owned.token, false};
  for (const idl::OwnedEntry& wire : answer->entries) {
    OwnedDirectory::Entry entry;
    entry.name = wire.name;
    MORAINE_CO_ASSIGN_OR_RETURN(entry.attributes, FromWire(wire.attributes));
    MORAINE_CO_ASSIGN_OR_RETURN(entry.layout, FromWire(wire.layout, entry.attributes.inode));
    core.parents[entry.attributes.inode] = {inode, entry.attributes.links > 1};
    // Taken from everybody, also from this client: what it has open for writing it takes anew.
    const auto open = core.files.find(entry.attributes.inode);
    if (open != core.files.end()) open->second->OnLeaseLost();
    owned.entries.push_back(std::move(entry));
  }
  co_return owned;
}

Task<Result<std::shared_ptr<File>>> Client::OpenOwned(Attributes attributes, Layout layout) {
  const Instant deadline = state_->core.link.Deadline();
  MORAINE_CO_ASSIGN_OR_RETURN(const std::shared_ptr<FileImpl> file,
                              co_await state_->FileOf(attributes, deadline));
  // Whoever has it open, or is about to, knows as much.
  if (file->handles++ == 0 && !file->registered) file->AdoptOwned(attributes, layout);
  co_return std::shared_ptr<File>(file);
}

Task<Status> Client::RegisterOpen(InodeId inode) {
  const auto it = state_->core.files.find(inode);
  if (it == state_->core.files.end()) co_return Status();
  const std::shared_ptr<FileImpl> file = it->second;
  if (file->handles == 0 || file->registered) co_return Status();
  ++file->opening;
  const Status status = co_await file->OpenAt(false, state_->core.link.Deadline());
  --file->opening;
  state_->EndIfUnused(file);
  co_return status;
}

Task<Status> Client::ReleaseDirectory(InodeId inode) {
  ClientCore& core = state_->core;
  const Token token = core.TokenOf(inode);
  if (token.IsNone())
    co_return Status(Code::kNotPermitted, "this client does not own the directory");
  idl::ReleaseDirectoryRequest request;
  request.inode = ToWire(inode);
  request.token = ToWire(token);
  core.tokens[inode].lost = true;  // a renewal from now on does not name what is not ours any more
  auto answer =
      co_await core.link.Change(idl::kReleaseDirectory, std::move(request), core.link.Deadline());
  core.tokens.erase(inode);
  std::erase_if(core.parents, [&](const auto& entry) { return entry.second.directory == inode; });
  co_return answer.status();
}

}  // namespace moraine::fs
