// Arbitrary bytes as a configuration file; and every text, quoted, must read back as it was.
#include <cstdint>

#include "base/check.h"
#include "base/flat_toml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  int line = 0;
  const auto entries = moraine::ParseFlatToml(text, &line);
  MORAINE_CHECK(entries.ok() || line > 0);
  for (const auto& entry : entries.value_or(std::vector<moraine::TomlEntry>())) {
    MORAINE_CHECK(!entry.key.empty() && !entry.source.empty());
    MORAINE_CHECK(entry.kind == moraine::TomlKind::kStrings || entry.texts.size() == 1);
  }
  const auto again = moraine::ParseFlatToml("x = " + moraine::TomlQuoted(text), &line);
  MORAINE_CHECK(again.ok() && again->at(0).texts.at(0) == text);
  return 0;
}
