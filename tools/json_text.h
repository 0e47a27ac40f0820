// What --json prints, and what JSON cannot hold: names and paths may have any bytes, JSON has only
// UTF-8, and the library throws when it meets anything else.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/status.h"

namespace moraine::tools {

// For people and programs that read: bytes that are not UTF-8 become U+FFFD.
std::string JsonText(const nlohmann::json& value);

// For what is read back: kInvalidArgument with `what` when a text would not come back as it was.
Status CheckJsonHolds(const std::string& what, const std::string& text);

}  // namespace moraine::tools
