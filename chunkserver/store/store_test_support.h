// What the store's tests share: a store on a simulated disk, and bytes that say where they belong.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/loop/sim/world.h"
#include "base/units.h"
#include "chunkserver/store/store.h"

namespace moraine::chunkserver::testing {

// The bytes of a chunk at an offset: every chunk's differ, and blocks of one chunk do too.
inline Buffer BytesOf(ChunkId chunk, uint64_t offset, uint64_t size) {
  Buffer bytes = Buffer::Allocate(size, offset % limits::kBlockBytes);
  const uint64_t base = MixBits(chunk.value());
  std::byte* out = bytes.data();
  for (uint64_t at = offset; at < offset + size;) {
    const uint64_t word = (base + at / 8) * 0x9E3779B97F4A7C15;  // odd: words differ
    if (at % 8 == 0 && offset + size - at >= 8) {
      std::memcpy(out, &word, 8);
      out += 8;
      at += 8;
    } else {
      *out++ = static_cast<std::byte>(word >> (at % 8 * 8));
      ++at;
    }
  }
  return bytes;
}

inline std::vector<uint64_t> ChecksumsOf(uint64_t offset, ConstBytes bytes) {
  std::vector<uint64_t> checksums;
  while (!bytes.empty()) {
    const uint64_t room = limits::kBlockBytes - offset % limits::kBlockBytes;
    const ConstBytes piece = bytes.first(std::min<uint64_t>(room, bytes.size()));
    checksums.push_back(BlockChecksum(piece));
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  return checksums;
}

inline ReplicaOrigin SomeOrigin(ChunkId chunk) {
  return {InodeId(chunk.value() + 1000), chunk.value() * 7, "log", 5, 3, 3, 5};
}

inline AppendCall CallOf(ChunkId chunk, Epoch epoch, uint64_t offset, uint64_t size, bool sync) {
  AppendCall call;
  call.chunk = chunk;
  call.epoch = epoch;
  call.offset = offset;
  call.bytes = BytesOf(chunk, offset, size);
  call.checksums = ChecksumsOf(offset, call.bytes.bytes());
  call.sync = sync;
  call.committed = offset;
  call.create = SomeOrigin(chunk);
  return call;
}

inline std::string Hex(ConstBytes bytes) {
  std::string text;
  for (const std::byte b : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(b));
  return text;
}

// Whether a read's bytes and checksums are the chunk's.
inline ::testing::AssertionResult IsRight(ChunkId chunk, const ReadResult& result) {
  const Buffer right = BytesOf(chunk, result.offset, result.bytes.size());
  for (uint64_t i = 0; i < right.size(); i += limits::kBlockBytes) {
    const uint64_t size = std::min<uint64_t>(limits::kBlockBytes, right.size() - i);
    if (std::memcmp(right.data() + i, result.bytes.data() + i, size) != 0) {
      return ::testing::AssertionFailure()
             << "chunk " << chunk.value() << " has wrong bytes at " << result.offset + i;
    }
  }
  if (result.checksums != ChecksumsOf(result.offset, result.bytes.bytes())) {
    return ::testing::AssertionFailure() << "chunk " << chunk.value() << ": wrong checksums";
  }
  return ::testing::AssertionSuccess();
}

inline StoreOptions SmallOptions() {
  StoreOptions options;
  options.dir = "store";
  options.cluster = "test-cluster";
  options.journal_bytes = 4_MiB;
  options.reserve_bytes = 0;
  options.dirty_bytes_max = 16_MiB;
  options.pending_flush_bytes = 256_KiB;
  options.scrub_bytes_per_second = 0;
  options.trash_grace = std::chrono::seconds(5);
  options.tombstone_grace = std::chrono::seconds(60);
  return options;
}

// One machine with a store, which can lose its power and come back.
class StoreWorld {
 public:
  explicit StoreWorld(uint64_t seed, sim::WorldOptions world_options = {},
                      StoreOptions options = SmallOptions())
      : world(seed, world_options),
        machine(world.AddMachine("one")),
        options_(std::move(options)) {}

  // Opens the store; the status of that. A process must not be running.
  Status Start() {
    metrics = std::make_unique<MetricRegistry>();
    struct Life : sim::Process {
      std::unique_ptr<Store> store;
    };
    loop = &machine.Start([](sim::SimLoop&) { return std::make_unique<Life>(); });
    auto opened = world.Await(*loop, Store::Open(*loop, options_, *metrics));
    if (!opened) return {Code::kTimeout, "the store did not open"};
    if (!opened->ok()) return opened->status();
    auto& life = machine.process_as<Life>();
    life.store = std::move(**opened);
    store = life.store.get();
    return Status::Ok();
  }
  // An orderly end.
  Status Stop() {
    const auto status = world.Await(*loop, store->Close());
    store = nullptr;
    machine.Kill();
    return status ? *status : Status(Code::kTimeout, "the store did not close");
  }
  void PowerCut() {
    store = nullptr;
    machine.PowerCut();
    machine.SwitchOn();
  }
  void Kill() {
    store = nullptr;
    machine.Kill();
  }
  template <class T>
  T Await(Task<T> task, Duration limit = std::chrono::minutes(5)) {
    auto value = world.Await(*loop, std::move(task), limit);
    EXPECT_TRUE(value.has_value()) << "nothing came back: " << world.Describe();
    return std::move(*value);
  }
  Result<AppendResult> Append(ChunkId chunk, Epoch epoch, uint64_t offset, uint64_t size,
                              bool sync) {
    return Await(store->Append(CallOf(chunk, epoch, offset, size, sync)));
  }
  // A copy with all of its bytes, not installed yet.
  std::unique_ptr<IncomingReplica> CopyOf(ChunkId chunk, Epoch epoch, uint64_t length) {
    auto incoming = Await(store->BeginCopy(chunk, epoch, length, SomeOrigin(chunk)));
    MORAINE_CHECK(incoming.ok(), incoming.status().ToString());
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      Buffer bytes = BytesOf(chunk, at, std::min<uint64_t>(1_MiB, length - at));
      auto checksums = ChecksumsOf(at, bytes.bytes());
      const Status written = Await((*incoming)->Write(at, std::move(bytes).Share(), checksums));
      EXPECT_TRUE(written.ok()) << written.ToString();
    }
    return std::move(*incoming);
  }
  StoreOptions& options() { return options_; }

  std::unique_ptr<MetricRegistry> metrics;  // outlives the store
  sim::World world;
  sim::Machine& machine;
  sim::SimLoop* loop = nullptr;
  Store* store = nullptr;

 private:
  StoreOptions options_;
};

inline constexpr ChunkId kChunk{0x1107};
inline constexpr Epoch kOne{1};
inline constexpr Epoch kTwo{2};

// A store that is open, on a disk without faults.
class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : sim(1) { EXPECT_TRUE(sim.Start().ok()); }

  void ExpectAllReadable(ChunkId chunk, uint64_t length) {
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      const auto read = sim.Await(sim.store->Read(chunk, at, 1_MiB, length));
      ASSERT_TRUE(read.ok()) << read.status().ToString();
      EXPECT_TRUE(IsRight(chunk, *read));
      EXPECT_EQ(read->offset + read->bytes.size(), std::min(length, at + 1_MiB));
      EXPECT_EQ(read->visible, length);
    }
  }
  void FillAndSeal(ChunkId chunk, uint64_t length) {
    const uint64_t open_before = sim.store->GetStatus().open_replicas;
    for (uint64_t at = 0; at < length; at += 1_MiB) {
      ASSERT_TRUE(sim.Append(chunk, kOne, at, std::min<uint64_t>(1_MiB, length - at), false).ok());
    }
    const auto sealed = sim.Await(sim.store->Seal(chunk, kOne, length));
    ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
    sim.world.RunFor(std::chrono::seconds(2));  // the file is completed in the background
    ASSERT_EQ(sim.store->GetStatus().open_replicas, open_before);
  }

  StoreWorld sim;
};

}  // namespace moraine::chunkserver::testing
