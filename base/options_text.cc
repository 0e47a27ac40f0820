// What an option table says about itself: --help, the sample file and the man page.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>

#include "base/flat_toml.h"
#include "base/options_internal.h"

namespace moraine {
namespace {

std::string_view ReloadText(ReloadClass reload) {
  return reload == ReloadClass::kReload ? "takes effect at reload" : "takes effect at restart";
}

// Without the marks of base/man_page.h.
std::string Plain(std::string_view text) {
  std::string out(text);
  std::erase(out, '`');
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

struct BuiltIn {
  std::string_view usage;
  std::string_view help;
};
constexpr BuiltIn kBuiltIns[] = {
    {"--config PATH", "Read options from this TOML file; the command line wins over it."},
    {"--help", "Say what the program does and which options it has."},
    {"--version", "Print the version."},
    {"--print-sample-config", "Print a configuration file with every option and its default."},
    {"--man", "Print the manual page."},
};

}  // namespace

namespace options_internal {

std::string TomlValue(FileKind kind, const std::vector<std::string>& texts) {
  switch (kind) {
    case FileKind::kInteger:
    case FileKind::kNumber:
    case FileKind::kBoolean:
      return texts[0];
    case FileKind::kString:
    case FileKind::kStringOrInteger:
      return TomlQuoted(texts[0]);
    case FileKind::kStrings:
      break;
  }
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(TomlQuoted(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

}  // namespace options_internal

std::string OptionTable::UsageLine() const {
  std::string line = fmt::format("usage: {} [OPTION]...", program_);
  for (const Argument& argument : arguments_) {
    const std::string_view dots = argument.fields != nullptr ? "..." : "";
    line += argument.count_min > 0 ? fmt::format(" {}{}", argument.name, dots)
                                   : fmt::format(" [{}]{}", argument.name, dots);
  }
  return line;
}

std::string OptionTable::Help() const {
  std::string out = fmt::format("{}\n{}\n", UsageLine(), sentence_);
  if (!arguments_.empty()) out += "\nArguments:\n";
  for (const Argument& argument : arguments_) {
    out += fmt::format("  {}\n        {}\n", argument.name, argument.help);
  }
  out += "\nOptions:\n";
  for (const Option& option : options_) {
    out += fmt::format("  --{}{}{}\n        {}\n", option.name,
                       option.placeholder.empty() ? "" : " ", option.placeholder, option.help);
    const std::string value = fmt::format("{}", fmt::join(option.default_texts, ", "));
    const std::string preset = option.traits.required ? "must be set"
                               : value.empty()        ? "default: none"
                                                      : "default: " + value;
    out += fmt::format("        ({}; {}; {})\n", preset, option.allowed,
                       ReloadText(option.traits.reload));
  }
  for (const BuiltIn& built_in : kBuiltIns) {
    out += fmt::format("  {}\n        {}\n", built_in.usage, built_in.help);
  }
  if (!manual_.environment.empty()) out += "\nEnvironment:\n";
  for (const ManualEntry& entry : manual_.environment) {
    out += fmt::format("  {}\n        {}\n", Plain(entry.term), Plain(entry.text));
  }
  if (!manual_.examples.empty()) out += "\nExamples:\n";
  for (const ManualEntry& example : manual_.examples) {
    out += fmt::format("  # {}\n", Plain(example.text));
    std::istringstream lines{std::string(example.term)};
    for (std::string line; std::getline(lines, line);) out += fmt::format("  {}\n", line);
  }
  return out;
}

std::string OptionTable::SampleConfig() const {
  std::string out =
      fmt::format("# Configuration of {} {}.\n# {}\n# Every option with its default.\n", program_,
                  ProgramVersion(), sentence_);
  for (const Option& option : options_) {
    out += fmt::format("\n# {}\n# {}{}; {}.\n", option.help,
                       option.traits.required ? "Must be set: " : "Allowed: ", option.allowed,
                       ReloadText(option.traits.reload));
    out += fmt::format("# {} = {}\n", option.name,
                       options_internal::TomlValue(option.kind, option.default_texts));
  }
  return out;
}

// The page is written for who knows nothing of the program yet: what it does, then its options,
// then what it touches, how it ends, and commands to try.
std::string OptionTable::ManPageText() const {
  ManPage page(program_, manual_.section, sentence_);
  page.Section("SYNOPSIS");
  std::string synopsis = fmt::format("`{}` [OPTION]...", program_);
  for (const Argument& argument : arguments_) {
    const std::string_view dots = argument.fields != nullptr ? "..." : "";
    synopsis += argument.count_min > 0 ? fmt::format(" {}{}", argument.name, dots)
                                       : fmt::format(" [{}]{}", argument.name, dots);
  }
  page.Paragraph(synopsis);
  page.Section("DESCRIPTION");
  page.Paragraph(sentence_);
  page.Paragraph(manual_.description);
  if (!arguments_.empty()) page.Section("ARGUMENTS");
  for (const Argument& argument : arguments_) page.Entry(argument.name, argument.help);
  page.Section("OPTIONS");
  page.Paragraph(
      "An option is written `--name value` or `--name=value`; a switch is on as `--name` and off "
      "as `--name=false`. The same names, without the dashes, are the keys of the file of "
      "`--config`.");
  for (const Option& option : options_) {
    const std::string value = fmt::format("{}", fmt::join(option.default_texts, ", "));
    const std::string preset = option.traits.required ? "Must be set."
                               : value.empty()        ? "Default: none."
                                                      : fmt::format("Default: `{}`.", value);
    page.Entry(fmt::format("`--{}` {}", option.name, option.placeholder),
               fmt::format(
                   "{} {} Allowed: {}.{}", option.help, preset, option.allowed,
                   option.traits.reload == ReloadClass::kReload ? " Takes effect at SIGHUP." : ""));
  }
  for (const BuiltIn& built_in : kBuiltIns) {
    page.Entry(fmt::format("`{}`", built_in.usage), built_in.help);
  }
  page.Entries("FILES", manual_.files);
  page.Entries("ENVIRONMENT", manual_.environment);
  page.Entries("SIGNALS", manual_.signals);
  page.Entries("EXIT STATUS",
               {{"`0`", "A clean end."},
                {"`1`",
                 "Something failed after the options were understood: an address that is "
                 "taken, a directory that does not fit, a server that does not answer. One "
                 "line on standard error says what, and what can be done."},
                {"`2`",
                 "The options or the configuration file are wrong. One line on standard error "
                 "names the option, its value, the file and line, and what is allowed. "
                 "Nothing has been touched."}});
  if (!manual_.metrics.empty()) {
    page.Section("METRICS");
    page.Paragraph(manual_.metrics);
  }
  page.Entries("ERRORS", manual_.errors);
  if (!manual_.examples.empty()) page.Section("EXAMPLES");
  for (const ManualEntry& example : manual_.examples) page.Example(example.term, example.text);
  page.SeeAlso(manual_.see_also);
  return page.text();
}

}  // namespace moraine
