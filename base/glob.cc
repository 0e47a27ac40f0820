#include "base/glob.h"

#include <fmt/format.h>

namespace moraine {
namespace {

constexpr size_t kMalformed = std::string_view::npos;

unsigned char Byte(char c) { return static_cast<unsigned char>(c); }

// Matches the set that begins at pattern[at] == '[' against `c`. Returns the place behind its ']'.
size_t MatchSet(std::string_view pattern, size_t at, char c, bool* matches) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  // A ']' in the first place stands for itself.
  for (bool first = true; i < pattern.size() && (first || pattern[i] != ']'); first = false) {
    if (pattern[i] == '\\' && ++i == pattern.size()) return kMalformed;
    const char low = pattern[i++];
    char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      ++i;
      if (pattern[i] == '\\' && ++i == pattern.size()) return kMalformed;
      high = pattern[i++];
      if (Byte(high) < Byte(low)) return kMalformed;
    }
    found |= Byte(low) <= Byte(c) && Byte(c) <= Byte(high);
  }
  if (i >= pattern.size()) return kMalformed;
  *matches = found != negated;
  return i + 1;
}

// Matches the one element at pattern[at], which is no '*', against `c`; returns the place behind
// it.
size_t MatchOne(std::string_view pattern, size_t at, char c, bool* matches) {
  switch (pattern[at]) {
    case '?':
      *matches = true;
      return at + 1;
    case '[':
      return MatchSet(pattern, at, c, matches);
    case '\\':
      if (at + 1 == pattern.size()) return kMalformed;
      *matches = pattern[at + 1] == c;
      return at + 2;
    default:
      *matches = pattern[at] == c;
      return at + 1;
  }
}

}  // namespace

Status CheckGlob(std::string_view pattern) {
  size_t at = 0;
  while (at < pattern.size()) {
    bool ignored = false;
    at = pattern[at] == '*' ? at + 1 : MatchOne(pattern, at, 'x', &ignored);
    if (at == kMalformed) break;
  }
  if (!pattern.empty() && at != kMalformed) return Status::Ok();
  return {Code::kInvalidArgument,
          fmt::format("'{}' is no pattern: use *, ?, [a-z], [!a-z] and \\ before a special byte",
                      pattern)};
}

bool GlobMatch(std::string_view pattern, std::string_view name) {
  if (!CheckGlob(pattern).ok()) return false;
  // Only the last star needs to be tried again: what an earlier one took can stay as it is.
  size_t at = 0;
  size_t used = 0;
  size_t star = kMalformed;
  size_t star_used = 0;
  while (used < name.size() || at < pattern.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      star_used = used;
      continue;
    }
    if (at < pattern.size() && used < name.size()) {
      bool matches = false;
      const size_t next = MatchOne(pattern, at, name[used], &matches);
      if (matches) {
        at = next;
        ++used;
        continue;
      }
    }
    if (star == kMalformed || star_used == name.size()) return false;
    used = ++star_used;
    at = star + 1;
  }
  return true;
}

}  // namespace moraine
