#include "base/man_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace moraine {
namespace {

// One line of literal text: what roff would understand is escaped.
std::string Escaped(std::string_view line) {
  std::string out;
  for (const char c : line) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '"':
        out += "\\(dq";
        break;
      case '~':
        out += "\\(ti";
        break;
      case '^':
        out += "\\(ha";
        break;
      default:
        out += c;
    }
  }
  return out.starts_with('.') ? "\\&" + out : out;
}

// Text with `x` in bold. An odd number of backquotes leaves the last one as it is.
std::string Marked(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t open = text.find('`');
    const size_t close = open == std::string_view::npos ? open : text.find('`', open + 1);
    if (close == std::string_view::npos) break;
    out += Escaped(text.substr(0, open));
    out += fmt::format("\\fB{}\\fR", Escaped(text.substr(open + 1, close - open - 1)));
    text.remove_prefix(close + 1);
  }
  out += Escaped(text);
  return out.starts_with('.') ? "\\&" + out : out;
}

// The paragraphs of a text; inside one every line break is a blank.
std::vector<std::string> Paragraphs(std::string_view text) {
  std::vector<std::string> paragraphs;
  while (!text.empty()) {
    const size_t end = std::min(text.find("\n\n"), text.size());
    std::string paragraph(text.substr(0, end));
    std::replace(paragraph.begin(), paragraph.end(), '\n', ' ');
    if (!paragraph.empty()) paragraphs.push_back(std::move(paragraph));
    text.remove_prefix(std::min(end + 2, text.size()));
  }
  return paragraphs;
}

// Sentences begin on lines of their own, as roff likes it, and lines stay short.
std::string Filled(std::string_view paragraph) {
  constexpr size_t kColumns = 79;
  std::string out;
  size_t column = 0;
  std::string word;
  bool sentence_ended = false;
  const auto flush = [&] {
    if (word.empty()) return;
    if (column > 0 && (sentence_ended || column + 1 + word.size() > kColumns)) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    if (column == 0 && word.starts_with('.')) out += "\\&";
    out += word;
    column += word.size();
    sentence_ended = word.ends_with('.') || word.ends_with(".\\fR") || word.ends_with(".)");
    word.clear();
  };
  for (const char c : Marked(paragraph)) {
    if (c == ' ') {
      flush();
    } else {
      word += c;
    }
  }
  flush();
  return out + "\n";
}

}  // namespace

ManPage::ManPage(std::string_view name, int section, std::string_view sentence) {
  std::string title(name);
  std::ranges::transform(title, title.begin(), [](char c) {
    return c == ' ' ? '-' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  std::string file_name(name);
  std::ranges::replace(file_name, ' ', '-');
  std::string what(sentence);
  if (what.ends_with('.')) what.pop_back();
  text_ = fmt::format(".TH \"{}\" {} \"{}\" \"moraine {}\" \"Moraine\"\n.SH NAME\n{} \\- {}\n",
                      Escaped(title), section, MORAINE_DATE, MORAINE_VERSION, Escaped(file_name),
                      Marked(what));
}

void ManPage::Section(std::string_view title) { text_ += fmt::format(".SH {}\n", title); }

void ManPage::Paragraph(std::string_view text) {
  for (const std::string& paragraph : Paragraphs(text)) {
    // A heading already brings the space before the first one.
    const size_t last = text_.rfind('\n', text_.size() - 2);
    if (!std::string_view(text_).substr(last + 1).starts_with(".SH")) text_ += ".PP\n";
    text_ += Filled(paragraph);
  }
}

void ManPage::Entry(std::string_view term, std::string_view text) {
  while (term.ends_with(' ')) term.remove_suffix(1);
  text_ += fmt::format(".TP\n{}\n", Marked(term));
  bool first = true;
  for (const std::string& paragraph : Paragraphs(text)) {
    if (!first) text_ += ".IP\n";
    first = false;
    text_ += Filled(paragraph);
  }
}

void ManPage::Literal(std::string_view lines) {
  text_ += ".PP\n.RS 4\n.nf\n";
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    text_ += Escaped(lines.substr(0, end)) + "\n";
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  text_ += ".fi\n.RE\n";
}

void ManPage::Example(std::string_view command, std::string_view sentence) {
  Paragraph(sentence);
  Literal(command);
}

void ManPage::Entries(std::string_view title, const std::vector<ManualEntry>& entries) {
  if (entries.empty()) return;
  Section(title);
  for (const ManualEntry& entry : entries) Entry(entry.term, entry.text);
}

void ManPage::SeeAlso(const std::vector<std::string_view>& pages) {
  if (pages.empty()) return;
  Section("SEE ALSO");
  std::vector<std::string> names;
  for (const std::string_view page : pages) {
    const size_t bracket = std::min(page.find('('), page.size());
    names.push_back(
        fmt::format(".BR {} {}", Escaped(page.substr(0, bracket)), page.substr(bracket)));
  }
  text_ += fmt::format("{}\n", fmt::join(names, " ,\n"));
}

}  // namespace moraine
