#include "base/flat_toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace moraine {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsKeyByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || IsDigit(c) || c == '-' || c == '_';
}
bool IsControl(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F; }

void AppendUtf8(uint32_t code, std::string* out) {
  const auto tail = [code](int shift) {
    return static_cast<char>(0x80 | ((code >> shift) & 0x3F));
  };
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    out->append({static_cast<char>(0xC0 | (code >> 6)), tail(0)});
  } else if (code < 0x10000) {
    out->append({static_cast<char>(0xE0 | (code >> 12)), tail(6), tail(0)});
  } else {
    out->append({static_cast<char>(0xF0 | (code >> 18)), tail(12), tail(6), tail(0)});
  }
}

// "1_000" without underscores; each must stand between two digits.
bool DropUnderscores(std::string_view word, std::string* digits) {
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] != '_') {
      *digits += word[i];
    } else if (i == 0 || i + 1 == word.size() || !IsDigit(word[i - 1]) || !IsDigit(word[i + 1])) {
      return false;
    }
  }
  return true;
}

// [+-] digits, without a leading zero, [. digits] [e [+-] digits].
bool ClassifyNumber(std::string_view word, TomlKind* kind) {
  const auto take_digits = [&word] {
    size_t count = 0;
    for (; !word.empty() && IsDigit(word.front()); ++count) word.remove_prefix(1);
    return count;
  };
  const auto take_sign = [&word] {
    if (!word.empty() && (word.front() == '+' || word.front() == '-')) word.remove_prefix(1);
  };
  *kind = TomlKind::kInteger;
  take_sign();
  const bool zero = word.starts_with('0');
  const size_t whole = take_digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (word.starts_with('.')) {
    *kind = TomlKind::kFloat;
    word.remove_prefix(1);
    if (take_digits() == 0) return false;
  }
  if (word.starts_with('e') || word.starts_with('E')) {
    *kind = TomlKind::kFloat;
    word.remove_prefix(1);
    take_sign();
    if (take_digits() == 0) return false;
  }
  return word.empty();
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  int line() const { return line_; }

  Status Parse(std::vector<TomlEntry>* entries) {
    std::set<std::string> seen;
    while (true) {
      MORAINE_RETURN_IF_ERROR(SkipBlankLines());
      if (AtEnd()) return Status::Ok();
      TomlEntry entry;
      entry.line = line_;
      MORAINE_RETURN_IF_ERROR(ParseKey(&entry.key));
      if (!seen.insert(entry.key).second) return Bad(fmt::format("{} is set twice", entry.key));
      const size_t begin = at_;
      MORAINE_RETURN_IF_ERROR(ParseValue(&entry));
      entry.source = line_ == entry.line ? text_.substr(begin, at_ - begin) : "...";
      SkipSpaces();
      MORAINE_RETURN_IF_ERROR(SkipComment());
      if (!AtEnd() && !TakeLineEnd()) return Bad("expected the end of the line after the value");
      entries->push_back(std::move(entry));
    }
  }

 private:
  static Status Bad(std::string what) { return {Code::kInvalidArgument, std::move(what)}; }
  bool AtEnd() const { return at_ == text_.size(); }
  // The next byte; 0, which is never allowed, at the end.
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }
  bool Take(char c) {
    if (AtEnd() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeLineEnd() {
    if (text_.substr(at_, 2) == "\r\n") ++at_;
    if (!Take('\n')) return false;
    ++line_;
    return true;
  }
  void SkipSpaces() {
    while (Peek() == ' ' || Peek() == '\t') ++at_;
  }
  Status SkipComment() {
    if (Peek() != '#') return Status::Ok();
    while (!AtEnd() && Peek() != '\n' && text_.substr(at_, 2) != "\r\n") {
      if (IsControl(Peek())) return Bad("a control character in a comment");
      ++at_;
    }
    return Status::Ok();
  }
  // Also the inside of a list between its elements.
  Status SkipBlankLines() {
    do {
      SkipSpaces();
      MORAINE_RETURN_IF_ERROR(SkipComment());
    } while (TakeLineEnd());
    return Status::Ok();
  }

  Status ParseKey(std::string* key) {
    if (Peek() == '[') return Bad("sections are not used here: write every option as name = value");
    while (IsKeyByte(Peek())) *key += text_[at_++];
    SkipSpaces();
    if (key->empty() || !Take('=')) return Bad("expected name = value");
    SkipSpaces();
    return Status::Ok();
  }

  Status ParseValue(TomlEntry* entry) {
    if (Peek() == '[') return ParseList(entry);
    if (Peek() == '"' || Peek() == '\'') {
      entry->kind = TomlKind::kString;
      return ParseString(&entry->texts.emplace_back());
    }
    std::string word;
    while (IsKeyByte(Peek()) || Peek() == '.' || Peek() == '+') word += text_[at_++];
    std::string& text = entry->texts.emplace_back();
    if (word == "true" || word == "false") {
      entry->kind = TomlKind::kBoolean;
      text = word;
      return Status::Ok();
    }
    if (DropUnderscores(word, &text) && ClassifyNumber(text, &entry->kind)) {
      if (text.starts_with('+')) text.erase(0, 1);
      return Status::Ok();
    }
    return Bad("expected a value: a text in quotes, a number, true, false, or a list of texts");
  }

  Status ParseList(TomlEntry* entry) {
    entry->kind = TomlKind::kStrings;
    Take('[');
    while (true) {
      MORAINE_RETURN_IF_ERROR(SkipBlankLines());
      if (Take(']')) return Status::Ok();
      if (Peek() != '"' && Peek() != '\'') return Bad("expected a text in quotes or ] in the list");
      MORAINE_RETURN_IF_ERROR(ParseString(&entry->texts.emplace_back()));
      MORAINE_RETURN_IF_ERROR(SkipBlankLines());
      if (!Take(',') && Peek() != ']') return Bad("expected , or ] in the list");
    }
  }

  Status ParseString(std::string* out) {
    const char quote = text_[at_];
    if (text_.substr(at_, 3) == std::string(3, quote)) return Bad("a text must be on one line");
    ++at_;
    while (!Take(quote)) {
      if (AtEnd() || Peek() == '\n')
        return Bad(fmt::format("a text without its closing {}", quote));
      if (IsControl(Peek())) return Bad("a control character in a text");
      if (quote == '"' && Peek() == '\\') {
        ++at_;
        MORAINE_RETURN_IF_ERROR(ParseEscape(out));
      } else {
        *out += text_[at_++];
      }
    }
    return Status::Ok();
  }

  Status ParseEscape(std::string* out) {
    constexpr std::string_view kLetters = "btnfr\"\\";
    constexpr std::string_view kMeanings = "\b\t\n\f\r\"\\";
    const char letter = Peek();
    if (const size_t index = kLetters.find(letter); index != std::string_view::npos) {
      *out += kMeanings[index];
      ++at_;
      return Status::Ok();
    }
    const size_t digits = letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (digits == 0) return Bad("unknown escape in a text; use '...' for texts with backslashes");
    ++at_;
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++at_) {
      const char c = Peek();
      const bool letter_digit = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      if (!IsDigit(c) && !letter_digit) return Bad("an escape with too few digits");
      code = code * 16 + static_cast<uint32_t>(IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return Bad("an escape of no character");
    AppendUtf8(code, out);
    return Status::Ok();
  }

  const std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

Result<std::vector<TomlEntry>> ParseFlatToml(std::string_view text, int* error_line) {
  std::vector<TomlEntry> entries;
  Parser parser(text);
  const Status status = parser.Parse(&entries);
  if (status.ok()) return entries;
  *error_line = parser.line();
  return status;
}

std::string TomlQuoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (IsControl(c) || c == '\t') {
      out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace moraine
