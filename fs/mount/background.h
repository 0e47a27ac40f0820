// Going into the background only when there is something to serve: the parent waits for the child's
// word, prints an error if there is one, and its exit code says whether the mount is there.
#pragma once

#include <memory>
#include <string>

#include "base/loop/descriptor.h"
#include "base/status.h"

namespace moraine::fs::mount {

class Background {
 public:
  // In the foreground: Report prints errors and does nothing else.
  explicit Background(std::string program) : program_(std::move(program)) {}
  // Forks. In the parent it does not return: the process ends with the child's report. Before any
  // thread is started and any ring is made.
  Status Fork();
  // Once. Ok: standard input, output and error go to /dev/null (in the background), and the parent
  // leaves with 0. Else the parent prints the error and leaves with 1.
  void Report(const Status& status);

 private:
  [[noreturn]] void RunParent(int from_child);

  const std::string program_;
  Descriptor to_parent_;
  bool forked_ = false;
};

}  // namespace moraine::fs::mount
