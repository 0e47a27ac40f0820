// A metaserver, imaginary chunkservers and clients on a simulated world.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/loop/sim/network.h"
#include "base/loop/sim/world.h"
#include "metaserver/service/fake_chunkserver.h"
#include "metaserver/service/metaserver.h"
#include "metaserver/testing/volatile_file_system.h"
#include "rpc/client.h"

namespace moraine::metaserver {

inline constexpr size_t kSealJobsMax = 16;

class MetaProcess : public sim::Process {
 public:
  using Configure = std::function<void(MetaserverOptions&)>;

  MetaProcess(sim::SimLoop& loop, std::shared_ptr<VolatileFileSystem> disk,
              const Configure& configure)
      : disk_(std::move(disk)), env_(VolatileFileSystem::MakeEnv(disk_)) {
    MetaserverOptions options;
    options.store.directory = "/meta";
    options.store.env = env_.get();
    options.store.block_cache_bytes = 8 << 20;
    options.store.write_buffer_bytes = 1 << 20;
    options.listen = {"meta", 7440};
    options.registry.repair_grace = 6s;
    options.sealer.jobs_max = kSealJobsMax;
    options.caretaker.unknown_grace = 60s;
    options.caretaker.unknown_tick = 1s;
    configure(options);
    auto opened = Metaserver::Open(loop, std::move(options), metrics_);
    MORAINE_CHECK(opened.ok(), opened.status().ToString());
    metaserver = std::move(*opened);
    const Status started = metaserver->Start();
    MORAINE_CHECK(started.ok(), started.ToString());
  }
  MetricRegistry& metrics() { return metrics_; }

 private:
  MetricRegistry metrics_;
  std::shared_ptr<VolatileFileSystem> disk_;
  std::unique_ptr<rocksdb::Env> env_;

