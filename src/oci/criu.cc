// SPDX-License-Identifier: Apache-2.0
#include "oci/criu.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>
#include <vector>

#include "sys/fd.h"

namespace atl::oci {
namespace {

constexpr std::chrono::milliseconds kCriuLimit{60'000};
constexpr const char* kInstalled = "/usr/lib/atoll/criu";
constexpr uint64_t kStatBlock = 512;

// The lines of a log of CRIU's that say what was wrong; its last lines otherwise.
std::string Complaints(const std::string& file) {
  auto text = sys::ReadFile(file, 64U << 20U);
  if (!text) return {};
  std::string complaints;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line) && complaints.size() < 1000;) {
    // It says this on every host where it may not raise the limit, which harms nothing.
    if (!line.contains("Error") || line.contains("RLIMIT_NOFILE")) continue;
    complaints += fmt::format("{}{}", complaints.empty() ? "" : "; ", line);
  }
  return complaints;
}

Result<void> CheckSpace(const CriuRun& run) {
  struct statvfs space{};
  if (::statvfs(run.images.c_str(), &space) != 0) {
    return FailErrno(errno, "look for room in " + run.images);
  }
  uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  if (free < run.least_free) {
    return Fail(Code::kResourceExhausted,
                fmt::format("{} is given up: {} MiB are free", run.what, free >> 20U));
  }
  if (run.most_bytes == 0) return {};
  DIR* directory = ::opendir(run.images.c_str());
  if (directory == nullptr) return FailErrno(errno, "list " + run.images);
  uint64_t bytes = 0;
  while (const dirent* entry = ::readdir(directory)) {
    struct stat info{};
    if (::fstatat(::dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    bytes += static_cast<uint64_t>(info.st_blocks) * kStatBlock;
  }
  ::closedir(directory);
  if (bytes <= run.most_bytes) return {};
  return Fail(Code::kResourceExhausted, fmt::format("{} is given up: it takes more than {} MiB",
                                                    run.what, run.most_bytes >> 20U));
}

Result<std::string> SearchCriu(const std::string& configured, const std::string& state_dir) {
  std::vector<std::string> candidates = {configured, state_dir + "/criu/criu", kInstalled};
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/sbin:/usr/bin" : path;
  while (!rest.empty()) {
    size_t end = std::min(rest.find(':'), rest.size());
    candidates.push_back(fmt::format("{}/criu", rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  std::string why = "CRIU is not installed ('make criu' builds it)";
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || ::access(candidate.c_str(), X_OK) != 0) continue;
    auto checked = sys::RunChecked({.argv = {candidate, "check"}, .timeout = kCriuLimit});
    if (checked) return candidate;
    why =
        fmt::format("{} does not work on this kernel: {:.300}", candidate, checked.error().message);
  }
  return Fail(Code::kNotFound, std::move(why));
}

}  // namespace

Result<std::string> FindCriu(const std::string& configured, const std::string& state_dir) {
  static std::mutex mutex;
  static std::map<std::string, Result<std::string>> known;
  std::lock_guard guard(mutex);
  std::string key = configured + '\n' + state_dir;
  auto found = known.find(key);
  if (found == known.end()) found = known.emplace(key, SearchCriu(configured, state_dir)).first;
  return found->second;
}

Result<void> RunCriu(CriuRun run) {
  run.command.timeout = kCriuLimit;
  if (!run.images.empty()) run.command.watch = [&run] { return CheckSpace(run); };
  auto finished = sys::Run(run.command);
  if (!finished) return Unexpected(std::move(finished).error().Wrap(run.what));
  if (finished->exit_code != 0) {
    return Fail(Code::kUnavailable, fmt::format("{} ended with code {}: {}", run.what,
                                                finished->exit_code, Complaints(run.log)));
  }
  return run.images.empty() ? Result<void>() : CheckSpace(run);
}

}  // namespace atl::oci
