// Reads the configuration file. toml++ stays inside this file.
#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/options_internal.h"

namespace moraine {
namespace {

constexpr size_t kConfigBytesMax = 1 << 20;

Result<std::string> ReadWholeFile(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) return StatusFromErrno(errno, fmt::format("--config={}", path));
  std::string text(kConfigBytesMax + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return StatusFromErrno(errno, fmt::format("--config={}", path));
  if (text.size() <= kConfigBytesMax) return text;
  return {Code::kTooLarge, fmt::format("--config={}: larger than 1 MiB", path)};
}

std::string OneLine(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return out;
}

// The texts of a scalar or of an array of strings; false for every other shape.
bool TextsOf(const toml::node& node, FileKind kind, std::vector<std::string>* texts) {
  if (kind == FileKind::kStrings) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return false;
    for (const toml::node& item : *array) {
      if (!item.is_string()) return false;
      texts->push_back(item.as_string()->get());
    }
    return true;
  }
  const bool strings = kind == FileKind::kString || kind == FileKind::kStringOrInteger;
  const bool integers =
      kind == FileKind::kStringOrInteger || kind == FileKind::kInteger || kind == FileKind::kNumber;
  if (strings && node.is_string()) {
    texts->push_back(node.as_string()->get());
  } else if (integers && node.is_integer()) {
    texts->push_back(fmt::format("{}", node.as_integer()->get()));
  } else if (kind == FileKind::kNumber && node.is_floating_point()) {
    texts->push_back(fmt::format("{}", node.as_floating_point()->get()));
  } else if (kind == FileKind::kBoolean && node.is_boolean()) {
    texts->push_back(node.as_boolean()->get() ? "true" : "false");
  } else {
    return false;
  }
  return true;
}

std::string_view KindName(FileKind kind) {
  switch (kind) {
    case FileKind::kString:
      return "a text in quotes";
    case FileKind::kStringOrInteger:
      return "a text in quotes or a whole number";
    case FileKind::kInteger:
      return "a whole number";
    case FileKind::kNumber:
      return "a number";
    case FileKind::kBoolean:
      return "true or false";
    case FileKind::kStrings:
      return "a list of texts, [\"like\", \"this\"]";
  }
  return "";
}

// The value as the user wrote it, when it stands on one line.
std::string SourceOf(const toml::node& node, std::string_view text) {
  const toml::source_region region = node.source();
  if (node.is_table() || region.begin.line != region.end.line) return "...";
  size_t start = 0;
  for (uint32_t line = 1; line < region.begin.line; ++line) start = text.find('\n', start) + 1;
  const size_t from = start + region.begin.column - 1;
  if (from >= text.size()) return "...";
  return OneLine(text.substr(from, region.end.column - region.begin.column));
}

}  // namespace

Status OptionTable::ReadFile(const std::string& path, GivenByName* given) const {
  MORAINE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  const toml::parse_result parsed = toml::parse(text);
  if (parsed.failed()) {
    return {Code::kInvalidArgument,
            fmt::format("{}:{}: {}", path, parsed.error().source().begin.line,
                        OneLine(parsed.error().description()))};
  }
  for (const auto& [key, node] : parsed.table()) {
    const std::string name(key.str());
    const std::string place = fmt::format("{}:{}", path, key.source().begin.line);
    const Option* option = Find(name);
    if (option == nullptr) {
      return {Code::kInvalidArgument, fmt::format("{}: {}: no such option, {}", place,
                                                  OneLine(name), Suggestion(name, ""))};
    }
    Given entry;
    entry.place = place;
    entry.quoted = fmt::format("{}: {} = {}", place, name, SourceOf(node, text));
    if (!TextsOf(node, option->kind, &entry.texts)) {
      return {Code::kInvalidArgument, fmt::format("{}: must be {}, written as {}", entry.quoted,
                                                  option->allowed, KindName(option->kind))};
    }
    (*given)[name] = std::move(entry);
  }
  return Status::Ok();
}

}  // namespace moraine
