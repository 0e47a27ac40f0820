#include "base/flat_toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moraine {
namespace {

using testing::ElementsAre;
using std::string_literals::operator""s;

// "key kind text|text line source" of each entry, or "LINE: error".
std::vector<std::string> Parsed(std::string_view text) {
  int line = 0;
  const auto entries = ParseFlatToml(text, &line);
  if (!entries.ok()) return {std::to_string(line) + ": " + entries.status().message()};
  std::vector<std::string> out;
  for (const TomlEntry& entry : *entries) {
    constexpr std::string_view kKinds[] = {"string", "integer", "float", "boolean", "strings"};
    std::string texts;
    for (const std::string& one : entry.texts) texts += one + "|";
    out.push_back(entry.key + " " + std::string(kKinds[static_cast<size_t>(entry.kind)]) + " " +
                  texts + " " + std::to_string(entry.line) + " " + entry.source);
  }
  return out;
}

TEST(FlatTomlTest, AllKinds) {
  EXPECT_THAT(
      Parsed("# head\r\n\n  a = \"x\" # tail\nb='\\y'\r\nc = -1_000\nd = 0.5e-3\ne = true\n"
             "f-g_1 = [ 'p', # one\n  \"q\",\n]\nh = []"),
      ElementsAre("a string x| 3 \"x\"", "b string \\y| 4 '\\y'", "c integer -1000| 5 -1_000",
                  "d float 0.5e-3| 6 0.5e-3", "e boolean true| 7 true", "f-g_1 strings p|q| 8 ...",
                  "h strings  11 []"));
  EXPECT_THAT(Parsed(""), ElementsAre());
  EXPECT_THAT(Parsed("a = +5"), ElementsAre("a integer 5| 1 +5"));
}

TEST(FlatTomlTest, Escapes) {
  EXPECT_THAT(Parsed(R"(a = "\b\t\n\f\r\"\\\u0041\u00e9\u20AC\U0001F600")"),
              ElementsAre("a string \b\t\n\f\r\"\\A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80| 1 "
                          R"("\b\t\n\f\r\"\\\u0041\u00e9\u20AC\U0001F600")"));
  EXPECT_THAT(Parsed("a = 'gr\xC3\xBC\xC3\x9F'"), ElementsAre("a string gr\xC3\xBC\xC3\x9F| 1 "
                                                              "'gr\xC3\xBC\xC3\x9F'"));
}

TEST(FlatTomlTest, Errors) {
  const std::string value =
      "expected a value: a text in quotes, a number, true, false, or a list of texts";
  const std::pair<std::string, std::string> kCases[] = {
      {"[a]", "1: sections are not used here: write every option as name = value"},
      {"a = 1\n\n= 2", "3: expected name = value"},
      {"a", "1: expected name = value"},
      {"a.b = 1", "1: expected name = value"},
      {"\"a\" = 1", "1: expected name = value"},
      {"a =", "1: " + value},
      {"a = yes", "1: " + value},
      {"a = 1979-05-27", "1: " + value},
      {"a = 007", "1: " + value},
      {"a = 1__0", "1: " + value},
      {"a = _1", "1: " + value},
      {"a = 1.", "1: " + value},
      {"a = 0x10", "1: " + value},
      {"a = {}", "1: " + value},
      {"a = 1 2", "1: expected the end of the line after the value"},
      {"a = 'x' 'y'", "1: expected the end of the line after the value"},
      {"a = 1\na = 2", "2: a is set twice"},
      {"a = 'x", "1: a text without its closing '"},
      {"a = \"x\n\"", "1: a text without its closing \""},
      {"a = '''x'''", "1: a text must be on one line"},
      {"a = \"\\x41\"", "1: unknown escape in a text; use '...' for texts with backslashes"},
      {"a = \"\\u12\"", "1: an escape with too few digits"},
      {"a = \"\\uD800\"", "1: an escape of no character"},
      {"a = \"\\UFFFFFFFF\"", "1: an escape of no character"},
      {"a = [1]", "1: expected a text in quotes or ] in the list"},
      {"a = ['x' 'y']", "1: expected , or ] in the list"},
      {"a = ['x',\n", "2: expected a text in quotes or ] in the list"},
      {"a = 'x\x01'", "1: a control character in a text"},
      {"# x\x01", "1: a control character in a comment"},
      {"a = 1\0"s, "1: expected the end of the line after the value"},
  };
  for (const auto& [text, error] : kCases) EXPECT_THAT(Parsed(text), ElementsAre(error)) << text;
}

TEST(FlatTomlTest, QuotedTextsParseBack) {
  EXPECT_EQ(TomlQuoted("a\"b\\c\n\t"), "\"a\\\"b\\\\c\\u000A\\u0009\"");
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  int line = 0;
  const auto entries = ParseFlatToml("x = " + TomlQuoted(all), &line);
  ASSERT_TRUE(entries.ok()) << entries.status().ToString();
  EXPECT_EQ((*entries)[0].texts[0], all);
}

}  // namespace
}  // namespace moraine
