// SPDX-License-Identifier: Apache-2.0
#include "oci/criu.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "sys/fd.h"

namespace atl::oci {
namespace {

constexpr std::chrono::milliseconds kCriuLimit{60'000};
constexpr const char* kInstalled = "/usr/lib/atoll/criu";
constexpr uint64_t kStatBlock = 512;
// Ended in the middle of a dump that is to be survived, it would leave processes that run its code.
constexpr int kWatchedDeadlines = 10;
// A limit of what it may write is an error to it, not its end.
constexpr const char* kSurviveLimits = "trap '' XFSZ && exec \"$@\"";
// CRIU closes all descriptors of what it calls, which finds its pipes in CRIU itself. Whoever lets
// it wait and ends has said no.
constexpr std::string_view kAsk = R"(#!/bin/sh
case $CRTOOLS_SCRIPT_ACTION in
pre-dump | network-lock | post-dump) ;;
*) exit 0 ;;
esac
echo "$CRTOOLS_SCRIPT_ACTION $PPID" 1<> "/proc/$PPID/fd/3" || exit 1
read -r answer < "/proc/$PPID/fd/4" && [ "$answer" = yes ]
)";

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
  std::string why = "CRIU is not installed (`atoll setup --criu` builds it)";
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

namespace {

Result<void> RunToEnd(const CriuRun& run) {
  auto finished = sys::Run(run.command);
  if (!finished) {
    Error error = std::move(finished).error().Wrap(run.what);
    if (error.code == Code::kTimeout) error.reason = "CHECKPOINT_TIMEOUT";
    return Unexpected(std::move(error));
  }
  if (finished->exit_code != 0) {
    return Fail(Code::kUnavailable, fmt::format("{} ended with code {}: {}", run.what,
                                                finished->exit_code, Complaints(run.log)));
  }
  return run.images.empty() ? Result<void>() : CheckSpace(run);
}

// Answers each moment that CRIU tells of, until it has ended.
class Answering {
 public:
  Answering(sys::Fd told, sys::Fd answers, const Moments& moments)
      : told_(std::move(told)), answers_(std::move(answers)), moments_(moments) {}

  void Run() {
    std::string line;
    for (char byte = 0; ::read(told_.get(), &byte, 1) == 1;) {
      if (byte != '\n') {
        if (line.size() < kMostLine) line.push_back(byte);
        continue;
      }
      Result<void> done = At(line);
      line.clear();
      (void)sys::WriteAll(answers_.get(), done ? "yes\n" : "no\n");
      if (!done && outcome_) outcome_ = std::move(done);
    }
  }
  // 0 until it is about to stop anything.
  pid_t criu() const { return criu_; }
  // Once Run has returned.
  Result<void> outcome() && { return std::move(outcome_); }

 private:
  static constexpr size_t kMostLine = 64;

  Result<void> At(std::string_view line) {
    size_t space = std::min(line.find(' '), line.size());
    std::string_view moment = line.substr(0, space);
    if (moment == "pre-dump") {
      criu_ = std::atoi(std::string(line.substr(space)).c_str());
      moments_.begins();
    }
    if (moment == "network-lock") return moments_.stopped();
    if (moment == "post-dump") return moments_.written();
    return {};
  }

  sys::Fd told_;
  sys::Fd answers_;
  const Moments& moments_;
  std::atomic<pid_t> criu_ = 0;
  Result<void> outcome_;
};

}  // namespace

Result<void> RunCriu(CriuRun run) {
  run.command.timeout = run.deadline;
  if (!run.images.empty()) run.command.watch = [&run] { return CheckSpace(run); };
  return RunToEnd(run);
}

Result<void> RunCriuWatched(CriuRun run, const std::string& scratch, const Moments& moments) {
  ASSIGN(sys::Pipe told, sys::MakePipe());
  ASSIGN(sys::Pipe answers, sys::MakePipe());
  std::string script = scratch + "/moments";
  TRY(sys::WriteFile(script, kAsk, 0700));
  const auto begun = std::chrono::steady_clock::now();
  std::vector<std::string> argv = {"/bin/sh", "-c", kSurviveLimits, "sh"};
  argv.insert(argv.end(), run.command.argv.begin(), run.command.argv.end());
  argv.insert(argv.end(), {"--action-script", script});
  run.command.argv = std::move(argv);
  run.command.inherit = {told.write.get(), answers.read.get()};
  run.command.timeout = kWatchedDeadlines * run.deadline;
  Answering answering(std::move(told.read), std::move(answers.write), moments);
  Result<void> space;
  run.command.watch = [&run, &answering, &space, begun]() -> Result<void> {
    pid_t criu = answering.criu();
    if (run.stop.stop_requested()) return Fail(Code::kCancelled, "nobody needs it any more");
    // As long as it has stopped nothing, ending it harms nobody.
    if (criu <= 1 && std::chrono::steady_clock::now() - begun > run.deadline) {
      return Fail(Code::kTimeout, fmt::format("it stopped nothing within {}", run.deadline));
    }
    if (criu <= 1 || !space) return {};
    space = CheckSpace(run);
    rlimit nothing{};
    if (!space) ::prlimit(criu, RLIMIT_FSIZE, &nothing, nullptr);
    return {};
  };
  std::thread thread([&answering] { answering.Run(); });
  Result<void> ran = RunToEnd(run);
  told.write.Reset();
  thread.join();
  TRY(std::move(space));
  bool cut_short = !ran && ran.error().code == Code::kTimeout && answering.criu() > 1;
  TRY(std::move(answering).outcome());
  if (cut_short) {
    Error error = std::move(ran).error();
    error.reason = "CHECKPOINT_CUT_SHORT";
    return Unexpected(std::move(error));
  }
  return ran;
}

}  // namespace atl::oci
