// The types of options: how each is read from text, checked and written back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "base/options_internal.h"

namespace moraine {
namespace {

using std::chrono::nanoseconds;
using Texts = std::vector<std::string>;
using Store = std::function<void()>;

// The message of these statuses is completed to "<option>: must be <message>".
Result<Store> Refuse(const std::string& allowed) { return {Code::kInvalidArgument, allowed}; }

template <class Number>
bool ParseWhole(const std::string& text, Number* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

constexpr size_t kHostBytesMax = 253;  // of a name in the DNS

bool IsEndpoint(std::string_view text, bool zero_port) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon > kHostBytesMax) return false;
  const std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!bracketed && host.find_first_of(":[] /") != std::string_view::npos) return false;
  uint16_t port = 0;
  return ParseWhole(std::string(text.substr(colon + 1)), &port) && (port != 0 || zero_port);
}

bool IsPath(const std::string& text) {
  return !text.empty() && text.find('\0') == std::string::npos;
}

// An option over one text; `check` says whether the text is allowed.
template <class Option, class Check>
Option TextOption(std::string* field, std::string allowed, Check check) {
  Option option;
  option.allowed = std::move(allowed);
  option.parse = [field, allowed = option.allowed, check](const Texts& texts) -> Result<Store> {
    if (!check(texts[0])) return Refuse(allowed);
    return Store([field, text = texts[0]] { *field = text; });
  };
  option.texts = [field] { return Texts{*field}; };
  option.snapshot = [field] { return Store([field, old = *field] { *field = old; }); };
  return option;
}

template <class Option, class Check>
Option ListOption(Texts* field, std::string allowed, Check check) {
  Option option;
  option.kind = FileKind::kStrings;
  option.allowed = std::move(allowed);
  option.parse = [field, allowed = option.allowed, check](const Texts& texts) -> Result<Store> {
    if (!std::all_of(texts.begin(), texts.end(), check)) return Refuse(allowed);
    return Store([field, texts] { *field = texts; });
  };
  option.texts = [field] { return *field; };
  option.snapshot = [field] { return Store([field, old = *field] { *field = old; }); };
  return option;
}

}  // namespace

