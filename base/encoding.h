// How numbers and strings become bytes: journal records, chunk headers, metadata values and keys.
//
//   fixed    U16 U32 U64: little-endian; Big32, Big64: big-endian, for keys that sort as numbers
//   varint   7 bits a byte, low bits first, high bit = more follows; the shortest form only
//   signed   varint of the zigzag form (0, -1, 1, -2 ... become 0, 1, 2, 3 ...)
//   string   varint length, then the bytes
//
// The encoding of a value is unique, so equal values have equal bytes. A Writer cannot fail. A
// Reader never reads past its end: the first thing that does not fit makes it failed for good, and
// from then on everything it gives is zero or empty. Read all fields, then ask once:
//
//   Reader reader(bytes);
//   record.length = reader.U32();
//   record.name = reader.String(limits::kNameBytesMax);
//   MORAINE_RETURN_IF_ERROR(reader.Finish("journal record"));
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"

namespace moraine {

inline constexpr size_t kVarintBytesMax = 10;

// Fixed places in a page or a header. `at` needs room for the number and no alignment.
void StoreLittle16(void* at, uint16_t value);
void StoreLittle32(void* at, uint32_t value);
void StoreLittle64(void* at, uint64_t value);
void StoreBig32(void* at, uint32_t value);
void StoreBig64(void* at, uint64_t value);
uint16_t LoadLittle16(const void* at);
uint32_t LoadLittle32(const void* at);
uint64_t LoadLittle64(const void* at);
uint32_t LoadBig32(const void* at);
uint64_t LoadBig64(const void* at);

// Appends to a string that it does not own.
class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}

  void U8(uint8_t value) { out_->push_back(static_cast<char>(value)); }
  void Bool(bool value) { U8(value ? 1 : 0); }
  void U16(uint16_t value);
  void U32(uint32_t value);
  void U64(uint64_t value);
  void Big32(uint32_t value);
  void Big64(uint64_t value);
  void Varint(uint64_t value);
  void Signed(int64_t value);
  void String(std::string_view value);
  // Bytes without a length before them.
  void Raw(std::string_view bytes) { out_->append(bytes); }
  void Raw(std::span<const std::byte> bytes);
  // A strong number of base/ids.h, as a varint.
  template <class Tag>
  void Id(StrongNumber<Tag> id) {
    Varint(id.value());
  }

 private:
  std::string* out_;
};

// Reads bytes that it does not own; views that it returns point into them.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  explicit Reader(std::string&&) = delete;  // would be gone before it is read
  explicit Reader(std::span<const std::byte> bytes)
      : rest_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

  uint8_t U8();
  bool Bool();  // fails on anything but 0 and 1
  uint16_t U16();
  uint32_t U32();
  uint64_t U64();
  uint32_t Big32();
  uint64_t Big64();
  uint64_t Varint();
  // A varint that is at most `max`; a larger one is a failure. For counts before a loop.
  uint64_t VarintAtMost(uint64_t max);
  int64_t Signed();
  // A string of at most `bytes_max` bytes.
  std::string_view String(uint64_t bytes_max = UINT64_MAX);
  // Exactly `size` bytes.
  std::string_view Raw(uint64_t size);
  // Everything that is left.
  std::string_view Rest();
  template <class Number>
  Number Id() {
    return Number(Varint());
  }

  // Marks the input as bad, for values that decode but are not allowed.
  void Fail();
  bool ok() const { return !failed_; }
  bool AtEnd() const { return rest_.empty(); }
  size_t remaining() const { return rest_.size(); }
  // kCorruption "bad <what>..." when anything failed or bytes are left over.
  Status Finish(std::string_view what) const;

 private:
  bool failed_ = false;
  std::string_view rest_;
};

}  // namespace moraine
