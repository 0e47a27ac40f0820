#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace moraine {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::MatchesRegex;

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kInfo);
    SetLogSinkForTest([this](LogLevel level, std::string_view message) {
      MutexLock lock(mutex_);
      lines_.push_back(std::string(LogLevelName(level)) + " " + std::string(message));
    });
  }
  void TearDown() override {
    SetLogSinkForTest({});
    ASSERT_TRUE(StartLog({LogLevel::kWarning, ""}).ok());
  }
  std::vector<std::string> Lines() {
    MutexLock lock(mutex_);
    return lines_;
  }

  Mutex mutex_;
  std::vector<std::string> lines_ MORAINE_GUARDED_BY(mutex_);
};

std::string FileText(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST_F(LogTest, FormatsAndFilters) {
  LogDebug("not {}", "seen");
  LogInfo("chunk {} has {} bytes", 7, 4096u);
  LogWarning("plain");
  LogError("{}", std::string("bad"));
  EXPECT_THAT(Lines(), ElementsAre("info chunk 7 has 4096 bytes", "warning plain", "error bad"));
}

TEST_F(LogTest, MessagesBelowTheLevelAreNotFormatted) {
  SetLogLevel(LogLevel::kOff);
  LogError("{}", 1);
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
  EXPECT_THAT(Lines(), ElementsAre());
}

TEST_F(LogTest, AMessageStaysOneLine) {
  LogInfo("{}", "a\nb\x1B\t\x7F");
  EXPECT_THAT(Lines(), ElementsAre("info a\\nb\\x1b\\x09\\x7f"));
}

TEST_F(LogTest, LevelsParse) {
  for (LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kOff}) {
    EXPECT_EQ(*ParseLogLevel(LogLevelName(level)), level);
  }
  EXPECT_EQ(ParseLogLevel("loud").status().message(),
            "'loud' is no log level; use debug, info, warning, error or off");
}

TEST_F(LogTest, WritesAndReopensAFile) {
  SetLogSinkForTest({});
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / ("moraine_log_" + std::to_string(getpid()));
  ASSERT_TRUE(StartLog({LogLevel::kInfo, path.string()}).ok());
  LogInfo("first");
  EXPECT_THAT(FileText(path),
              MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{6}Z I [0-9]+ "
                           "log_test.cc:[0-9]+ first\n"));
  const std::filesystem::path moved = path.string() + ".1";
  std::filesystem::rename(path, moved);
  ASSERT_TRUE(ReopenLog().ok());
  LogInfo("second");
  EXPECT_THAT(FileText(path), testing::HasSubstr("second"));
  EXPECT_THAT(FileText(moved), testing::Not(testing::HasSubstr("second")));
  std::filesystem::remove(path);
  std::filesystem::remove(moved);
}

TEST_F(LogTest, AnUnusableFileIsAnError) {
  const Status status = StartLog({LogLevel::kInfo, "/proc/no/such/file"});
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_THAT(status.message(), testing::HasSubstr("/proc/no/such/file"));
}

TEST(LogLimiterTest, OneEachSecondWithACount) {
  LogLimiter limiter;
  uint64_t dropped = 99;
  const std::chrono::steady_clock::time_point start{};
  EXPECT_TRUE(limiter.Allow(start, &dropped));
  EXPECT_EQ(dropped, 0u);
  EXPECT_FALSE(limiter.Allow(start + milliseconds(1), &dropped));
  EXPECT_FALSE(limiter.Allow(start + milliseconds(999), &dropped));
  EXPECT_TRUE(limiter.Allow(start + milliseconds(1000), &dropped));
  EXPECT_EQ(dropped, 2u);
  EXPECT_TRUE(limiter.Allow(start + milliseconds(2500), &dropped));
  EXPECT_EQ(dropped, 0u);
}

TEST_F(LogTest, ManyThreadsOneSite) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 100; ++i) MORAINE_LOG_SOMETIMES(LogLevel::kInfo, "tick {}", 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines();
  ASSERT_GE(lines.size(), 1u);
  EXPECT_LT(lines.size(), 100u);
  // One that came while the first was written may be counted with it.
  EXPECT_THAT(lines[0], testing::StartsWith("info tick 1"));
}

}  // namespace
}  // namespace moraine
