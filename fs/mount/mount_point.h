// The directory that is mounted on, and what the kernel says about its mount. Blocking calls, none
// of which enters a mount that this process serves; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace moraine::fs::mount {

// One line of /proc/self/mountinfo.
struct MountLine {
  std::string path;
  std::string type;  // with its subtype: fuse.moraine
  std::string source;
  unsigned major = 0;  // of st_dev
  unsigned minor = 0;
};
std::optional<MountLine> ParseMountLine(std::string_view line);
// The topmost mount on exactly this path.
std::optional<MountLine> FindMount(const std::string& path);

// The absolute path without symlinks, if it can be mounted on. A mount of ours whose process was
// killed ("transport endpoint is not connected") is taken away first. kNotFound, kNotDirectory,
// kAlreadyExists (mounted already), kAccessDenied.
Result<std::string> PrepareMountPoint(const std::string& path);
// /dev/fuse is there and may be opened.
Status CheckFuseDevice();

// Takes the mount out of the tree at once, even if it is in use. As root by the system call, else
// with fusermount3. kNotFound: nothing of ours is mounted there, or (with `device_minor`) another
// mount than that one.
Status DetachMount(const std::string& path, std::optional<unsigned> device_minor = std::nullopt);

// The kernel reads ahead at most 128 KiB on a FUSE mount unless told otherwise, here.
Status SetReadAhead(const std::string& path, uint64_t bytes);
}  // namespace moraine::fs::mount
