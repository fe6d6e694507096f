// SPDX-License-Identifier: Apache-2.0
#include "api/seed/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <limits>

#include "http/message.h"
#include "sandbox/limits.h"

namespace atl::api {
namespace {

constexpr std::chrono::seconds kUsualWait{60};
constexpr std::chrono::seconds kLongestWait{600};

// A week: longer commands are services.
constexpr int64_t kMaxTimeoutMs = 7LL * 24 * 60 * 60 * 1000;
constexpr int64_t kMaxDepth = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxImageBytes = 255;
constexpr double kMaxCpus = 1024;
constexpr int64_t kMaxPids = 4'194'304;
constexpr int64_t kMaxInodes = 0xFFFF'FFFF;
constexpr int64_t kMaxWeight = 10'000;

Result<std::optional<uint64_t>> Count(const json::Object& body, std::string_view name,
                                      int64_t least, int64_t most) {
  ASSIGN(std::optional<int64_t> count, body.OptionalInt(name, {.min = least, .max = most}));
  if (!count) return std::nullopt;
  return static_cast<uint64_t>(*count);
}

// "2G" or a number of bytes.
Result<std::optional<uint64_t>> Bytes(const json::Object& body, std::string_view name,
                                      int64_t least) {
  if (body.IsString(name)) {
    ASSIGN(std::string text, body.Text(name));
    ASSIGN(uint64_t bytes, sandbox::ParseBytes(text));
    return bytes;
  }
  return Count(body, name, least, std::numeric_limits<int64_t>::max());
}

// true, or a number of seconds.
Result<std::chrono::milliseconds> Wait(const json::Object& body) {
  if (auto wait = body.OptionalBool("wait"))
    return wait->value_or(false) ? kUsualWait : std::chrono::seconds(0);
  ASSIGN(std::optional<double> seconds,
         body.OptionalNumber("wait", 0, static_cast<double>(kLongestWait.count())));
  return std::chrono::milliseconds(static_cast<int64_t>(*seconds * 1000));
}

}  // namespace

std::chrono::milliseconds PreferredWait(std::string_view prefer) {
  while (!prefer.empty()) {
    size_t comma = std::min(prefer.find(','), prefer.size());
    std::string_view one = http::Trim(prefer.substr(0, comma));
    prefer.remove_prefix(std::min(comma + 1, prefer.size()));
    constexpr std::string_view kName = "wait=";
    if (!one.starts_with(kName)) continue;
    one.remove_prefix(kName.size());
    int64_t seconds = 0;
    auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), seconds);
    if (error != std::errc() || seconds < 0) continue;
    return std::chrono::seconds(std::min<int64_t>(seconds, kLongestWait.count()));
  }
  return std::chrono::milliseconds(0);
}

Result<CreateRequest> ParseCreate(const json::Object& body, const snapshot::AutoPolicy& defaults,
                                  const sandbox::SleepPolicy& sleep) {
  CreateRequest request;
  ASSIGN(request.opencode, body.OptionalBool("opencode"));
  ASSIGN(request.options.image, body.OptionalText("image"));
  if (request.options.image && request.options.image->size() > kMaxImageBytes) {
    return Fail(Code::kInvalidArgument,
                fmt::format("\"image\" has {} bytes; names have at most {}",
                            request.options.image->size(), kMaxImageBytes),
                "VALIDATION_FAILED");
  }
  ASSIGN(request.options.memory_bytes, Bytes(body, "memory", 1));
  ASSIGN(request.options.cpus, body.OptionalNumber("cpus", 0, kMaxCpus));
  ASSIGN(request.options.pids, Count(body, "pids", 1, kMaxPids));
  ASSIGN(request.options.disk_bytes, Bytes(body, "disk", 0));
  ASSIGN(request.options.inodes, Count(body, "inodes", 0, kMaxInodes));
  ASSIGN(request.options.weight, Count(body, "weight", 1, kMaxWeight));
  ASSIGN(request.options.wait, Wait(body));
  ASSIGN(request.options.env, body.OptionalTextMap("env"));
  TRY(sandbox::ValidateEnv(request.options.env));
  ASSIGN(std::optional<json::Object> snapshots, body.OptionalObject("snapshots"));
  if (snapshots) {
    ASSIGN(request.options.snapshots, snapshot::ParseAutoPolicy(*snapshots, defaults));
  }
  if (sandbox::NamesSleepPolicy(body)) {
    ASSIGN(request.options.sleep, sandbox::ParseSleepPolicy(body, sleep));
  }
  return request;
}

Result<sandbox::RunRequest> ParseRun(const json::Object& body) {
  sandbox::RunRequest request;
  ASSIGN(request.command, body.Text("command"));
  ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  if (cwd) request.cwd = std::move(*cwd);
  ASSIGN(request.env, body.OptionalTextMap("env"));
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeout", {.min = 1, .max = kMaxTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  return request;
}

Result<sandbox::GitCredentials> ParseCredentials(const json::Object& body) {
  sandbox::GitCredentials credentials;
  ASSIGN(auto username, body.OptionalText("username"));
  ASSIGN(auto password, body.OptionalText("password"));
  ASSIGN(auto key, body.OptionalText("sshKey"));
  credentials.username = username.value_or("");
  credentials.password = password.value_or("");
  credentials.ssh_key = key.value_or("");
  TRY(sandbox::ValidateCredentials(credentials));
  return credentials;
}

Result<sandbox::CloneRequest> ParseClone(const json::Object& body) {
  sandbox::CloneRequest request;
  ASSIGN(request.repo, body.Text("repo"));
  ASSIGN(request.branch, body.OptionalText("branch"));
  ASSIGN(request.dir, body.OptionalText("dir"));
  ASSIGN(request.depth, body.OptionalInt("depth", {.min = 1, .max = kMaxDepth}));
  ASSIGN(std::optional<std::string> filter, body.OptionalText("filter"));
  request.filter = filter.value_or("");
  ASSIGN(auto sparse, body.OptionalTextList("sparse"));
  if (sparse) request.sparse = *std::move(sparse);
  ASSIGN(request.credentials, ParseCredentials(body));
  ASSIGN(std::optional<std::string> user, body.OptionalText("user"));
  request.user = user.value_or("");
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeoutMs", {.min = 1, .max = kMaxTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  return request;
}

Result<std::vector<std::pair<std::string, std::string>>> EnvWithoutNulls(const json::Object& body,
                                                                         std::string_view name) {
  std::vector<std::pair<std::string, std::string>> variables;
  ASSIGN(std::optional<json::Object> env, body.OptionalObject(name));
  for (std::string& one : env ? env->Names() : std::vector<std::string>()) {
    ASSIGN(std::optional<std::string> value, env->OptionalText(one));
    if (value) variables.emplace_back(std::move(one), *std::move(value));
  }
  return variables;
}

}  // namespace atl::api
