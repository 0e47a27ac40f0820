// One table of options per program. It feeds the command line, the configuration file, --help, the
// man page, the sample file and every check, so that they cannot drift apart.
//
//   struct ChunkserverOptions {
//     std::string data_dir;
//     uint64_t journal_bytes = 256_MiB;
//     Duration scrub_interval = std::chrono::days(14);
//   };
//   OptionTable table("moraine-chunkserver", "Keeps chunks on the disks of one machine.");
//   table.AddPath("data-dir", &options.data_dir, "Directory of the store.", {.required = true});
//   table.AddBytes("journal-bytes", &options.journal_bytes, 1_MiB, 64_GiB, "Size of the journal.");
//   if (std::optional<int> code = table.ParseOrExit(argc, argv)) return *code;
//
// A field's value at the time of Add is the default. Later sources win: default, then the file of
// --config, then the command line. Every error is one line that names the program, the place
// (file:line or the option as typed), the key, the value and what is allowed; the exit code is 2
// and no field has changed. Built in: --config FILE, --help, --version, --print-sample-config,
// --man.
//
// Not thread-safe. The table and the fields belong to one thread, Reload() included.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/man_page.h"
#include "base/status.h"
#include "base/units.h"

namespace moraine {

// The version of the whole project, for example "0.1.0".
std::string_view ProgramVersion();

// The name nearest to what somebody has typed; empty when none is near.
std::string_view NearestName(std::string_view said, const std::vector<std::string_view>& known);

// When a change in the configuration file takes effect.
enum class ReloadClass { kRestart, kReload };

struct OptionTraits {
  ReloadClass reload = ReloadClass::kRestart;
  bool required = false;   // must be given on the command line or in the file
  bool zero_port = false;  // of an endpoint: port 0 is allowed and means a free one
};

// What main should do after parsing.
struct ParseResult {
  std::optional<int> exit_code;  // set: print `text` and leave (0: to stdout, else to stderr)
  std::string text;
};

struct ReloadReport {
  Status status;                          // not ok: nothing was changed
  std::vector<std::string> changed;       // options that have a new value now
  std::vector<std::string> need_restart;  // options whose new value waits for a restart
};

class OptionTable {
 public:
  OptionTable(std::string program, std::string sentence);
  ~OptionTable();
  OptionTable(const OptionTable&) = delete;
  OptionTable& operator=(const OptionTable&) = delete;

  // Each adds one option. `name` is in-words-like-this and ends in its unit where the type does not
  // tell; `help` is one sentence. A name that is taken or malformed is a bug.
  void AddString(std::string_view name, std::string* field, std::string_view help,
                 OptionTraits traits = {});
  void AddChoice(std::string_view name, std::string* field, std::vector<std::string> choices,
                 std::string_view help, OptionTraits traits = {});
  void AddPath(std::string_view name, std::string* field, std::string_view help,
               OptionTraits traits = {});
  // host:port, with IPv6 addresses in brackets. An endpoint or a path whose default is empty, and
  // that is not required, may be set to the empty text again.
  void AddEndpoint(std::string_view name, std::string* field, std::string_view help,
                   OptionTraits traits = {});
  // Lists: the option is given several times, or an array in the file. A list that is given
  // replaces the default.
  void AddList(std::string_view name, std::vector<std::string>* field, std::string_view help,
               OptionTraits traits = {});
  void AddEndpoints(std::string_view name, std::vector<std::string>* field, std::string_view help,
                    OptionTraits traits = {});
  void AddBool(std::string_view name, bool* field, std::string_view help, OptionTraits traits = {});
  void AddNumber(std::string_view name, double* field, double min, double max,
                 std::string_view help, OptionTraits traits = {});
  // 64MiB, see base/units.h.
  void AddBytes(std::string_view name, uint64_t* field, uint64_t min, uint64_t max,
                std::string_view help, OptionTraits traits = {});
  template <std::integral Int>
  void AddInt(std::string_view name, Int* field, int64_t min, int64_t max, std::string_view help,
              OptionTraits traits = {}) {
    AddInt64(
        name, [field] { return static_cast<int64_t>(*field); },
        [field](int64_t value) { *field = static_cast<Int>(value); }, min, max, help, traits);
  }
  // 250ms, 1h30m, see base/units.h. The value must be whole in the field's own unit.
  template <class Rep, class Period>
  void AddDuration(std::string_view name, std::chrono::duration<Rep, Period>* field,
                   std::chrono::nanoseconds min, std::chrono::nanoseconds max,
                   std::string_view help, OptionTraits traits = {}) {
    using Field = std::chrono::duration<Rep, Period>;
    AddNanoseconds(
        name, [field] { return std::chrono::duration_cast<std::chrono::nanoseconds>(*field); },
        [field](std::chrono::nanoseconds value) {
          *field = std::chrono::duration_cast<Field>(value);
        },
        std::chrono::duration_cast<std::chrono::nanoseconds>(Field(1)), min, max, help, traits);
  }
  // What stands on the command line without a name, in this order. Optional ones come after
  // required ones. AddArguments takes all that are left, at least `count_min`.
  void AddArgument(std::string_view name, std::string* field, bool required, std::string_view help);
  void AddArguments(std::string_view name, std::vector<std::string>* field, size_t count_min,
                    std::string_view help);
  // A rule over several options, checked when all are set. Use Bad() for its error. A rule must
  // only read fields.
  void AddRule(std::function<Status()> rule);
  // A rule's error about one option: names where its value came from.
  Status Bad(std::string_view name, std::string_view what_is_allowed) const;

