// SPDX-License-Identifier: Apache-2.0
#include "metrics/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace atl::metrics {
namespace {

// A backslash and a line feed are escaped everywhere, a quote inside quotes alone.
void AppendEscaped(std::string& text, std::string_view value, bool quoted) {
  for (char c : value) {
    if (c == '\\') {
      text += "\\\\";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '"' && quoted) {
      text += "\\\"";
    } else {
      text += c;
    }
  }
}

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::string_view TypeName(Type type) {
  switch (type) {
    case Type::kCounter:
      return "counter";
    case Type::kGauge:
      return "gauge";
    case Type::kHistogram:
      return "histogram";
  }
  return "untyped";
}

void TextWriter::Family(std::string_view name, std::string_view help, Type type) {
  text_ += fmt::format("# HELP {} ", name);
  AppendEscaped(text_, help, false);
  text_ += fmt::format("\n# TYPE {} {}\n", name, TypeName(type));
}

void TextWriter::Sample(std::string_view name, const Labels& labels, double value) {
  text_ += name;
  char before = '{';
  for (const auto& [label, label_value] : labels) {
    text_ += before;
    text_ += label;
    text_ += "=\"";
    AppendEscaped(text_, label_value, true);
    text_ += '"';
    before = ',';
  }
  if (!labels.empty()) text_ += '}';
  text_ += ' ';
  text_ += FormatNumber(value);
  text_ += '\n';
}

std::string FormatNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

bool IsLabelName(std::string_view name) {
  return !name.empty() && IsLetter(name.front()) &&
         std::ranges::all_of(name, [](char c) { return IsLetter(c) || IsDigit(c); });
}

bool IsMetricName(std::string_view name) {
  return !name.empty() && (IsLetter(name.front()) || name.front() == ':') &&
         std::ranges::all_of(name, [](char c) { return IsLetter(c) || IsDigit(c) || c == ':'; });
}

}  // namespace atl::metrics
