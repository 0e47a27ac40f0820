#include "base/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "base/options_internal.h"

namespace moraine {
namespace {

constexpr std::string_view kCommandLine = "command line";
constexpr int kExitUsage = 2;

bool IsOptionName(std::string_view name) {
  if (name.empty() || name.front() == '-' || name.back() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool IsBuiltIn(std::string_view name) {
  return name == "config" || name == "help" || name == "version" || name == "print-sample-config" ||
         name == "man";
}

}  // namespace

namespace options_internal {

size_t EditDistance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: the one before last is for swaps.
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] =
          std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace options_internal

std::string_view ProgramVersion() { return MORAINE_VERSION; }

std::string_view NearestName(std::string_view said, const std::vector<std::string_view>& known) {
  size_t best = std::max<size_t>(2, said.size() / 3) + 1;
  std::string_view nearest;
  for (const std::string_view name : known) {
    const size_t distance = options_internal::EditDistance(said, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

OptionTable::OptionTable(std::string program, std::string sentence)
    : program_(std::move(program)), sentence_(std::move(sentence)) {}

OptionTable::~OptionTable() = default;

void OptionTable::Add(Option option) {
  MORAINE_CHECK(IsOptionName(option.name), option.name);
  MORAINE_CHECK(!IsBuiltIn(option.name) && Find(option.name) == nullptr, option.name);
  option.default_texts = option.texts();
  option.store_default = option.snapshot();
  options_.push_back(std::move(option));
}

void OptionTable::AddArgument(std::string_view name, std::string* field, bool required,
                              std::string_view help) {
  const bool after_optional = !arguments_.empty() && arguments_.back().count_min == 0;
  MORAINE_CHECK(!required || !after_optional, "a required argument follows an optional one");
  MORAINE_CHECK(arguments_.empty() || arguments_.back().fields == nullptr);
  arguments_.push_back({.name = std::string(name),
                        .help = std::string(help),
                        .count_min = required ? 1u : 0u,
                        .field = field,
                        .fields = nullptr});
}

void OptionTable::AddArguments(std::string_view name, std::vector<std::string>* field,
                               size_t count_min, std::string_view help) {
  MORAINE_CHECK(arguments_.empty() || arguments_.back().fields == nullptr);
  arguments_.push_back({.name = std::string(name),
                        .help = std::string(help),
                        .count_min = count_min,
                        .field = nullptr,
                        .fields = field});
}

void OptionTable::AddRule(std::function<Status()> rule) { rules_.push_back(std::move(rule)); }

const OptionTable::Option* OptionTable::Find(std::string_view name) const {
  for (const Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::string OptionTable::Suggestion(std::string_view name, std::string_view dashes) const {
  std::vector<std::string_view> names;
  for (const Option& option : options_) names.push_back(option.name);
  if (!dashes.empty()) {
    names.insert(names.end(), {"config", "help", "version", "print-sample-config", "man"});
  }
  std::string normal(name);
  std::replace(normal.begin(), normal.end(), '_', '-');
  const std::string_view nearest = NearestName(normal, names);
  if (nearest.empty()) return "--help lists all options";
  return fmt::format("did you mean {}{}?", dashes, nearest);
}

Status OptionTable::ReadCommandLine(const std::vector<std::string>& args, GivenByName* given,
                                    std::vector<std::string>* arguments) const {
  bool only_arguments = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string arg = args[i] == "-h" && !only_arguments ? "--help" : args[i];
    if (only_arguments || arg.size() < 2 || arg[0] != '-') {
      arguments->push_back(arg);
      continue;
    }
    if (arg == "--") {
      only_arguments = true;
      continue;
    }
    const size_t equals = arg.find('=');
    const size_t dashes = arg.starts_with("--") ? 2 : 1;
    const std::string name =
        arg.substr(dashes, equals == std::string::npos ? equals : equals - dashes);
    const Option* option = Find(name);
    if (dashes == 1 || (option == nullptr && !IsBuiltIn(name))) {
      return {Code::kInvalidArgument,
              fmt::format("{}: no such option, {}", arg.substr(0, equals), Suggestion(name, "--"))};
    }
    const bool is_switch =
        option != nullptr ? option->kind == FileKind::kBoolean : name != "config";
    std::string value;
    if (equals != std::string::npos) {
      value = arg.substr(equals + 1);
      if (is_switch && option == nullptr) {
        return {Code::kInvalidArgument, fmt::format("--{}: takes no value", name)};
      }
    } else if (is_switch) {
      value = "true";
    } else if (i + 1 < args.size()) {
      value = args[++i];
    } else {
      return {Code::kInvalidArgument,
              fmt::format("--{}: needs {}", name, option ? option->allowed : "the name of a file")};
    }
    Given& entry = (*given)[name];
    const bool is_list = option != nullptr && option->kind == FileKind::kStrings;
    if (!entry.texts.empty() && !is_list && !(option == nullptr && is_switch)) {
      return {Code::kInvalidArgument,
              fmt::format("--{}={}: the option is given twice", name, value)};
    }
    entry.place = kCommandLine;
    entry.quoted = fmt::format("--{}={}", name, value);
    entry.texts.push_back(std::move(value));
  }
  return Status::Ok();
}

Status OptionTable::Check(const GivenByName& given, std::vector<Assigned>* assigned) const {
  for (const Option& option : options_) {
    const auto found = given.find(option.name);
    if (found == given.end()) {
      if (!option.traits.required) continue;
      return {Code::kInvalidArgument,
              fmt::format("--{}: must be set: {}", option.name, option.allowed)};
    }
    const Given& entry = found->second;
    Result<Option::Store> store = option.parse(entry.texts);
    if (!store.ok()) {
      return {Code::kInvalidArgument,
              fmt::format("{}: must be {}", entry.quoted, store.status().message())};
    }
    assigned->push_back({&option, std::move(*store), entry.place});
  }
  return Status::Ok();
}

Status OptionTable::CheckArguments(const std::vector<std::string>& arguments) const {
  size_t used = 0;
  for (const Argument& argument : arguments_) {
    const size_t left = arguments.size() - used;
    if (left < argument.count_min) {
      return {Code::kInvalidArgument, fmt::format("{} is missing: {}", argument.name, UsageLine())};
    }
    used += argument.fields != nullptr ? left : std::min<size_t>(left, 1);
  }
  if (used == arguments.size()) return Status::Ok();
  return {Code::kInvalidArgument,
          fmt::format("'{}': unexpected argument: {}", arguments[used], UsageLine())};
}

void OptionTable::StoreArguments(const std::vector<std::string>& arguments) {
  auto next = arguments.begin();
  for (const Argument& argument : arguments_) {
    if (argument.fields != nullptr) {
      argument.fields->assign(next, arguments.end());
      next = arguments.end();
    } else if (next != arguments.end()) {
      *argument.field = *next++;
    }
  }
}

Status OptionTable::CheckRules() const {
  for (const auto& rule : rules_) MORAINE_RETURN_IF_ERROR(rule());
  return Status::Ok();
}

Status OptionTable::Bad(std::string_view name, std::string_view what_is_allowed) const {
  const Option* option = Find(name);
  MORAINE_CHECK(option != nullptr, std::string(name));
  const std::string value = fmt::format("{}", fmt::join(option->texts(), ","));
  const std::string source = Source(name);
  if (source == kCommandLine || source == "default") {
    return {Code::kInvalidArgument,
            fmt::format("--{}={} ({}): {}", name, value, source, what_is_allowed)};
  }
  return {Code::kInvalidArgument,
          fmt::format("{}: {} = {}: {}", source, name, value, what_is_allowed)};
}

std::string OptionTable::Source(std::string_view name) const {
  const auto found = sources_.find(name);
  return found == sources_.end() ? "default" : found->second;
}

Status OptionTable::ParseAll(const std::vector<std::string>& args) {
  GivenByName given;
  std::vector<std::string> arguments;
  MORAINE_RETURN_IF_ERROR(ReadCommandLine(args, &given, &arguments));
  GivenByName all;
  std::string config_path;
  if (const auto config = given.find("config"); config != given.end()) {
    config_path = config->second.texts[0];
    MORAINE_RETURN_IF_ERROR(ReadFile(config_path, &all));
  }
  for (const auto& [name, entry] : given) all[name] = entry;
  std::vector<Assigned> assigned;
  MORAINE_RETURN_IF_ERROR(Check(all, &assigned));
  MORAINE_RETURN_IF_ERROR(CheckArguments(arguments));

  // Rules read the fields, so the values go in first and come out again when a rule refuses.
  std::vector<Option::Store> undo;
  for (const Assigned& one : assigned) {
    undo.push_back(one.option->snapshot());
    one.store();
    sources_[one.option->name] = one.place;
  }
  for (const Argument& argument : arguments_) undo.push_back(argument.Snapshot());
  StoreArguments(arguments);
  Status rules = CheckRules();
  if (!rules.ok()) {
    for (const Option::Store& store : undo) store();
    sources_.clear();
    return rules;
  }
  config_path_ = config_path;
  from_command_line_ = std::move(given);
  return Status::Ok();
}

ParseResult OptionTable::Parse(const std::vector<std::string>& args) {
  GivenByName given;
  std::vector<std::string> arguments;
  // The questions are answered even when a required option is missing.
  if (ReadCommandLine(args, &given, &arguments).ok()) {
    if (given.contains("help")) return {0, Help()};
    if (given.contains("version")) return {0, fmt::format("{} {}\n", program_, ProgramVersion())};
    if (given.contains("print-sample-config")) return {0, SampleConfig()};
    if (given.contains("man")) return {0, ManPageText()};
  }
  const Status status = ParseAll(args);
  if (status.ok()) return {};
  // One line, whatever the user typed.
  std::string message = status.message();
  std::replace_if(
      message.begin(), message.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
  return {kExitUsage, fmt::format("{}: {}\n", program_, message)};
}

std::optional<int> OptionTable::ParseOrExit(int argc, const char* const* argv) {
  const ParseResult result = Parse(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
  if (result.exit_code.has_value()) {
    std::fputs(result.text.c_str(), *result.exit_code == 0 ? stdout : stderr);
  }
  return result.exit_code;
}

ReloadReport OptionTable::Reload() {
  ReloadReport report;
  GivenByName all;
  if (!config_path_.empty()) {
    report.status = ReadFile(config_path_, &all);
    if (!report.status.ok()) return report;
  }
  for (const auto& [name, entry] : from_command_line_) all[name] = entry;
  std::vector<Assigned> assigned;
  report.status = Check(all, &assigned);
  if (!report.status.ok()) return report;
  // An option that left the file goes back to its default.
  for (const Option& option : options_) {
    if (!all.contains(option.name)) assigned.push_back({&option, option.store_default, "default"});
  }

  std::vector<Option::Store> undo;
  const auto old_sources = sources_;
  for (const Assigned& one : assigned) {
    const std::vector<std::string> before = one.option->texts();
    Option::Store old = one.option->snapshot();
    one.store();
    if (one.option->texts() == before) continue;
    if (one.option->traits.reload == ReloadClass::kReload) {
      undo.push_back(std::move(old));
      report.changed.push_back(one.option->name);
      sources_[one.option->name] = one.place;
    } else {
      old();
      report.need_restart.push_back(one.option->name);
    }
  }
  report.status = CheckRules();
  if (!report.status.ok()) {
    for (const Option::Store& store : undo) store();
    sources_ = old_sources;
    report.changed.clear();
    report.need_restart.clear();
  }
  return report;
}

}  // namespace moraine
