// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms, by label, in a set that writes them for Prometheus. Every
// operation may be called from any thread.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/text.h"

namespace atl::metrics {

class Counter {
 public:
  void Add(uint64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double by) { value_.fetch_add(by, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

// One more for as long as it lives.
class Held {
 public:
  explicit Held(Gauge& gauge) : gauge_(gauge) { gauge_.Add(1); }
  ~Held() { gauge_.Add(-1); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  Gauge& gauge_;
};

// From a millisecond to two minutes.
std::span<const double> LatencyBounds();

class Histogram {
 public:
  // `bounds`: upper ends, ascending, without +Inf; they outlive it.
  explicit Histogram(std::span<const double> bounds = LatencyBounds());
  void Observe(double value);

  std::span<const double> bounds() const { return bounds_; }
  // How many values were at most the bound, for each bound and last for +Inf.
  std::vector<uint64_t> Cumulative() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::span<const double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // one more than bounds
  std::atomic<double> sum_ = 0;
};

// A name, its help, and what a set needs to write it.
class FamilyBase {
 public:
  FamilyBase(std::string name, std::string help, Type type);
  virtual ~FamilyBase() = default;
  FamilyBase(const FamilyBase&) = delete;
  FamilyBase& operator=(const FamilyBase&) = delete;
  const std::string& name() const { return name_; }
  const std::string& help() const { return help_; }
  Type type() const { return type_; }
  virtual void WriteSamples(TextWriter& writer) const = 0;

 private:
  std::string name_;
  std::string help_;
  Type type_;
};

// What values beyond a family's limit count as.
inline constexpr std::string_view kOther = "other";

void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Counter& counter);
void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Gauge& gauge);
void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Histogram& histogram);

template <class Metric>
constexpr Type TypeOf() {
  if constexpr (std::same_as<Metric, Counter>) return Type::kCounter;
  if constexpr (std::same_as<Metric, Gauge>) return Type::kGauge;
  return Type::kHistogram;
}

template <class Metric>
class Family : public FamilyBase {
 public:
  // `limit`: how many combinations of label values are told apart.
  Family(std::string name, std::string help, std::vector<std::string> labels, size_t limit)
      : FamilyBase(std::move(name), std::move(help), TypeOf<Metric>()),
        labels_(std::move(labels)),
        limit_(limit) {}

  // One value for each label, in their order. The metric lives as long as the family.
  Metric& With(std::initializer_list<std::string_view> values) {
    std::vector<std::string> key(values.begin(), values.end());
    key.resize(labels_.size());
    {
      std::shared_lock guard(mutex_);
      auto found = metrics_.find(key);
      if (found != metrics_.end()) return *found->second;
    }
    std::unique_lock guard(mutex_);
    if (metrics_.size() >= limit_ && !metrics_.contains(key)) {
      key.assign(labels_.size(), std::string(kOther));
    }
    std::unique_ptr<Metric>& metric = metrics_[std::move(key)];
    if (!metric) metric = std::make_unique<Metric>();
    return *metric;
  }

  void WriteSamples(TextWriter& writer) const override {
    std::shared_lock guard(mutex_);
    for (const auto& [values, metric] : metrics_) {
      Labels labels;
      for (size_t i = 0; i < labels_.size(); ++i) labels.emplace_back(labels_[i], values[i]);
      WriteMetric(writer, name(), labels, *metric);
    }
  }

 private:
  std::vector<std::string> labels_;
  size_t limit_;
  mutable std::shared_mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Metric>> metrics_;
};

struct Sample {
  Labels labels;
  double value = 0;
};
// Asked when somebody reads the set; must not wait for anything.
using Collect = std::function<std::vector<Sample>()>;

class Set {
 public:
  // Without labels the metric is there, at 0, from the beginning.
  template <class Metric>
  Metric& Add(std::string name, std::string help) {
    return AddFamily<Metric>(std::move(name), std::move(help), {}, 1).With({});
  }
  template <class Metric>
  Family<Metric>& AddFamily(std::string name, std::string help, std::vector<std::string> labels,
                            size_t limit = 64) {
    auto family = std::make_unique<Family<Metric>>(std::move(name), std::move(help),
                                                   std::move(labels), limit);
    Family<Metric>& added = *family;
    Insert(std::move(family));
    return added;
  }
  // What is known elsewhere and looked up when asked for.
  void AddCollected(std::string name, std::string help, Type type, Collect collect);

  // Families by name. One without samples is left out.
  std::string Text() const;

  struct Description {
    std::string name;
    std::string help;
    Type type;
  };
  std::vector<Description> Describe() const;

 private:
  void Insert(std::unique_ptr<FamilyBase> family);
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<FamilyBase>> families_;
};

}  // namespace atl::metrics
