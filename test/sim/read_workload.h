// Another client that reads what the writers write, while they do: never a wrong byte, never a byte
// that was not written, always those that were synced before it opened the file.
#pragma once

#include "test/sim/stage.h"

namespace moraine::simulation {

class ReadWorkload : public Workload {
 public:
  explicit ReadWorkload(Stage& stage) : Workload(stage) {}
  const char* name() const override { return "read"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  Task<Status> ReadSome(fs::Client& client, const FileModel& model);
};

}  // namespace moraine::simulation
