#include "kv/rocksfs/uri.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moraine::rocksfs {
namespace {

using ::testing::HasSubstr;

TEST(ParseUri, TakesHostPathAndOptions) {
  const Result<Uri> uri = ParseUri(
      "moraine://10.0.0.1:7400//databases/x/"
      "?timeout=10s&window=32MiB&read_ahead=0&cache=0&name=bench"
      "&log=debug&policy.state=l5&policy.table=single&policy.other=o",
      nullptr);
  ASSERT_TRUE(uri.ok()) << uri.status().ToString();
  EXPECT_EQ(uri->metaserver, (Endpoint{"10.0.0.1", 7400}));
  EXPECT_EQ(uri->root, "/databases/x");
  EXPECT_EQ(uri->timeout, std::chrono::seconds(10));
  EXPECT_EQ(uri->window_bytes, 32u << 20);
  EXPECT_EQ(uri->read_ahead_bytes, 0u);
  EXPECT_EQ(uri->cache_bytes, 0u);
  EXPECT_EQ(uri->name, "bench");
  EXPECT_EQ(uri->log, LogLevel::kDebug);
  EXPECT_EQ(uri->policies, (PolicyNames{.state = "l5", .table = "single", .other = "o"}));
}

TEST(ParseUri, HasDefaults) {
  const Result<Uri> uri = ParseUri("moraine://meta:1", "other:2");
  ASSERT_TRUE(uri.ok()) << uri.status().ToString();
  EXPECT_EQ(uri->metaserver, (Endpoint{"meta", 1}));
  EXPECT_EQ(uri->root, "/");
  EXPECT_EQ(uri->timeout, std::chrono::seconds(30));
  EXPECT_EQ(uri->policies, PolicyNames());
  EXPECT_FALSE(uri->log.has_value());
}

TEST(ParseUri, TakesTheMetaserverFromTheEnvironmentWhenItNamesNone) {
  for (const char* text : {"moraine://", "moraine:///", "moraine:///db", "moraine://?timeout=1s"}) {
    const Result<Uri> uri = ParseUri(text, "meta:7400");
    ASSERT_TRUE(uri.ok()) << text << ": " << uri.status().ToString();
    EXPECT_EQ(uri->metaserver, (Endpoint{"meta", 7400})) << text;
    EXPECT_FALSE(ParseUri(text, nullptr).ok()) << text;
    EXPECT_THAT(ParseUri(text, "").status().message(), HasSubstr("MORAINE_METASERVER")) << text;
  }
}

TEST(ParseUri, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> kCases[] = {
      {"moraine:/meta:1", "moraine://HOST:PORT"},
      {"posix://", "moraine://HOST:PORT"},
      {"moraine://meta/x", "HOST:PORT"},
      {"moraine://meta:0/x", "port"},
      {"moraine://meta:99999/x", "port"},
      {"moraine://meta:abc", "port"},
      {"moraine://m:1?timeout=1", "'timeout=1'"},
      {"moraine://m:1?timeout=1ms", "from 100ms to 1h"},
      {"moraine://m:1?timeout=2h", "from 100ms to 1h"},
      {"moraine://m:1?window=1", "from 64KiB to 1GiB"},
      {"moraine://m:1?window=", "'window='"},
      {"moraine://m:1?read_ahead=-1", "'read_ahead=-1'"},
      {"moraine://m:1?cache=2TiB", "'cache=2TiB'"},
      {"moraine://m:1?log=loud", "debug, info, warning"},
      {"moraine://m:1?name=", "1 to 255 bytes"},
      {"moraine://m:1?timeout", "option=value"},
      {"moraine://m:1?timeut=1s", "no option 'timeut'"},
      {"moraine://m:1?timeout=1s&policy=x", "no option 'policy'"},
  };
  for (const auto& [text, expected] : kCases) {
    const Result<Uri> uri = ParseUri(text, nullptr);
    ASSERT_FALSE(uri.ok()) << text;
    EXPECT_EQ(uri.code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(uri.status().message(), HasSubstr(expected)) << text;
    EXPECT_EQ(uri.status().message().find('\n'), std::string::npos) << text;
  }
}

TEST(ConnectionKey, DependsOnWhatTheSessionNeedsOnly) {
  const auto key = [](const char* text) { return ParseUri(text, nullptr)->ConnectionKey(); };
  EXPECT_EQ(key("moraine://m:1/a?log=info&policy.state=x"), key("moraine://m:1/b"));
  EXPECT_NE(key("moraine://m:1"), key("moraine://m:2"));
  EXPECT_NE(key("moraine://m:1?timeout=1s"), key("moraine://m:1"));
  EXPECT_NE(key("moraine://m:1?window=1MiB"), key("moraine://m:1"));
  EXPECT_NE(key("moraine://m:1?name=x"), key("moraine://m:1"));
}

}  // namespace
}  // namespace moraine::rocksfs
