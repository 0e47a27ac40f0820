// The log: one line per event, written by any thread, to standard error or to a file.
//
//   2026-01-31T12:00:00.123456Z W 4711 disk.cc:88 disk 3: first I/O error, quarantined
//
// Time (UTC), level letter, thread, place, message. Control characters in a message are written as
// escapes, so that no input can forge a line. Before StartLog(), warnings and errors go to standard
// error (the environment variable MORAINE_LOG names another level); so a library that is loaded
// into somebody else's program stays quiet. Never log secrets or the bytes of users.
//
//   LogInfo("chunk {} sealed at {}", chunk.value(), length);
//   MORAINE_LOG_SOMETIMES(LogLevel::kWarning, "server {} does not answer", name);
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace moraine {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kOff = 4 };

std::string_view LogLevelName(LogLevel level);
// "debug", "info", "warning", "error" or "off".
Result<LogLevel> ParseLogLevel(std::string_view text);

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  std::string file;  // empty: standard error
};

// Opens the log. May be called again, to change level or file. Errors: those of opening the file;
// the log then stays as it was.
Status StartLog(const LogOptions& options);
// Opens the file again under its name, after a log rotation moved it away.
Status ReopenLog();
void SetLogLevel(LogLevel level);

// Tests: gets every line's level and message instead of the log; an empty function ends that.
using LogSink = std::function<void(LogLevel level, std::string_view message)>;
void SetLogSinkForTest(LogSink sink);

namespace log_internal {

extern std::atomic<int> least_level;

// A format string that also remembers where it stands.
template <class... Args>
struct Format {
  template <class Text>
  consteval Format(const Text& text,  // NOLINT: implicit by intent
                   const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : text(text), file(file), line(line) {}
  fmt::format_string<Args...> text;
  const char* file;
  int line;
};

template <class... Args>
using FormatFor = Format<std::type_identity_t<Args>...>;

void Write(LogLevel level, const char* file, int line, std::string_view message);

template <class... Args>
void WriteFormatted(LogLevel level, const FormatFor<Args...>& format, Args&&... args) {
  Write(level, format.file, format.line, fmt::format(format.text, std::forward<Args>(args)...));
}

}  // namespace log_internal

// One relaxed load; a call below the level does not format its message.
inline bool LogEnabled(LogLevel level) {
  return static_cast<int>(level) >= log_internal::least_level.load(std::memory_order_relaxed);
}

template <class... Args>
void LogDebug(log_internal::FormatFor<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kDebug)) return;
  log_internal::WriteFormatted<Args...>(LogLevel::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void LogInfo(log_internal::FormatFor<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kInfo)) return;
  log_internal::WriteFormatted<Args...>(LogLevel::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void LogWarning(log_internal::FormatFor<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kWarning)) return;
  log_internal::WriteFormatted<Args...>(LogLevel::kWarning, format, std::forward<Args>(args)...);
}
template <class... Args>
void LogError(log_internal::FormatFor<Args...> format, Args&&... args) {
  if (!LogEnabled(LogLevel::kError)) return;
  log_internal::WriteFormatted<Args...>(LogLevel::kError, format, std::forward<Args>(args)...);
}

// Lets one event per second through and counts the others. Any thread.
class LogLimiter {
 public:
  // Whether an event at `now` may be logged. If so, `*dropped` is the number of events since the
  // last one that was let through.
  bool Allow(std::chrono::steady_clock::time_point now, uint64_t* dropped);

 private:
  std::atomic<int64_t> next_ns_{INT64_MIN};
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace moraine

// At most one line per second from this place; it says how many were left out.
#define MORAINE_LOG_SOMETIMES(level, ...)                                                       \
  do {                                                                                          \
    static constinit ::moraine::LogLimiter moraine_limiter;                                     \
    uint64_t moraine_dropped = 0;                                                               \
    if (::moraine::LogEnabled(level) &&                                                         \
        moraine_limiter.Allow(std::chrono::steady_clock::now(), &moraine_dropped)) {            \
      std::string moraine_text = ::fmt::format(__VA_ARGS__);                                    \
      if (moraine_dropped > 0) {                                                                \
        moraine_text += ::fmt::format(" ({} more like this were not logged)", moraine_dropped); \
      }                                                                                         \
      ::moraine::log_internal::Write(level, __FILE__, __LINE__, moraine_text);                  \
    }                                                                                           \
  } while (false)
