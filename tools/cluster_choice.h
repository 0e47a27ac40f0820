// Which cluster a command means, and which path in it.
#pragma once

#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "tools/metaserver_link.h"

namespace moraine::tools {

// The options that every command shares, and what they lead to.
class ClusterChoice {
 public:
  // Adds --dir, --metaserver, --timeout and --json to a command's table.
  explicit ClusterChoice(OptionTable& table);

  // In this order: --metaserver, --dir, a mount above `path`, MORAINE_METASERVER.
  // kInvalidArgument says what may be given.
  Result<Endpoint> Metaserver(const std::optional<std::string>& path) const;
  Result<std::unique_ptr<MetaserverLink>> Connect(const std::optional<std::string>& path) const;
  // A path on this machine below a mount becomes the path in the file system; others stand.
  Result<std::string> InsidePath(const std::string& path) const;

  bool json = false;

 private:
  std::string dir_;
  std::string metaserver_;
  Duration timeout_ = std::chrono::seconds(10);
};

// A mount of ours above a path: where, of which metaserver.
struct MountAbove {
  std::string mount_point;
  std::string metaserver;
};
std::optional<MountAbove> FindMountAbove(const std::string& path);
// File systems of any kind that are mounted below a directory (not on it), in the order in which
// they are listed. The second form looks at what is there now.
std::vector<std::string> FindMountsBelow(const std::string& directory, std::istream& mountinfo);
Result<std::vector<std::string>> FindMountsBelow(const std::string& directory);

// An error of looking a path up, in words for who typed it.
Status AboutPath(const std::string& path, const Status& status);

// "moraine WORDS: what is wrong" on standard error; gives the exit code: 2 when what was asked for
// is wrong in itself (kInvalidArgument), else 1.
int Complain(const OptionTable& table, const Status& status);

}  // namespace moraine::tools
