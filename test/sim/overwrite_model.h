// What each part of a file that is written anywhere may hold. The file is cut into cells; a cell
// has the versions that it may be found in, oldest first, the newest last. A version of bytes is a
// key (content.h); zeros, and no byte at all behind the end, are the version kZeros.
//
// A write that was not acknowledged by a sync may be there or not; a sync leaves the newest version
// alone. What an earlier opening left behind is never settled by a later opening's sync: nobody has
// said whether it was taken.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "test/sim/stage.h"

namespace moraine::simulation {

class OverwriteModel {
 public:
  static constexpr uint64_t kCellBytes = 100;  // so that no cell border is one of pages or blocks
  static constexpr uint64_t kZeros = 0;

  OverwriteModel(Stage& stage, std::string path, uint64_t cells);

  // From here on it is another opening that writes.
  void NewOpening() { ++opening_; }
  // These cells may be of this version from now on.
  void MayBe(uint64_t first, uint64_t count, uint64_t key);
  // All that this opening has done to the file is held by the quorum, or on the disks. `cuts` is
  // Stage::meta_cuts when that was asked for.
  void Flushed(uint64_t cuts);
  void Synced();

  // True when something must be found in the file.
  bool HoldsAnything() const;
  // Empty when `bytes`, the whole file, is something that may be found; otherwise where it is not.
  std::string Difference(const std::string& bytes) const;

  uint64_t cells() const { return cells_.size(); }
  const std::string& path() const { return path_; }

 private:
  struct Version {
    uint64_t key = kZeros;
    uint64_t opening = 0;
    std::optional<uint64_t> flushed_under;  // Stage::meta_cuts then
  };
  using Cell = std::vector<Version>;

  // The oldest version that may still be found.
  size_t Oldest(const Cell& cell) const;
  bool MayHold(const Cell& cell, uint64_t offset, std::string_view bytes) const;

  const Stage& stage_;
  const std::string path_;
  std::vector<Cell> cells_;
  uint64_t opening_ = 0;
};

}  // namespace moraine::simulation
