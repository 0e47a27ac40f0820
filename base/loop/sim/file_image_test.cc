#include "base/loop/sim/file_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/loop/sim/test_support.h"
#include "base/random.h"

namespace moraine::sim {
namespace {

std::string Contents(const FileImage& file) {
  std::string text(file.size(), '?');
  EXPECT_EQ(file.Read(0, Writable(text)), text.size());
  return text;
}

// The bytes of [begin, end) of a file with these contents, zeros behind its end.
std::string Part(const std::string& contents, uint64_t begin, uint64_t end) {
  std::string part(end - begin, '\0');
  if (begin < contents.size()) {
    contents.copy(part.data(), std::min<uint64_t>(end, contents.size()) - begin, begin);
  }
  return part;
}

// Remembers what the file was after each change, and from which change on each sector and the size
// must be found again.
class Model {
 public:
  static constexpr uint64_t kBytesMax = 3 * FileImage::kPageBytes;
  static constexpr uint64_t kSectorsMax = kBytesMax / kSectorBytes;

  Model() : history_{""}, floors_(kSectorsMax, 0) {}

  size_t now() const { return history_.size() - 1; }
  const std::string& contents() const { return history_.back(); }
  void Change(std::string contents) { history_.push_back(std::move(contents)); }
  void Durable(size_t since, uint64_t begin, uint64_t end) {
    for (uint64_t sector = begin / kSectorBytes; sector * kSectorBytes < end; ++sector) {
      floors_[sector] = std::max(floors_[sector], since);
    }
    size_floor_ = std::max(size_floor_, since);
  }

  void ExpectPossible(const std::string& found) const {
    bool size_possible = false;
    for (size_t i = size_floor_; i < history_.size(); ++i) {
      size_possible |= history_[i].size() == found.size();
    }
    EXPECT_TRUE(size_possible) << "size " << found.size();
    for (uint64_t sector = 0; sector * kSectorBytes < found.size(); ++sector) {
      const uint64_t begin = sector * kSectorBytes;
      const uint64_t end = std::min<uint64_t>(begin + kSectorBytes, found.size());
      EXPECT_TRUE(Whole(found, begin, end) || (Shrank(sector) && EachByte(found, begin, end)))
          << "sector " << sector << " is none of its versions since " << floors_[sector];
    }
  }

  void Restart(const std::string& contents) {
    history_ = {contents};
    floors_.assign(kSectorsMax, 0);
    size_floor_ = 0;
  }

 private:
  bool Whole(const std::string& found, uint64_t begin, uint64_t end) const {
    for (size_t i = floors_[begin / kSectorBytes]; i < history_.size(); ++i) {
      if (Part(history_[i], begin, end) == Part(found, begin, end)) return true;
    }
    return false;
  }
  bool Shrank(uint64_t sector) const {
    for (size_t i = floors_[sector] + 1; i < history_.size(); ++i) {
      if (history_[i].size() < history_[i - 1].size()) return true;
    }
    return false;
  }
  // A truncation within a sector mixes an older beginning with zeros.
  bool EachByte(const std::string& found, uint64_t begin, uint64_t end) const {
    for (uint64_t at = begin; at < end; ++at) {
      if (!Whole(found, at, at + 1)) return false;
    }
    return true;
  }

  std::vector<std::string> history_;
  std::vector<size_t> floors_;  // by sector
  size_t size_floor_ = 0;
};

// One random life of a file, with crashes.
class Life {
 public:
  explicit Life(uint64_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      Act();
      EXPECT_EQ(Contents(file_), model_.contents());
    }
  }
  bool saw_loss() const { return saw_loss_; }

 private:
  void Act() {
    switch (random_.Uniform(10)) {
      case 0:
      case 1:
      case 2:
      case 3: return Write(/*durable=*/false);
      case 4: return Write(/*durable=*/true);
      case 5: return Truncate();
      case 6: return BeginSync();
      case 7: return FinishSync();
      case 8: return file_.WriteBackSome(random_);
      default: return random_.OneIn(4) ? Crash() : Write(false);
    }
  }
  void Write(bool durable) {
    const uint64_t offset = random_.Uniform(Model::kBytesMax - 1);
    const uint64_t length =
        1 + random_.Uniform(std::min<uint64_t>(3000, Model::kBytesMax - offset));
    const std::string text(length, static_cast<char>('a' + letter_++ % 26));
    std::string contents = model_.contents();
    contents.resize(std::max<uint64_t>(contents.size(), offset + length), '\0');
    contents.replace(offset, length, text);
    file_.Write(offset, Bytes(text));
    model_.Change(std::move(contents));
    if (!durable) return;
    file_.SyncRange(offset, length);
    model_.Durable(model_.now(), offset, offset + length);
  }
  void Truncate() {
    std::string contents = model_.contents();
    contents.resize(random_.Uniform(Model::kBytesMax), '\0');
    file_.Resize(contents.size());
    model_.Change(std::move(contents));
  }
  void BeginSync() { syncs_.push_back({file_.BeginSync(), model_.now()}); }
  void FinishSync() {
    if (syncs_.empty()) return;
    const size_t which = random_.Uniform(syncs_.size());
    file_.FinishSync(syncs_[which].point);
    model_.Durable(syncs_[which].at, 0, Model::kBytesMax);
    syncs_.erase(syncs_.begin() + static_cast<std::ptrdiff_t>(which));
  }
  void Crash() {
    file_.Crash(random_, random_.NextDouble(), 0);
    const std::string found = Contents(file_);
    model_.ExpectPossible(found);
    saw_loss_ |= found != model_.contents();
    model_.Restart(found);
    syncs_.clear();
  }

