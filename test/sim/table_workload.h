// Tables: files that are written once in a stream, closed and never changed. After a sync and a
// close a file has exactly the bytes that were written.
#pragma once

#include "test/sim/stage.h"

namespace moraine::simulation {

class TableWorkload : public Workload {
 public:
  explicit TableWorkload(Stage& stage) : Workload(stage) {}
  const char* name() const override { return "table"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  Task<void> WriteOne(fs::Client& client, FileModel& model);
  Task<Status> WriteAll(FileModel& model, fs::File& file);
  Task<void> RemoveOne(fs::Client& client);

  uint64_t next_file_ = 1;
  std::vector<FileModel*> finished_;
};

}  // namespace moraine::simulation
