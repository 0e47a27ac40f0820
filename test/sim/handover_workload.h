// Two of these append to the same files, and now and then one takes their directory for itself
// meanwhile and gives it back, so that what the other has under way arrives when nobody owns it.
//
// Invariant (ARCHITECTURE.md, "Who may write"): what an acknowledged sync has stored stays at its
// place for ever, whoever writes the file next; no two of them have the same place. Who opens or
// asks for the attributes afterwards finds it, also by a handle that was opened long before.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "test/sim/stage.h"

namespace moraine::simulation {

// A file that both append to.
struct HandedFile {
  struct Piece {
    uint64_t size = 0;
    uint64_t key = 0;  // of its bytes (content.h)
  };
  std::string path() const { return "/handed/" + name; }
  std::string name;
  std::map<uint64_t, Piece> synced;  // by offset
};
using HandedFiles = std::vector<std::unique_ptr<HandedFile>>;

class HandoverWorkload : public Workload {
 public:
  // `number` makes the names of this one's files its own; the first of the two verifies all.
  HandoverWorkload(Stage& stage, HandedFiles& files, int number)
      : Workload(stage), files_(files), number_(number) {}
  const char* name() const override { return "handover"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  using Opened = std::shared_ptr<fs::File>;
  // Stays open for some rounds, beside other handles of the same file, while others take it.
  struct Kept {
    Opened file;
    HandedFile* model;
  };
  // They return at the first error.
  Task<Status> WorkAsOwner(fs::Client& client, std::vector<Kept>& kept);
  Task<Status> Work(fs::Client& client, std::vector<Kept>& kept);
  // By the handle that is kept the longest, which is closed or kept on.
  Task<Status> WorkOnKept(fs::Client& client, std::vector<Kept>& kept);
  Task<Status> AppendSome(fs::Client& client, const Kept& opened);
  Task<Result<Opened>> Create(fs::Client& client);
  // What was synced before must be in it.
  Task<Result<Opened>> Open(fs::Client& client, const HandedFile& model, fs::Client::OpenMode mode);
  // By its name, as a program does that makes the file if it is not there.
  Task<Result<Opened>> OpenOrCreate(fs::Client& client, const HandedFile& model);
  // A stat tells how much, and a read gives it.
  Task<Status> Check(fs::Client& client, const Kept& kept);
  Task<Status> Append(fs::File& file, HandedFile& model);

  HandedFiles& files_;  // acknowledged ones
  const int number_;
  uint64_t next_file_ = 1;
};

}  // namespace moraine::simulation
