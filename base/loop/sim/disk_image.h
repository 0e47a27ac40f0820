// The disk of a simulated machine: what outlives its processes, and the faults that a test orders.
//
// Paths are relative to the machine's root; "/a/b", "a/b" and "./a/b" are one file. A path's first
// components may be a volume with a capacity and a fate of its own (a machine with several disks).
// Every byte of a file's size is charged, holes included.
// Thread rule: the world's thread. Nothing here takes time; sim_disk.h adds the delays.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop/disk.h"
#include "base/loop/sim/name_tree.h"
#include "base/loop/sim/options.h"
#include "base/random.h"

namespace moraine::sim {

class Machine;
class World;

enum class DiskOp : uint8_t {
  kAny,
  kOpen,
  kRead,
  kWrite,
  kSync,
  kAllocate,
  kTruncate,
  kMakeDirectory,
  kRemove,
  kRename,
  kSyncDirectory,
  kList,
  kLock,
};

class DiskImage {
 public:
  DiskImage(World& world, Machine& machine, const DiskOptions& options, Random random);

  // --- Faults, for tests and plans. Patterns (base/glob.h) are matched against the path without a
  // leading slash; renamed files keep the path they were opened by.

  // The next `count` operations of this kind on matching paths give `code`. A write may have been
  // done in part, a sync may have dropped what it should have kept.
  void FailNext(DiskOp op, std::string pattern, int count = 1, Code code = Code::kIo);
  void ForgetFailures() { failures_.clear(); }
  size_t failures_left() const { return failures_.size(); }
  // Flips one bit of what is stored; kNotFound, kOutOfRange.
  Status FlipBit(std::string_view path, uint64_t bit);
  // Puts other bytes over stored ones (an old version of a block, say), within the size.
  Status Overwrite(std::string_view path, uint64_t offset, ConstBytes bytes);
  // What a read would see now, without faults.
  Result<std::string> Contents(std::string_view path) const;
  Result<uint64_t> SizeOf(std::string_view path) const;
  // Files with a name, sorted.
  std::vector<std::string> Files() const;
  // Everything gone, as after an exchange of the disk. No process may be running.
  void Wipe();

  // The volume with this path prefix ("" is the rest of the disk) gets a capacity of its own.
  void SetCapacity(uint64_t bytes, const std::string& volume = "");
  uint64_t used_bytes(const std::string& volume = "") const;
  // All delays are multiplied.
  void SetSlowness(double factor) { slowness_ = factor; }
  // The chances may be changed at any time.
  DiskOptions& options() { return options_; }

  // --- For SimDisk.

  // One operation under way. `finish` runs at its end; `interrupt` instead when the process dies
  // before, and leaves what a half-done operation leaves.
  struct Operation {
    DiskOp op;
    uint64_t bytes;
    bool to_medium;  // waits for the disk, not only for the page cache
    std::function<void()> finish;
    std::function<void(Random&)> interrupt;
  };
  void Begin(Operation operation);
  // The process died: ends all operations under way.
  void Interrupt();
  void PowerCut();

  // The failure ordered for this operation, or one by chance.
  Status Fault(DiskOp op, const std::string& path);
  NameTree& names() { return names_; }
  Random& random() { return random_; }
  // Charges growth to `size`, or kNoSpace with nothing charged; gives space back when smaller.
  Status Charge(Node& node, const std::string& path, uint64_t size);
  uint64_t RoomFor(const Node& node, const std::string& path) const;  // the largest size that fits
  void Opened(Node& node) { ++node.opened; }
  void Closed(Node& node, const std::string& path);
  void Unlinked(Node& node, const std::string& path);
  bool SameVolume(const std::string& a, const std::string& b) const;
  DiskSpace Space(const std::string& path) const;
  // Writes as the medium does, with its chances of damage. `durable`: O_DSYNC.
  void Store(Node& node, uint64_t offset, ConstBytes bytes, bool durable);

 private:
  struct Failure {
    DiskOp op;
    std::string pattern;
    int count;
    Code code;
  };
  struct Volume {
    uint64_t capacity_bytes = 0;
    uint64_t used_bytes = 0;
  };

  double ChanceOf(DiskOp op) const;
  Duration DelayOf(const Operation& operation);
  const std::string& VolumeOf(const std::string& path) const;
  void Recount();

  World& world_;
  Machine& machine_;
  DiskOptions options_;
  Random random_;
  NameTree names_;
  std::map<std::string, Volume> volumes_;  // by prefix
  std::vector<Failure> failures_;
  double slowness_ = 1;
  std::map<uint64_t, std::shared_ptr<Operation>> under_way_;
  uint64_t next_operation_ = 0;
};

}  // namespace moraine::sim
