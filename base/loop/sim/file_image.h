// The bytes of one simulated file, twice: as the page cache shows them and as the disk holds them.
//
// A write changes the cache and leaves its 512-byte sectors dirty. A sync that succeeds makes what
// was dirty when it began durable; one that fails may leave sectors `lost`: the cache shows them
// and nobody will ever write them again, as Linux does. A crash decides for each dirty sector.
// A size is metadata: unsynced sizes are a sequence of steps, of which a crash keeps a beginning;
// a sector that a truncation cut away is never durable without the step that cut it.
// Pages are copied when they change, so an unsynced page costs memory twice and a hole nothing.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/loop/disk.h"
#include "base/random.h"

namespace moraine::sim {

class FileImage {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kSectors = kPageBytes / kSectorBytes;  // of a page

  uint64_t size() const { return size_; }
  // Fills `buffer` up to the end of the file; returns the bytes read.
  size_t Read(uint64_t offset, MutableBytes buffer) const;
  void Write(uint64_t offset, ConstBytes bytes);  // grows the file
  void Resize(uint64_t size);

  // What a sync that begins now has to make durable.
  struct SyncPoint;
  SyncPoint BeginSync() const;
  void FinishSync(const SyncPoint& point);
  // The sync failed: each sector of it stays dirty or is lost.
  void FailSync(const SyncPoint& point, Random& random);
  // Makes a range and the size durable at once, as O_DSYNC does after a write.
  void SyncRange(uint64_t offset, uint64_t length);
  // Makes some dirty sectors durable, as the kernel does at times of its own.
  void WriteBackSome(Random& random);
  // The cache forgets lost sectors; reads then show what the disk has.
  void EvictLost();

  // Power returns: cache and disk are the same again. Each dirty sector was written with the chance
  // `keep`, torn inside with `torn`.
  void Crash(Random& random, double keep, double torn);

  // Damage to the medium, unseen by anybody: shows in cache and disk.
  void FlipBit(uint64_t bit);
  void Overwrite(uint64_t offset, ConstBytes bytes);  // within the size

  bool dirty() const { return !dirty_pages_.empty() || !steps_.empty(); }

 private:
  using Page = std::array<std::byte, kPageBytes>;
  using PagePtr = std::shared_ptr<Page>;  // null: zeros; shared ones are copied before a change
  struct Slot {
    PagePtr cached;
    PagePtr durable;                           // meaningful only while Differs()
    uint8_t dirty = 0;                         // one bit a sector: the disk has something older
    uint8_t lost = 0;                          // the same, but it will not be written
    uint8_t cut = 0;                           // of the dirty ones: zeroed by a truncation
    std::array<uint64_t, kSectors> written{};  // number of the last change
    std::array<uint64_t, kSectors> synced{};   // number of the change that the disk has
    bool Differs() const { return (dirty | lost) != 0; }
  };
  struct SizeStep {
    uint64_t number;
    uint64_t size;
  };

  static Page& Own(PagePtr& page);
  static void CopySector(PagePtr& to, const PagePtr& from, uint64_t sector);
  void Touch(uint64_t index, Slot& slot, uint8_t mask, bool cut);
  void Settle(uint64_t index, Slot& slot);
  void Step(uint64_t size);
  // Makes the size steps up to `number`, after which the size was `size`, durable.
  void SettleSizes(uint64_t number, uint64_t size);
  void Cut(const SizeStep& step);

  std::map<uint64_t, Slot> slots_;
  std::set<uint64_t> dirty_pages_;
  uint64_t size_ = 0;
  uint64_t durable_size_ = 0;
  uint64_t durable_number_ = 0;
  std::vector<SizeStep> steps_;
  bool any_lost_ = false;
  uint64_t number_ = 0;  // of the last change

 public:
  struct SyncPoint {
    struct Part {
      uint64_t index;
      PagePtr content;
      uint8_t mask;
    };
    uint64_t number = 0;
    uint64_t size = 0;
    std::vector<Part> parts;
  };
};

}  // namespace moraine::sim
