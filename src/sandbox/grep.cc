// SPDX-License-Identifier: Apache-2.0
#include "sandbox/grep.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sandbox/files.h"
#include "sandbox/grep_output.h"
#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxComplaint = 2000;
// 1 is "nothing found".
constexpr int kFailed = 2;

// Of one file. Programs search it to its end, and may keep what they find until then. One more than
// is wanted says that there is more.
std::string MaxCount(const GrepRequest& request) {
  return fmt::format("--max-count={}", uint64_t{request.limit} + 1);
}

std::vector<std::string> RipgrepArguments(const GrepRequest& request) {
  std::vector<std::string> argv{"rg",
                                "--no-config",
                                "--null",
                                "--line-number",
                                "--column",
                                "--no-heading",
                                "--with-filename",
                                "--color=never",
                                "--max-columns=4000",
                                "--max-columns-preview",
                                MaxCount(request)};
  if (request.fixed) argv.emplace_back("--fixed-strings");
  if (request.ignore_case) argv.emplace_back("--ignore-case");
  if (request.words) argv.emplace_back("--word-regexp");
  if (request.hidden) argv.emplace_back("--hidden");
  if (request.ignored) argv.emplace_back("--no-ignore");
  for (const std::string& glob : request.include) argv.push_back("--glob=" + glob);
  for (const std::string& glob : request.exclude) argv.push_back("--glob=!" + glob);
  argv.insert(argv.end(), {"--regexp=" + request.pattern, "--", request.path});
  return argv;
}

std::vector<std::string> GrepArguments(const GrepRequest& request) {
  std::vector<std::string> argv{"grep", "-rnHZI", "--devices=skip", "--color=never",
                                MaxCount(request)};
  argv.emplace_back(request.fixed ? "-F" : "-E");
  if (request.ignore_case) argv.emplace_back("-i");
  if (request.words) argv.emplace_back("-w");
  if (!request.hidden) argv.insert(argv.end(), {"--exclude=.?*", "--exclude-dir=.?*"});
  for (const std::string& glob : request.include) argv.push_back("--include=" + glob);
  for (const std::string& glob : request.exclude) {
    argv.push_back("--exclude=" + glob);
    argv.push_back("--exclude-dir=" + glob);
  }
  argv.insert(argv.end(), {"-e", request.pattern, "--", request.path});
  return argv;
}

struct Search {
  Process& process;
  GrepOutput output;
  std::string complaint;
  int exit_code = -1;  // -1: it goes on
  Result<void> outcome;
};

async::Task<> Follow(Search& search) {
  while (!search.output.full()) {
    Result<ProcessEvent> event = co_await search.process.Next();
    if (!event) {
      search.outcome = Unexpected(std::move(event).error());
      co_return;
    }
    switch (event->kind) {
      case ProcessEvent::Kind::kStdout:
        search.output.Add(event->data);
        break;
      case ProcessEvent::Kind::kStderr:
        search.complaint +=
            event->data.substr(0, kMaxComplaint - std::min(kMaxComplaint, search.complaint.size()));
        break;
      case ProcessEvent::Kind::kExited:
        search.exit_code = event->exit_code;
        co_return;
    }
  }
}

bool IsMissing(const Error& error) { return error.code == Code::kNotFound; }

}  // namespace

async::Task<Result<GrepResult>> Grep(AgentClient& agent, GrepRequest request) {
  if (request.pattern.empty()) co_return Fail(Code::kInvalidArgument, "the pattern is empty");
  CO_ASSIGN(request.path, AbsolutePath(request.path));
  StatFile there{.path = request.path, .user = request.user};
  CO_ASSIGN(FileInfo info, co_await Stat(agent, std::move(there)));
  // A FIFO or a device that is named would be read, and may never end.
  if (info.kind != FileKind::kFile && info.kind != FileKind::kDirectory) {
    co_return Fail(Code::kInvalidArgument, request.path + " is neither a file nor a directory",
                   "NOT_REGULAR_FILE");
  }
  bool columns = true;
  SpawnSpec ripgrep{.argv = RipgrepArguments(request), .cwd = "/"};
  Result<std::unique_ptr<Process>> process =
      co_await SpawnAs(agent, request.user, std::move(ripgrep));
  if (!process && IsMissing(process.error())) {
    columns = false;
    SpawnSpec grep{.argv = GrepArguments(request), .cwd = "/"};
    process = co_await SpawnAs(agent, request.user, std::move(grep));
  }
  if (!process) co_return Unexpected(std::move(process).error());
  Search search{.process = **process,
                .output = GrepOutput(columns, std::clamp(request.limit, 1U, kMostMatches))};
  bool in_time = co_await async::WithTimeout(request.timeout, Follow(search));
  // Whose time is up fails, too, which is no failure of the search.
  if (in_time && !search.outcome) co_return Unexpected(std::move(search.outcome).error());
  GrepResult result{.matches = search.output.Take(),
                    .more = search.output.full() || !in_time,
                    .timed_out = !in_time};
  // Files that could not be read are no failure of those that could.
  bool failed = search.exit_code >= kFailed;
  if (failed && result.matches.empty() && !search.complaint.empty()) {
    co_return Fail(Code::kInvalidArgument, fmt::format("search: {}", search.complaint),
                   "VALIDATION_FAILED");
  }
  co_return result;
}

}  // namespace atl::sandbox
