// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "metrics/atoll.h"
#include "metrics/process.h"

namespace atl::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TextTest, EscapesWhatTheFormatReserves) {
  TextWriter writer;
  writer.Family("a_total", "back\\slash \"quote\"\nnext line", Type::kCounter);
  writer.Sample("a_total", {{"path", "C:\\dir\n\"x\""}, {"empty", ""}}, 3);
  EXPECT_EQ(writer.Take(),
            "# HELP a_total back\\\\slash \"quote\"\\nnext line\n"
            "# TYPE a_total counter\n"
            "a_total{path=\"C:\\\\dir\\n\\\"x\\\"\",empty=\"\"} 3\n");
}

TEST(TextTest, NumbersReadAsTheyWere) {
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(0.0025), "0.0025");
  EXPECT_EQ(FormatNumber(1e21), "1e+21");
  EXPECT_EQ(FormatNumber(-1.5), "-1.5");
  EXPECT_EQ(FormatNumber(std::numeric_limits<double>::infinity()), "+Inf");
  EXPECT_EQ(FormatNumber(-std::numeric_limits<double>::infinity()), "-Inf");
  EXPECT_EQ(FormatNumber(std::nan("")), "NaN");
}

TEST(TextTest, NamesAreChecked) {
  EXPECT_TRUE(IsMetricName("atoll_x_total"));
  EXPECT_TRUE(IsMetricName(":rule:x"));
  EXPECT_FALSE(IsMetricName("9x"));
  EXPECT_FALSE(IsMetricName("a-b"));
  EXPECT_FALSE(IsMetricName(""));
  EXPECT_TRUE(IsLabelName("code"));
  EXPECT_FALSE(IsLabelName("a:b"));
}

TEST(HistogramTest, BucketsAreCumulativeAndIncludeTheirBound) {
  static constexpr std::array kBounds = {1.0, 2.0};
  Histogram histogram(kBounds);
  for (double value : {0.5, 1.0, 1.5, 2.0, 7.0}) histogram.Observe(value);
  EXPECT_THAT(histogram.Cumulative(), ::testing::ElementsAre(2, 4, 5));
  EXPECT_DOUBLE_EQ(histogram.sum(), 12);

  TextWriter writer;
  WriteMetric(writer, "h_seconds", {{"result", "ok"}}, histogram);
  EXPECT_EQ(writer.Take(),
            "h_seconds_bucket{result=\"ok\",le=\"1\"} 2\n"
            "h_seconds_bucket{result=\"ok\",le=\"2\"} 4\n"
            "h_seconds_bucket{result=\"ok\",le=\"+Inf\"} 5\n"
            "h_seconds_sum{result=\"ok\"} 12\n"
            "h_seconds_count{result=\"ok\"} 5\n");
}

TEST(SetTest, WritesFamiliesByNameAndLeavesOutEmptyOnes) {
  Set set;
  set.Add<Counter>("b_total", "B.").Add(2);
  set.AddFamily<Counter>("c_total", "C.", {"x"});
  set.AddCollected("a_bytes", "A.", Type::kGauge,
                   [] { return std::vector<Sample>{{.labels = {{"n", "1"}}, .value = 0.5}}; });
  EXPECT_EQ(set.Text(),
            "# HELP a_bytes A.\n# TYPE a_bytes gauge\na_bytes{n=\"1\"} 0.5\n"
            "# HELP b_total B.\n# TYPE b_total counter\nb_total 2\n");
}

TEST(SetTest, LabelValuesAreBounded) {
  Set set;
  Family<Counter>& family = set.AddFamily<Counter>("x_total", "X.", {"code"}, 3);
  for (int i = 0; i < 1000; ++i) family.With({fmt::format("C{}", i)}).Add();
  family.With({"C1"}).Add();
  std::string text = set.Text();
  EXPECT_THAT(text, HasSubstr("x_total{code=\"C0\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("x_total{code=\"C1\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("x_total{code=\"other\"} 997\n"));
  EXPECT_THAT(text, Not(HasSubstr("C3")));
}

TEST(SetTest, NothingIsLostBetweenThreads) {
  Set set;
  Family<Counter>& family = set.AddFamily<Counter>("x_total", "X.", {"who"});
  Histogram& histogram = set.Add<Histogram>("h_seconds", "H.");
  Gauge& gauge = set.Add<Gauge>("g", "G.");
  constexpr int kThreads = 4;
  constexpr int kEach = 5000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          family.With({t % 2 == 0 ? "even" : "odd"}).Add();
          histogram.Observe(1);
          gauge.Add(i % 2 == 0 ? 1 : -1);
          if (i % 1000 == 0) (void)set.Text();
        }
      });
    }
  }
  EXPECT_EQ(family.With({"even"}).value() + family.With({"odd"}).value(), kThreads * kEach);
  EXPECT_EQ(histogram.Cumulative().back(), kThreads * kEach);
  EXPECT_DOUBLE_EQ(histogram.sum(), kThreads * kEach);
  EXPECT_DOUBLE_EQ(gauge.value(), 0);
}

TEST(AtollTest, NamesFollowTheGuide) {
  for (const Set::Description& one : Get().set.Describe()) {
    SCOPED_TRACE(one.name);
    EXPECT_TRUE(IsMetricName(one.name));
    EXPECT_TRUE(one.name.starts_with("atoll_") || one.name.starts_with("process_"));
    EXPECT_EQ(one.name.ends_with("_total"), one.type == Type::kCounter);
    EXPECT_EQ(one.name.ends_with("_duration_seconds"), one.type == Type::kHistogram);
    EXPECT_TRUE(one.help.ends_with('.') || one.help.ends_with("1"));
  }
}

TEST(AtollTest, MeasuresByResult) {
  Set set;
  auto& family = set.AddFamily<Histogram>("x_duration_seconds", "X.", {"kind", "result"});
  {
    Measure good(family);
    good.SetKind("cold");
    good.Succeeded();
    Measure bad(family);
    bad.SetKind("pool");
    Measure dropped(family);
    dropped.Drop();
  }
  std::string text = set.Text();
  EXPECT_THAT(text, HasSubstr("x_duration_seconds_count{kind=\"cold\",result=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("x_duration_seconds_count{kind=\"pool\",result=\"error\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("kind=\"\"")));
}

TEST(AtollTest, WhatIsNoCodeCountsAsOther) {
  CountError("NOT_FOUND");
  CountError("a\"b\n");
  CountError(std::string(200, 'A'));
  EXPECT_EQ(Get().errors.With({"NOT_FOUND"}).value(), 1);
  EXPECT_EQ(Get().errors.With({"other"}).value(), 2);
}

TEST(ProcessTest, SaysWhatThisProcessTakes) {
  Set set;
  AddProcessMetrics(set);
  std::string text = set.Text();
  auto value = [&text](std::string_view name) {
    size_t at = text.find(fmt::format("\n{} ", name));
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  };
  EXPECT_GT(value("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value("process_virtual_memory_bytes"), value("process_resident_memory_bytes"));
  EXPECT_GE(value("process_open_fds"), 3);
  EXPECT_GE(value("process_max_fds"), value("process_open_fds"));
  EXPECT_GE(value("process_cpu_seconds_total"), 0);
  auto now = static_cast<double>(std::time(nullptr));
  EXPECT_NEAR(value("process_start_time_seconds"), now, 600);
}

}  // namespace
}  // namespace atl::metrics
