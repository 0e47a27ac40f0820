// Numbers about a running process, given out as Prometheus text.
//
//   Counter& appends = registry.GetCounter("moraine_appends_total", "Appends accepted.",
//                                          {{"disk", "0"}});
//   appends.Add();
//
// A metric lives as long as its registry, so a component looks it up once and keeps the reference.
// Updates are relaxed atomics: any thread, no lock, a few nanoseconds. Names end in their unit
// (_total, _bytes, _seconds). The same name and labels give the same metric; the same name as
// another type, or a malformed name, is a bug and aborts.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/mutex.h"

namespace moraine {

class Counter {
 public:
  void Add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Gauge {
 public:
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  void Add(int64_t delta) { value_.fetch_add(delta, std::memory_order_relaxed); }
  int64_t Value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Counts values in log-linear buckets: eight for each power of two, so a quantile is at most 12.5 %
// above the truth, over the whole range of 64 bits. Times are recorded in microseconds and given
// out in seconds.
class Histogram {
 public:
  enum class Unit { kMicroseconds, kCount };

  explicit Histogram(Unit unit) : unit_(unit) {}

  void Record(uint64_t value);
  void RecordTime(std::chrono::nanoseconds time);

  uint64_t Count() const;
  uint64_t Sum() const { return sum_.load(std::memory_order_relaxed); }
  // The smallest bucket bound that at least the share q of the values does not pass; 0 when there
  // are none. 0 < q <= 1.
  uint64_t Quantile(double q) const;
  Unit unit() const { return unit_; }

  static constexpr size_t kLinearBits = 3;
  static constexpr size_t kBuckets = (65 - kLinearBits) << kLinearBits;
  // The bucket of a value, and the largest value of a bucket.
  static size_t BucketOf(uint64_t value);
  static uint64_t BucketMax(size_t bucket);
  uint64_t BucketCount(size_t bucket) const {
    return buckets_[bucket].load(std::memory_order_relaxed);
  }

 private:
  const Unit unit_;
  std::atomic<uint64_t> sum_{0};
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
};

class MetricRegistry {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  MetricRegistry() = default;
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  Counter& GetCounter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& GetGauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& GetHistogram(std::string_view name, std::string_view help, const Labels& labels = {},
                          Histogram::Unit unit = Histogram::Unit::kMicroseconds);

  // What there is, sorted by name: for the manual pages. Any thread.
  struct FamilyInfo {
    std::string name;
    std::string type;  // counter, gauge or histogram
    std::string help;
    std::vector<std::string> labels;  // their names
  };
  std::vector<FamilyInfo> Families() const;

  // All metrics in the Prometheus text format 0.0.4, sorted by name and labels. Any thread.
  std::string PrometheusText() const;

 private:
  using Metric =
      std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;
  struct Family {
    std::string help;
    std::vector<std::string> labels;
    std::map<std::string, Metric> by_labels;
  };
  template <class Kind, class... Args>
  Kind& Get(std::string_view name, std::string_view help, const Labels& labels, Args... args);
  static void AppendFamily(const std::string& name, const Family& family, std::string* out);

  mutable Mutex mutex_;
  std::map<std::string, Family, std::less<>> families_ MORAINE_GUARDED_BY(mutex_);
};

// The registry of the process, for its own components. Never destroyed.
MetricRegistry& ProcessMetrics();

}  // namespace moraine
