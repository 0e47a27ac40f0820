// A log: one client appends to files of the policy `log`, flushes and syncs them, comes back to a
// file that it left after an error, and goes on with others.
//
// Invariant (ARCHITECTURE.md, "Write path"): synced bytes are there, nothing is there that was not
// written, bytes are where they were appended.
#pragma once

#include "test/sim/stage.h"

namespace moraine::simulation {

class StreamWorkload : public Workload {
 public:
  // `number` makes the names of this one's files its own.
  StreamWorkload(Stage& stage, int number) : Workload(stage), number_(number) {}
  const char* name() const override { return "stream"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  Task<std::shared_ptr<fs::File>> Begin(fs::Client& client);
  Task<std::shared_ptr<fs::File>> BeginNew(fs::Client& client);
  Task<std::shared_ptr<fs::File>> GoOn(fs::Client& client);
  Task<Status> Write(fs::Client& client, fs::File& file);
  Task<Status> AppendOne(fs::File& file);
  Task<Status> ReadOwn(fs::File& file);

  const int number_;
  uint64_t next_file_ = 1;
  FileModel* current_ = nullptr;
};

}  // namespace moraine::simulation
