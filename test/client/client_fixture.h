// A metaserver, five chunkservers and two clients on a simulated world, all of them the real code.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop/sim/network.h"
#include "base/loop/sim/world.h"
#include "base/units.h"
#include "chunkserver/service/chunkserver.h"
#include "fs/client/client.h"
#include "metaserver/service/metaserver.h"
#include "metaserver/testing/volatile_file_system.h"

namespace moraine::fs {

inline const Endpoint kMetaserver{"meta", 7440};

class MetaProcess : public sim::Process {
 public:
  MetaProcess(sim::SimLoop& loop, std::shared_ptr<metaserver::VolatileFileSystem> disk)
      : disk_(std::move(disk)), env_(metaserver::VolatileFileSystem::MakeEnv(disk_)) {
    metaserver::MetaserverOptions options;
    options.store.directory = "/meta";
    options.store.env = env_.get();
    options.store.block_cache_bytes = 8 << 20;
    options.store.write_buffer_bytes = 1 << 20;
    options.listen = kMetaserver;
    options.session_ttl = 3s;
    options.registry.repair_grace = 6s;
    auto opened = metaserver::Metaserver::Open(loop, std::move(options), metrics_);
    MORAINE_CHECK(opened.ok(), opened.status().ToString());
    metaserver_ = std::move(*opened);
    const Status started = metaserver_->Start();
    MORAINE_CHECK(started.ok(), started.ToString());
  }

 private:
  MetricRegistry metrics_;
  std::shared_ptr<metaserver::VolatileFileSystem> disk_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<metaserver::Metaserver> metaserver_;
};

class ChunkProcess : public sim::Process {
 public:
  ChunkProcess(sim::SimLoop& loop, const std::string& name)
      : server_(loop, OptionsOf(name), metrics_) {
    loop.Spawn([](chunkserver::Chunkserver* server, std::string where) -> Task<void> {
      const Status started = co_await server->Start();
      MORAINE_CHECK(started.ok(), where + ": " + started.ToString());
    }(&server_, name));
  }

 private:
  static chunkserver::ChunkserverOptions OptionsOf(const std::string& name) {
    chunkserver::ChunkserverOptions options;
    options.store.dir = "/store";
    options.store.journal_bytes = 4_MiB;
    options.store.reserve_bytes = 0;
    options.listen = name + ":7420";
    options.metaserver = kMetaserver.ToString();
    return options;
  }

  MetricRegistry metrics_;
  chunkserver::Chunkserver server_;
};

class ClientProcess : public sim::Process {
 public:
  ClientProcess(sim::SimLoop& loop, const ClientOptions& options)
      : client(loop, options, metrics_) {}

 private:
  MetricRegistry metrics_;

 public:
  Client client;
};

// Everything waits in virtual time, so limits are generous.
class ClientTest : public testing::Test {
 protected:
  static constexpr size_t kServers = 5;
  static constexpr uint64_t kSeed = 20250;

  static ClientOptions WithTimeout(Duration timeout) {
    ClientOptions options;
    options.timeout = timeout;
    return options;
  }

  explicit ClientTest(ClientOptions options = {}) : world_(kSeed) {
    meta_ = &world_.AddMachine("meta");
    StartMeta();
    for (size_t i = 0; i < kServers; ++i) {
      servers_.push_back(&world_.AddMachine(fmt::format("cs{}", i + 1)));
      StartServer(i);
    }
    options.metaserver = kMetaserver;
    alice_ = AddClient("alice", options);
    bob_ = AddClient("bob", options);
  }
  ~ClientTest() override {
    // Clients first: nobody answers them any more.
    alice_->Kill();
    bob_->Kill();
  }

  void SetUp() override {
    ASSERT_TRUE(Run(alice_, alice().Start()).ok());
    ASSERT_TRUE(Run(bob_, bob().Start()).ok());
    // A file of each policy can be made when all servers are there.
    const bool up = world_.RunUntil([&] { return AllServersUp(); }, 30s);
    ASSERT_TRUE(up) << world_.Describe();
  }

  sim::World& world() { return world_; }
  Client& alice() { return alice_->process_as<ClientProcess>().client; }
  Client& bob() { return bob_->process_as<ClientProcess>().client; }
  sim::Machine& alice_machine() { return *alice_; }
  sim::Machine& bob_machine() { return *bob_; }
  sim::Machine& meta_machine() { return *meta_; }
  sim::Machine& server(size_t i) { return *servers_[i]; }

