#include "base/loop/sim/file_image.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace moraine::sim {
namespace {

constexpr uint64_t kPage = FileImage::kPageBytes;

// The sectors of a page that the bytes [begin, end) touch.
uint8_t Mask(uint64_t begin, uint64_t end) {
  if (begin >= end) return 0;
  const uint64_t first = begin / kSectorBytes;
  const uint64_t last = (end - 1) / kSectorBytes;
  uint8_t mask = 0;
  for (uint64_t sector = first; sector <= last; ++sector)
    mask |= static_cast<uint8_t>(1u << sector);
  return mask;
}

// Calls visit(page index, begin within the page, end within the page, bytes before) for a range.
template <class Visit>
void ForPages(uint64_t offset, uint64_t length, Visit visit) {
  uint64_t done = 0;
  while (done < length) {
    const uint64_t begin = (offset + done) % kPage;
    const uint64_t part = std::min(kPage - begin, length - done);
    visit((offset + done) / kPage, begin, begin + part, done);
    done += part;
  }
}

}  // namespace

FileImage::Page& FileImage::Own(PagePtr& page) {
  if (page == nullptr) {
    page = std::make_shared<Page>();
    page->fill(std::byte{0});
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  return *page;
}

void FileImage::CopySector(PagePtr& to, const PagePtr& from, uint64_t sector) {
  if (to == from) return;
  std::byte* target = Own(to).data() + sector * kSectorBytes;
  if (from == nullptr) {
    std::memset(target, 0, kSectorBytes);
  } else {
    std::memcpy(target, from->data() + sector * kSectorBytes, kSectorBytes);
  }
}

size_t FileImage::Read(uint64_t offset, MutableBytes buffer) const {
  if (offset >= size_) return 0;
  const uint64_t length = std::min<uint64_t>(buffer.size(), size_ - offset);
  ForPages(offset, length, [&](uint64_t index, uint64_t begin, uint64_t end, uint64_t done) {
    const auto it = slots_.find(index);
    if (it == slots_.end() || it->second.cached == nullptr) {
      std::memset(buffer.data() + done, 0, end - begin);
    } else {
      std::memcpy(buffer.data() + done, it->second.cached->data() + begin, end - begin);
    }
  });
  return length;
}

// Before a change of the cached sectors in `mask`: remembers what the disk has.
void FileImage::Touch(uint64_t index, Slot& slot, uint8_t mask, bool cut) {
  if (!slot.Differs()) slot.durable = slot.cached;
  if (cut) {
    slot.cut |= mask & static_cast<uint8_t>(~slot.dirty);
  } else {
    slot.cut &= static_cast<uint8_t>(~mask);
  }
  slot.dirty |= mask;
  slot.lost &= static_cast<uint8_t>(~mask);
  for (uint64_t sector = 0; sector < kSectors; ++sector) {
    if (mask >> sector & 1) slot.written[sector] = number_;
  }
  dirty_pages_.insert(index);
}

// After sectors became clean: drops what is no longer needed.
void FileImage::Settle(uint64_t index, Slot& slot) {
  slot.cut &= slot.dirty;
  if (slot.dirty == 0) dirty_pages_.erase(index);
  if (!slot.Differs()) slot.durable = nullptr;
}

void FileImage::Write(uint64_t offset, ConstBytes bytes) {
  if (bytes.empty()) return;
  ++number_;
  ForPages(offset, bytes.size(), [&](uint64_t index, uint64_t begin, uint64_t end, uint64_t done) {
    Slot& slot = slots_[index];
    Touch(index, slot, Mask(begin, end), /*cut=*/false);
    std::memcpy(Own(slot.cached).data() + begin, bytes.data() + done, end - begin);
  });
  if (offset + bytes.size() > size_) Step(offset + bytes.size());
}

void FileImage::Step(uint64_t size) {
  constexpr size_t kStepsMax = 64;  // growth beyond is told in one step
  const bool grows = size >= size_;
  if (grows && steps_.size() >= kStepsMax && steps_[steps_.size() - 2].size <= steps_.back().size) {
    steps_.back() = {number_, size};
  } else {
    steps_.push_back({number_, size});
  }
  size_ = size;
}

void FileImage::Resize(uint64_t size) {
  if (size == size_) return;
  ++number_;
  if (size < size_) {
    for (auto it = slots_.lower_bound(size / kPage); it != slots_.end(); ++it) {
      Slot& slot = it->second;
      if (slot.cached == nullptr && !slot.Differs()) continue;
      const uint64_t start = it->first * kPage;
      const uint64_t begin = size > start ? size - start : 0;
      if (begin >= kPage) continue;
      Touch(it->first, slot, Mask(begin, kPage), /*cut=*/true);
      if (begin == 0) {
        slot.cached = nullptr;
      } else if (slot.cached != nullptr) {
        std::memset(Own(slot.cached).data() + begin, 0, kPage - begin);
      }
    }
  }
  Step(size);
}

FileImage::SyncPoint FileImage::BeginSync() const {
  SyncPoint point;
  point.number = number_;
  point.size = size_;
  point.parts.reserve(dirty_pages_.size());
  for (const uint64_t index : dirty_pages_) {
    const Slot& slot = slots_.at(index);
    point.parts.push_back({index, slot.cached, slot.dirty});
  }
  return point;
}

void FileImage::FinishSync(const SyncPoint& point) {
  SettleSizes(point.number, point.size);
  for (const SyncPoint::Part& part : point.parts) {
    const auto it = slots_.find(part.index);
    if (it == slots_.end()) continue;
    Slot& slot = it->second;
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      // A later sync, or one of the range, may have been faster.
      if (!(part.mask & slot.dirty & bit) || slot.synced[sector] > point.number) continue;
      CopySector(slot.durable, part.content, sector);
      slot.synced[sector] = point.number;
      if (slot.written[sector] <= point.number) slot.dirty &= static_cast<uint8_t>(~bit);
    }
    Settle(part.index, slot);
  }
}

