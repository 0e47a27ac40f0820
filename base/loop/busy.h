// Says that an operation is under way, for as long as it is, and that it is the only one.
#pragma once

#include "base/check.h"

namespace moraine {

class Busy {
 public:
  explicit Busy(bool& flag) : flag_(flag) {
    MORAINE_CHECK(!flag_, "one operation of a kind at a time");
    flag_ = true;
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  ~Busy() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace moraine