void OptionTable::AddString(std::string_view name, std::string* field, std::string_view help,
                            OptionTraits traits) {
  auto option = TextOption<Option>(field, "a text", [](const std::string&) { return true; });
  option.name = name;
  option.placeholder = "TEXT";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddChoice(std::string_view name, std::string* field,
                            std::vector<std::string> choices, std::string_view help,
                            OptionTraits traits) {
  std::string allowed = fmt::format("one of {}", fmt::join(choices, ", "));
  auto option = TextOption<Option>(field, std::move(allowed), [choices](const std::string& text) {
    return std::find(choices.begin(), choices.end(), text) != choices.end();
  });
  MORAINE_CHECK(option.parse(option.texts()).ok(), std::string(name));
  option.name = name;
  option.placeholder = "CHOICE";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddPath(std::string_view name, std::string* field, std::string_view help,
                          OptionTraits traits) {
  const bool may_be_empty = field->empty() && !traits.required;
  auto option =
      TextOption<Option>(field, may_be_empty ? "a path, or empty" : "a path that is not empty",
                         [may_be_empty](const std::string& text) {
                           return IsPath(text) || (may_be_empty && text.empty());
                         });
  option.name = name;
  option.placeholder = "PATH";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddEndpoint(std::string_view name, std::string* field, std::string_view help,
                              OptionTraits traits) {
  const bool may_be_empty = field->empty() && !traits.required;
  auto option =
      TextOption<Option>(field,
                         fmt::format("host:port, for example 127.0.0.1:7400{}{}",
                                     traits.zero_port ? " (port 0: a free one)" : "",
                                     may_be_empty ? ", or empty" : ""),
                         [may_be_empty, zero_port = traits.zero_port](const std::string& text) {
                           return IsEndpoint(text, zero_port) || (may_be_empty && text.empty());
                         });
  option.name = name;
  option.placeholder = "HOST:PORT";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddList(std::string_view name, std::vector<std::string>* field,
                          std::string_view help, OptionTraits traits) {
  auto option = ListOption<Option>(field, "a list of texts that are not empty",
                                   [](const std::string& text) { return !text.empty(); });
  option.name = name;
  option.placeholder = "TEXT";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddEndpoints(std::string_view name, std::vector<std::string>* field,
                               std::string_view help, OptionTraits traits) {
  auto option = ListOption<Option>(field, "a list of host:port, for example 127.0.0.1:7400",
                                   [](const std::string& text) { return IsEndpoint(text, false); });
  option.name = name;
  option.placeholder = "HOST:PORT";
  option.help = help;
  option.traits = traits;
  Add(std::move(option));
}

void OptionTable::AddBool(std::string_view name, bool* field, std::string_view help,
                          OptionTraits traits) {
  Option option;
  option.name = name;
  option.kind = FileKind::kBoolean;
  option.help = help;
  option.traits = traits;
  option.allowed = "true or false";
  option.parse = [field, allowed = option.allowed](const Texts& texts) -> Result<Store> {
    if (texts[0] != "true" && texts[0] != "false") return Refuse(allowed);
    return Store([field, value = texts[0] == "true"] { *field = value; });
  };
  option.texts = [field] { return Texts{*field ? "true" : "false"}; };
  option.snapshot = [field] { return Store([field, old = *field] { *field = old; }); };
  Add(std::move(option));
}

void OptionTable::AddNumber(std::string_view name, double* field, double min, double max,
                            std::string_view help, OptionTraits traits) {
  MORAINE_CHECK(*field >= min && *field <= max, std::string(name));
  Option option;
  option.name = name;
  option.placeholder = "NUMBER";
  option.kind = FileKind::kNumber;
  option.help = help;
  option.traits = traits;
  option.allowed = fmt::format("a number from {} to {}", min, max);
  option.parse = [=, allowed = option.allowed](const Texts& texts) -> Result<Store> {
    double value = 0;
    const bool good = ParseWhole(texts[0], &value) && value >= min && value <= max;
    if (!good) return Refuse(allowed);
    return Store([field, value] { *field = value; });
  };
  option.texts = [field] { return Texts{fmt::format("{}", *field)}; };
  option.snapshot = [field] { return Store([field, old = *field] { *field = old; }); };
  Add(std::move(option));
}

void OptionTable::AddBytes(std::string_view name, uint64_t* field, uint64_t min, uint64_t max,
                           std::string_view help, OptionTraits traits) {
  MORAINE_CHECK(*field >= min && *field <= max, std::string(name));
  Option option;
  option.name = name;
  option.placeholder = "BYTES";
  option.kind = FileKind::kStringOrInteger;
  option.help = help;
  option.traits = traits;
  option.allowed = fmt::format("a size from {} to {}", ExactBytes(min), ExactBytes(max));
  option.parse = [=, allowed = option.allowed](const Texts& texts) -> Result<Store> {
    const Result<uint64_t> value = ParseBytes(texts[0]);
    if (!value.ok() || *value < min || *value > max) return Refuse(allowed);
    return Store([field, bytes = *value] { *field = bytes; });
  };
  option.texts = [field] { return Texts{ExactBytes(*field)}; };
  option.snapshot = [field] { return Store([field, old = *field] { *field = old; }); };
  Add(std::move(option));
}

void OptionTable::AddInt64(std::string_view name, std::function<int64_t()> get,
                           std::function<void(int64_t)> set, int64_t min, int64_t max,
                           std::string_view help, OptionTraits traits) {
  MORAINE_CHECK(get() >= min && get() <= max, std::string(name));
  Option option;
  option.name = name;
  option.placeholder = "N";
  option.kind = FileKind::kInteger;
  option.help = help;
  option.traits = traits;
  option.allowed = fmt::format("a whole number from {} to {}", min, max);
  option.parse = [=, allowed = option.allowed](const Texts& texts) -> Result<Store> {
    int64_t value = 0;
    const bool good = ParseWhole(texts[0], &value) && value >= min && value <= max;
    if (!good) return Refuse(allowed);
    return Store([set, value] { set(value); });
  };
  option.texts = [get] { return Texts{fmt::format("{}", get())}; };
  option.snapshot = [get, set] { return Store([set, old = get()] { set(old); }); };
  Add(std::move(option));
}

void OptionTable::AddNanoseconds(std::string_view name, std::function<nanoseconds()> get,
                                 std::function<void(nanoseconds)> set, nanoseconds step,
                                 nanoseconds min, nanoseconds max, std::string_view help,
                                 OptionTraits traits) {
  MORAINE_CHECK(get() >= min && get() <= max && min.count() >= 0, std::string(name));
  Option option;
  option.name = name;
  option.placeholder = "DURATION";
  option.help = help;
  option.traits = traits;
  option.allowed = fmt::format("a time from {} to {}", ExactDuration(min), ExactDuration(max));
  if (step.count() > 1) option.allowed += fmt::format(" in steps of {}", ExactDuration(step));
  option.parse = [=, allowed = option.allowed](const Texts& texts) -> Result<Store> {
    const Result<nanoseconds> value = ParseDuration(texts[0]);
    if (!value.ok() || *value < min || *value > max || value->count() % step.count() != 0) {
      return Refuse(allowed);
    }
    return Store([set, time = *value] { set(time); });
  };
  option.texts = [get] { return Texts{ExactDuration(get())}; };
  option.snapshot = [get, set] { return Store([set, old = get()] { set(old); }); };
  Add(std::move(option));
}

}  // namespace moraine
