// A process's view of its disk: kills, power cuts, ordered faults.
#include "base/loop/sim/sim_disk.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/loop/sim/test_support.h"
#include "base/random.h"

namespace moraine::sim {
namespace {

class SimDiskTest : public testing::Test {
 protected:
  explicit SimDiskTest(uint64_t seed = 1) : world_(seed), machine_(world_.AddMachine("a")) {
    machine_.Start();
  }
  void Run(std::function<Task<void>()> body) { RunOn(world_, machine_, std::move(body)); }
  Disk& disk() { return machine_.loop().disk(); }
  // Makes a durable file with this text.
  void Make(const std::string& path, const std::string& text) {
    Run([&]() -> Task<void> {
      auto file = co_await OpenFile(disk(), path);
      EXPECT_TRUE((co_await WriteText(**file, 0, text)).ok());
      EXPECT_TRUE((co_await (*file)->Sync()).ok());
      EXPECT_TRUE((co_await disk().SyncDirectory("/")).ok());
    });
  }
  std::string Contents(const std::string& path) {
    return machine_.disk().Contents(path).value_or("<none>");
  }

  World world_;
  Machine& machine_;
};

TEST_F(SimDiskTest, WhatWasWrittenSurvivesAKillUnsynced) {
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "f");
    EXPECT_TRUE((co_await WriteText(**file, 0, "hello")).ok());
  });
  machine_.Kill();
  EXPECT_EQ(Contents("f"), "hello");
  machine_.Start();
  EXPECT_EQ(Contents("/f"), "hello");
}

Task<void> WriteForever(SimLoop* loop) {
  auto file = co_await OpenFile(loop->disk(), "f");
  const std::string text(8 * kSectorBytes, 'n');
  const Status status = co_await WriteText(**file, 0, text);
  loop->machine().world().Note("written: " + status.ToString());
}

TEST(SimDiskKillTest, AWriteUnderWayIsDoneToSomeSector) {
  std::vector<bool> seen(9, false);
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    TellSeedOnAbort(seed);
    World world(seed);
    Machine& machine = world.AddMachine("a");
    machine.Start();
    RunOn(world, machine, [&]() -> Task<void> {
      auto file = co_await OpenFile(machine.loop().disk(), "f");
      EXPECT_TRUE((co_await WriteText(**file, 0, std::string(8 * kSectorBytes, 'o'))).ok());
    });
    machine.loop().Spawn(WriteForever(&machine.loop()));
    world.RunFor(55us);  // about the time of an open and half a write
    machine.Kill();
    const std::string found = *machine.disk().Contents("f");
    ASSERT_EQ(found.size(), 8 * kSectorBytes);
    const auto changed = static_cast<uint64_t>(std::ranges::count(found, 'n'));
    EXPECT_EQ(changed % kSectorBytes, 0u) << "seed " << seed;
    EXPECT_EQ(found.find_last_of('n') + 1, changed) << "seed " << seed;
    seen[changed / kSectorBytes] = true;
  }
  EXPECT_THAT(seen, testing::Each(true));
}

TEST(SimDiskPowerCutTest, SyncedDataStaysAndUnsyncedDataMayGo) {
  int kept = 0;
  int lost = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    Machine& machine = world.AddMachine("a");
    machine.Start();
    RunOn(world, machine, [&]() -> Task<void> {
      Disk& disk = machine.loop().disk();
      auto file = co_await OpenFile(disk, "f");
      EXPECT_TRUE((co_await WriteText(**file, 0, std::string(4096, 's'))).ok());
      EXPECT_TRUE((co_await (*file)->Sync()).ok());
      EXPECT_TRUE((co_await disk.SyncDirectory("/")).ok());
      EXPECT_TRUE((co_await WriteText(**file, 4096, std::string(4096, 'u'))).ok());
      auto named = co_await OpenFile(disk, "g");
      EXPECT_TRUE((co_await WriteText(**named, 0, "x")).ok());
      EXPECT_TRUE((co_await (*named)->Sync()).ok());
    });
    machine.PowerCut();
    EXPECT_FALSE(machine.powered());
    machine.Start();
    const std::string found = *machine.disk().Contents("f");
    EXPECT_EQ(found.substr(0, 4096), std::string(4096, 's'));
    (found.size() == 8192 ? kept : lost) += 1;
    // The bytes of g were synced, its name was not.
    if (Result<std::string> g = machine.disk().Contents("g"); g.ok()) EXPECT_EQ(*g, "x");
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(lost, 20);
}

TEST(SimDiskPowerCutTest, DurableWritesNeedNoSync) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    TellSeedOnAbort(seed);
    World world(seed);
    Machine& machine = world.AddMachine("a");
    machine.Start();
    const std::string expected(4096, 'd');
    RunOn(world, machine, [&]() -> Task<void> {
      Disk& disk = machine.loop().disk();
      auto file = co_await disk.Open("f", {.write = true, .create = true, .durable_writes = true});
      EXPECT_TRUE((co_await disk.SyncDirectory("/")).ok());
      EXPECT_TRUE((co_await (*file)->Allocate(0, 65536)).ok());
      EXPECT_TRUE((co_await WriteText(**file, 8192, expected)).ok());
    });
    machine.PowerCut();
    EXPECT_EQ(machine.disk().Contents("f")->substr(8192, 4096), expected) << "seed " << seed;
  }
}

