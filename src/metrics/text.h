// SPDX-License-Identifier: Apache-2.0
// Prometheus' text format, version 0.0.4: families of samples, a line each.
// https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::metrics {

inline constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

enum class Type { kCounter, kGauge, kHistogram };
std::string_view TypeName(Type type);

using Labels = std::vector<std::pair<std::string, std::string>>;  // name, value

class TextWriter {
 public:
  // The lines HELP and TYPE, which stand before a family's samples.
  void Family(std::string_view name, std::string_view help, Type type);
  void Sample(std::string_view name, const Labels& labels, double value);
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

// "1", "0.005", "+Inf", "NaN": the shortest text that reads as the same number.
std::string FormatNumber(double value);

// [a-zA-Z_:][a-zA-Z0-9_:]*, and the same without colons.
bool IsMetricName(std::string_view name);
bool IsLabelName(std::string_view name);

}  // namespace atl::metrics
