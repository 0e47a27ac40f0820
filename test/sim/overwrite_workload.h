// Files that are written anywhere: overwritten, cut, lengthened, with holes. Two of these take
// turns at the same files, so that what one has closed without a sync is under what the other
// writes.
//
// Invariant (ARCHITECTURE.md, "Write path"): what was synced is there until it is written over by
// something that is there, whether that was synced or not; an opening reads exactly what it wrote.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "test/sim/overwrite_model.h"

namespace moraine::simulation {

// What both work at.
struct Changed {
  OverwriteModel model;
  std::string name;
  InodeId inode;
  bool durable_name = false;
  bool doubtful = true;  // until its creation is answered
  bool busy = false;     // one of the two has it open
};
using ChangedFiles = std::vector<std::unique_ptr<Changed>>;

class OverwriteWorkload : public Workload {
 public:
  // `number` makes the names of this one's files its own; the first of the two verifies all.
  OverwriteWorkload(Stage& stage, ChangedFiles& files, int number)
      : Workload(stage), files_(files), number_(number) {}
  const char* name() const override { return "overwrite"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  Task<std::shared_ptr<fs::File>> Begin(fs::Client& client);
  Changed* Old();
  Task<std::shared_ptr<fs::File>> BeginNew(fs::Client& client);
  Task<std::shared_ptr<fs::File>> GoOn(fs::Client& client);
  // Some changes and looks; returns at the first error.
  Task<Status> Work(fs::Client& client, fs::File& file);
  Task<Status> WriteSome(fs::File& file);
  Task<Status> AppendSome(fs::File& file);
  Task<Status> Resize(fs::File& file);
  Task<Status> Store(fs::File& file);
  Task<Status> ReadOwn(fs::File& file);
  // The bytes of these cells under a new key, which the model knows of.
  std::string NewBytes(uint64_t first, uint64_t count);
  // The file is to grow to `size`: what is between becomes zeros.
  void PadTo(uint64_t size);
  void ImageHas(uint64_t offset, const std::string& bytes);

  ChangedFiles& files_;
  const int number_;
  uint64_t next_file_ = 1;
  Changed* current_ = nullptr;  // busy with it
  std::string image_;           // what the current opening must read
};

}  // namespace moraine::simulation
