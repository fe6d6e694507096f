// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sleep_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "json/writer.h"
#include "snapshot/policy.h"

namespace atl::sandbox {
namespace {

using std::chrono::seconds;

constexpr int64_t kMaxSeconds = 10LL * 366 * 86400;
constexpr std::array<std::string_view, 3> kNames = {"sleepAfter", "stopAfter", "keepAlive"};

Result<void> ReadDuration(const json::Object& object, std::string_view name, seconds& into) {
  std::string key(name);
  if (object.IsString(key)) {
    ASSIGN(std::string text, object.Text(key));
    auto duration = snapshot::ParseDuration(text);
    if (!duration || duration->count() > kMaxSeconds) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("\"{}\": \"{:.40}\" is no duration; write \"10m\", a number of "
                              "seconds, or \"off\"",
                              name, text),
                  "INVALID_SLEEP_POLICY");
    }
    into = *duration;
    return {};
  }
  ASSIGN(std::optional<int64_t> number, object.OptionalInt(key, {.min = 0, .max = kMaxSeconds}));
  if (number) into = seconds(*number);
  return {};
}

}  // namespace

std::optional<seconds> SleepPolicy::StopsAfter() const {
  if (keep_alive || stop_after == seconds(0)) return std::nullopt;
  return after + stop_after;
}

bool NamesSleepPolicy(const json::Object& object) {
  std::vector<std::string> names = object.Names();
  return std::ranges::any_of(
      kNames, [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); });
}

Result<SleepPolicy> ParseSleepPolicy(const json::Object& object, const SleepPolicy& defaults) {
  SleepPolicy policy = defaults;
  TRY(ReadDuration(object, "sleepAfter", policy.after));
  TRY(ReadDuration(object, "stopAfter", policy.stop_after));
  ASSIGN(std::optional<bool> keep_alive, object.OptionalBool("keepAlive"));
  policy.keep_alive = keep_alive.value_or(policy.keep_alive);
  return policy;
}

Result<SleepPolicy> ParseSleepPolicy(std::string_view json, const SleepPolicy& defaults) {
  ASSIGN(json::Object object, json::Object::Parse(json, true));
  return ParseSleepPolicy(object, defaults);
}

std::string EncodeSleepPolicy(const SleepPolicy& policy) {
  json::Writer writer;
  writer.BeginObject().Field("sleepAfter", snapshot::FormatDuration(policy.after));
  writer.Field("stopAfter", snapshot::FormatDuration(policy.stop_after));
  writer.Field("keepAlive", policy.keep_alive).EndObject();
  return writer.Take();
}

}  // namespace atl::sandbox
