// Reads configuration files: the part of TOML that a flat list of options needs, so every file that
// is accepted means the same to any TOML reader.
//
//   # a comment
//   name = "text with \n, \" and \u00e9"     other = 'as it is'
//   count = 1_000     share = 0.5     on = true     list = ["one", "two"]   (may span lines)
//
// One `key = value` per line; keys are of a-z A-Z 0-9 - _. No sections, dotted or quoted keys,
// multi-line strings, dates, or lists of anything but strings: those are errors. Bytes from 0x80 on
// are taken as they are. The work is linear in the size of the text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace moraine {

enum class TomlKind { kString, kInteger, kFloat, kBoolean, kStrings };

struct TomlEntry {
  std::string key;
  TomlKind kind = TomlKind::kString;
  std::vector<std::string> texts;  // one, unless kStrings; numbers without underscores
  std::string source;              // the value as it was written, or "..." if it spans lines
  int line = 1;                    // of the key
};

// Entries in the order of the file. kInvalidArgument: the message says what was expected, and
// `*error_line` is its line.
Result<std::vector<TomlEntry>> ParseFlatToml(std::string_view text, int* error_line);

// The text as a basic string, with its quotes.
std::string TomlQuoted(std::string_view text);

}  // namespace moraine
