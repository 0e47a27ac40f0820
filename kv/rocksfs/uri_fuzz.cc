// Any bytes as a URI of the RocksDB file system and as paths below it.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "kv/rocksfs/path.h"
#include "kv/rocksfs/uri.h"

namespace moraine::rocksfs {
namespace {

void CheckUri(const Uri& uri) {
  MORAINE_CHECK(!uri.metaserver.host.empty() && uri.metaserver.port != 0);
  MORAINE_CHECK(NormalizePath(uri.root) == uri.root);
  MORAINE_CHECK(uri.timeout >= kUriTimeoutMin && uri.timeout <= kUriTimeoutMax);
  MORAINE_CHECK(uri.window_bytes >= kUriWindowBytesMin && uri.window_bytes <= kUriWindowBytesMax);
  MORAINE_CHECK(uri.read_ahead_bytes <= kUriReadAheadBytesMax);
  MORAINE_CHECK(uri.cache_bytes <= kUriCacheBytesMax);
  MORAINE_CHECK(!uri.name.empty() && uri.name.size() <= limits::kNameBytesMax);
}

// No path leads out of the root, and a path's parts make it again.
void CheckPath(std::string_view root, std::string_view path) {
  const std::string base = NormalizePath(root);
  const std::string below = PathBelow(root, path);
  MORAINE_CHECK(NormalizePath(below) == below && IsWithin(below, base));
  const SplitPath parts = Split(below);
  MORAINE_CHECK(below == "/" ? parts.name.empty() : !parts.name.empty());
  MORAINE_CHECK((parts.directory == "/" ? "" : parts.directory) + "/" + parts.name == below);
  PolicyFor(parts.name, PolicyNames());
}

void Fuzz(std::string_view text) {
  for (const std::string& candidate : {std::string(text), "moraine://" + std::string(text),
                                       "moraine://a:1/?" + std::string(text)}) {
    const auto uri = ParseUri(candidate, "default:7400");
    if (uri.ok()) {
      CheckUri(*uri);
    } else {
      MORAINE_CHECK(uri.code() == Code::kInvalidArgument && !uri.status().message().empty());
    }
  }
  CheckPath(text.substr(0, text.size() / 2), text.substr(text.size() / 2));
}

}  // namespace
}  // namespace moraine::rocksfs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moraine::rocksfs::Fuzz(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
