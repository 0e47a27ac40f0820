// The Disk of one simulated process: adds time, alignment rules and faults to its machine's
// DiskImage. An operation takes effect at its end, so overlapping ones happen in any order; a sync
// covers the writes that had ended when it began. A buffer that changes while it is being written
// is a bug and aborts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/loop/disk.h"
#include "base/loop/sim/disk_image.h"

namespace moraine::sim {

class SimLoop;

class SimDisk final : public Disk {
 public:
  SimDisk(SimLoop& loop, DiskImage& image) : loop_(loop), image_(image) {}

  Task<Result<std::unique_ptr<File>>> Open(std::string path, OpenOptions options) override;
  Task<Status> MakeDirectory(std::string path) override;
  Task<Status> Remove(std::string path) override;
  Task<Status> Rename(std::string from, std::string to) override;
  Task<Status> SyncDirectory(std::string path) override;
  Task<Result<std::vector<DirectoryEntry>>> List(std::string path) override;
  Result<DiskSpace> Space(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  Task<Status> Change(DiskOp op, std::string path, std::function<Status()> apply);

  SimLoop& loop_;
  DiskImage& image_;
};

}  // namespace moraine::sim
