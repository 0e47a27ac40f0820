// File name patterns for policy rules, as in fnmatch(3) without flags:
//
//   *       any run of bytes, also an empty one      ?      any one byte
//   [abc]   one of these     [a-z]  a range          [!ab]  none of these
//   \x      the byte x itself
//
// Bytes, not characters; case counts; '/' and a leading '.' are like any other byte. The time is
// at most pattern length times name length, so hostile patterns are harmless.
#pragma once

#include <string_view>

#include "base/status.h"

namespace moraine {

// Whether the whole name matches. A malformed pattern (see below) matches nothing.
bool GlobMatch(std::string_view pattern, std::string_view name);

// kInvalidArgument for an empty pattern, a '[' without its ']', a range from high to low, or a
// backslash at the end.
Status CheckGlob(std::string_view pattern);

}  // namespace moraine