TEST_F(SimDiskTest, OrderedFailuresHitOnceAndOnlyTheirPaths) {
  Make("f", "old");
  Make("g", "old");
  machine_.disk().FailNext(DiskOp::kRead, "f*");
  machine_.disk().FailNext(DiskOp::kWrite, "g", 2, Code::kNoSpace);
  Run([&]() -> Task<void> {
    auto f = co_await OpenFile(disk(), "/f");
    auto g = co_await OpenFile(disk(), "/g");
    std::string text(3, '?');
    EXPECT_EQ((co_await (*g)->ReadAt(0, Writable(text))).value_or(0), 3u);
    EXPECT_EQ((co_await (*f)->ReadAt(0, Writable(text))).code(), Code::kIo);
    EXPECT_EQ((co_await (*f)->ReadAt(0, Writable(text))).value_or(0), 3u);
    EXPECT_EQ(text, "old");
    EXPECT_EQ((co_await WriteText(**g, 3, "new")).code(), Code::kNoSpace);
    EXPECT_EQ((co_await WriteText(**g, 3, "new")).code(), Code::kNoSpace);
    EXPECT_TRUE((co_await WriteText(**g, 3, "new")).ok());
  });
  EXPECT_EQ(machine_.disk().failures_left(), 0u);
  EXPECT_EQ(Contents("g"), "oldnew");
}

TEST_F(SimDiskTest, AFullDiskRefusesGrowthAndRecovers) {
  machine_.disk().SetCapacity(64 << 10);
  machine_.disk().SetCapacity(16 << 10, "/disk2");
  Run([&]() -> Task<void> {
    EXPECT_TRUE((co_await disk().MakeDirectory("/disk2")).ok());
    auto f = co_await OpenFile(disk(), "/f");
    auto g = co_await OpenFile(disk(), "/disk2/g");
    EXPECT_TRUE((co_await (*f)->Allocate(0, 60 << 10)).ok());
    EXPECT_EQ((co_await (*f)->Allocate(0, 80 << 10)).code(), Code::kNoSpace);
    EXPECT_EQ((co_await WriteText(**f, 60 << 10, std::string(8192, 'x'))).code(), Code::kNoSpace);
    EXPECT_TRUE((co_await WriteText(**f, 0, std::string(8192, 'x'))).ok());
    EXPECT_TRUE((co_await WriteText(**g, 0, std::string(16 << 10, 'x'))).ok());
    EXPECT_EQ(disk().Space("/disk2")->free_bytes, 0u);
    EXPECT_EQ((co_await disk().Rename("/f", "/disk2/f")).code(), Code::kNotSupported);
    // The space of a removed file comes back when it is closed.
    EXPECT_TRUE((co_await disk().Remove("/disk2/g")).ok());
    EXPECT_EQ(disk().Space("/disk2")->free_bytes, 0u);
    g->reset();
    EXPECT_EQ(disk().Space("/disk2")->free_bytes, 16u << 10);
  });
}

TEST_F(SimDiskTest, AFailedSyncIsNeverMadeGoodByTheNext) {
  Make("f", std::string(64 << 10, 'o'));
  machine_.disk().FailNext(DiskOp::kSync, "f");
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "f");
    EXPECT_TRUE((co_await WriteText(**file, 0, std::string(64 << 10, 'n'))).ok());
    EXPECT_EQ((co_await (*file)->Sync()).code(), Code::kIo);
    EXPECT_TRUE((co_await (*file)->Sync()).ok());
  });
  machine_.PowerCut();
  EXPECT_THAT(Contents("f"), testing::HasSubstr("o"));
}

TEST_F(SimDiskTest, DamageIsSilent) {
  const std::string old(64 << 10, 'o');
  Make("f", old);
  ASSERT_TRUE(machine_.disk().FlipBit("f", 8 * 700).ok());
  EXPECT_EQ(Contents("f")[700], 'n');
  EXPECT_EQ(machine_.disk().FlipBit("f", 8 * (64 << 10)).code(), Code::kOutOfRange);
  Make("lost", old);
  Make("misdirected", old);
  machine_.disk().options().lost_write_chance = 1;
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "lost");
    EXPECT_TRUE((co_await WriteText(**file, 0, "new")).ok());
    EXPECT_TRUE((co_await (*file)->Sync()).ok());
  });
  EXPECT_EQ(Contents("lost"), old);
  machine_.disk().options().lost_write_chance = 0;
  machine_.disk().options().misdirected_write_chance = 1;
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "misdirected");
    EXPECT_TRUE((co_await WriteText(**file, 3, "new")).ok());
  });
  EXPECT_THAT(Contents("misdirected"), testing::HasSubstr("new"));
  EXPECT_EQ(Contents("misdirected").substr(3, 3), "ooo");
}

