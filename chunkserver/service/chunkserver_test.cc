// Whole chunkservers on the simulated world, with a scripted registry in the metaserver's place.
#include "chunkserver/service/chunkserver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/loop/sim/world.h"
#include "chunkserver/service/convert.h"
#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::BytesOf;
using testing::ChecksumsOf;

constexpr uint16_t kPort = 7420;
constexpr int64_t kChunk = 0x1107;

int64_t Wire(uint64_t number) { return static_cast<int64_t>(number); }

// What the scripted metaserver knows; outlives its process.
struct Registered {
  std::string cluster = "test-cluster";
  std::map<std::string, int64_t> ids;  // by incarnation
  std::map<int64_t, std::map<int64_t, idl::ReplicaReport>> replicas;
  std::set<int64_t> busy;  // chunks whose reports it cannot take
  int registrations = 0;
  bool quarantined = false;
};

class RegistryProcess : public sim::Process {
 public:
  RegistryProcess(sim::SimLoop& loop, Registered* known)
      : known_(known),
        server_(loop, {idl::Role::kMetaserver, known->cluster, "meta", {}}, Options(), metrics_) {
    server_.Handle(idl::kRegisterChunkserver, [this](rpc::CallContext&, idl::RegisterRequest r) {
      return Register(std::move(r));
    });
    server_.Handle(idl::kInventory, [this](rpc::CallContext&, idl::InventoryRequest r) {
      return Inventory(std::move(r));
    });
    server_.Handle(idl::kHeartbeat, [this](rpc::CallContext&, idl::HeartbeatRequest r) {
      return Heartbeat(std::move(r));
    });
    MORAINE_CHECK(server_.Start().ok());
  }

 private:
  static rpc::ServerOptions Options() {
    rpc::ServerOptions options;
    options.listen = {"meta", 7400};
    return options;
  }
  Task<Result<idl::RegisterResponse>> Register(idl::RegisterRequest request) {
    const int64_t next = Wire(known_->ids.size()) + 1;
    idl::RegisterResponse response;
    response.server_id = known_->ids.try_emplace(request.incarnation, next).first->second;
    response.cluster = known_->cluster;
    response.want_inventory = true;
    here_.insert(response.server_id);
    ++known_->registrations;
    co_return response;
  }
  Task<Result<idl::InventoryResponse>> Inventory(idl::InventoryRequest request) {
    idl::InventoryResponse response;
    Take(request.server_id, request.replicas, &response);
    co_return response;
  }
  Task<Result<idl::HeartbeatResponse>> Heartbeat(idl::HeartbeatRequest request) {
    idl::HeartbeatResponse response;
    response.register_again = !here_.contains(request.server_id);
    if (response.register_again) co_return response;
    known_->quarantined = known_->quarantined || request.quarantined;
    Take(request.server_id, request.changed, &response);
    for (const int64_t chunk : request.gone) known_->replicas[request.server_id].erase(chunk);
    co_return response;
  }
  template <class Response>
  void Take(int64_t server, const std::vector<idl::ReplicaReport>& reports, Response* response) {
    for (const auto& replica : reports) {
      if (known_->busy.contains(replica.chunk)) {
        response->again.push_back(replica.chunk);
        response->__isset.again = true;
      } else {
        known_->replicas[server][replica.chunk] = replica;
      }
    }
  }

  Registered* const known_;
  MetricRegistry metrics_;
  rpc::Server server_;
  std::set<int64_t> here_;  // registered with this process
};

class ChunkserverProcess : public sim::Process {
 public:
  ChunkserverProcess(sim::SimLoop& loop, ChunkserverOptions options)
      : server(loop, std::move(options), metrics) {
    loop.Spawn(Run(this));
  }
  static Task<void> Run(ChunkserverProcess* self) {
    self->started = co_await self->server.Start();
    self->is_started = true;
  }
  MetricRegistry metrics;
  Chunkserver server;
  Status started;
  bool is_started = false;
};

class ClientProcess : public sim::Process {
 public:
  std::map<std::pair<std::string, idl::Role::type>, std::unique_ptr<rpc::Channel>> channels;
};

