#include "kv/rocksfs/uri.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "base/limits.h"
#include "base/options.h"
#include "base/units.h"

namespace moraine::rocksfs {
namespace {

constexpr std::string_view kScheme = "moraine://";
Status Bad(std::string_view option, std::string_view value, std::string_view allowed) {
  return Status(Code::kInvalidArgument,
                fmt::format("option '{}={}' of the moraine URI: {}", option, value, allowed));
}

Status SetBytes(std::string_view option, std::string_view value, uint64_t min, uint64_t max,
                uint64_t* field) {
  const Result<uint64_t> bytes = ParseBytes(value);
  if (!bytes.ok() || *bytes < min || *bytes > max) {
    return Bad(option, value,
               fmt::format("must be a size from {} to {}", ExactBytes(min), ExactBytes(max)));
  }
  *field = *bytes;
  return Status::Ok();
}

Status SetName(std::string_view option, std::string_view value, bool empty_ok, std::string* field) {
  if ((value.empty() && !empty_ok) || value.size() > limits::kNameBytesMax) {
    return Bad(option, value,
               fmt::format("must be a name of 1 to {} bytes", limits::kNameBytesMax));
  }
  *field = value;
  return Status::Ok();
}

Status SetTimeout(std::string_view value, Duration* field) {
  const Result<std::chrono::nanoseconds> timeout = ParseDuration(value);
  if (!timeout.ok() || *timeout < kUriTimeoutMin || *timeout > kUriTimeoutMax) {
    return Bad("timeout", value,
               fmt::format("must be a time from {} to {}", ExactDuration(kUriTimeoutMin),
                           ExactDuration(kUriTimeoutMax)));
  }
  *field = *timeout;
  return Status::Ok();
}

Status SetOption(std::string_view option, std::string_view value, Uri* uri) {
  if (option == "timeout") return SetTimeout(value, &uri->timeout);
  if (option == "window") {
    return SetBytes(option, value, kUriWindowBytesMin, kUriWindowBytesMax, &uri->window_bytes);
  }
  if (option == "read_ahead") {
    return SetBytes(option, value, 0, kUriReadAheadBytesMax, &uri->read_ahead_bytes);
  }
  if (option == "cache") return SetBytes(option, value, 0, kUriCacheBytesMax, &uri->cache_bytes);
  if (option == "name") return SetName(option, value, false, &uri->name);
  if (option == "policy.state") return SetName(option, value, true, &uri->policies.state);
  if (option == "policy.table") return SetName(option, value, true, &uri->policies.table);
  if (option == "policy.other") return SetName(option, value, true, &uri->policies.other);
  if (option == "log") {
    const Result<LogLevel> level = ParseLogLevel(value);
    if (!level.ok()) {
      return Bad(option, value, "must be one of debug, info, warning, error, off");
    }
    uri->log = *level;
    return Status::Ok();
  }
  std::vector<std::string_view> names;
  for (const UriOption& known : UriOptions()) names.push_back(known.name);
  const std::string_view nearest = NearestName(option, names);
  return Status(
      Code::kInvalidArgument,
      nearest.empty()
          ? fmt::format("the moraine URI has no option '{}'; there are {}", option,
                        fmt::join(names, ", "))
          : fmt::format("the moraine URI has no option '{}', did you mean '{}'?", option, nearest));
}

Status SetOptions(std::string_view text, Uri* uri) {
  std::set<std::string_view> seen;
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' in the moraine URI is not option=value", pair));
    }
    if (!seen.insert(pair.substr(0, equals)).second) {
      return Status(Code::kInvalidArgument, fmt::format("the moraine URI has the option '{}' twice",
                                                        pair.substr(0, equals)));
    }
    MORAINE_RETURN_IF_ERROR(SetOption(pair.substr(0, equals), pair.substr(equals + 1), uri));
  }
  return Status::Ok();
}

}  // namespace

std::vector<UriOption> UriOptions() {
  const Uri preset;
  const std::string name = fmt::format("a name of 1 to {} bytes", limits::kNameBytesMax);
  return {
      {"timeout", "Longest time of any call to the servers.",
       fmt::format("a time from {} to {}", ExactDuration(kUriTimeoutMin),
                   ExactDuration(kUriTimeoutMax)),
       ExactDuration(preset.timeout)},
      {"window", "Bytes of one written file that are sent and not yet acknowledged, at most.",
       fmt::format("a size from {} to {}", ExactBytes(kUriWindowBytesMin),
                   ExactBytes(kUriWindowBytesMax)),
       ExactBytes(preset.window_bytes)},
      {"read_ahead", "How far a sequential reader is read ahead of; 0: not at all.",
       fmt::format("a size from 0 to {}", ExactBytes(kUriReadAheadBytesMax)),
       ExactBytes(preset.read_ahead_bytes)},
      {"cache",
       "Bytes of tables that are kept in memory beside RocksDB's block cache, as the page cache "
       "would keep them of a local disk, shared by all databases of a session; 0: none.",
       fmt::format("a size from 0 to {}", ExactBytes(kUriCacheBytesMax)),
       ExactBytes(preset.cache_bytes)},
      {"name", "Name of this client, for people.", name, preset.name},
      {"log", "The least important level that the library logs to standard error.",
       "one of debug, info, warning, error, off", ""},
      {"policy.state",
       "Policy of the few files that change: WAL, MANIFEST, CURRENT, OPTIONS, IDENTITY. Empty: the "
       "rules of their directory decide.",
       name + ", or empty", preset.policies.state},
      {"policy.table", "Policy of SSTables and blob files; empty as above.", name + ", or empty",
       preset.policies.table},
      {"policy.other", "Policy of all other files; empty as above.", name + ", or empty",
       preset.policies.other},
  };
}

std::string Uri::ConnectionKey() const {
  return fmt::format("{}?timeout={}&window={}&read_ahead={}&cache={}&name={}",
                     metaserver.ToString(), timeout.count(), window_bytes, read_ahead_bytes,
                     cache_bytes, name);
}

Result<Uri> ParseUri(std::string_view text, const char* default_metaserver) {
  if (!text.starts_with(kScheme)) {
    return Status(
        Code::kInvalidArgument,
        fmt::format("'{}' is no moraine URI: moraine://HOST:PORT[/path][?option=value]", text));
  }
  std::string_view rest = text.substr(kScheme.size());
  const size_t question = std::min(rest.find('?'), rest.size());
  const std::string_view options = rest.substr(std::min(question + 1, rest.size()));
  rest = rest.substr(0, question);
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view host = rest.substr(0, slash);
  if (host.empty()) {
    if (default_metaserver == nullptr || *default_metaserver == '\0') {
      return Status(Code::kInvalidArgument,
                    fmt::format("'{}' names no metaserver, and MORAINE_METASERVER is not set: "
                                "moraine://HOST:PORT[/path]",
                                text));
    }
    host = default_metaserver;
  }
  Uri uri;
  MORAINE_ASSIGN_OR_RETURN(uri.metaserver, ParseEndpoint(host));
  uri.root = NormalizePath(rest.substr(slash));
  MORAINE_RETURN_IF_ERROR(SetOptions(options, &uri));
  return uri;
}

}  // namespace moraine::rocksfs
