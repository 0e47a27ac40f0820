// Memory for bulk bytes: page-aligned, recycled, never zero-filled.
//
// A Buffer begins at a chosen offset within a 4 KiB page, so that bytes which belong at chunk
// offset o can lie at an address with the same remainder: whole blocks can then go to the disk
// directly, without a copy.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace moraine {

// Owns its bytes; moves cheaply. Any thread.
class Buffer {
 public:
  Buffer() = default;
  // `size` bytes that begin `page_offset` (below 4096) bytes into a page.
  static Buffer Allocate(size_t size, size_t page_offset = 0);
  Buffer(Buffer&& other) noexcept { Swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Buffer();

  std::byte* data() { return storage_ + begin_; }
  const std::byte* data() const { return storage_ + begin_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<std::byte> bytes() { return {data(), size_}; }
  std::span<const std::byte> bytes() const { return {data(), size_}; }
  // Drops the end.
  void Shrink(size_t size);

  // Moves into shared ownership, for bytes that go to several receivers.
  std::shared_ptr<const Buffer> Share() && {
    return std::make_shared<const Buffer>(std::move(*this));
  }

 private:
  void Swap(Buffer& other) {
    std::swap(storage_, other.storage_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
  }
  std::byte* storage_ = nullptr;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t size_ = 0;
};

// What the recycling pool holds now, for metrics.
size_t BufferPoolIdleBytes();

}  // namespace moraine
