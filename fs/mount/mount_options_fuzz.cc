// Any bytes, split at zero bytes, as the command line of moraine-mount and of mount(8)'s helper:
// taken apart and read by the table. Nothing crashes, nothing passes its bounds, and every error is
// one line.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "fs/mount/mount_options.h"

namespace moraine::fs::mount {
namespace {

// One table for all inputs: what one leaves behind must not disturb the next.
struct Fixture {
  MountOptions options;
  const std::unique_ptr<OptionTable> table = MakeMountOptionTable(&options);
};

void Parse(std::string_view program, const std::vector<std::string>& args) {
  const auto words = TranslateArguments(program, args);
  if (!words.ok()) {
    MORAINE_CHECK(words.code() == Code::kInvalidArgument);
    return;
  }
  // A file of configuration is not ours to open.
  if (std::ranges::any_of(*words, [](const std::string& word) {
        return word.find("config") != std::string::npos;
      })) {
    return;
  }
  static Fixture fixture;
  const ParseResult result = fixture.table->Parse(*words);
  if (result.exit_code == 2) {
    MORAINE_CHECK(result.text.find('\n') == result.text.size() - 1, result.text);
  }
  const MountOptions& options = fixture.options;
  MORAINE_CHECK(options.timeout >= std::chrono::seconds(1));
  MORAINE_CHECK(options.timeout <= std::chrono::hours(1));
  MORAINE_CHECK(options.window_bytes >= 1_MiB && options.window_bytes <= 1_GiB);
  MORAINE_CHECK(options.dirty_bytes >= 1_MiB && options.dirty_bytes <= 2_GiB);
  MORAINE_CHECK(options.read_ahead_bytes <= 1_GiB);
}

}  // namespace
}  // namespace moraine::fs::mount

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<std::string> args;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\0'), text.size());
    args.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  const bool helper = (data[0] & 1) != 0;
  moraine::fs::mount::Parse(helper ? "/sbin/mount.fuse.moraine" : "moraine-mount", args);
  return 0;
}
