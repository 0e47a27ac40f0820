// Reads the configuration file.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/flat_toml.h"
#include "base/options_internal.h"

namespace moraine {
namespace {

constexpr size_t kConfigBytesMax = 1 << 20;

Result<std::string> ReadWholeFile(const std::string& path) {
  const auto bad = [&path] { return StatusFromErrno(errno, fmt::format("--config={}", path)); };
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) return bad();
  std::string text;
  char part[4096];
  while (const size_t got = std::fread(part, 1, sizeof(part), file.get())) {
    text.append(part, got);
    if (text.size() > kConfigBytesMax) {
      return {Code::kTooLarge, fmt::format("--config={}: larger than 1 MiB", path)};
    }
  }
  if (std::ferror(file.get()) != 0) return bad();
  return text;
}

bool Fits(TomlKind written, FileKind wanted) {
  switch (wanted) {
    case FileKind::kString:
      return written == TomlKind::kString;
    case FileKind::kStringOrInteger:
      return written == TomlKind::kString || written == TomlKind::kInteger;
    case FileKind::kInteger:
      return written == TomlKind::kInteger;
    case FileKind::kNumber:
      return written == TomlKind::kInteger || written == TomlKind::kFloat;
    case FileKind::kBoolean:
      return written == TomlKind::kBoolean;
    case FileKind::kStrings:
      return written == TomlKind::kStrings;
  }
  return false;
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

}  // namespace

Status OptionTable::ReadFile(const std::string& path, GivenByName* given) const {
  MORAINE_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path));
  int error_line = 0;
  Result<std::vector<TomlEntry>> entries = ParseFlatToml(text, &error_line);
  if (!entries.ok()) return entries.status().Prefixed(fmt::format("{}:{}", path, error_line));
  for (TomlEntry& entry : *entries) {
    Given one;
    one.place = fmt::format("{}:{}", path, entry.line);
    one.quoted = fmt::format("{}: {} = {}", one.place, entry.key, entry.source);
    const Option* option = Find(entry.key);
    if (option == nullptr) {
      return {Code::kInvalidArgument, fmt::format("{}: {}: no such option, {}", one.place,
                                                  entry.key, Suggestion(entry.key, ""))};
    }
    if (!Fits(entry.kind, option->kind)) {
      return {Code::kInvalidArgument, fmt::format("{}: must be {}, written as {}", one.quoted,
                                                  option->allowed, KindName(option->kind))};
    }
    one.texts = std::move(entry.texts);
    (*given)[entry.key] = std::move(one);
  }
  return Status::Ok();
}

}  // namespace moraine