void FileImage::FailSync(const SyncPoint& point, Random& random) {
  const double lose = random.NextDouble();
  for (const SyncPoint::Part& part : point.parts) {
    const auto it = slots_.find(part.index);
    if (it == slots_.end()) continue;
    Slot& slot = it->second;
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      if (!(part.mask & slot.dirty & bit) || slot.written[sector] > point.number) continue;
      if (!random.Chance(lose)) continue;
      slot.dirty &= static_cast<uint8_t>(~bit);
      slot.lost |= bit;
      any_lost_ = true;
    }
    Settle(part.index, slot);
  }
}

void FileImage::SyncRange(uint64_t offset, uint64_t length) {
  SettleSizes(number_, size_);
  ForPages(offset, length, [&](uint64_t index, uint64_t begin, uint64_t end, uint64_t) {
    const auto it = slots_.find(index);
    if (it == slots_.end()) return;
    Slot& slot = it->second;
    const uint8_t mask = Mask(begin, end);
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      if (!(mask & slot.dirty & bit)) continue;
      CopySector(slot.durable, slot.cached, sector);
      slot.synced[sector] = slot.written[sector];
      slot.dirty &= static_cast<uint8_t>(~bit);
    }
    Settle(index, slot);
  });
}

void FileImage::WriteBackSome(Random& random) {
  constexpr uint64_t kPagesMax = 8;
  if (dirty_pages_.empty()) return;
  const double chance = random.NextDouble();
  // From a random place on, so that long files are not always written from their beginning.
  auto it = dirty_pages_.lower_bound(random.Uniform(*dirty_pages_.rbegin() + 1));
  for (uint64_t pages = 0; pages < kPagesMax && it != dirty_pages_.end(); ++pages) {
    const uint64_t index = *it++;
    Slot& slot = slots_.at(index);
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      if (!(slot.dirty & bit) || (slot.cut & bit) || !random.Chance(chance)) continue;
      CopySector(slot.durable, slot.cached, sector);
      slot.synced[sector] = slot.written[sector];
      slot.dirty &= static_cast<uint8_t>(~bit);
    }
    Settle(index, slot);
  }
}

void FileImage::EvictLost() {
  if (!std::exchange(any_lost_, false)) return;
  for (auto& [index, slot] : slots_) {
    for (uint64_t sector = 0; slot.lost != 0 && sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      if (!(slot.lost & bit)) continue;
      CopySector(slot.cached, slot.durable, sector);
      slot.lost &= static_cast<uint8_t>(~bit);
    }
    Settle(index, slot);
  }
}

