// The options of moraine-mount, and the ways to write them:
//
//   moraine-mount --metaserver HOST:PORT /mnt --timeout 30s
//   moraine-mount HOST:PORT /mnt -o timeout=30s,ro
//   mount -t fuse.moraine HOST:PORT /mnt -o allow_other     through /sbin/mount.fuse.moraine
//   HOST:PORT /mnt fuse.moraine timeout=30s,_netdev 0 0     in /etc/fstab
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop/net.h"
#include "base/loop/run_process.h"
#include "base/options.h"
#include "base/units.h"

namespace moraine::fs::mount {

struct MountOptions {
  std::string metaserver;
  std::string mountpoint;
  std::chrono::milliseconds timeout = std::chrono::seconds(30);
  bool foreground = false;
  bool allow_other = false;
  bool read_only = false;
  std::chrono::milliseconds entry_timeout{0};
  std::chrono::milliseconds directory_timeout{1000};
  std::chrono::milliseconds attr_timeout{1000};
  std::chrono::milliseconds listing_timeout{1000};
  uint64_t read_ahead_bytes = 4_MiB;
  uint64_t window_bytes = 16_MiB;
  uint64_t dirty_bytes = 64_MiB;
  ProcessOptions process{.stop_timeout = std::chrono::seconds(5)};
  std::vector<std::string> mount_flags;  // nosuid, noexec, ...: for the kernel as they are
};

std::unique_ptr<OptionTable> MakeMountOptionTable(MountOptions* options);

// The command line in the form that the table reads: `-o a,b=c` taken apart, a source before the
// mount point turned into --metaserver, the flags of mount(8) helpers understood. `program` is
// argv[0]: under a name that begins with "mount." the helper's flags have mount(8)'s meanings.
Result<std::vector<std::string>> TranslateArguments(std::string_view program,
                                                    const std::vector<std::string>& args);

}  // namespace moraine::fs::mount
