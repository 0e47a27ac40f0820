#include "base/buffer.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutex.h"

namespace moraine {
namespace {

constexpr size_t kPage = limits::kBlockBytes;
constexpr size_t kClassesMax = 16;  // 4 KiB << 15 is above every bulk limit

// Free storage by size class (powers of two from one page). New pages cost a fault each, about
// 0.25 ms for a MiB, so storage is kept; the kernel gets back what is above the bound.
class Pool {
 public:
  std::byte* Take(size_t capacity) {
    {
      MutexLock lock(mutex_);
      auto& list = free_[Class(capacity)];
      if (!list.empty()) {
        std::byte* storage = list.back();
        list.pop_back();
        idle_bytes_ -= capacity;
        return storage;
      }
    }
    void* storage = std::aligned_alloc(kPage, capacity);
    MORAINE_CHECK(storage != nullptr, "out of memory");
    return static_cast<std::byte*>(storage);
  }
  void Give(std::byte* storage, size_t capacity) {
    {
      MutexLock lock(mutex_);
      if (idle_bytes_ + capacity <= limits::kIdleBufferBytesMax) {
        free_[Class(capacity)].push_back(storage);
        idle_bytes_ += capacity;
        return;
      }
    }
    std::free(storage);
  }
  size_t idle_bytes() {
    MutexLock lock(mutex_);
    return idle_bytes_;
  }

 private:
  static size_t Class(size_t capacity) {
    const size_t index = std::countr_zero(capacity / kPage);
    MORAINE_CHECK(std::has_single_bit(capacity) && index < kClassesMax);
    return index;
  }
  Mutex mutex_;
  std::array<std::vector<std::byte*>, kClassesMax> free_ MORAINE_GUARDED_BY(mutex_);
  size_t idle_bytes_ MORAINE_GUARDED_BY(mutex_) = 0;
};

// Never destroyed: buffers may outlive every static object.
Pool& ThePool() {
  static Pool* pool = new Pool;
  return *pool;
}

}  // namespace

Buffer Buffer::Allocate(size_t size, size_t page_offset) {
  MORAINE_CHECK(page_offset < kPage);
  Buffer buffer;
  if (size == 0) return buffer;
  buffer.capacity_ = std::bit_ceil(std::max(size + page_offset, kPage));
  buffer.storage_ = ThePool().Take(buffer.capacity_);
  buffer.begin_ = page_offset;
  buffer.size_ = size;
  return buffer;
}

Buffer::~Buffer() {
  if (storage_ != nullptr) ThePool().Give(storage_, capacity_);
}

void Buffer::Shrink(size_t size) {
  MORAINE_CHECK(size <= size_);
  size_ = size;
}

size_t BufferPoolIdleBytes() { return ThePool().idle_bytes(); }

}  // namespace moraine
