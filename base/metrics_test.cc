#include "base/metrics.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/random.h"

namespace moraine {
namespace {

TEST(HistogramTest, BucketsAreGaplessAndTight) {
  for (size_t bucket = 0; bucket + 1 < Histogram::kBuckets; ++bucket) {
    const uint64_t max = Histogram::BucketMax(bucket);
    ASSERT_EQ(Histogram::BucketOf(max), bucket);
    ASSERT_EQ(Histogram::BucketOf(max + 1), bucket + 1);
  }
  EXPECT_EQ(Histogram::BucketMax(Histogram::kBuckets - 1), UINT64_MAX);
  EXPECT_EQ(Histogram::BucketOf(UINT64_MAX), Histogram::kBuckets - 1);
  const uint64_t seed = SeedFromEnvironment();
  SCOPED_TRACE(testing::Message() << "MORAINE_SEED=" << seed);
  Random random(seed);
  for (int i = 0; i < 10000; ++i) {
    const uint64_t value = random.Next() >> random.Uniform(64);
    const uint64_t max = Histogram::BucketMax(Histogram::BucketOf(value));
    ASSERT_GE(max, value);
    ASSERT_LE(max - value, value / 8);
  }
}

TEST(HistogramTest, Quantiles) {
  Histogram histogram(Histogram::Unit::kMicroseconds);
  EXPECT_EQ(histogram.Quantile(0.5), 0u);
  for (uint64_t i = 1; i <= 1000; ++i) histogram.Record(i);
  EXPECT_EQ(histogram.Count(), 1000u);
  EXPECT_EQ(histogram.Sum(), 500500u);
  EXPECT_GE(histogram.Quantile(0.5), 500u);
  EXPECT_LE(histogram.Quantile(0.5), 563u);
  EXPECT_GE(histogram.Quantile(0.99), 990u);
  EXPECT_LE(histogram.Quantile(0.99), 1114u);
  EXPECT_EQ(histogram.Quantile(0.000001), 1u);
  EXPECT_GE(histogram.Quantile(1), 1000u);
}

TEST(HistogramTest, TimesAreRoundedDownToMicroseconds) {
  Histogram histogram(Histogram::Unit::kMicroseconds);
  histogram.RecordTime(std::chrono::nanoseconds(3999));
  histogram.RecordTime(std::chrono::nanoseconds(-5));
  EXPECT_EQ(histogram.Sum(), 3u);
  EXPECT_EQ(histogram.Count(), 2u);
}

TEST(MetricRegistryTest, PrometheusText) {
  MetricRegistry registry;
  registry.GetCounter("b_total", "Things\nwith \\.", {{"disk", "a\"b"}}).Add(3);
  registry.GetCounter("b_total", "ignored", {{"disk", "0"}}).Add();
  registry.GetGauge("a_bytes", "Bytes held.").Set(-7);
  Histogram& histogram = registry.GetHistogram("c_seconds", "Time.", {{"op", "read"}});
  histogram.Record(5);
  histogram.Record(5);
  histogram.Record(1000000);
  registry.GetHistogram("d", "Sizes.", {}, Histogram::Unit::kCount).Record(2);
  EXPECT_EQ(registry.PrometheusText(),
            "# HELP a_bytes Bytes held.\n"
            "# TYPE a_bytes gauge\n"
            "a_bytes -7\n"
            "# HELP b_total Things\\nwith \\\\.\n"
            "# TYPE b_total counter\n"
            "b_total{disk=\"0\"} 1\n"
            "b_total{disk=\"a\\\"b\"} 3\n"
            "# HELP c_seconds Time.\n"
            "# TYPE c_seconds histogram\n"
            "c_seconds_bucket{op=\"read\",le=\"5e-06\"} 2\n"
            "c_seconds_bucket{op=\"read\",le=\"1.048575\"} 3\n"
            "c_seconds_bucket{op=\"read\",le=\"+Inf\"} 3\n"
            "c_seconds_sum{op=\"read\"} 1.00001\n"
            "c_seconds_count{op=\"read\"} 3\n"
            "# HELP d Sizes.\n"
            "# TYPE d histogram\n"
            "d_bucket{le=\"2\"} 1\n"
            "d_bucket{le=\"+Inf\"} 1\n"
            "d_sum 2\n"
            "d_count 1\n");
}

TEST(MetricRegistryTest, SameNameAndLabelsAreOneMetric) {
  MetricRegistry registry;
  Counter& one = registry.GetCounter("x_total", "X.");
  Counter& two = registry.GetCounter("x_total", "X.");
  EXPECT_EQ(&one, &two);
  EXPECT_NE(&one, &registry.GetCounter("x_total", "X.", {{"a", "b"}}));
}

TEST(MetricRegistryDeathTest, AnotherTypeOrABadNameIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  MetricRegistry registry;
  registry.GetCounter("x_total", "X.");
  EXPECT_DEATH(registry.GetGauge("x_total", "X."), "metric x_total has another type");
  EXPECT_DEATH(registry.GetGauge("bad name", "X."), "bad name");
}

TEST(MetricRegistryTest, ManyThreads) {
  MetricRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&registry] {
      for (int i = 0; i < 1000; ++i) {
        registry.GetCounter("n_total", "N.").Add();
        registry.GetHistogram("h_seconds", "H.").Record(static_cast<uint64_t>(i));
        if (i % 100 == 0) EXPECT_FALSE(registry.PrometheusText().empty());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.GetCounter("n_total", "N.").Value(), 4000u);
  EXPECT_EQ(registry.GetHistogram("h_seconds", "H.").Count(), 4000u);
}

TEST(MetricRegistryTest, TellsItsFamilies) {
  MetricRegistry registry;
  registry.GetHistogram("moraine_b_seconds", "Time.", {{"disk", "0"}, {"kind", "x"}});
  registry.GetCounter("moraine_a_total", "Count.");
  const std::vector<MetricRegistry::FamilyInfo> families = registry.Families();
  ASSERT_EQ(families.size(), 2u);
  EXPECT_EQ(families[0].name, "moraine_a_total");
  EXPECT_EQ(families[0].type, "counter");
  EXPECT_EQ(families[1].type, "histogram");
  EXPECT_EQ(families[1].help, "Time.");
  EXPECT_EQ(families[1].labels, (std::vector<std::string>{"disk", "kind"}));
}

}  // namespace
}  // namespace moraine
