// SPDX-License-Identifier: Apache-2.0
#include "http/request_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <random>

namespace atl::http {
namespace {

constexpr size_t kMostBytes = 128;
constexpr size_t kTraceBytes = 32;
constexpr size_t kParentBytes = 16;

bool IsHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c == '0'; });
}

bool IsOrdinary(std::string_view id) {
  return !id.empty() && id.size() <= kMostBytes && std::ranges::all_of(id, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
  });
}

// Nobody has to be kept from guessing it.
std::string RandomId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

}  // namespace

// version "-" trace-id "-" parent-id "-" flags; later versions may have more behind another "-".
std::string_view TraceId(std::string_view traceparent) {
  constexpr size_t kTraceAt = 3;
  constexpr size_t kParentAt = kTraceAt + kTraceBytes + 1;
  constexpr size_t kFlagsAt = kParentAt + kParentBytes + 1;
  constexpr size_t kBytes = kFlagsAt + 2;
  if (traceparent.size() < kBytes || traceparent[2] != '-') return {};
  std::string_view version = traceparent.substr(0, 2);
  std::string_view trace = traceparent.substr(kTraceAt, kTraceBytes);
  std::string_view parent = traceparent.substr(kParentAt, kParentBytes);
  bool dashes = traceparent[kParentAt - 1] == '-' && traceparent[kFlagsAt - 1] == '-';
  bool end = traceparent.size() == kBytes || (version != "00" && traceparent[kBytes] == '-');
  bool valid = dashes && end && version != "ff" && IsHex(version) && IsHex(trace) &&
               IsHex(parent) && IsHex(traceparent.substr(kFlagsAt, 2)) && !IsZero(trace) &&
               !IsZero(parent);
  return valid ? trace : std::string_view();
}

std::string ChooseRequestId(const RequestHead& request) {
  if (auto parent = request.headers.Get("traceparent")) {
    std::string_view trace = TraceId(*parent);
    if (!trace.empty()) return std::string(trace);
  }
  if (auto id = request.headers.Get("X-Request-Id"); id && IsOrdinary(*id)) return std::string(*id);
  return RandomId();
}

}  // namespace atl::http
