#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace moraine {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};

// Largest first, for formatting.
constexpr std::array<Unit, 7> kByteUnits = {{{"EiB", 1ULL << 60},
                                             {"PiB", 1ULL << 50},
                                             {"TiB", 1ULL << 40},
                                             {"GiB", 1ULL << 30},
                                             {"MiB", 1ULL << 20},
                                             {"KiB", 1ULL << 10},
                                             {"B", 1}}};
constexpr std::array<Unit, 8> kTimeUnits = {{{"w", 604'800'000'000'000},
                                             {"d", 86'400'000'000'000},
                                             {"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"ns", 1}}};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// A decimal number as `digits` / 10^`places`.
struct Decimal {
  unsigned __int128 digits = 0;
  unsigned __int128 scale = 1;
};

// Takes "12", "1.5" or ".5" from the front. At most 20 digits: times any unit that fits 128 bits.
bool TakeDecimal(std::string_view* text, Decimal* number) {
  size_t digits = 0;
  bool point = false;
  size_t used = 0;
  for (; used < text->size(); ++used) {
    const char c = (*text)[used];
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!IsDigit(c)) break;
    if (++digits > 20) return false;
    number->digits = number->digits * 10 + static_cast<unsigned>(c - '0');
    if (point) number->scale *= 10;
  }
  const bool ends_in_point = used > 0 && (*text)[used - 1] == '.';
  text->remove_prefix(used);
  return digits > 0 && !ends_in_point;
}

std::string TakeWord(std::string_view* text) {
  while (!text->empty() && text->front() == ' ') text->remove_prefix(1);
  std::string word;
  while (!text->empty()) {
    const char c = Lower(text->front());
    if (c < 'a' || c > 'z') break;
    word += c;
    text->remove_prefix(1);
  }
  return word;
}

// number * factor, when that is whole and at most `max`.
bool Multiply(const Decimal& number, uint64_t factor, uint64_t max, uint64_t* result) {
  const unsigned __int128 product = number.digits * factor;
  if (product % number.scale != 0 || product / number.scale > max) return false;
  *result = static_cast<uint64_t>(product / number.scale);
  return true;
}

// 0 when there is no such unit.
uint64_t ByteFactor(std::string_view word) {
  if (word.empty() || word == "b") return 1;
  constexpr std::string_view kPrefixes = "kmgtpe";
  const size_t power = kPrefixes.find(word[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = word.substr(1);
  if (rest.empty() || rest == "ib") return 1ULL << (10 * (power + 1));
  if (rest != "b") return 0;
  uint64_t factor = 1;
  for (size_t i = 0; i <= power; ++i) factor *= 1000;
  return factor;
}

uint64_t TimeFactor(std::string_view word) {
  if (word == "min") word = "m";
  for (const Unit& unit : kTimeUnits) {
    if (unit.name == word) return unit.factor;
  }
  return 0;
}

// One decimal, and none when that would be zero.
std::string Rounded(uint64_t value, const Unit& unit, std::string_view name) {
  const double tenths =
      std::round(static_cast<double>(value) * 10 / static_cast<double>(unit.factor));
  if (std::fmod(tenths, 10) == 0) return fmt::format("{:.0f} {}", tenths / 10, name);
  return fmt::format("{:.1f} {}", tenths / 10, name);
}

}  // namespace

Result<uint64_t> ParseBytes(std::string_view text) {
  std::string_view rest = text;
  Decimal number;
  uint64_t bytes = 0;
  if (TakeDecimal(&rest, &number)) {
    const uint64_t factor = ByteFactor(TakeWord(&rest));
    if (factor != 0 && rest.empty() && Multiply(number, factor, UINT64_MAX, &bytes)) return bytes;
  }
  return {Code::kInvalidArgument,
          fmt::format("'{}' is no size; write 4096, 64KiB or 1.5GiB", text)};
}

Result<std::chrono::nanoseconds> ParseDuration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds(0);
  std::string_view rest = text;
  uint64_t total = 0;
  bool good = !rest.empty();
  while (good && !rest.empty()) {
    Decimal number;
    good = TakeDecimal(&rest, &number);
    const uint64_t factor = good ? TimeFactor(TakeWord(&rest)) : 0;
    uint64_t part = 0;
    good = factor != 0 && Multiply(number, factor, INT64_MAX - total, &part);
    total += part;
  }
  if (good) return std::chrono::nanoseconds(static_cast<int64_t>(total));
  return {Code::kInvalidArgument, fmt::format("'{}' is no time; write 250ms, 1.5s or 1h30m", text)};
}

std::string FormatBytes(uint64_t bytes) {
  for (const Unit& unit : kByteUnits) {
    if (bytes >= unit.factor) return Rounded(bytes, unit, unit.name);
  }
  return "0 B";
}

std::string FormatDuration(std::chrono::nanoseconds duration) {
  const int64_t ns = duration.count();
  const bool negative = ns < 0;
  const uint64_t size = negative ? -static_cast<uint64_t>(ns) : static_cast<uint64_t>(ns);
  for (const Unit& unit : kTimeUnits) {
    if (size < unit.factor) continue;
    return (negative ? "-" : "") + Rounded(size, unit, unit.name == "m" ? "min" : unit.name);
  }
  return "0 s";
}

std::string ExactBytes(uint64_t bytes) {
  for (const Unit& unit : kByteUnits) {
    if (bytes == 0 || bytes % unit.factor != 0) continue;
    if (unit.factor == 1) break;
    return fmt::format("{}{}", bytes / unit.factor, unit.name);
  }
  return fmt::format("{}", bytes);
}

std::string ExactDuration(std::chrono::nanoseconds duration) {
  std::string out;
  auto rest = static_cast<uint64_t>(duration.count());
  for (const Unit& unit : kTimeUnits) {
    if (rest < unit.factor) continue;
    out += fmt::format("{}{}", rest / unit.factor, unit.name);
    rest %= unit.factor;
  }
  return out.empty() ? "0s" : out;
}

}  // namespace moraine
