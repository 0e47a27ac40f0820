// Which journal frames are still needed, by whom. The oldest of them is the journal's tail.
// Confined to one loop.
#pragma once

#include <cstdint>
#include <set>

namespace moraine::chunkserver {

class JournalNeeds {
 public:
  // One holder's oldest needed frame; gives it up when destroyed.
  class Need {
   public:
    explicit Need(JournalNeeds& needs) : needs_(needs) {}
    Need(const Need&) = delete;
    Need& operator=(const Need&) = delete;
    ~Need() { Clear(); }
    void Set(uint64_t sequence) {
      Clear();
      sequence_ = sequence;
      needs_.sequences_.insert(sequence);
    }
    void Clear() {
      if (sequence_ == 0) return;
      needs_.sequences_.erase(needs_.sequences_.find(sequence_));
      sequence_ = 0;
    }
    uint64_t sequence() const { return sequence_; }  // 0: none

   private:
    JournalNeeds& needs_;
    uint64_t sequence_ = 0;
  };

  // `none` when nobody needs anything.
  uint64_t Oldest(uint64_t none) const { return sequences_.empty() ? none : *sequences_.begin(); }

 private:
  std::multiset<uint64_t> sequences_;
};

}  // namespace moraine::chunkserver