  struct UnderWay {
    FileImage::SyncPoint point;
    size_t at;
  };
  Random random_;
  FileImage file_;
  Model model_;
  std::vector<UnderWay> syncs_;
  int letter_ = 0;
  bool saw_loss_ = false;
};

TEST(FileImageTest, EachSectorIsAVersionSinceItsLastSync) {
  int losses = 0;
  constexpr int kLives = 2000;
  for (uint64_t seed = 1; seed <= kLives; ++seed) {
    TellSeedOnAbort(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    Life life(seed);
    life.Run(150);
    ASSERT_FALSE(HasFailure());
    losses += life.saw_loss();
  }
  EXPECT_GT(losses, kLives / 2) << "the crashes lose too little to prove anything";
}

TEST(FileImageTest, ALongUnsyncedFileMayLoseAnything) {
  bool longer = false;
  bool shorter = false;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    FileImage file;
    for (int i = 0; i < 500; ++i)
      file.Write(static_cast<uint64_t>(i) * 100, Bytes(std::string(100, 'x')));
    const FileImage::SyncPoint point = file.BeginSync();
    for (int i = 500; i < 1000; ++i) {
      file.Write(static_cast<uint64_t>(i) * 100, Bytes(std::string(100, 'y')));
    }
    file.FinishSync(point);
    file.Crash(random, 0.5, 0);
    ASSERT_GE(file.size(), 50'000u) << "seed " << seed;
    EXPECT_EQ(Contents(file).substr(0, 50'000), std::string(50'000, 'x')) << "seed " << seed;
    longer |= file.size() > 50'000;
    shorter |= file.size() < 100'000;
  }
  EXPECT_TRUE(longer && shorter);
}

TEST(FileImageTest, SectorsAreTornOnlyWhenAsked) {
  int torn = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TellSeedOnAbort(seed);
    for (const double chance : {0.0, 0.5}) {
      Random random(seed);
      FileImage file;
      file.Write(0, Bytes(std::string(4096, 'o')));
      file.FinishSync(file.BeginSync());
      file.Write(0, Bytes(std::string(4096, 'n')));
      file.Crash(random, 0.5, chance);
      const std::string found = Contents(file);
      for (uint64_t at = 0; at < found.size(); at += kSectorBytes) {
        const std::string sector = found.substr(at, kSectorBytes);
        const auto changed = static_cast<uint64_t>(std::ranges::count(sector, 'n'));
        EXPECT_EQ(sector, std::string(changed, 'n') + std::string(kSectorBytes - changed, 'o'));
        if (changed == 0 || changed == kSectorBytes) continue;
        ++torn;
        EXPECT_GT(chance, 0) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(torn, 0);
}

TEST(FileImageTest, AFailedSyncMayLoseDataThatTheNextSyncDoesNotSave) {
  bool lost = false;
  bool kept = false;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    TellSeedOnAbort(seed);
    Random random(seed);
    FileImage file;
    file.Resize(4096);
    file.FinishSync(file.BeginSync());
    const std::string text(4096, 'n');
    file.Write(0, Bytes(text));
    file.FailSync(file.BeginSync(), random);
    EXPECT_EQ(Contents(file), text) << "the cache still shows it";
    file.FinishSync(file.BeginSync());
    if (random.OneIn(2)) file.EvictLost();
    file.Crash(random, 1, 0);
    (Contents(file) == text ? kept : lost) = true;
  }
  EXPECT_TRUE(lost && kept);
}

TEST(FileImageTest, RotSurvivesEverything) {
  FileImage file;
  file.Write(0, Bytes(std::string(8192, 'a')));
  file.FinishSync(file.BeginSync());
  file.FlipBit(8 * 5000 + 1);
  file.Write(4096, Bytes("b"));
  EXPECT_EQ(Contents(file)[5000], 'c');
  Random random(1);
  file.Crash(random, 0, 0);
  EXPECT_EQ(Contents(file)[5000], 'c');
  EXPECT_EQ(Contents(file)[4096], 'a');
}

TEST(FileImageTest, HolesCostNothingAndReadAsZeros) {
  FileImage file;
  file.Resize(1ULL << 40);
  file.Write((1ULL << 39) + 7, Bytes("x"));
  std::string text(3, '?');
  EXPECT_EQ(file.Read((1ULL << 39) + 6, Writable(text)), 3u);
  EXPECT_EQ(text, std::string("\0x\0", 3));
  EXPECT_EQ(file.Read((1ULL << 40) - 1, Writable(text)), 1u);
  EXPECT_EQ(file.Read(1ULL << 40, Writable(text)), 0u);
}

}  // namespace
}  // namespace moraine::sim
