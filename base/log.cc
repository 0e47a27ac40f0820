#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/mutex.h"

namespace moraine {
namespace {

constexpr std::string_view kNames[] = {"debug", "info", "warning", "error", "off"};
constexpr char kPattern[] = "%Y-%m-%dT%H:%M:%S.%fZ %L %t %s:%# %v";

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

int LevelBeforeStart() {
  const char* text = std::getenv("MORAINE_LOG");
  if (text == nullptr) return static_cast<int>(LogLevel::kWarning);
  return static_cast<int>(ParseLogLevel(text).value_or(LogLevel::kWarning));
}

// Throws spdlog::spdlog_ex when the file cannot be opened.
std::shared_ptr<spdlog::logger> MakeLogger(const std::string& file) {
  spdlog::sink_ptr sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
  }
  auto logger = std::make_shared<spdlog::logger>("moraine", std::move(sink));
  logger->set_pattern(kPattern, spdlog::pattern_time_type::utc);
  logger->set_level(spdlog::level::trace);
  logger->flush_on(spdlog::level::trace);
  return logger;
}

struct State {
  Mutex mutex;
  std::string file MORAINE_GUARDED_BY(mutex);
  std::shared_ptr<spdlog::logger> logger MORAINE_GUARDED_BY(mutex);
  std::shared_ptr<LogSink> sink MORAINE_GUARDED_BY(mutex);
};

// Never destroyed: threads may log while the process exits.
State& GlobalState() {
  static State* state = new State;
  return *state;
}

Status Open(const std::string& file) {
  std::shared_ptr<spdlog::logger> logger;
  try {
    logger = MakeLogger(file);
  } catch (const spdlog::spdlog_ex& error) {
    return {Code::kIo, fmt::format("log file '{}': {}", file, error.what())};
  }
  State& state = GlobalState();
  MutexLock lock(state.mutex);
  state.file = file;
  state.logger = std::move(logger);
  return Status::Ok();
}

std::string Escaped(std::string_view message) {
  std::string out;
  out.reserve(message.size());
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

const char* BaseName(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

}  // namespace

namespace log_internal {

std::atomic<int> least_level{LevelBeforeStart()};

void Write(LogLevel level, const char* file, int line, std::string_view message) {
  State& state = GlobalState();
  std::shared_ptr<spdlog::logger> logger;
  std::shared_ptr<LogSink> sink;
  {
    MutexLock lock(state.mutex);
    sink = state.sink;
    if (sink == nullptr && state.logger == nullptr) state.logger = MakeLogger("");
    logger = state.logger;
  }
  const std::string text = Escaped(message);
  if (sink != nullptr) {
    (*sink)(level, text);
    return;
  }
  logger->log(spdlog::source_loc{BaseName(file), line, ""}, ToSpdlog(level),
              spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace log_internal

std::string_view LogLevelName(LogLevel level) { return kNames[static_cast<int>(level)]; }

Result<LogLevel> ParseLogLevel(std::string_view text) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (text == kNames[i]) return static_cast<LogLevel>(i);
  }
  return {Code::kInvalidArgument,
          fmt::format("'{}' is no log level; use debug, info, warning, error or off", text)};
}

Status StartLog(const LogOptions& options) {
  MORAINE_RETURN_IF_ERROR(Open(options.file));
  SetLogLevel(options.level);
  return Status::Ok();
}

Status ReopenLog() {
  std::string file;
  {
    State& state = GlobalState();
    MutexLock lock(state.mutex);
    file = state.file;
  }
  return Open(file);
}

void SetLogLevel(LogLevel level) {
  log_internal::least_level.store(static_cast<int>(level), std::memory_order_relaxed);
}

void SetLogSinkForTest(LogSink sink) {
  State& state = GlobalState();
  MutexLock lock(state.mutex);
  state.sink = sink ? std::make_shared<LogSink>(std::move(sink)) : nullptr;
}

bool LogLimiter::Allow(std::chrono::steady_clock::time_point now, uint64_t* dropped) {
  const int64_t now_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  int64_t next_ns = next_ns_.load(std::memory_order_relaxed);
  constexpr int64_t kIntervalNs = 1'000'000'000;
  if (now_ns < next_ns ||
      !next_ns_.compare_exchange_strong(next_ns, now_ns + kIntervalNs, std::memory_order_relaxed)) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  *dropped = dropped_.exchange(0, std::memory_order_relaxed);
  return true;
}

}  // namespace moraine
