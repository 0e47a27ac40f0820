// What each part of a file that is written anywhere may hold. The file is cut into cells; a cell
// has the versions that it may be found in, oldest first, the newest last. A version of bytes is a
// key (content.h), zeros that somebody made, or no bytes at all, behind the end. The size has its
// versions likewise.
//
// A write that was not acknowledged by a sync may be there or not; a sync leaves what its opening
// has read or written. What an earlier opening left behind is settled by the next opening's sync
// alone, which is for all that was done to the file before.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "test/sim/stage.h"

namespace moraine::simulation {

class OverwriteModel {
 public:
  static constexpr uint64_t kCellBytes = 100;  // so that no cell border is one of pages or blocks
  static constexpr uint64_t kZeros = 0;
  static constexpr uint64_t kAbsent = UINT64_MAX;

  OverwriteModel(Stage& stage, std::string path, uint64_t cells);

  // From here on it is another opening that writes.
  void NewOpening() { ++opening_; }
  // These cells may be of this version from now on.
  void MayBe(uint64_t first, uint64_t count, uint64_t key);
  void MayBeBytes(uint64_t cell, std::string bytes);
  void MayEndAt(uint64_t size);
  // All that this opening has done to the file is held by the quorum. `cuts` is Stage::meta_cuts
  // when that was asked for.
  void Flushed(uint64_t cuts);
  // `image`, all of the file as this opening sees it, is on the disks.
  void Synced(const std::string& image);

  // True when something must be found in the file.
  bool HoldsAnything() const;
  // Empty when `bytes`, the whole file, is something that may be found; otherwise where it is not.
  std::string Difference(const std::string& bytes) const;

  uint64_t cells() const { return cells_.size(); }
  const std::string& path() const { return path_; }

 private:
  struct Version {
    uint64_t key = kAbsent;  // of the size: the size
    uint64_t opening = 0;
    std::optional<uint64_t> flushed_under = {};  // Stage::meta_cuts then
    std::string bytes = {};                      // then they count, not the key
  };
  using Versions = std::vector<Version>;  // never empty

  // The oldest version that may still be found.
  size_t Oldest(const Versions& versions) const;
  // `bytes`: what the file has of the cell, perhaps not all of it.
  bool MayHold(const Versions& cell, uint64_t offset, std::string_view bytes) const;
  std::string SizeDifference(uint64_t size) const;

  const Stage& stage_;
  const std::string path_;
  std::vector<Versions> cells_;
  Versions sizes_;
  uint64_t opening_ = 0;
};

}  // namespace moraine::simulation
