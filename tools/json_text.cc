#include "tools/json_text.h"

#include <nlohmann/json.hpp>

namespace moraine::tools {

std::string JsonText(const nlohmann::json& value) {
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

Status CheckJsonHolds(const std::string& what, const std::string& text) {
  const auto back = nlohmann::json::parse(JsonText(text), nullptr, false);
  if (back.is_string() && back.get<std::string>() == text) return {};
  return {Code::kInvalidArgument, what + ": not UTF-8"};
}

}  // namespace moraine::tools
