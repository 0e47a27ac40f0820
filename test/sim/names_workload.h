// Names: one client makes, renames, links and removes names in a tree of its own, which is held
// against a model.
//
// Invariant: an answer is what the model answers. After a power cut of the metaserver the tree is
// as it was after some operation, not before the last one that was made durable. An operation whose
// outcome is unknown may come to pass or not, and late. In both cases the tree is left alone until
// the end, and a new one is begun.
#pragma once

#include <optional>

#include "test/sim/names_model.h"
#include "test/sim/stage.h"

namespace moraine::simulation {

class NamesWorkload : public Workload {
 public:
  explicit NamesWorkload(Stage& stage) : Workload(stage) {}
  const char* name() const override { return "names"; }
  Task<void> Run(fs::Client& client) override;
  Task<void> Verify(fs::Client& client) override;

 private:
  struct Tree {
    std::string name;
    InodeId root;
    std::vector<NamesModel> history;    // the first is durable, the last is now
    uint64_t cuts = 0;                  // Stage::meta_cuts when all of history was as it says
    std::optional<NameOperation> open;  // under way, or of unknown outcome
  };

  Task<bool> BeginTree(fs::Client& client);
  Task<void> Round(fs::Client& client);
  // kOk and the inode for what was made.
  Task<Result<InodeId>> Do(fs::Client& client, const NameOperation& operation);
  void Judge(const Result<InodeId>& result);
  Task<bool> MakeDurable(fs::Client& client);
  static NameOperation AsMeantIn(const NamesModel& older, const Tree& tree);
  // What the tree may be now.
  std::vector<NamesModel> Possible(const Tree& tree) const;
  static Task<Result<NamesModel::Entries>> List(fs::Client& client, InodeId root);
  void Leave();

  uint64_t next_tree_ = 1;
  std::unique_ptr<Tree> tree_;
  std::vector<std::unique_ptr<Tree>> left_;
};

}  // namespace moraine::simulation
