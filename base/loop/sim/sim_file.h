// An open file of a simulated process; see sim_disk.h.
#pragma once

#include <memory>
#include <string>

#include "base/loop/disk.h"
#include "base/loop/sim/disk_image.h"

namespace moraine::sim {

class SimLoop;

class SimFile final : public File {
 public:
  SimFile(SimLoop& loop, DiskImage& image, NodePtr node, std::string path, OpenOptions options);
  ~SimFile() override;

  Task<Result<size_t>> ReadAt(uint64_t offset, MutableBytes buffer) override;
  Task<Status> WriteAt(uint64_t offset, std::span<const ConstBytes> pieces) override;
  Task<Status> Sync() override;
  Task<Status> Allocate(uint64_t offset, uint64_t length) override;
  Task<Status> Truncate(uint64_t size) override;
  Task<Result<uint64_t>> Size() override;

 private:
  Status CheckDirect(uint64_t offset, ConstBytes piece) const;
  Task<Status> Resize(DiskOp op, uint64_t at_least, uint64_t at_most);

  SimLoop& loop_;
  DiskImage& image_;
  const NodePtr node_;
  const std::string path_;
  const OpenOptions options_;
  // Operations under way; shared with their coroutines, which a kill may destroy after the file.
  std::shared_ptr<int> under_way_;
};

}  // namespace moraine::sim
