// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "repository/corrupt.h"
#include "repository/tree.h"

namespace atl::repository {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kFirst = -62'167'219'200;  // 0000-01-01T00:00:00Z
constexpr int64_t kLast = 253'402'300'799;   // 9999-12-31T23:59:59Z

// `value` in that many digits, and what stands behind them.
char* Digits(char* to, uint32_t value, int digits, char then) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) to[i] = static_cast<char>('0' + value % 10);
  to[digits] = then;
  return to + digits + 1;
}

// Digits and fixed characters from the front of a text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  int Number(size_t digits, int min, int max) {
    int value = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (!AtDigit()) return Wrong();
      value = value * 10 + (text_[at_++] - '0');
    }
    return value < min || value > max ? Wrong() : value;
  }
  void Skip(char c) {
    if (!Take(c)) Wrong();
  }
  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  // What follows a decimal point: digits behind the ninth say nothing.
  uint32_t Fraction() {
    uint32_t value = 0;
    size_t digits = 0;
    for (; AtDigit(); ++at_, ++digits) {
      if (digits < 9) value = value * 10 + static_cast<uint32_t>(text_[at_] - '0');
    }
    if (digits == 0) Wrong();
    for (; digits < 9; ++digits) value *= 10;
    return value;
  }
  bool whole() const { return ok_ && at_ == text_.size(); }

 private:
  bool AtDigit() const { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; }
  int Wrong() {
    ok_ = false;
    return 0;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace

std::string FormatTime(Time time) {
  using namespace std::chrono;
  time.seconds = std::clamp(time.seconds, kFirst, kLast);
  int64_t day = time.seconds / kDay - (time.seconds % kDay < 0 ? 1 : 0);
  int64_t second = time.seconds - day * kDay;
  year_month_day date{sys_days(days(day))};
  std::array<char, 40> text{};
  char* end = Digits(text.data(), static_cast<uint32_t>(static_cast<int>(date.year())), 4, '-');
  end = Digits(end, static_cast<unsigned>(date.month()), 2, '-');
  end = Digits(end, static_cast<unsigned>(date.day()), 2, 'T');
  end = Digits(end, static_cast<uint32_t>(second / 3600), 2, ':');
  end = Digits(end, static_cast<uint32_t>(second / 60 % 60), 2, ':');
  end = Digits(end, static_cast<uint32_t>(second % 60), 2, '.');
  end = Digits(end, time.nanos % 1'000'000'000U, 9, '0');
  while (end[-1] == '0') --end;
  if (end[-1] == '.') --end;
  *end++ = 'Z';
  return {text.data(), end};
}

Result<Time> ParseTime(std::string_view text) {
  using namespace std::chrono;
  Scanner scan(text);
  int y = scan.Number(4, 0, 9999);
  scan.Skip('-');
  int m = scan.Number(2, 1, 12);
  scan.Skip('-');
  int d = scan.Number(2, 1, 31);
  scan.Skip('T');
  int hour = scan.Number(2, 0, 23);
  scan.Skip(':');
  int minute = scan.Number(2, 0, 59);
  scan.Skip(':');
  int second = scan.Number(2, 0, 59);
  Time time;
  if (scan.Take('.')) time.nanos = scan.Fraction();
  int64_t offset = 0;
  if (!scan.Take('Z')) {
    bool west = scan.Take('-');
    if (!west) scan.Skip('+');
    int hours = scan.Number(2, 0, 24);
    scan.Skip(':');
    offset = (hours * 60 + scan.Number(2, 0, 59)) * (west ? -60 : 60);
  }
  year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  if (!scan.whole() || !date.ok()) {
    return FailCorrupt(fmt::format("\"{}\" is no time", text.substr(0, 64)));
  }
  int64_t seconds = sys_days(date).time_since_epoch().count() * kDay + hour * 3600 + minute * 60 +
                    second - offset;
  time.seconds = std::clamp(seconds, kFirst, kLast);
  return time;
}

}  // namespace atl::repository