  // What the manual says besides the options; --help shows its examples and environment.
  void SetManual(Manual manual) { manual_ = std::move(manual); }

  ParseResult Parse(const std::vector<std::string>& args);
  // Parses, prints what there is to print, and returns the exit code if the program should end.
  std::optional<int> ParseOrExit(int argc, const char* const* argv);
  // Reads the file of --config again and takes over the options of class kReload. Options of the
  // command line keep their value. All or nothing.
  ReloadReport Reload();

  std::string Help() const;
  std::string SampleConfig() const;  // TOML, every option with its default, commented out
  std::string ManPageText() const;   // roff
  const std::string& program() const { return program_; }
  // "command line", "FILE:LINE" or "default".
  std::string Source(std::string_view name) const;

 private:
  struct Option;
  struct Argument;
  struct Given;     // one option as it was found in the file or on the command line
  struct Assigned;  // a checked value, ready to be stored
  using GivenByName = std::map<std::string, Given, std::less<>>;

  void AddInt64(std::string_view name, std::function<int64_t()> get,
                std::function<void(int64_t)> set, int64_t min, int64_t max, std::string_view help,
                OptionTraits traits);
  void AddNanoseconds(std::string_view name, std::function<std::chrono::nanoseconds()> get,
                      std::function<void(std::chrono::nanoseconds)> set,
                      std::chrono::nanoseconds step, std::chrono::nanoseconds min,
                      std::chrono::nanoseconds max, std::string_view help, OptionTraits traits);
  void Add(Option option);
  const Option* Find(std::string_view name) const;
  // ", did you mean --x?" or where to find all names.
  std::string Suggestion(std::string_view name, std::string_view dashes) const;

  Status ReadCommandLine(const std::vector<std::string>& args, GivenByName* given,
                         std::vector<std::string>* arguments) const;
  Status ReadFile(const std::string& path, GivenByName* given) const;
  Status Check(const GivenByName& given, std::vector<Assigned>* assigned) const;
  Status CheckArguments(const std::vector<std::string>& arguments) const;
  void StoreArguments(const std::vector<std::string>& arguments);
  Status CheckRules() const;
  Status ParseAll(const std::vector<std::string>& args);
  std::string UsageLine() const;

  const std::string program_;
  const std::string sentence_;
  Manual manual_;
  std::vector<Option> options_;
  std::vector<Argument> arguments_;
  std::vector<std::function<Status()>> rules_;
  std::string config_path_;
  GivenByName from_command_line_;
  std::map<std::string, std::string, std::less<>> sources_;
};

}  // namespace moraine
