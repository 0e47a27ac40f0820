// What everybody in one schedule shares: the world, what has gone wrong first, and how much may
// have been lost. A workload keeps its model here or in itself, never in a process: processes die.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/loop/sim/world.h"
#include "fs/client/client.h"

namespace moraine::simulation {

// The first violation of an invariant.
class Verdict {
 public:
  void Fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 private:
  std::string failure_;
};

// The bytes of one file, by what was promised about them. Every run of bytes between two beginnings
// of a writer has a key of its own, so that bytes of an earlier life at a later offset are wrong.
struct FileModel {
  std::string path;
  InodeId parent;
  std::string name;
  InodeId inode;
  std::map<uint64_t, uint64_t> keys;  // from this offset on
  uint64_t submitted = 0;             // nothing can be behind it
  uint64_t acknowledged = 0;          // held by the quorum
  uint64_t synced = 0;                // on the quorum's disks
  uint64_t acknowledged_cuts = 0;     // Stage::meta_cuts at the last acknowledgement
  bool durable_name = false;
  bool finished = false;  // closed without an error: `submitted` is the size
  bool doubtful = false;  // an operation on its name has an unknown outcome
};

struct Stage {
  Stage(sim::World& world, uint64_t seed) : world(world), random(seed) {}

  sim::World& world;
  Random random;
  Verdict verdict;
  std::vector<std::unique_ptr<FileModel>> files;
  uint64_t next_key = 1;
  bool stopping = false;        // workloads end their rounds
  uint64_t meta_cuts = 0;       // power cuts of the metaserver
  bool keeps_unsynced = false;  // the faults are few enough that no acknowledged byte may be lost
  InodeId streams, tables, names, owned, changed, handed;  // directories

  void Fail(const std::string& what) {
    if (verdict.failed()) return;
    world.Note("VIOLATION: " + what);
    verdict.Fail(
        fmt::format("at {:.6f} s: {}", static_cast<double>(world.now().count()) / 1e9, what));
  }
  // What must be there of a file, and what may.
  uint64_t LeastSize(const FileModel& model) const {
    if (model.finished && (model.synced >= model.submitted || KeepsAcknowledged(model))) {
      return model.submitted;
    }
    return KeepsAcknowledged(model) ? std::max(model.synced, model.acknowledged) : model.synced;
  }
  bool KeepsAcknowledged(const FileModel& model) const {
    return keeps_unsynced && model.acknowledged_cuts == meta_cuts;
  }
};

// One kind of work with its own invariant. Run is called anew in each life of its client's process
// and returns when Stage::stopping is set.
class Workload {
 public:
  explicit Workload(Stage& stage) : stage_(stage), random_(stage.random.Fork()) {}
  virtual ~Workload() = default;
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  virtual const char* name() const = 0;
  virtual Task<void> Run(fs::Client& client) = 0;
  // After everything has settled, with a client that knows nothing.
  virtual Task<void> Verify(fs::Client& client) = 0;

  uint64_t rounds() const { return rounds_; }  // without an error
  uint64_t operations() const { return operations_; }

 protected:
  void Fail(const std::string& what) { stage_.Fail(std::string(name()) + ": " + what); }
  void Note(const std::string& what) { stage_.world.Note(std::string(name()) + ": " + what); }
  auto Pause(fs::Client& client, Duration most) {
    return client.loop().Sleep(Duration(random_.Uniform(static_cast<uint64_t>(most.count()))));
  }

  Stage& stage_;
  Random random_;
  uint64_t rounds_ = 0;
  uint64_t operations_ = 0;
};

}  // namespace moraine::simulation