class ChunkserverTest : public ::testing::Test {
 protected:
  ChunkserverTest() : world(1), meta(world.AddMachine("meta")), client(world.AddMachine("client")) {
    StartMeta();
    client.Start([](sim::SimLoop&) { return std::make_unique<ClientProcess>(); });
    for (const char* name : {"a", "b"}) {
      sim::Machine& machine = world.AddMachine(name);
      Start(machine);
      EXPECT_TRUE(AwaitRegistered(machine));
    }
  }
  void StartMeta() {
    meta.Start([known = &known](sim::SimLoop& loop) {
      return std::make_unique<RegistryProcess>(loop, known);
    });
  }
  void Start(sim::Machine& machine) {
    ChunkserverOptions options;
    options.store = testing::SmallOptions();
    options.store.cluster.clear();
    options.listen = machine.name() + ":" + std::to_string(kPort);
    options.metaserver = "meta:7400";
    options.location = "z/r/" + machine.name();
    machine.Start([options](sim::SimLoop& loop) {
      return std::make_unique<ChunkserverProcess>(loop, options);
    });
  }
  bool AwaitRegistered(sim::Machine& machine) {
    const auto& process = machine.process_as<ChunkserverProcess>();
    return world.RunUntil(
        [&] { return process.is_started && process.started.ok() && process.server.health().ok(); },
        20s);
  }
  sim::Machine& machine(const std::string& name) { return *world.Find(name); }
  Store& store(const std::string& name) {
    return machine(name).process_as<ChunkserverProcess>().server.store();
  }

  template <class Request, class Response>
  Result<rpc::Reply<Response>> Call(const std::string& to, idl::Method<Request, Response> method,
                                    Request request, idl::Role::type role, Buffer bulk = {},
                                    size_t alignment = 0) {
    auto& channel = client.process_as<ClientProcess>().channels[{to, role}];
    if (channel == nullptr) {
      channel = std::make_unique<rpc::Channel>(
          client.loop(), Endpoint{to, kPort}, rpc::Identity{role, known.cluster, "test", {}},
          rpc::Expectation{idl::Role::kChunkserver, ServerId()});
    }
    rpc::CallOptions options;
    options.deadline = client.loop().After(10s);
    if (!bulk.empty()) options.bulk.Add(std::move(bulk).Share());
    options.bulk_alignment = alignment;
    auto reply =
        world.Await(client.loop(), channel->Call(method, std::move(request), std::move(options)));
    if (!reply) return Status(Code::kTimeout, "the world had no answer");
    return std::move(*reply);
  }
  template <class Request, class Response>
  Result<Response> AsMetaserver(const std::string& to, idl::Method<Request, Response> method,
                                Request request) {
    auto reply = Call(to, method, std::move(request), idl::Role::kMetaserver);
    if (!reply.ok()) return reply.status();
    return reply->response;
  }
  Result<idl::AppendResponse> Append(const std::string& to, uint64_t offset, uint64_t size,
                                     bool sync) {
    Buffer bytes = BytesOf(ChunkId(kChunk), offset, size);
    idl::AppendRequest request;
    request.chunk = kChunk;
    request.epoch = 1;
    request.offset = Wire(offset);
    request.checksums = ChecksumsToWire(ChecksumsOf(offset, bytes.bytes()));
    request.sync = sync;
    request.__set_create(SomeCreation());
    auto reply = Call(to, idl::kAppend, std::move(request), idl::Role::kClient, std::move(bytes),
                      offset % limits::kBlockBytes);
    if (!reply.ok()) return reply.status();
    return reply->response;
  }
  static idl::ReplicaCreation SomeCreation() {
    idl::ReplicaCreation creation;
    creation.inode = 77;
    creation.policy.name = "log";
    creation.policy.replicas = 5;
    creation.policy.quorum = 3;
    creation.policy.floor = 3;
    creation.replicas_made = 5;
    return creation;
  }
  static idl::SealRequest SealAt(uint64_t length, int64_t epoch) {
    idl::SealRequest request;
    request.chunk = kChunk;
    request.epoch = epoch;
    request.length = Wire(length);
    return request;
  }
  idl::CopyRequest CopyFrom(const std::string& source, uint64_t length, int64_t epoch, bool whole) {
    idl::CopyRequest request;
    request.chunk = kChunk;
    request.epoch = epoch;
    request.length = Wire(length);
    idl::Replica replica;
    replica.endpoint = source + ":" + std::to_string(kPort);
    replica.server_id = Wire(store(source).superblock().server.value());
    request.sources.push_back(replica);
    request.whole = whole;
    request.create = SomeCreation();
    return request;
  }
  void ExpectAllReadable(const std::string& from, uint64_t length) {
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      idl::ReadRequest request;
      request.chunk = kChunk;
      request.offset = Wire(at);
      request.length = 1_MiB;
      request.committed = Wire(length);
      auto reply = Call(from, idl::kRead, request, idl::Role::kClient);
      ASSERT_TRUE(reply.ok()) << reply.status().ToString();
      ASSERT_EQ(reply->bulk.size(), std::min<uint64_t>(1_MiB, length - at));
      ReadResult result;
      result.offset = at;
      result.bytes = std::move(reply->bulk);
      result.checksums = *ChecksumsFromWire(reply->response.checksums);
      EXPECT_TRUE(testing::IsRight(ChunkId(kChunk), result));
    }
  }
  const idl::ReplicaReport* Reported(const std::string& server) {
    const auto& reports = known.replicas[Wire(store(server).superblock().server.value())];
    const auto found = reports.find(kChunk);
    return found == reports.end() ? nullptr : &found->second;
  }

  Registered known;
  sim::World world;
  sim::Machine& meta;
  sim::Machine& client;
};

