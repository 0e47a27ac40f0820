#include "base/encoding.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace moraine {
namespace {

template <class Number>
Number Swapped(Number value) {
  if constexpr (sizeof(Number) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(Number) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(Number) == 8) return __builtin_bswap64(value);
}

template <std::endian kOrder, class Number>
void Store(void* at, Number value) {
  if constexpr (kOrder != std::endian::native) value = Swapped(value);
  std::memcpy(at, &value, sizeof(value));
}

template <std::endian kOrder, class Number>
Number Load(const void* at) {
  Number value;
  std::memcpy(&value, at, sizeof(value));
  if constexpr (kOrder != std::endian::native) value = Swapped(value);
  return value;
}

template <std::endian kOrder, class Number>
void Append(std::string* out, Number value) {
  char bytes[sizeof(Number)];
  Store<kOrder>(bytes, value);
  out->append(bytes, sizeof(bytes));
}

}  // namespace

void StoreLittle16(void* at, uint16_t value) { Store<std::endian::little>(at, value); }
void StoreLittle32(void* at, uint32_t value) { Store<std::endian::little>(at, value); }
void StoreLittle64(void* at, uint64_t value) { Store<std::endian::little>(at, value); }
void StoreBig32(void* at, uint32_t value) { Store<std::endian::big>(at, value); }
void StoreBig64(void* at, uint64_t value) { Store<std::endian::big>(at, value); }
uint16_t LoadLittle16(const void* at) { return Load<std::endian::little, uint16_t>(at); }
uint32_t LoadLittle32(const void* at) { return Load<std::endian::little, uint32_t>(at); }
uint64_t LoadLittle64(const void* at) { return Load<std::endian::little, uint64_t>(at); }
uint32_t LoadBig32(const void* at) { return Load<std::endian::big, uint32_t>(at); }
uint64_t LoadBig64(const void* at) { return Load<std::endian::big, uint64_t>(at); }

void Writer::U16(uint16_t value) { Append<std::endian::little>(out_, value); }
void Writer::U32(uint32_t value) { Append<std::endian::little>(out_, value); }
void Writer::U64(uint64_t value) { Append<std::endian::little>(out_, value); }
void Writer::Big32(uint32_t value) { Append<std::endian::big>(out_, value); }
void Writer::Big64(uint64_t value) { Append<std::endian::big>(out_, value); }

void Writer::Varint(uint64_t value) {
  char bytes[kVarintBytesMax];
  size_t size = 0;
  while (value >= 0x80) {
    bytes[size++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  bytes[size++] = static_cast<char>(value);
  out_->append(bytes, size);
}

void Writer::Signed(int64_t value) {
  Varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
}

void Writer::String(std::string_view value) {
  Varint(value.size());
  out_->append(value);
}

void Writer::Raw(std::span<const std::byte> bytes) {
  out_->append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void Reader::Fail() {
  failed_ = true;
  rest_ = {};
}

std::string_view Reader::Raw(uint64_t size) {
  if (size > rest_.size()) {
    Fail();
    return {};
  }
  const std::string_view bytes = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return bytes;
}

uint8_t Reader::U8() {
  const std::string_view bytes = Raw(1);
  return bytes.empty() ? 0 : static_cast<uint8_t>(bytes[0]);
}

bool Reader::Bool() {
  const uint8_t value = U8();
  if (value > 1) Fail();
  return value == 1;
}

uint16_t Reader::U16() {
  const std::string_view bytes = Raw(2);
  return bytes.empty() ? 0 : LoadLittle16(bytes.data());
}

uint32_t Reader::U32() {
  const std::string_view bytes = Raw(4);
  return bytes.empty() ? 0 : LoadLittle32(bytes.data());
}

uint64_t Reader::U64() {
  const std::string_view bytes = Raw(8);
  return bytes.empty() ? 0 : LoadLittle64(bytes.data());
}

uint32_t Reader::Big32() {
  const std::string_view bytes = Raw(4);
  return bytes.empty() ? 0 : LoadBig32(bytes.data());
}

uint64_t Reader::Big64() {
  const std::string_view bytes = Raw(8);
  return bytes.empty() ? 0 : LoadBig64(bytes.data());
}

uint64_t Reader::Varint() {
  uint64_t value = 0;
  for (size_t i = 0; i < kVarintBytesMax && i < rest_.size(); ++i) {
    const auto byte = static_cast<uint8_t>(rest_[i]);
    // The tenth byte holds one bit only; a last byte of zero would be a longer form than needed.
    if (i == kVarintBytesMax - 1 && byte > 1) break;
    if (i > 0 && byte == 0) break;
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  Fail();
  return 0;
}

uint64_t Reader::VarintAtMost(uint64_t max) {
  const uint64_t value = Varint();
  if (value <= max) return value;
  Fail();
  return 0;
}

int64_t Reader::Signed() {
  const uint64_t value = Varint();
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

std::string_view Reader::String(uint64_t bytes_max) { return Raw(VarintAtMost(bytes_max)); }

std::string_view Reader::Rest() { return Raw(rest_.size()); }

Status Reader::Finish(std::string_view what) const {
  if (failed_) return {Code::kCorruption, fmt::format("bad {}: cut short or malformed", what)};
  if (!rest_.empty()) {
    return {Code::kCorruption, fmt::format("bad {}: {} bytes left over", what, rest_.size())};
  }
  return Status::Ok();
}

}  // namespace moraine