  // Runs a call of a client to its end; a world without an answer is a failure of the test.
  template <class T>
  T Run(sim::Machine* machine, Task<T> task) {
    auto answer = world_.Await(machine->loop(), std::move(task), 300s);
    MORAINE_CHECK(answer.has_value(), "no answer: " + world_.Describe());
    return std::move(*answer);
  }
  template <class T>
  T ByAlice(Task<T> task) {
    return Run(alice_, std::move(task));
  }
  template <class T>
  T ByBob(Task<T> task) {
    return Run(bob_, std::move(task));
  }
  // By Alice.
  InodeId MakeDirectory(const std::string& name, InodeId parent = InodeId(1)) {
    NewEntry entry;
    entry.type = FileType::kDirectory;
    auto made = ByAlice(alice().Create(parent, name, entry, /*open=*/false));
    MORAINE_CHECK(made.ok(), made.status().ToString());
    return made->attributes.inode;
  }
  // Begins a call and goes on; `*answer` has its result when it has ended.
  template <class T>
  std::shared_ptr<std::optional<T>> Begin(sim::Machine& machine, Task<T> task) {
    auto answer = std::make_shared<std::optional<T>>();
    machine.loop().Spawn(sim::world_internal::Keep<T>(answer, std::move(task)));
    return answer;
  }
  template <class T>
  T Finish(const std::shared_ptr<std::optional<T>>& answer) {
    const bool ended = world_.RunUntil([&] { return answer->has_value(); }, 300s);
    MORAINE_CHECK(ended, "no answer: " + world_.Describe());
    return std::move(**answer);
  }

  // ---- Shorthand
  std::shared_ptr<File> Create(const std::string& name, NewEntry entry = {}) {
    auto created = ByAlice(alice().Create(InodeId(1), name, std::move(entry), true));
    MORAINE_CHECK(created.ok(), created.status().ToString());
    return created->file;
  }
  std::shared_ptr<File> Open(sim::Machine& machine, InodeId inode, Client::OpenMode mode) {
    auto& client = machine.process_as<ClientProcess>().client;
    auto file = Run(&machine, client.Open(inode, mode));
    MORAINE_CHECK(file.ok(), file.status().ToString());
    return std::move(*file);
  }
  static ConstBytes Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
  // All of the file as bob, who has it not open, sees it.
  std::string Content(InodeId inode) {
    const std::shared_ptr<File> file = Open(*bob_, inode, Client::OpenMode::kRead);
    const std::string content = Read(*bob_, file, 0, file->size());
    EXPECT_TRUE(ByBob(bob().Close(file)).ok());
    return content;
  }
  std::string Read(sim::Machine& machine, const std::shared_ptr<File>& file, uint64_t offset,
                   uint64_t length) {
    return TextOf(Run(&machine, file->Read(offset, length)));
  }
  static std::string TextOf(const Result<ReadBytes>& read) {
    if (!read.ok()) return "error: " + read.status().ToString();
    std::string text(read->size, '\0');
    read->CopyTo(reinterpret_cast<std::byte*>(text.data()));
    return text;
  }
  static std::string Pattern(size_t size, char first = 'a') {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(first + (i / 7 + i / 4096) % 16);
    return text;
  }

  void StartServer(size_t i) {
    const std::string name = servers_[i]->name();
    servers_[i]->Start(
        [name](sim::SimLoop& loop) { return std::make_unique<ChunkProcess>(loop, name); });
  }
  void StartMeta() {
    auto disk = disk_;
    meta_->Start([disk](sim::SimLoop& loop) { return std::make_unique<MetaProcess>(loop, disk); });
  }
  using Disk = std::shared_ptr<metaserver::VolatileFileSystem>;
  // What a power cut at this moment leaves of the metaserver's.
  Disk MetaDiskAsSynced() { return disk_->AfterPowerCut(world_.random()); }
  void PowerCutMeta(Disk left) {
    meta_->Kill();
    disk_ = std::move(left);
    StartMeta();
  }
  // What was not synced is gone, at the metaserver and at the chunkservers.
  void PowerCutAll() {
    PowerCutMeta(MetaDiskAsSynced());
    for (size_t i = 0; i < servers_.size(); ++i) {
      servers_[i]->PowerCut();
      StartServer(i);
    }
  }

  // By what the metaserver says; for RunUntil.
  bool AllServersUp() {
    if (probe_ == nullptr) probe_ = Begin(*bob_, bob().Space());
    if (!probe_->has_value()) return false;
    const auto space = std::move(**probe_);
    probe_ = nullptr;
    return space.ok() && space->total_bytes >=
                             kServers * world_.options().disk.capacity_bytes / 3;  // of user data
  }

 private:
  sim::Machine* AddClient(const std::string& name, ClientOptions options) {
    sim::Machine* machine = &world_.AddMachine(name);
    options.name = name;
    machine->Start(
        [options](sim::SimLoop& loop) { return std::make_unique<ClientProcess>(loop, options); });
    return machine;
  }
  sim::World world_;
  Disk disk_ = std::make_shared<metaserver::VolatileFileSystem>();
  sim::Machine* meta_ = nullptr;
  std::vector<sim::Machine*> servers_;
  sim::Machine* alice_ = nullptr;
  sim::Machine* bob_ = nullptr;
  std::shared_ptr<std::optional<Result<FileSystemSpace>>> probe_;
};

}  // namespace moraine::fs