void FileImage::SettleSizes(uint64_t number, uint64_t size) {
  if (number < durable_number_) return;
  uint64_t before = durable_size_;
  size_t settled = 0;
  while (settled < steps_.size() && steps_[settled].number <= number) {
    if (steps_[settled].size < before) Cut(steps_[settled]);
    before = steps_[settled++].size;
  }
  durable_size_ = size;
  durable_number_ = number;
  steps_.erase(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(settled));
}

// A truncation became durable: what the disk had behind it from before reads as zeros. Sectors that
// do not differ from the cache show the truncation already.
void FileImage::Cut(const SizeStep& step) {
  const uint64_t size = step.size;
  for (auto it = slots_.lower_bound(size / kPage); it != slots_.end(); ++it) {
    Slot& slot = it->second;
    if (!slot.Differs() || slot.durable == nullptr) continue;
    const uint64_t start = it->first * kPage;
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const uint64_t end = start + (sector + 1) * kSectorBytes;
      if (end <= size || !((slot.dirty | slot.lost) >> sector & 1)) continue;
      if (slot.synced[sector] >= step.number) continue;
      const uint64_t begin = std::max(size, end - kSectorBytes);
      std::memset(Own(slot.durable).data() + (begin - start), 0, end - begin);
    }
  }
}

void FileImage::Crash(Random& random, double keep, double torn) {
  const size_t kept = random.Uniform(steps_.size() + 1);
  if (kept > 0) SettleSizes(steps_[kept - 1].number, steps_[kept - 1].size);
  steps_.clear();
  for (auto& [index, slot] : slots_) {
    if (!slot.Differs()) continue;
    for (uint64_t sector = 0; sector < kSectors; ++sector) {
      const auto bit = static_cast<uint8_t>(1u << sector);
      if (!(slot.dirty & bit) || (slot.cut & bit)) continue;
      if (random.Chance(torn)) {
        const uint64_t bytes = 1 + random.Uniform(kSectorBytes - 1);
        PagePtr mixed = slot.durable;
        CopySector(mixed, slot.cached, sector);
        const uint64_t at = sector * kSectorBytes + bytes;
        if (slot.durable == nullptr) {
          std::memset(Own(mixed).data() + at, 0, kSectorBytes - bytes);
        } else {
          std::memcpy(Own(mixed).data() + at, slot.durable->data() + at, kSectorBytes - bytes);
        }
        slot.durable = std::move(mixed);
      } else if (random.Chance(keep)) {
        CopySector(slot.durable, slot.cached, sector);
      }
    }
    slot.cached = std::exchange(slot.durable, nullptr);
    slot.dirty = slot.lost = slot.cut = 0;
  }
  dirty_pages_.clear();
  any_lost_ = false;
  size_ = durable_size_;
  // What lies behind the size is gone.
  slots_.erase(slots_.lower_bound((size_ + kPage - 1) / kPage), slots_.end());
  const auto last = slots_.find(size_ / kPage);
  if (last != slots_.end() && last->second.cached != nullptr) {
    const uint64_t begin = size_ % kPage;
    std::memset(Own(last->second.cached).data() + begin, 0, kPage - begin);
  }
}

void FileImage::FlipBit(uint64_t bit) {
  const uint64_t at = bit / 8;
  MORAINE_CHECK(at < size_, "the bit lies within the file");
  const auto flip = static_cast<std::byte>(1u << bit % 8);
  Slot& slot = slots_[at / kPage];
  Own(slot.cached)[at % kPage] ^= flip;
  if (slot.Differs()) Own(slot.durable)[at % kPage] ^= flip;
}

void FileImage::Overwrite(uint64_t offset, ConstBytes bytes) {
  MORAINE_CHECK(offset + bytes.size() <= size_, "damage lies within the file");
  ForPages(offset, bytes.size(), [&](uint64_t index, uint64_t begin, uint64_t end, uint64_t done) {
    Slot& slot = slots_[index];
    std::memcpy(Own(slot.cached).data() + begin, bytes.data() + done, end - begin);
    if (slot.Differs()) {
      std::memcpy(Own(slot.durable).data() + begin, bytes.data() + done, end - begin);
    }
  });
}

}  // namespace moraine::sim
