// Two of these take one directory from each other and work in it meanwhile, as two servers of one
// container would.
//
// Invariant (ARCHITECTURE.md, "Who may write"): nothing that is begun after another's acquisition
// was answered is ever acknowledged; what was acknowledged before is in what the next owner is
// given, and nothing else is; from then on only the new owner changes it.
#pragma once

#include "test/sim/ownership.h"
#include "test/sim/stage.h"

namespace moraine::simulation {

class OwnerWorkload : public Workload {
 public:
  OwnerWorkload(Stage& stage, Ownership& shared, int number)
      : Workload(stage), shared_(shared), number_(number) {}
  const char* name() const override { return "owner"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  Task<Status> Acquire(fs::Client& client);
  Task<Status> Adopt(fs::Client& client, const fs::OwnedDirectory& owned);
  void CheckNames(const fs::OwnedDirectory& owned);
  Task<Status> CheckEntry(fs::Client& client, const fs::OwnedDirectory::Entry& entry);
  // Works until an operation fails.
  Task<Status> Work(fs::Client& client);
  Task<Status> WriteLog(fs::Client& client);
  Task<Status> AppendAndSync(fs::File& file, FileModel& model);
  Task<Status> ReplaceCurrent(fs::Client& client);
  Task<Status> RemoveOne(fs::Client& client);
  FileModel& NewFile(const std::string& name);

  // Then an owner does not go on.
  bool KnowsThatItIsLost(fs::Client& client) const { return client.TokenOf(stage_.owned).IsNone(); }
  bool IsStale() const { return shared_.term != term_; }
  // After an operation on these names that began under `was_stale`: an acknowledged one must not be
  // that of a former owner.
  void Judge(const char* what, bool was_stale, const Status& status);
  void Bind(const std::string& name, InodeId inode, bool durable);
  // Names whose operation is under way; certain again when it is acknowledged.
  void Doubt(const std::string& name) {
    if (!IsStale()) shared_.doubt.insert(name);
  }
  void Certain(const std::string& name) {
    if (!IsStale()) shared_.doubt.erase(name);
  }

  Ownership& shared_;
  const int number_;
  uint64_t term_ = 0;
  uint64_t next_file_ = 1;
};

}  // namespace moraine::simulation