 public:
  std::unique_ptr<Metaserver> metaserver;
};

// Its channel belongs to the process, so that a kill takes things apart in the right order.
struct ClientProcess : sim::Process {
  ClientProcess(sim::SimLoop& loop, std::string name)
      : channel(loop, {"meta", 7440}, {idl::Role::kClient, {}, std::move(name), {}},
                {idl::Role::kMetaserver, {}}) {}
  rpc::Channel channel;
};

// One client: a session and the numbers of its changes. Its machine ends with it, or before.
class TestClient {
 public:
  TestClient(sim::World& world, sim::Machine& machine)
      : world_(world),
        machine_(machine),
        loop_(machine.Start([name = machine.name()](sim::SimLoop& loop) {
          return std::make_unique<ClientProcess>(loop, name);
        })),
        channel_(machine.process_as<ClientProcess>().channel) {}
  ~TestClient() { machine_.Kill(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // One call, sent again while the metaserver does not answer; a change keeps its number.
  template <class Request, class Response>
  Result<Response> Call(idl::Method<Request, Response> method, Request request,
                        int64_t sequence = 0, Duration timeout = 30s) {
    const Instant deadline = loop_.After(timeout);
    while (true) {
      rpc::CallOptions options;
      options.deadline = deadline;
      options.header.session = session;
      options.header.sequence = sequence;
      options.header.acknowledged_below = acknowledged_below;
      if (over_below > 0) options.header.__set_over_below(over_below);
      if (over_below > 0) options.header.__set_waiting(waiting);
      auto answer =
          world_.Await(loop_, channel_.Ask(method, request, std::move(options)), timeout + 5s);
      if (!answer.has_value()) return Status(Code::kTimeout, "the world had no answer");
      if (answer->code() != Code::kUnavailable || loop_.Now() >= deadline) {
        return std::move(*answer);
      }
      world_.RunFor(50ms);
    }
  }
  // A change with a number of its own.
  template <class Request, class Response>
  Result<Response> Change(idl::Method<Request, Response> method, Request request) {
    return Call(method, std::move(request), ++last_sequence);
  }
  void StartSession(std::string name = "test") {
    idl::StartSessionRequest request;
    request.name = std::move(name);
    const auto answer = Call(idl::kStartSession, request);
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    session = answer->session;
  }
  Result<idl::RenewSessionResponse> Renew(std::vector<int64_t> held = {},
                                          std::vector<int64_t> open = {}) {
    idl::RenewSessionRequest request;
    request.held = std::move(held);
    request.open = std::move(open);
    return Call(idl::kRenewSession, request);
  }
  // Stays alive in the background, for as long as the loop runs.
  void KeepRenewing() {
    loop_.Spawn([](TestClient* client) -> Task<void> {
      while (true) {
        rpc::CallOptions options;
        options.deadline = client->loop_.After(2s);
        options.header.session = client->session;
        auto answer = co_await client->channel_.Ask(idl::kRenewSession, idl::RenewSessionRequest(),
                                                    std::move(options));
        if (answer.ok()) {
          for (const int64_t inode : answer->recalled) client->recalled.push_back(inode);
          for (const int64_t inode : answer->lost) client->lost.push_back(inode);
          for (const int64_t inode : answer->stale) client->stale.push_back(inode);
        } else {
          co_await client->loop_.Sleep(100ms);
        }
      }
    }(this));
  }

  int64_t session = 0;
  int64_t last_sequence = 0;
  int64_t acknowledged_below = 0;
  int64_t over_below = 0;  // with `waiting`; 0: not sent
  std::vector<int64_t> waiting;
  std::vector<int64_t> recalled, lost, stale;

 private:
  sim::World& world_;
  sim::Machine& machine_;
  sim::SimLoop& loop_;
  rpc::Channel& channel_;
};

class MetaCluster {
 public:
  explicit MetaCluster(uint64_t seed, size_t servers) : world_(seed), random_(seed) {
    meta_ = &world_.AddMachine("meta");
    StartMeta();
    for (size_t i = 0; i < servers; ++i) {
      machines_.push_back(&world_.AddMachine(fmt::format("cs{}", i + 1)));
      disks_.push_back(std::make_unique<FakeDisk>());
      disks_.back()->incarnation = fmt::format("disk-{}", i + 1);
      StartServer(i);
    }
    alice_ = std::make_unique<TestClient>(world_, world_.AddMachine("alice"));
    bob_ = std::make_unique<TestClient>(world_, world_.AddMachine("bob"));
    EXPECT_TRUE(
        world_.RunUntil([&] { return AliveServers() == servers && AllKnowThemselves(); }, 20s));
  }

  // From the next start on.
  Duration session_ttl = 3s;
  MetaProcess::Configure configure = [](MetaserverOptions&) {};

  sim::World& world() { return world_; }
  TestClient& alice() { return *alice_; }
  TestClient& bob() { return *bob_; }
  MetricRegistry& metrics() { return meta_->process_as<MetaProcess>().metrics(); }
  Metaserver& meta() { return *meta_->process_as<MetaProcess>().metaserver; }
  FakeDisk& disk(ServerId id) {
    for (auto& disk : disks_) {
      if (disk->id == id) return *disk;
    }
    MORAINE_CHECK(false, "no such server");
  }
  sim::Machine& machine(ServerId id) { return *machines_[IndexOf(id)]; }

  void StartServer(size_t i) {
    FakeDisk* disk = disks_[i].get();
    const std::string name = machines_[i]->name();
    machines_[i]->Start([disk, name](sim::SimLoop& loop) {
      return std::make_unique<FakeChunkserver>(loop, *disk, name, Endpoint{"meta", 7440});
    });
  }
  size_t IndexOf(ServerId id) {
    for (size_t i = 0; i < disks_.size(); ++i) {
      if (disks_[i]->id == id) return i;
    }
    MORAINE_CHECK(false, "no such server");
  }
  void KillMeta() { meta_->Kill(); }
  void RestartMeta() {
    meta_->Kill();
    StartMeta();
  }
  void PowerCutMeta() {
    auto after = disk_->AfterPowerCut(random_);
    meta_->Kill();
    disk_ = std::move(after);
    StartMeta();
  }

  std::optional<ChunkRecord> Chunk(int64_t chunk) {
    Transaction transaction(meta().store());
    auto record = transaction.Find<ChunkRecord>(Family::kChunks,
                                                ChunkKey(ChunkId(static_cast<uint64_t>(chunk))));
    EXPECT_TRUE(record.ok());
    return *record;
  }
  bool AwaitState(int64_t chunk, ChunkState state, Duration limit = 30s) {
    return world_.RunUntil(
        [&] {
          const auto record = Chunk(chunk);
          return record.has_value() && record->state == state;
        },
        limit);
  }
  size_t AliveServers() {
    const auto status = alice_->Call(idl::kClusterStatus, idl::Empty(), 0, 1s);
    if (!status.ok()) return 0;
    return static_cast<size_t>(
        std::ranges::count(status->servers, true, &idl::ServerStatus::alive));
  }

  // The metaserver knows a server before its answer tells the server its number.
  bool AllKnowThemselves() const {
    return std::ranges::none_of(disks_, [](const auto& disk) { return disk->id.IsNone(); });
  }

  // ---- Shorthand for calls
  idl::CreateResponse CreateFile(TestClient& client, std::string name, int64_t parent = 1,
                                 bool write = true, int64_t token = 0,
                                 idl::FileType::type type = idl::FileType::kRegular) {
    idl::CreateRequest request;
    request.parent = parent;
    request.name = std::move(name);
    request.type = type;
    request.mode = 0644;
    request.open_for_write = write;
    request.want_chunk = write;
    request.token = token;
    auto answer = client.Change(idl::kCreate, request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return answer.ok() ? *answer : idl::CreateResponse();
  }
  static auto Acquire(TestClient& client, int64_t directory, std::string owner) {
    idl::AcquireDirectoryRequest request;
    request.inode = directory;
    request.owner = std::move(owner);
    return client.Change(idl::kAcquireDirectory, std::move(request));
  }
  static idl::SealedChunk Close(const idl::ChunkGrant& grant, int64_t length,
                                size_t holders = SIZE_MAX) {
    idl::SealedChunk closed;
    closed.chunk = grant.chunk;
    closed.epoch = grant.epoch;
    closed.length = length;
    for (const idl::Replica& replica : grant.replicas) {
      if (closed.holders.size() < holders) closed.holders.push_back(replica.server_id);
    }
    return closed;
  }
  // The client's appends: replica i of the grant gets lengths[i] bytes (negative: no append at
  // all).
  void Append(const idl::ChunkGrant& grant, const std::vector<int64_t>& lengths,
              bool synced = true) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (lengths[i] < 0) continue;
      disk(ServerId(static_cast<uint64_t>(grant.replicas[i].server_id)))
          .Write(ChunkId(static_cast<uint64_t>(grant.chunk)), static_cast<uint64_t>(lengths[i]),
                 synced, static_cast<uint64_t>(grant.tail_offset));
    }
  }
  idl::LayoutResponse LayoutOf(int64_t inode) {
    idl::InodeRequest request;
    request.inode = inode;
    auto answer = bob_->Call(idl::kGetLayout, request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return answer.ok() ? *answer : idl::LayoutResponse();
  }

 private:
  void StartMeta() {
    auto disk = disk_;
    const auto all = [ttl = session_ttl, more = configure](MetaserverOptions& options) {
      options.session_ttl = ttl;
      more(options);
    };
    meta_->Start(
        [disk, all](sim::SimLoop& loop) { return std::make_unique<MetaProcess>(loop, disk, all); });
  }

  sim::World world_;
  Random random_;
  std::shared_ptr<VolatileFileSystem> disk_ = std::make_shared<VolatileFileSystem>();
  sim::Machine* meta_ = nullptr;
  std::vector<sim::Machine*> machines_;
  std::vector<std::unique_ptr<FakeDisk>> disks_;
  std::unique_ptr<TestClient> alice_, bob_;
};

// Two clients with sessions that live.
class MetaserverTest : public ::testing::Test {
 protected:
  MetaserverTest() {
    alice().StartSession("alice");
    bob().StartSession("bob");
    alice().KeepRenewing();
    bob().KeepRenewing();
  }
  TestClient& alice() { return cluster_.alice(); }
  TestClient& bob() { return cluster_.bob(); }
  sim::World& world() { return cluster_.world(); }

  Result<idl::OpenResponse> OpenToWrite(TestClient& client, int64_t inode, int64_t token = 0) {
    idl::OpenRequest request;
    request.inode = inode;
    request.for_writing = true;
    request.token = token;
    return client.Change(idl::kOpen, request);
  }
  Code Remove(TestClient& client, std::string name) {
    idl::RemoveRequest request;
    request.parent = 1;
    request.name = std::move(name);
    return client.Change(idl::kRemove, request).code();
  }
  // The handle, or the lease.
  Code GiveUp(TestClient& client, int64_t inode, bool lease = false) {
    idl::CloseRequest close;
    close.files.resize(1);
    close.files[0].inode = inode;
    close.files[0].release_lease = lease;
    return client.Change(idl::kClose, close).code();
  }
  // Closes the only chunk of a file at `length`.
  Code CloseFile(TestClient& client, const idl::CreateResponse& file, int64_t length) {
    idl::CommitRequest commit;
    commit.inode = file.attributes.inode;
    commit.seals = {MetaCluster::Close(file.chunk, length)};
    return client.Change(idl::kCommit, commit).code();
  }

  const uint64_t seed_ = SeedFromEnvironment();
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, fmt::format("MORAINE_SEED={}", seed_)};
  MetaCluster cluster_{seed_, 6};
};

}  // namespace moraine::metaserver
