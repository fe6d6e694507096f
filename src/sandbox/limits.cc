// SPDX-License-Identifier: Apache-2.0
#include "sandbox/limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <thread>

#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

constexpr uint64_t kMinMemory = 32ULL << 20U;
constexpr uint64_t kMaxMemory = 64ULL << 40U;
constexpr double kMinCpus = 0.01;
constexpr double kMaxCpus = 1024;
constexpr uint64_t kMinPids = 16;
constexpr uint64_t kMaxPids = 4'194'304;
constexpr uint64_t kMinDisk = 32ULL << 20U;
constexpr uint64_t kMaxDisk = 64ULL << 40U;
constexpr uint64_t kMinInodes = 128;
constexpr uint64_t kInodeRoom = 1024;
constexpr uint64_t kMaxInodes = 0xFFFF'FFFF;
constexpr uint64_t kMaxWeight = 10'000;
constexpr size_t kMaxEnvBytes = 64U << 10U;

double HostCpus() {
  return std::clamp(static_cast<double>(std::thread::hardware_concurrency()), 1.0, kMaxCpus);
}

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

unsigned ShiftOf(char unit) {
  switch (unit) {
    case 'k':
    case 'K':
      return 10;
    case 'm':
    case 'M':
      return 20;
    case 'g':
    case 'G':
      return 30;
    case 't':
    case 'T':
      return 40;
    default:
      return 0;
  }
}

}  // namespace

Result<uint64_t> ParseBytes(std::string_view text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, number);
  unsigned shift = 0;
  if (error == std::errc() && rest + 1 == end) {
    shift = ShiftOf(*rest);
    if (shift != 0) ++rest;
  }
  if (error != std::errc() || rest != end) {
    return Invalid(fmt::format("\"{:.40}\" is not a size such as 512M or 2G", text));
  }
  if (number > std::numeric_limits<uint64_t>::max() >> shift) {
    return Invalid(fmt::format("{:.40} is too large", text));
  }
  return number << shift;
}

Result<void> ValidateLimits(const Limits& limits) {
  if (limits.memory_bytes < kMinMemory || limits.memory_bytes > kMaxMemory) {
    return Invalid("\"memory\" must be between 32M and 64T");
  }
  // Also false for what is not a number.
  if (!(limits.cpus >= kMinCpus && limits.cpus <= HostCpus())) {
    return Invalid(fmt::format("\"cpus\" must be between {} and {}, which this host has", kMinCpus,
                               HostCpus()));
  }
  if (limits.pids < kMinPids || limits.pids > kMaxPids) {
    return Invalid(fmt::format("\"pids\" must be between {} and {}", kMinPids, kMaxPids));
  }
  if (limits.disk_bytes != 0 && (limits.disk_bytes < kMinDisk || limits.disk_bytes > kMaxDisk)) {
    return Invalid("\"disk\" must be between 32M and 64T, or 0 for no limit");
  }
  if (limits.inodes != 0 && (limits.inodes < kMinInodes || limits.inodes > kMaxInodes)) {
    return Invalid(
        fmt::format("\"inodes\" must be between {} and {}, or 0", kMinInodes, kMaxInodes));
  }
  if (limits.inodes != 0 && limits.disk_bytes == 0) {
    return Invalid("\"inodes\" needs a limit of \"disk\" beside it");
  }
  // A table of inodes takes room from what it is to serve.
  if (limits.inodes * kInodeRoom > limits.disk_bytes) {
    return Invalid(fmt::format("\"inodes\": a disk of {} bytes holds {} at most", limits.disk_bytes,
                               limits.disk_bytes / kInodeRoom));
  }
  if (limits.weight < 1 || limits.weight > kMaxWeight) {
    return Invalid(fmt::format("\"weight\" must be between 1 and {}", kMaxWeight));
  }
  return {};
}

Limits FitToHost(Limits limits) {
  limits.cpus = std::min(limits.cpus, HostCpus());
  return limits;
}

Result<void> ValidateCreateEnv(const Environment& env) {
  TRY(ValidateEnv(env));
  size_t bytes = 0;
  for (const auto& [name, value] : env) {
    if (value.contains('\0')) return Invalid(fmt::format("\"env\": {} holds a NUL", name));
    bytes += name.size() + value.size() + 2;
    if (bytes > kMaxEnvBytes) return Invalid("\"env\" is larger than 64 KiB");
  }
  return {};
}

Environment ProgramEnv(const Environment& common, const Environment& own) {
  Environment env = {
      {"PATH", "/opt/opencode/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", "/root"},
      {"USER", "root"},
      {"SHELL", "/bin/bash"},
      {"LANG", "C.UTF-8"},
      {"TERM", "xterm-256color"},
  };
  for (const Environment* more : {&common, &own}) {
    for (const auto& [name, value] : *more) {
      auto same = std::ranges::find(env, name, &Environment::value_type::first);
      if (same == env.end()) {
        env.emplace_back(name, value);
      } else {
        same->second = value;
      }
    }
  }
  return env;
}

}  // namespace atl::sandbox
