// Files through the ring of a UringLoop. See disk.h for the contract.
//
// Opening, making, renaming, removing, syncing and allocating are operations of the ring, which
// runs them on the kernel's workers when they would block; listing and truncating go to the pool.
// Names and sizes that the kernel holds in memory are asked for directly.
#pragma once

#include <memory>

#include "base/loop/disk.h"

namespace moraine {

class UringLoop;

std::unique_ptr<Disk> MakeUringDisk(UringLoop& loop);

}  // namespace moraine
