// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace atl::metrics {
namespace {

constexpr std::array kLatencyBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,
                                       0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0, 120.0};

class Collected : public FamilyBase {
 public:
  Collected(std::string name, std::string help, Type type, Collect collect)
      : FamilyBase(std::move(name), std::move(help), type), collect_(std::move(collect)) {}
  void WriteSamples(TextWriter& writer) const override {
    for (const Sample& sample : collect_()) writer.Sample(name(), sample.labels, sample.value);
  }

 private:
  Collect collect_;
};

}  // namespace

std::span<const double> LatencyBounds() { return kLatencyBounds; }

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds), counts_(bounds.size() + 1) {}

void Histogram::Observe(double value) {
  auto bound = std::ranges::lower_bound(bounds_, value);
  auto index = static_cast<size_t>(bound - bounds_.begin());
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<uint64_t> Histogram::Cumulative() const {
  std::vector<uint64_t> cumulative;
  cumulative.reserve(counts_.size());
  uint64_t total = 0;
  for (const auto& count : counts_) {
    total += count.load(std::memory_order_relaxed);
    cumulative.push_back(total);
  }
  return cumulative;
}

FamilyBase::FamilyBase(std::string name, std::string help, Type type)
    : name_(std::move(name)), help_(std::move(help)), type_(type) {}

void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Counter& counter) {
  writer.Sample(name, labels, static_cast<double>(counter.value()));
}

void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Gauge& gauge) {
  writer.Sample(name, labels, gauge.value());
}

void WriteMetric(TextWriter& writer, std::string_view name, const Labels& labels,
                 const Histogram& histogram) {
  std::string base(name);
  // The count is the last bucket's, so that they agree although others observe meanwhile.
  std::vector<uint64_t> cumulative = histogram.Cumulative();
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  for (size_t i = 0; i < cumulative.size(); ++i) {
    bool last = i == histogram.bounds().size();
    double bound = last ? std::numeric_limits<double>::infinity() : histogram.bounds()[i];
    with_bound.back().second = FormatNumber(bound);
    writer.Sample(base + "_bucket", with_bound, static_cast<double>(cumulative[i]));
  }
  writer.Sample(base + "_sum", labels, histogram.sum());
  writer.Sample(base + "_count", labels, static_cast<double>(cumulative.back()));
}

void Set::Insert(std::unique_ptr<FamilyBase> family) {
  std::lock_guard guard(mutex_);
  std::string name = family->name();
  families_[std::move(name)] = std::move(family);
}

void Set::AddCollected(std::string name, std::string help, Type type, Collect collect) {
  Insert(std::make_unique<Collected>(std::move(name), std::move(help), type, std::move(collect)));
}

std::string Set::Text() const {
  std::lock_guard guard(mutex_);
  std::string text;
  for (const auto& [name, family] : families_) {
    TextWriter samples;
    family->WriteSamples(samples);
    std::string lines = samples.Take();
    if (lines.empty()) continue;
    TextWriter head;
    head.Family(name, family->help(), family->type());
    text += head.Take();
    text += lines;
  }
  return text;
}

std::vector<Set::Description> Set::Describe() const {
  std::lock_guard guard(mutex_);
  std::vector<Description> all;
  for (const auto& [name, family] : families_) {
    all.push_back({.name = name, .help = family->help(), .type = family->type()});
  }
  return all;
}

}  // namespace atl::metrics
