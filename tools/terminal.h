// What a command shows on a terminal and nowhere else: colours and progress.
//
// Colours are used when standard output is a terminal, TERM is not "dumb" and NO_COLOR is not set
// (no-color.org). Progress is one line on standard error, overwritten and at last taken away, and
// only when that is a terminal; scripts and logs never see either.
#pragma once

#include <string>
#include <string_view>

namespace moraine::tools {

enum class Tone { kPlain, kGood, kWarning, kBad, kFaint };

// `text` in the colour of `tone`, or as it is.
std::string Toned(Tone tone, std::string_view text);

class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Replaces what is shown.
  void Show(std::string_view text);
  void Clear();

 private:
  const bool shown_;
  size_t columns_ = 0;
};

}  // namespace moraine::tools
