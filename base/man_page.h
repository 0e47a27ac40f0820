// Manual pages in roff, as man(1) and mandoc(1) read it. Pure text; the option tables and the
// generator in man/ are its users.
//
//   ManPage page("moraine-x", 8, "Does x.");
//   page.Section("FILES");
//   page.Entry("`/etc/x`", "What x reads. Words in `backquotes` are set in bold.");
//   page.Example("moraine-x --help", "Explains it.");
//   std::string roff = page.text();
//
// In all texts: an empty line begins a new paragraph, `x` is bold, everything else is literal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moraine {

struct ManualEntry {
  std::string_view term;
  std::string_view text;
};

// What a program's manual says besides its options. All of it must outlive the table.
struct Manual {
  int section = 8;
  std::string_view description;
  std::vector<ManualEntry> files;
  std::vector<ManualEntry> environment;
  std::vector<ManualEntry> signals;
  std::string_view metrics;
  std::vector<ManualEntry> errors;    // what standard error may say; what to do
  std::vector<ManualEntry> examples;  // a command that runs as it stands; what it does
  std::vector<std::string_view> see_also;
};

class ManPage {
 public:
  ManPage(std::string_view name, int section, std::string_view sentence);

  void Section(std::string_view title);
  void Paragraph(std::string_view text);
  void Entry(std::string_view term, std::string_view text);
  // Lines that are shown as they are.
  void Literal(std::string_view lines);
  void Example(std::string_view command, std::string_view sentence);
  // A section with these entries; nothing when there are none.
  void Entries(std::string_view title, const std::vector<ManualEntry>& entries);
  void SeeAlso(const std::vector<std::string_view>& pages);

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace moraine
