// Assertions that stay on in release builds.
//
// MORAINE_CHECK states what the code relies on. It aborts with the expression, a message and the
// place. Use it for bugs only: bad input, bad disks and bad peers get a Status (status.h).
#pragma once

#include <string>

namespace moraine {

[[noreturn]] void CheckFailed(const char* expression, const char* file, int line,
                              const std::string& message);

}  // namespace moraine

#define MORAINE_CHECK(expression, ...)                                              \
  do {                                                                              \
    if (!(expression)) [[unlikely]] {                                               \
      ::moraine::CheckFailed(#expression, __FILE__, __LINE__, std::string{__VA_ARGS__}); \
    }                                                                               \
  } while (false)
