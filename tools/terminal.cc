#include "tools/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace moraine::tools {
namespace {

bool IsTerminal(int descriptor) {
  const char* term = std::getenv("TERM");
  return isatty(descriptor) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

bool WantsColours() {
  const char* refused = std::getenv("NO_COLOR");
  return (refused == nullptr || *refused == '\0') && IsTerminal(STDOUT_FILENO);
}

std::string_view CodeOf(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      return "";
    case Tone::kGood:
      return "32";
    case Tone::kWarning:
      return "33";
    case Tone::kBad:
      return "1;31";
    case Tone::kFaint:
      return "2";
  }
  return "";
}

}  // namespace

std::string Toned(Tone tone, std::string_view text) {
  if (tone == Tone::kPlain || !WantsColours()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", CodeOf(tone), text);
}

Progress::Progress() : shown_(IsTerminal(STDERR_FILENO)) {}

Progress::~Progress() { Clear(); }

void Progress::Show(std::string_view text) {
  if (!shown_) return;
  const size_t padding = columns_ > text.size() ? columns_ - text.size() : 0;
  fmt::print(stderr, "\r{}{:{}}", text, "", padding);
  std::fflush(stderr);
  columns_ = text.size();
}

void Progress::Clear() {
  if (!shown_ || columns_ == 0) return;
  fmt::print(stderr, "\r{:{}}\r", "", columns_);
  std::fflush(stderr);
  columns_ = 0;
}

}  // namespace moraine::tools
