// SPDX-License-Identifier: Apache-2.0
#include "snapshot/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "json/writer.h"

namespace atl::snapshot {
namespace {

using std::chrono::seconds;

constexpr size_t kMaxDirBytes = 4096;
constexpr size_t kMaxPaths = 32;
constexpr int64_t kMaxDuration = 100LL * 366 * 86400;
constexpr seconds kLeastInterval{10};

Unexpected BadPolicy(std::string why) {
  return Fail(Code::kInvalidArgument, "\"snapshots\": " + std::move(why),
              "INVALID_SNAPSHOT_POLICY");
}

int64_t UnitSeconds(std::string_view unit) {
  if (unit.empty() || unit == "s") return 1;
  if (unit == "m") return 60;
  if (unit == "h") return 3600;
  if (unit == "d") return 86400;
  if (unit == "w") return 7LL * 86400;
  return 0;
}

}  // namespace

Result<seconds> ParseDuration(std::string_view text) {
  if (text == "off") return seconds(0);
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  int64_t unit = UnitSeconds(text.substr(static_cast<size_t>(end - text.data())));
  if (error != std::errc() || number < 0 || unit == 0 || number > kMaxDuration / unit) {
    return Fail(
        Code::kInvalidArgument,
        fmt::format("\"{:.40}\" is no duration; write \"90s\", \"10m\", \"12h\", \"3d\"", text));
  }
  return seconds(number * unit);
}

Result<std::optional<seconds>> ParseTtl(std::string_view text) {
  if (text == "never") return std::optional<seconds>();
  ASSIGN(seconds duration, ParseDuration(text));
  if (duration == seconds(0)) {
    return Fail(Code::kInvalidArgument, "a time to live must be longer than 0, or \"never\"");
  }
  return std::optional<seconds>(duration);
}

std::string FormatDuration(seconds duration) {
  int64_t count = duration.count();
  if (count == 0) return "off";
  for (auto [size, unit] : {std::pair(86400, 'd'), std::pair(3600, 'h'), std::pair(60, 'm')}) {
    if (count % size == 0) return fmt::format("{}{}", count / size, unit);
  }
  return fmt::format("{}s", count);
}

Result<AutoPolicy> ParseAutoPolicy(std::string_view json, const AutoPolicy& defaults) {
  ASSIGN(json::Object object, json::Object::Parse(json, true));
  return ParseAutoPolicy(object, defaults);
}

Result<AutoPolicy> ParseAutoPolicy(const json::Object& object, const AutoPolicy& defaults) {
  for (const std::string& name : object.Names()) {
    if (name != "onStop" && name != "onStart" && name != "interval" && name != "paths") {
      return BadPolicy(fmt::format("\"{:.40}\" is not known", name));
    }
  }
  AutoPolicy policy = defaults;
  ASSIGN(std::optional<bool> on_stop, object.OptionalBool("onStop"));
  ASSIGN(std::optional<bool> on_start, object.OptionalBool("onStart"));
  ASSIGN(std::optional<std::string> interval, object.OptionalText("interval"));
  ASSIGN(auto paths, object.OptionalTextList("paths"));
  policy.on_stop = on_stop.value_or(policy.on_stop);
  policy.on_start = on_start.value_or(policy.on_start);
  if (interval) {
    ASSIGN(policy.interval, ParseDuration(*interval));
    if (policy.interval != seconds(0) && policy.interval < kLeastInterval) {
      return BadPolicy("\"interval\" must be at least 10s, or \"off\"");
    }
  }
  if (paths) {
    if (paths->size() > kMaxPaths) return BadPolicy("\"paths\" has more than 32 entries");
    policy.paths.clear();
    for (const std::string& path : *paths) {
      ASSIGN(std::string normal, NormalDir(path));
      policy.paths.push_back(std::move(normal));
    }
    std::ranges::sort(policy.paths);
    for (size_t i = 1; i < policy.paths.size(); ++i) {
      const std::string& outer = policy.paths[i - 1];
      if (policy.paths[i] == outer || policy.paths[i].starts_with(outer + "/")) {
        return BadPolicy(fmt::format("{} lies in {}", policy.paths[i], outer));
      }
    }
  }
  return policy;
}

std::string EncodeAutoPolicy(const AutoPolicy& policy) {
  json::Writer writer;
  writer.BeginObject().Field("onStop", policy.on_stop).Field("onStart", policy.on_start);
  writer.Field("interval", FormatDuration(policy.interval)).Key("paths").BeginArray();
  for (const std::string& path : policy.paths) writer.String(path);
  writer.EndArray().EndObject();
  return writer.Take();
}

Result<std::string> NormalDir(std::string_view dir) {
  auto invalid = [](std::string why) {
    return Fail(Code::kInvalidArgument, "\"dir\" " + std::move(why), "INVALID_BACKUP_CONFIG");
  };
  if (!dir.starts_with('/')) return invalid("must be an absolute path");
  if (dir.size() > kMaxDirBytes) return invalid("is longer than 4096 bytes");
  if (dir.contains('\0')) return invalid("holds a NUL");
  std::string normal;
  while (!dir.empty()) {
    dir.remove_prefix(1);
    std::string_view part = dir.substr(0, dir.find('/'));
    dir.remove_prefix(part.size());
    // What lies above is the kernel's to say, by way of symlinks: refused instead of guessed.
    if (part == "..") return invalid("must not contain \"..\"");
    if (part.empty() || part == ".") continue;
    normal.append("/").append(part);
  }
  if (normal.empty()) return invalid("must not be the root directory, /");
  return normal;
}

std::vector<std::string> DisposablePaths() {
  return {"/root/.cache", "/root/.local/state/opencode/locks", "/root/.local/share/opencode/log"};
}

}  // namespace atl::snapshot
