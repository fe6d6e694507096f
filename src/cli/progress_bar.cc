// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>

namespace atl::cli {
namespace {

constexpr int kWidth = 24;

double NumberOf(const boost::json::object& object, std::string_view name) {
  const boost::json::value* value = object.if_contains(name);
  return value != nullptr && value->is_number() ? value->to_number<double>() : 0;
}

}  // namespace

std::string HumanBytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

ProgressBar::ProgressBar() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Clear() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

void ProgressBar::Show(std::string_view event) {
  if (!terminal_) return;
  boost::system::error_code error;
  boost::json::value parsed = boost::json::parse(event, error);
  if (error || !parsed.is_object()) return;
  const boost::json::object& object = parsed.get_object();
  const boost::json::value* phase = object.if_contains("phase");
  std::string line;
  double done = NumberOf(object, "bytesDone");
  double total = NumberOf(object, "bytesTotal");
  if (total > 0) {
    double part = std::clamp(done / total, 0.0, 1.0);
    int filled = static_cast<int>(part * kWidth);
    line = fmt::format("[{:#<{}}{:<{}}] {:3.0f} %  ", "", filled, "", kWidth - filled, part * 100);
  }
  line += fmt::format("{} files, {}", NumberOf(object, "filesDone"), HumanBytes(done));
  if (double rate = NumberOf(object, "bytesPerSecond"); rate > 0) {
    line += fmt::format(", {}/s", HumanBytes(rate));
  }
  if (double left = NumberOf(object, "secondsLeft"); left > 0) {
    line += fmt::format(", {:.0f} s left", left);
  }
  std::string name = phase != nullptr && phase->is_string() ? phase->get_string().c_str() : "";
  fmt::print(stderr, "\r\x1b[K{:<7} {}", name, line);
  std::fflush(stderr);
  shown_ = true;
}

}  // namespace atl::cli
