#include "kv/rocksfs/uri.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "base/units.h"

namespace moraine::rocksfs {
namespace {

constexpr std::string_view kScheme = "moraine://";
constexpr std::string_view kOptionNames =
    "timeout, window, read_ahead, name, log, policy.state, policy.table, policy.other";

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
  return Status(
      Code::kInvalidArgument,
      fmt::format("the moraine URI has no option '{}'; there are {}", option, kOptionNames));
}

Status SetOptions(std::string_view text, Uri* uri) {
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
    MORAINE_RETURN_IF_ERROR(SetOption(pair.substr(0, equals), pair.substr(equals + 1), uri));
  }
  return Status::Ok();
}

}  // namespace

std::string Uri::ConnectionKey() const {
  return fmt::format("{}?timeout={}&window={}&read_ahead={}&name={}", metaserver.ToString(),
                     timeout.count(), window_bytes, read_ahead_bytes, name);
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
