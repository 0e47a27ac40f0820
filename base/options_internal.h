// The inside of OptionTable, shared by options.cc, options_file.cc and options_text.cc only.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/options.h"

namespace moraine {

// What a value is in a configuration file.
enum class FileKind { kString, kStringOrInteger, kInteger, kNumber, kBoolean, kStrings };

struct OptionTable::Option {
  std::string name;
  std::string placeholder;  // BYTES, DURATION ...; empty for a switch
  FileKind kind = FileKind::kString;
  std::string help;
  OptionTraits traits;
  std::string allowed;  // "a size from 1MiB to 64GiB", for errors and help
  // Checks the texts, and returns a function that stores them. For scalars there is one text.
  using Store = std::function<void()>;
  std::function<Result<Store>(const std::vector<std::string>& texts)> parse;
  // The field's value now, as texts that parse back to it.
  std::function<std::vector<std::string>()> texts;
  // A function that brings the field's value of now back.
  std::function<Store()> snapshot;
  // Filled in by OptionTable::Add.
  std::vector<std::string> default_texts;
  Store store_default;
};

struct OptionTable::Argument {
  std::string name;
  std::string help;
  size_t count_min = 0;
  std::string* field = nullptr;                // either this
  std::vector<std::string>* fields = nullptr;  // or this

  // A function that brings the field's value of now back.
  std::function<void()> Snapshot() const {
    if (fields != nullptr) return [to = fields, old = *fields] { *to = old; };
    return [to = field, old = *field] { *to = old; };
  }
};

struct OptionTable::Given {
  std::vector<std::string> texts;
  std::string place;  // "command line" or "file:line"
  // The option with its value as the user wrote it: "--a=1" or "file:3: a = 1".
  std::string quoted;
};

struct OptionTable::Assigned {
  const Option* option;
  Option::Store store;
  std::string place;
};

namespace options_internal {

// An option's value as TOML.
std::string TomlValue(FileKind kind, const std::vector<std::string>& texts);
// Insertions, deletions, replacements and swaps of neighbours that turn a into b.
size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace options_internal
}  // namespace moraine
