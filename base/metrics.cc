#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace moraine {
namespace {

constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram"};  // as in Metric
constexpr size_t kPerPower = size_t{1} << Histogram::kLinearBits;

bool IsMetricName(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// The escapes of the text format: backslash and newline in help, the quote as well in labels.
std::string Escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string LabelText(const MetricRegistry::Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    MORAINE_CHECK(IsMetricName(key), key);
    if (!out.empty()) out += ',';
    out += fmt::format("{}=\"{}\"", key, Escaped(value, true));
  }
  return out;
}

std::string Braced(std::string_view labels) {
  return labels.empty() ? std::string() : fmt::format("{{{}}}", labels);
}

void AppendHistogram(const std::string& name, const std::string& labels, const Histogram& histogram,
                     std::string* out) {
  const double scale = histogram.unit() == Histogram::Unit::kMicroseconds ? 1e-6 : 1.0;
  const std::string_view comma = labels.empty() ? "" : ",";
  // Counted from one pass, so that the buckets, +Inf and _count agree while others record.
  uint64_t total = 0;
  std::string lines;
  for (size_t i = 0; i < Histogram::kBuckets; ++i) {
    const uint64_t count = histogram.BucketCount(i);
    if (count == 0) continue;
    total += count;
    lines += fmt::format("{}_bucket{{{}{}le=\"{:.10g}\"}} {}\n", name, labels, comma,
                         static_cast<double>(Histogram::BucketMax(i)) * scale, total);
  }
  *out += lines;
  *out += fmt::format("{}_bucket{{{}{}le=\"+Inf\"}} {}\n", name, labels, comma, total);
  *out += fmt::format("{}_sum{} {:.10g}\n", name, Braced(labels),
                      static_cast<double>(histogram.Sum()) * scale);
  *out += fmt::format("{}_count{} {}\n", name, Braced(labels), total);
}

}  // namespace

size_t Histogram::BucketOf(uint64_t value) {
  if (value < kPerPower) return value;
  const size_t power = static_cast<size_t>(std::bit_width(value)) - 1;
  const size_t shift = power - kLinearBits;
  return ((shift + 1) << kLinearBits) + (value >> shift) - kPerPower;
}

uint64_t Histogram::BucketMax(size_t bucket) {
  if (bucket < kPerPower) return bucket;
  const size_t shift = (bucket >> kLinearBits) - 1;
  const uint64_t first = (kPerPower + (bucket & (kPerPower - 1))) << shift;
  return first + ((uint64_t{1} << shift) - 1);
}

void Histogram::Record(uint64_t value) {
  buckets_[BucketOf(value)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

void Histogram::RecordTime(std::chrono::nanoseconds time) {
  Record(static_cast<uint64_t>(std::max<int64_t>(0, time.count()) / 1000));
}

uint64_t Histogram::Count() const {
  uint64_t count = 0;
  for (size_t i = 0; i < kBuckets; ++i) count += BucketCount(i);
  return count;
}

uint64_t Histogram::Quantile(double q) const {
  MORAINE_CHECK(q > 0 && q <= 1);
  std::array<uint64_t, kBuckets> counts;
  uint64_t total = 0;
  for (size_t i = 0; i < kBuckets; ++i) total += counts[i] = BucketCount(i);
  if (total == 0) return 0;
  const auto rank =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(q * static_cast<double>(total))));
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    seen += counts[i];
    if (seen >= rank) return BucketMax(i);
  }
  return BucketMax(kBuckets - 1);
}

template <class Kind, class... Args>
Kind& MetricRegistry::Get(std::string_view name, std::string_view help, const Labels& labels,
                          Args... args) {
  MORAINE_CHECK(IsMetricName(name), std::string(name));
  const std::string key = LabelText(labels);
  MutexLock lock(mutex_);
  Family& family = families_.try_emplace(std::string(name)).first->second;
  if (family.by_labels.empty()) {
    family.help = help;
    for (const auto& [label, value] : labels) family.labels.push_back(label);
  }
  const auto found = family.by_labels.find(key);
  if (found == family.by_labels.end()) {
    const bool same_kind =
        family.by_labels.empty() ||
        std::holds_alternative<std::unique_ptr<Kind>>(family.by_labels.begin()->second);
    MORAINE_CHECK(same_kind, fmt::format("metric {} has another type", name));
    auto metric = std::make_unique<Kind>(args...);
    Kind& result = *metric;
    family.by_labels.emplace(key, std::move(metric));
    return result;
  }
  auto* metric = std::get_if<std::unique_ptr<Kind>>(&found->second);
  MORAINE_CHECK(metric != nullptr, fmt::format("metric {} has another type", name));
  return **metric;
}

Counter& MetricRegistry::GetCounter(std::string_view name, std::string_view help,
                                    const Labels& labels) {
  return Get<Counter>(name, help, labels);
}

Gauge& MetricRegistry::GetGauge(std::string_view name, std::string_view help,
                                const Labels& labels) {
  return Get<Gauge>(name, help, labels);
}

Histogram& MetricRegistry::GetHistogram(std::string_view name, std::string_view help,
                                        const Labels& labels, Histogram::Unit unit) {
  return Get<Histogram>(name, help, labels, unit);
}

std::vector<MetricRegistry::FamilyInfo> MetricRegistry::Families() const {
  std::vector<FamilyInfo> out;
  MutexLock lock(mutex_);
  for (const auto& [name, family] : families_) {
    const size_t type = family.by_labels.begin()->second.index();
    out.push_back({name, std::string(kTypes[type]), family.help, family.labels});
  }
  return out;
}

void MetricRegistry::AppendFamily(const std::string& name, const Family& family, std::string* out) {
  const size_t type = family.by_labels.begin()->second.index();
  *out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, Escaped(family.help, false), name,
                      kTypes[type]);
  for (const auto& [labels, metric] : family.by_labels) {
    if (const auto* counter = std::get_if<std::unique_ptr<Counter>>(&metric)) {
      *out += fmt::format("{}{} {}\n", name, Braced(labels), (*counter)->Value());
    } else if (const auto* gauge = std::get_if<std::unique_ptr<Gauge>>(&metric)) {
      *out += fmt::format("{}{} {}\n", name, Braced(labels), (*gauge)->Value());
    } else {
      AppendHistogram(name, labels, *std::get<std::unique_ptr<Histogram>>(metric), out);
    }
  }
}

std::string MetricRegistry::PrometheusText() const {
  std::string out;
  MutexLock lock(mutex_);
  for (const auto& [name, family] : families_) AppendFamily(name, family, &out);
  return out;
}

MetricRegistry& ProcessMetrics() {
  static MetricRegistry* registry = new MetricRegistry;
  return *registry;
}

}  // namespace moraine
