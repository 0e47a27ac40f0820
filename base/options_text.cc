// What an option table says about itself: --help, the sample file and the man page.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/flat_toml.h"
#include "base/options_internal.h"

namespace moraine {
namespace {

std::string_view ReloadText(ReloadClass reload) {
  return reload == ReloadClass::kReload ? "takes effect at reload" : "takes effect at restart";
}

// Backslashes and hyphens as roff wants them; a line must not begin with a control character.
std::string Roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  if (!out.empty() && (out[0] == '.' || out[0] == '\'')) out = "\\&" + out;
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

std::string OptionTable::ManPage() const {
  std::string title = program_;
  for (char& c : title) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  std::string out = fmt::format(
      ".TH \"{}\" 8 \"\" \"moraine {}\" \"Moraine\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n"
      "[\\fIOPTION\\fR]...\n",
      Roff(title), ProgramVersion(), Roff(program_), Roff(sentence_), Roff(program_));
  for (const Argument& argument : arguments_) {
    out +=
        fmt::format("\\fI{}\\fR{}\n", Roff(argument.name), argument.fields != nullptr ? "..." : "");
  }
  if (!arguments_.empty()) out += ".SH ARGUMENTS\n";
  for (const Argument& argument : arguments_) {
    out += fmt::format(".TP\n\\fI{}\\fR\n{}\n", Roff(argument.name), Roff(argument.help));
  }
  out +=
      ".SH OPTIONS\nThe same names, without the dashes, are the keys of the configuration file.\n";
  for (const Option& option : options_) {
    out += fmt::format(".TP\n\\fB\\-\\-{}\\fR \\fI{}\\fR\n{}\n", Roff(option.name),
                       option.placeholder, Roff(option.help));
    const std::string value = fmt::format("{}", fmt::join(option.default_texts, ", "));
    if (option.traits.required) {
      out += "Must be set.\n";
    } else if (!value.empty()) {
      out += fmt::format("Default: {}.\n", Roff(value));
    }
    out +=
        fmt::format("Allowed: {}; {}.\n", Roff(option.allowed), ReloadText(option.traits.reload));
  }
  for (const BuiltIn& built_in : kBuiltIns) {
    out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", Roff(built_in.usage), Roff(built_in.help));
  }
  out +=
      ".SH EXIT STATUS\n0 after a clean end, 2 when the options are wrong (one line on standard "
      "error says what is), 1 after any other failure.\n";
  return out;
}

}  // namespace moraine