TEST_F(ChunkserverTest, RegistersOnceAndKeepsItsId) {
  const ServerId a = store("a").superblock().server;
  EXPECT_NE(a, store("b").superblock().server);
  machine("a").PowerCut();
  machine("a").SwitchOn();
  Start(machine("a"));
  ASSERT_TRUE(AwaitRegistered(machine("a")));
  EXPECT_EQ(store("a").superblock().server, a);
  EXPECT_EQ(known.ids.size(), 2u);
}

TEST_F(ChunkserverTest, RegistersAgainWithAMetaserverThatRestarted) {
  const int before = known.registrations;
  meta.Kill();
  world.RunFor(5s);
  StartMeta();
  EXPECT_TRUE(world.RunUntil([&] { return known.registrations == before + 2; }, 20s));
  EXPECT_TRUE(AwaitRegistered(machine("a")));
}

TEST_F(ChunkserverTest, RefusesAMetaserverOfAnotherCluster) {
  machine("a").Kill();
  meta.Kill();
  known.cluster = "another";
  StartMeta();
  Start(machine("a"));
  const auto& process = machine("a").process_as<ChunkserverProcess>();
  ASSERT_TRUE(world.RunUntil([&] { return process.is_started; }, 20s));
  EXPECT_EQ(process.started.code(), Code::kWrongCluster) << process.started.ToString();
}

