// A store on a disk in memory and a simulated loop, for tests below the service.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "base/loop/sim/world.h"
#include "metaserver/store/store.h"
#include "metaserver/store/transaction.h"
#include "metaserver/testing/volatile_file_system.h"

namespace moraine::metaserver {

class StoreFixture {
 public:
  explicit StoreFixture(uint64_t seed = 1) : world_(seed), random_(seed) {
    machine_ = &world_.AddMachine("meta");
    loop_ = &machine_->Start();
    Open();
  }
  ~StoreFixture() { store_.reset(); }

  Store& store() { return *store_; }
  sim::World& world() { return world_; }
  sim::SimLoop& loop() { return *loop_; }
  Random& random() { return random_; }
  VolatileFileSystem& disk() { return *disk_; }

  // Runs one operation as one transaction at the next point of time, and commits it if it is ok.
  template <class Operation>
  auto Run(Operation operation, SessionId session = SessionId()) {
    Transaction transaction(*store_, session, ++now_ns_);
    auto result = operation(transaction);
    last_effects_ = transaction.effects();
    if (result.ok()) {
      const auto ticket = store_->Commit(transaction);
      EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
    }
    return result;
  }
  Effects& effects() { return last_effects_; }
  int64_t now_ns() const { return now_ns_; }

  Status Sync() {
    auto status = world_.Await(*loop_, store_->Synced(store_->written()));
    return status.value_or(Status(Code::kTimeout, "no sync"));
  }
  // The process dies; what was written stays.
  void Restart() {
    Close();
    Open();
  }
  void PowerCut() {
    disk_to_be_ = disk_->AfterPowerCut(random_);
    Close();
    disk_ = std::exchange(disk_to_be_, nullptr);
    Open();
  }

 private:
  void Open() {
    env_ = VolatileFileSystem::MakeEnv(disk_);
    StoreOptions options;
    options.directory = "/meta";
    options.env = env_.get();
    options.block_cache_bytes = 8 << 20;
    options.write_buffer_bytes = 1 << 20;
    auto store = Store::Open(*loop_, std::move(options));
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }
  void Close() {
    // Coroutines of the store die with the process, before the store does.
    machine_->Kill();
    store_.reset();
    env_.reset();
    loop_ = &machine_->Start();
  }

  sim::World world_;
  Random random_;
  sim::Machine* machine_ = nullptr;
  sim::SimLoop* loop_ = nullptr;
  std::shared_ptr<VolatileFileSystem> disk_ = std::make_shared<VolatileFileSystem>();
  std::shared_ptr<VolatileFileSystem> disk_to_be_;
  std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<Store> store_;
  Effects last_effects_;
  int64_t now_ns_ = 1'000'000;
};

}  // namespace moraine::metaserver
