// moraine://HOST:PORT[/path][?option=value&...]: which cluster, which directory of it, and how.
//
//   moraine://10.0.0.1:7400/databases?timeout=10s&window=32MiB
//   moraine:///databases          the metaserver stands in the environment variable
//                                 MORAINE_METASERVER
//
//   option         value                                          default
//   timeout        longest time of any call, 100ms to 1h          30s
//   window         unacknowledged bytes of one written file       16MiB
//   read_ahead     of sequential readers; 0: none                 4MiB
//   cache          table bytes kept in memory, as the page
//                  cache would on a local disk; 0: none           256MiB
//   name           of this client, in `moraine status`            rocksdb
//   log            debug, info, warning, error, off               as the process has it
//   policy.state   policy of WAL, MANIFEST, CURRENT, OPTIONS      log
//   policy.table   policy of SSTables and blob files              immutable
//   policy.other   policy of everything else; empty: the
//                  directory's rules                              (empty)
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/loop/net.h"
#include "base/loop/time.h"
#include "kv/rocksfs/path.h"

namespace moraine::rocksfs {

struct Uri {
  Endpoint metaserver;
  std::string root = "/";  // normalized; every path of RocksDB lies below it
  Duration timeout = std::chrono::seconds(30);
  uint64_t window_bytes = 16 << 20;
  uint64_t read_ahead_bytes = 4 << 20;
  uint64_t cache_bytes = 256 << 20;
  std::string name = "rocksdb";
  std::optional<LogLevel> log;
  PolicyNames policies;

  // Two URIs of the same key are served by the same session.
  std::string ConnectionKey() const;
};

// What the manual page says of each option, in the order of the page.
struct UriOption {
  std::string_view name;
  std::string sentence;
  std::string allowed;
  std::string preset;  // empty: none
};
std::vector<UriOption> UriOptions();

// Bounds of the options.
inline constexpr Duration kUriTimeoutMin = std::chrono::milliseconds(100);
inline constexpr Duration kUriTimeoutMax = std::chrono::hours(1);
inline constexpr uint64_t kUriWindowBytesMin = 64 << 10;
inline constexpr uint64_t kUriWindowBytesMax = 1 << 30;
inline constexpr uint64_t kUriReadAheadBytesMax = 256 << 20;
inline constexpr uint64_t kUriCacheBytesMax = 1ULL << 40;

// `default_metaserver`: used when the URI names no host (may be null). Errors: kInvalidArgument
// with one sentence that quotes what is wrong and says what is allowed.
Result<Uri> ParseUri(std::string_view text, const char* default_metaserver);

}  // namespace moraine::rocksfs