TEST_F(ChunkserverTest, AppendsSealsAndReportsOverTheWire) {
  const auto appended = Append("a", 0, 5'000, true);
  ASSERT_TRUE(appended.ok()) << appended.status().ToString();
  EXPECT_EQ(appended->synced, 5'000);
  ASSERT_TRUE(Append("a", 5'000, 3'000'000, true).ok());
  ExpectAllReadable("a", 3'005'000);
  EXPECT_EQ(Call("a", idl::kSeal, SealAt(3'000'001, 1), idl::Role::kClient).code(),
            Code::kWrongRole);
  const auto sealed = AsMetaserver("a", idl::kSeal, SealAt(3'000'001, 1));
  ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
  EXPECT_EQ(sealed->state, idl::ChunkState::kSealed);
  ExpectAllReadable("a", 3'000'001);
  ASSERT_TRUE(world.RunUntil([&] { return Reported("a") != nullptr; }, 10s));
  EXPECT_EQ(Reported("a")->length, 3'000'001);
  EXPECT_EQ(Reported("a")->state, idl::ChunkState::kSealed);
}

TEST_F(ChunkserverTest, CopiesAWholeReplicaAndDeletesIt) {
  constexpr uint64_t kLength = 3'000'001;
  ASSERT_TRUE(Append("a", 0, kLength, true).ok());
  ASSERT_TRUE(AsMetaserver("a", idl::kSeal, SealAt(kLength, 1)).ok());
  for (int repeat = 0; repeat < 2; ++repeat) {
    const auto copied = AsMetaserver("b", idl::kCopy, CopyFrom("a", kLength, 1, true));
    ASSERT_TRUE(copied.ok()) << copied.status().ToString();
    EXPECT_EQ(copied->held, Wire(kLength));
  }
  ExpectAllReadable("b", kLength);
  idl::DeleteReplicaRequest remove;
  remove.chunk = kChunk;
  remove.epoch = 1;
  ASSERT_TRUE(AsMetaserver("a", idl::kDeleteReplica, remove).ok());
  EXPECT_EQ(store("a").Stat(ChunkId(kChunk)).code(), Code::kUnknownChunk);
  EXPECT_TRUE(
      world.RunUntil([&] { return Reported("a") == nullptr && Reported("b") != nullptr; }, 10s));
}

TEST_F(ChunkserverTest, RecoveryExtendsAShorterReplica) {
  ASSERT_TRUE(Append("a", 0, 2'500'000, false).ok());
  ASSERT_TRUE(Append("b", 0, 700'001, false).ok());
  idl::FenceRequest fence;
  fence.chunk = kChunk;
  fence.epoch = 2;
  for (const char* server : {"a", "b"}) {
    ASSERT_TRUE(AsMetaserver(server, idl::kFence, fence).ok());
  }
  EXPECT_EQ(Append("b", 700'001, 10, false).code(), Code::kFenced);
  const auto extended = AsMetaserver("b", idl::kCopy, CopyFrom("a", 2'222'222, 2, false));
  ASSERT_TRUE(extended.ok()) << extended.status().ToString();
  EXPECT_GE(extended->synced, 2'222'222);
  idl::SealRequest hold = SealAt(2'222'222, 2);
  hold.hold_only = true;
  const auto held = AsMetaserver("a", idl::kSeal, hold);
  ASSERT_TRUE(held.ok()) << held.status().ToString();
  EXPECT_EQ(held->state, idl::ChunkState::kOpen);
  EXPECT_GE(held->synced, 2'222'222);
  for (const char* server : {"a", "b"}) {
    ASSERT_TRUE(AsMetaserver(server, idl::kSeal, SealAt(2'222'222, 2)).ok());
    ExpectAllReadable(server, 2'222'222);
  }
}

TEST_F(ChunkserverTest, ACopyGoesOnWithTheNextSourceWhenOneIsBad) {
  constexpr uint64_t kLength = 3'000'000;
  for (const char* server : {"a", "b"}) {
    ASSERT_TRUE(Append(server, 0, kLength, true).ok());
    ASSERT_TRUE(AsMetaserver(server, idl::kSeal, SealAt(kLength, 1)).ok());
  }
  world.RunFor(2s);  // the files are completed in the background
  ASSERT_TRUE(machine("a")
                  .disk()
                  .FlipBit("store/" + ChunkPath(ChunkId(kChunk)), 8 * (FileOffsetOf(0) + 2'000'000))
                  .ok());
  sim::Machine& c = world.AddMachine("c");
  Start(c);
  ASSERT_TRUE(AwaitRegistered(c));
  idl::CopyRequest copy = CopyFrom("a", kLength, 1, true);
  copy.sources.push_back(CopyFrom("b", kLength, 1, true).sources.front());
  const auto copied = AsMetaserver("c", idl::kCopy, copy);
  ASSERT_TRUE(copied.ok()) << copied.status().ToString();
  ExpectAllReadable("c", kLength);
  EXPECT_TRUE(
      world.RunUntil([&] { return Reported("a") != nullptr && Reported("a")->damaged; }, 10s))
      << "the bad replica is told by a heartbeat";
}

TEST_F(ChunkserverTest, AReportIsRepeatedUntilItCouldBeTaken) {
  known.busy.insert(kChunk);
  ASSERT_TRUE(Append("a", 0, 1000, true).ok());
  ASSERT_TRUE(AsMetaserver("a", idl::kSeal, SealAt(1000, 1)).ok());
  world.RunFor(10s);
  EXPECT_EQ(Reported("a"), nullptr);
  known.busy.clear();
  EXPECT_TRUE(world.RunUntil([&] { return Reported("a") != nullptr; }, 10s)) << "by a heartbeat";
  // The inventory of a new start as well.
  known.busy.insert(kChunk);
  known.replicas.clear();
  machine("a").Kill();
  Start(machine("a"));
  world.RunFor(10s);
  EXPECT_EQ(Reported("a"), nullptr);
  known.busy.clear();
  EXPECT_TRUE(world.RunUntil([&] { return Reported("a") != nullptr; }, 10s)) << "by the inventory";
}

TEST_F(ChunkserverTest, AQuarantinedDiskIsTold) {
  machine("a").disk().FailNext(sim::DiskOp::kWrite, "*journal*");
  EXPECT_FALSE(Append("a", 0, 100, true).ok());
  EXPECT_TRUE(world.RunUntil([&] { return known.quarantined; }, 10s));
  EXPECT_EQ(Append("a", 0, 100, true).code(), Code::kQuarantined);
}

// It waited for calls that waited for a file which a full disk did not let go.
TEST_F(ChunkserverTest, StopsAlsoWhileADeletedFileCannotBeMoved) {
  ASSERT_TRUE(Append("a", 0, 1000, true).ok());
  ASSERT_TRUE(AsMetaserver("a", idl::kSeal, SealAt(1000, 1)).ok());
  ASSERT_TRUE(world.RunUntil([&] { return store("a").GetStatus().open_replicas == 0; }, 10s));
  machine("a").disk().FailNext(sim::DiskOp::kRename, "*.chunk", 100'000, Code::kNoSpace);
  idl::DeleteReplicaRequest remove;
  remove.chunk = kChunk;
  remove.epoch = 1;
  ASSERT_TRUE(AsMetaserver("a", idl::kDeleteReplica, remove).ok());
  rpc::CallOptions patient;
  patient.deadline = client.loop().After(1h);
  auto& channel = client.process_as<ClientProcess>().channels[{"a", idl::Role::kMetaserver}];
  const auto copy = [](rpc::Channel* to, idl::CopyRequest request,
                       rpc::CallOptions options) -> Task<void> {
    EXPECT_FALSE((co_await to->Call(idl::kCopy, std::move(request), std::move(options))).ok());
  };
  client.loop().Spawn(copy(channel.get(), CopyFrom("b", 1000, 1, true), std::move(patient)));
  world.RunFor(2s);
  auto& process = machine("a").process_as<ChunkserverProcess>();
  const auto stopped = world.Await(machine("a").loop(), process.server.Stop(), 1min);
  ASSERT_TRUE(stopped) << "it still waits: " << world.Describe();
  EXPECT_TRUE(stopped->ok()) << stopped->ToString();
}

TEST_F(ChunkserverTest, BadRequestsAreRefused) {
  idl::AppendRequest request;
  request.chunk = kChunk;
  request.epoch = 1;
  request.offset = -1;
  EXPECT_EQ(Call("a", idl::kAppend, request, idl::Role::kClient).code(), Code::kInvalidArgument);
  request.offset = 0;
  request.checksums = "1234567";
  EXPECT_EQ(Call("a", idl::kAppend, request, idl::Role::kClient).code(), Code::kInvalidArgument);
  idl::ReadRequest read;
  read.chunk = kChunk;
  read.length = -1;
  EXPECT_EQ(Call("a", idl::kRead, read, idl::Role::kClient).code(), Code::kInvalidArgument);
  read.length = INT32_MAX;
  EXPECT_EQ(Call("a", idl::kRead, read, idl::Role::kClient).code(), Code::kTooLarge);
  idl::CopyRequest copy = CopyFrom("b", 100, 1, true);
  copy.length = INT64_MAX;
  EXPECT_EQ(AsMetaserver("a", idl::kCopy, copy).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace moraine::chunkserver
