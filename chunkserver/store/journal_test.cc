#include "chunkserver/store/journal.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "base/loop/sim/world.h"
#include "base/random.h"
#include "base/units.h"
#include "chunkserver/store/store_test_support.h"

namespace moraine::chunkserver {
namespace {

using testing::Hex;

constexpr uint64_t kId = 0xABCDEF;
constexpr uint64_t kRegion = 4_MiB;

JournalRecord AppendOf(uint64_t number, uint64_t incarnation = 1) {
  return {RecordKind::kAppend, ChunkId(7), incarnation, Epoch(1), number, {}};
}

// JOURNAL.md sections 2 and 3: bytes on disks out there do not change.
TEST(JournalFormat, FrameBytes) {
  FrameBuilder builder(FrameBytesMax(kRegion));
  const std::string text = "hello";
  const ConstBytes bytes = std::as_bytes(std::span(text));
  ASSERT_TRUE(builder.Add(AppendOf(300, 0x42), std::span(&bytes, 1)));
  const ReplicaOrigin origin{InodeId(9), 4096, "log", 5, 3, 3, 4};
  ASSERT_TRUE(builder.Add({RecordKind::kState, ChunkId(8), 0x43, Epoch(2), 0, origin}, {}));
  const ConstBytes frame = builder.Finish(kId, 5, 8192, 3);
  EXPECT_EQ(frame.size(), 4096u);
  EXPECT_EQ(Hex(frame.first(64)),
            "4d524e4652414d45"
            "01000000"
            "00100000"
            "efcdab0000000000"
            "0500000000000000"
            "0020000000000000"
            "0300000000000000"
            "2b000000"
            "02000000"
            "a684625ece5fda82");
  EXPECT_EQ(Hex(frame.subspan(64, 46)),
            "0207420000000000000001ac020568656c6c6f"
            "010843000000000000000200098020036c6f670503030400"
            "000000");
  const auto header = PeekFrameHeader(frame, kId);
  ASSERT_TRUE(header.has_value());
  EXPECT_FALSE(PeekFrameHeader(frame, kId + 1).has_value());
  Buffer copy = Buffer::Allocate(frame.size());
  std::memcpy(copy.data(), frame.data(), frame.size());
  ASSERT_TRUE(CheckFrame(*header, copy.bytes()).ok());
  const auto records = DecodeRecords(*header, copy.bytes());
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0].number, 300u);
  EXPECT_EQ((*records)[0].bytes.size(), 5u);
  EXPECT_EQ((*records)[1].origin, origin);
  for (size_t bit = 0; bit < 110 * 8; ++bit) {
    copy.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto peeked = PeekFrameHeader(copy.bytes(), kId);
    EXPECT_FALSE(peeked && CheckFrame(*peeked, copy.bytes()).ok()) << bit;
    copy.data()[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

// A process with a journal, whose only user needs the newest `window` frames.
class JournalWorld {
 public:
  explicit JournalWorld(uint64_t seed) : world(seed), machine(world.AddMachine("one")) {
    machine.Start();
    const auto made =
        world.Await(machine.loop(), Journal::Create(machine.loop(), "journal", kId, kRegion));
    EXPECT_TRUE(made && made->ok());
    const auto synced = world.Await(machine.loop(), machine.loop().disk().SyncDirectory("."));
    EXPECT_TRUE(synced && synced->ok());
    machine.Kill();
  }
  struct Life : sim::Process {
    std::unique_ptr<MetricRegistry> metrics = std::make_unique<MetricRegistry>();
    std::unique_ptr<Journal> journal;
    uint64_t window = 0;
  };
  // Opens what is there; fills `seen` with the numbers of the records and returns the scan.
  JournalScan Open(std::vector<uint64_t>* seen, uint64_t window) {
    machine.Start([](sim::SimLoop&) { return std::make_unique<Life>(); });
    OpenOptions options;
    options.write = options.direct = options.durable_writes = true;
    auto file = world.Await(machine.loop(), machine.loop().disk().Open("journal", options));
    auto scan = world.Await(machine.loop(), ScanJournal(***file));
    EXPECT_TRUE(scan->ok()) << scan->status().ToString();
    const auto replayed = world.Await(
        machine.loop(),
        ReplayJournal(***file, **scan, [seen](uint64_t, const std::vector<DecodedRecord>& records) {
          for (const DecodedRecord& record : records) seen->push_back(record.incarnation);
        }));
    EXPECT_TRUE(replayed->ok());
    Life& life = machine.process_as<Life>();
    life.window = window;
    life.journal =
        std::make_unique<Journal>(machine.loop(), std::move(**file), **scan, *life.metrics);
    life.journal->Start(
        [&life] {
          const uint64_t next = life.journal->committed_sequence() + 1;
          return next > life.window ? next - life.window : 1;
        },
        [] {}, [](const Status&) {}, [] { return Status::Ok(); });
    return **scan;
  }
  Journal& journal() { return *machine.process_as<Life>().journal; }

  sim::World world;
  sim::Machine& machine;
};

TEST(Journal, GroupsWhatIsQueuedMeanwhile) {
  JournalWorld sim(1);
  std::vector<uint64_t> seen;
  sim.Open(&seen, 1000);
  std::set<uint64_t> frames;
  for (uint64_t i = 1; i <= 50; ++i)
    frames.insert(sim.journal().Enqueue(AppendOf(0, i), ConstBytes()));
  EXPECT_EQ(frames.size(), 1u);
  EXPECT_TRUE(sim.world.Await(sim.machine.loop(), sim.journal().Committed(*frames.rbegin()))->ok());
  sim.machine.PowerCut();
  sim.machine.SwitchOn();
  sim.Open(&seen, 1000);
  EXPECT_EQ(seen.size(), 50u);
}

TEST(Journal, AFailedWriteFailsEverythingAfterIt) {
  JournalWorld sim(1);
  std::vector<uint64_t> seen;
  sim.Open(&seen, 1000);
  sim.machine.disk().FailNext(sim::DiskOp::kWrite, "journal");
  const uint64_t first = sim.journal().Enqueue(AppendOf(0, 1), ConstBytes());
  EXPECT_FALSE(sim.world.Await(sim.machine.loop(), sim.journal().Committed(first))->ok());
  const uint64_t second = sim.journal().Enqueue(AppendOf(0, 2), ConstBytes());
  EXPECT_FALSE(sim.world.Await(sim.machine.loop(), sim.journal().Committed(second))->ok());
  EXPECT_FALSE(sim.world.Await(sim.machine.loop(), sim.journal().Admit(1))->ok());
}

// Turns over many times under power cuts: what was committed and is still needed is there, in
// order.
TEST(Journal, KeepsCommittedRecordsOverPowerCuts) {
  const uint64_t base = SeedFromEnvironment();
  SCOPED_TRACE(::testing::Message() << "MORAINE_SEED=" << base);
  uint64_t turned_over = 0;
  for (uint64_t seed = base; seed < base + 30; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE(::testing::Message() << "the seed itself: " << seed);
    JournalWorld sim(seed);
    Random random(seed);
    uint64_t next = 1;
    uint64_t committed = 0;
    std::vector<uint64_t> seen;
    sim.Open(&seen, 4);
    for (int life = 0; life < 4; ++life) {
      std::vector<std::byte> filler(150'000);
      const int writes = static_cast<int>(random.Between(1, 60));
      for (int i = 0; i < writes; ++i) {
        for (uint64_t n = random.Between(1, 3); n > 0; --n) {
          const ConstBytes bytes(filler.data(), random.Uniform(filler.size()));
          sim.journal().Enqueue(AppendOf(0, next++), bytes);
        }
        const uint64_t frame = sim.journal().next_sequence() - 1;
        ASSERT_TRUE(sim.world.Await(sim.machine.loop(), sim.journal().Committed(frame))->ok());
        committed = next - 1;
      }
      for (uint64_t n = random.Uniform(8); n > 0; --n) {  // under way when the power goes
        sim.journal().Enqueue(AppendOf(0, next++),
                              ConstBytes(filler.data(), random.Uniform(9'000)));
      }
      sim.world.RunFor(Duration(random.Uniform(400'000)));
      sim.machine.PowerCut();
      sim.machine.SwitchOn();
      seen.clear();
      const JournalScan scan = sim.Open(&seen, 4);
      ASSERT_FALSE(scan.damaged);
      turned_over += scan.next_position / kRegion;
      ASSERT_FALSE(seen.empty());
      for (size_t i = 1; i < seen.size(); ++i) ASSERT_EQ(seen[i], seen[i - 1] + 1);
      ASSERT_GE(seen.back(), committed) << "a committed record is lost";
      ASSERT_LT(seen.back(), next);
      next = seen.back() + 1;
      committed = seen.back();
    }
  }
  EXPECT_GT(turned_over, 10u);
}

}  // namespace
}  // namespace moraine::chunkserver
