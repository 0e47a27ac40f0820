// What the manuals of all commands of `moraine` have in common, and the page of `moraine` itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/man_page.h"

namespace moraine::tools {

// Commands that talk to a cluster find it in one of these ways (ClusterChoice).
enum class Talks { kToACluster, kToADevCluster };

Manual CommandManual(Talks talks, std::string_view description, std::vector<ManualEntry> examples);

std::string MoraineHelp();
std::string MoraineManPage();

}  // namespace moraine::tools
