#include "kv/rocksfs/path.h"

#include <vector>

namespace moraine::rocksfs {

std::string NormalizePath(std::string_view path) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  while (begin <= path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    const std::string_view part = path.substr(begin, end - begin);
    begin = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    parts.push_back(part);
  }
  std::string normalized;
  for (const std::string_view part : parts) {
    normalized += '/';
    normalized += part;
  }
  return normalized.empty() ? "/" : normalized;
}

std::string PathBelow(std::string_view root, std::string_view path) {
  const std::string base = NormalizePath(root);
  const std::string below = NormalizePath(path);
  if (base == "/") return below;
  return below == "/" ? base : base + below;
}

SplitPath Split(std::string_view normalized) {
  const size_t slash = normalized.rfind('/');
  if (slash == std::string_view::npos) return {"/", std::string(normalized)};
  return {slash == 0 ? "/" : std::string(normalized.substr(0, slash)),
          std::string(normalized.substr(slash + 1))};
}

bool IsWithin(std::string_view path, std::string_view directory) {
  if (directory == "/" || path == directory) return true;
  return path.size() > directory.size() && path.starts_with(directory) &&
         path[directory.size()] == '/';
}

FileKind KindOf(std::string_view name) {
  if (name == "CURRENT" || name == "IDENTITY" || name.starts_with("MANIFEST-") ||
      name.starts_with("OPTIONS-") || name.ends_with(".log") || name.ends_with(".dbtmp")) {
    return FileKind::kState;
  }
  if (name.ends_with(".sst") || name.ends_with(".blob")) return FileKind::kTable;
  return FileKind::kOther;
}

bool IsInfoLog(std::string_view name) { return name == "LOG"; }

bool GrowsAsStream(std::string_view name) {
  return KindOf(name) == FileKind::kTable || name.ends_with(".log") ||
         name.starts_with("MANIFEST-");
}

const std::string& PolicyFor(std::string_view name, const PolicyNames& policies) {
  switch (KindOf(name)) {
    case FileKind::kState:
      return policies.state;
    case FileKind::kTable:
      return policies.table;
    case FileKind::kOther:
      break;
  }
  return policies.other;
}

}  // namespace moraine::rocksfs