TEST_F(SimDiskTest, ChancesFailSomeOperations) {
  machine_.disk().options().read_error_chance = 0.2;
  machine_.disk().options().write_error_chance = 0.2;
  machine_.disk().options().sync_error_chance = 0.2;
  int failed[3] = {};
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "f");
    std::string text(8, '?');
    for (int i = 0; i < 300; ++i) {
      failed[0] += (co_await (*file)->ReadAt(0, Writable(text))).code() == Code::kIo;
      failed[1] += (co_await WriteText(**file, 0, "12345678")).code() == Code::kIo;
      failed[2] += (co_await (*file)->Sync()).code() == Code::kIo;
    }
  });
  EXPECT_THAT(failed, testing::Each(testing::AllOf(testing::Gt(20), testing::Lt(120))));
}

TEST_F(SimDiskTest, DirectAccessMustBeAligned) {
  Make("f", std::string(8192, 'x'));
  Run([&]() -> Task<void> {
    auto file = co_await disk().Open("f", {.write = true, .direct = true});
    alignas(4096) static std::byte buffer[8192];
    const MutableBytes bytes(buffer);
    EXPECT_EQ((co_await (*file)->ReadAt(0, bytes)).value_or(0), 8192u);
    EXPECT_EQ((co_await (*file)->ReadAt(512, bytes)).code(), Code::kInvalidArgument);
    EXPECT_EQ((co_await (*file)->ReadAt(0, bytes.first(512))).code(), Code::kInvalidArgument);
    EXPECT_EQ((co_await (*file)->ReadAt(0, bytes.subspan(512, 4096))).code(),
              Code::kInvalidArgument);
    const ConstBytes piece = bytes.subspan(512, 4096);
    EXPECT_EQ((co_await (*file)->WriteAt(0, std::span(&piece, 1))).code(), Code::kInvalidArgument);
  });
}

TEST_F(SimDiskTest, OverlappingWritesGiveEitherOrder) {
  bool seen[2] = {};
  Run([&]() -> Task<void> {
    auto file = co_await OpenFile(disk(), "f");
    for (int i = 0; i < 100; ++i) {
      int done = 0;
      struct Writer {
        static Task<void> Go(File* file, std::string text, int* done) {
          EXPECT_TRUE((co_await WriteText(*file, 0, text)).ok());
          ++*done;
        }
      };
      machine_.loop().Spawn(Writer::Go(file->get(), "first ", &done));
      machine_.loop().Spawn(Writer::Go(file->get(), "second", &done));
      while (done < 2) co_await machine_.loop().Sleep(1ms);
      seen[Contents("f") == "second"] = true;
    }
  });
  EXPECT_THAT(seen, testing::Each(true));
}

TEST_F(SimDiskTest, ALockDiesWithItsProcess) {
  struct Holder : Process {
    std::unique_ptr<FileLock> lock;
  };
  machine_.Kill();
  machine_.Start([](SimLoop& loop) {
    auto holder = std::make_unique<Holder>();
    holder->lock = std::move(*loop.disk().Lock("LOCK"));
    return holder;
  });
  EXPECT_EQ(disk().Lock("LOCK").code(), Code::kBusy);
  machine_.Kill();
  machine_.Start();
  EXPECT_TRUE(disk().Lock("LOCK").ok());
}

TEST_F(SimDiskTest, ADiskThatBreaksItsWordLosesWhatWasSynced) {
  const std::string text(64 << 10, 'x');
  Make("kept", text);
  machine_.disk().options().ignores_syncs = true;
  Make("lost", text);
  machine_.PowerCut();
  EXPECT_EQ(Contents("kept"), text);
  EXPECT_NE(Contents("lost"), text);
  EXPECT_NE(Contents("lost"), "<none>") << "the directory was synced";
}

TEST_F(SimDiskTest, ADiskMayHideThatItIsFull) {
  machine_.disk().SetCapacity(16 << 10);
  machine_.disk().options().ignores_no_space = true;
  const std::string text(64 << 10, 'x');
  Make("f", text);  // expects that every write succeeds
  EXPECT_NE(Contents("f"), text);
}

TEST_F(SimDiskTest, ASlowDiskIsSlow) {
  auto time_of_sync = [&] {
    const Duration before = world_.now();
    Make("f", "x");
    return world_.now() - before;
  };
  const Duration fast = time_of_sync();
  machine_.disk().SetSlowness(1000);
  EXPECT_GT(time_of_sync(), 100 * fast);
}

TEST(SimDiskDeathTest, ABufferMustStay) {
  EXPECT_DEATH(
      {
        World world(1);
        Machine& machine = world.AddMachine("a");
        machine.Start();
        std::string text = "before";
        struct Writer {
          static Task<void> Go(SimLoop* loop, std::string* text) {
            auto file = co_await OpenFile(loop->disk(), "f");
            const ConstBytes piece = Bytes(*text);
            EXPECT_TRUE((co_await (*file)->WriteAt(0, std::span(&piece, 1))).ok());
          }
        };
        machine.loop().Spawn(Writer::Go(&machine.loop(), &text));
        while (world.event_count() < 3) world.Step();
        text = "beyond";
        world.RunFor(1s);
      },
      "buffer changed");
}

}  // namespace
}  // namespace moraine::sim
