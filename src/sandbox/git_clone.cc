// SPDX-License-Identifier: Apache-2.0
#include "sandbox/git_clone.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "async/mutex.h"
#include "base/log.h"
#include "sandbox/id.h"
#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCleanLimit{60'000};
// For the script to tidy up when the daemon has died.
constexpr milliseconds kTidyGrace{3'000};
constexpr size_t kMaxOutput = 8192;
constexpr size_t kMaxLine = 256;

// Exit codes of the script for what is not git's.
constexpr int kTargetExists = 90;
constexpr int kNoParent = 91;

// $1 target, $2 temporary directory beside it, $3 URL, the rest: options for `git clone`. Cloning
// beside the target and renaming makes the target appear whole; `mv -T` replaces only an empty
// directory. Prints the branch and the commit.
constexpr std::string_view kCloneScript = R"sh(
set -u
target=$1 temporary=$2 url=$3
shift 3
taken() {
  [ -L "$target" ] && return 0
  [ -e "$target" ] || return 1
  [ -d "$target" ] || return 0
  [ -n "$(ls -A -- "$target" 2>/dev/null)" ]
}
taken && exit 90
mkdir -p -- "$(dirname -- "$target")" || exit 91
trap 'rm -rf -- "$temporary"' EXIT
trap 'exit 143' TERM INT HUP
git clone "$@" -- "$url" "$temporary" || exit
if [ -n "${ATOLL_GIT_SPARSE-}" ]; then
  printf '%s\n' "$ATOLL_GIT_SPARSE" |
    git -C "$temporary" sparse-checkout set --cone --stdin || exit
fi
taken && exit 90
mv -T -- "$temporary" "$target" || exit 92
# A git that is killed may have printed already: what it says counts when it ended by itself.
ask() {
  said=$(git -C "$target" "$@") && return
  [ $? -le 128 ] || said=$(git -C "$target" "$@") || said=
}
ask symbolic-ref --short -q HEAD
echo "${said:-HEAD}"
ask rev-parse --verify -q HEAD
echo "$said"
)sh";

std::string TemporaryBeside(const std::string& dir) {
  size_t slash = dir.rfind('/');
  return fmt::format("{}/.clone-{}", dir.substr(0, slash), NewInternalId());
}

// A server may send what it likes, but its clone is no copy of a directory of the sandbox.
constexpr std::string_view kCloneProtocols = "http:https:ssh";

SpawnSpec CloneSpec(const CloneRequest& request, const std::string& dir,
                    const std::string& temporary, bool progress) {
  SpawnSpec spec;
  spec.argv = {"bash", "-c", std::string(kCloneScript), "git-clone", dir, temporary, request.repo};
  spec.argv.emplace_back(progress ? "--progress" : "--quiet");
  if (request.branch) spec.argv.push_back("--branch=" + *request.branch);
  if (request.depth) spec.argv.push_back(fmt::format("--depth={}", *request.depth));
  spec.cwd = "/";
  spec.kill_grace = kTidyGrace;
  if (!request.filter.empty()) spec.argv.push_back("--filter=" + request.filter);
  spec.env = GitEnvironment(request.credentials, kCloneProtocols);
  if (!request.sparse.empty()) {
    spec.argv.emplace_back("--sparse");
    spec.env.emplace_back("ATOLL_GIT_SPARSE", fmt::format("{}", fmt::join(request.sparse, "\n")));
  }
  return spec;
}

// Keeps the end of stderr and the beginning of stdout.
class Output : public OutputSink {
 public:
  explicit Output(OnGitProgress on_progress = nullptr) : on_progress_(std::move(on_progress)) {}

  async::Task<Result<void>> Take(ProcessEvent::Kind kind, std::string_view data) override {
    if (kind == ProcessEvent::Kind::kStdout) {
      out.append(data.substr(0, kMaxOutput - std::min(kMaxOutput, out.size())));
    } else {
      err.append(data);
      if (err.size() > 2 * kMaxOutput) err.erase(0, err.size() - kMaxOutput);
      if (on_progress_) Progress(data);
    }
    co_return Result<void>();
  }
  std::string out;
  std::string err;

 private:
  // Lines end with a carriage return as long as they are to be written over.
  void Progress(std::string_view data) {
    for (char c : data) {
      if (c != '\r' && c != '\n') {
        if (line_.size() < kMaxLine) line_ += c;
        continue;
      }
      if (auto progress = ParseGitProgress(line_)) on_progress_(*progress);
      line_.clear();
    }
  }

  OnGitProgress on_progress_;
  std::string line_;
};

// One clone, shared by the caller and by the coroutine that does it: the caller may be cancelled,
// the cleaning up may not.
struct Job {
  std::shared_ptr<Sandbox> sandbox;
  CloneRequest request;
  std::string dir;
  std::string temporary;
  OnGitProgress on_progress;
  Result<CloneResult> result = Fail(Code::kCancelled, "nobody waits for the clone any more");
  async::Event done;
  async::Event abandoned;
};

struct AbandonOnExit {
  std::shared_ptr<Job> job;
  explicit AbandonOnExit(std::shared_ptr<Job> of) : job(std::move(of)) {}
  AbandonOnExit(const AbandonOnExit&) = delete;
  AbandonOnExit& operator=(const AbandonOnExit&) = delete;
  ~AbandonOnExit() { job->abandoned.Set(); }
};

struct Ended {
  bool ended = false;
  Result<RunOutcome> outcome = Fail(Code::kCancelled, "the clone was given up");
};

async::Task<> Follow(Process& process, milliseconds limit, Output& output, Ended& ended) {
  ended.outcome = co_await FollowRun(process, limit, output);
  ended.ended = true;
}

async::Task<> WaitFor(async::Event& event) { co_await event.Wait(); }

// What $1 was cloning into. Its killed writers may need a moment to be gone.
constexpr std::string_view kCleanScript =
    R"sh(for i in 1 2 3 4; do rm -rf -- "$1" && exit 0; sleep 0.5; done; exit 1)sh";

// A killed script has had no chance to remove what it made.
async::Task<> Clean(Job& job) {
  SpawnSpec spec;
  spec.argv = {"bash", "-c", std::string(kCleanScript), "clean", job.temporary};
  spec.cwd = "/";
  Result<std::unique_ptr<Process>> process = co_await job.sandbox->agent().Spawn(std::move(spec));
  if (!process) co_return;  // the sandbox is gone, and the directory with it
  Output output;
  Result<RunOutcome> outcome = co_await FollowRun(**process, kCleanLimit, output);
  if (!outcome || outcome->exit_code != 0) {
    log::Warning("sandbox {}: {} of an abandoned clone stays behind: {}", job.sandbox->id(),
                 job.temporary, output.err);
  }
}

Result<CloneResult> Conclude(const Job& job, const RunOutcome& outcome, const Output& output) {
  if (outcome.timed_out) {
    return Fail(Code::kBadGateway,
                fmt::format("git clone: not done within {} ms", job.request.timeout.count()),
                "GIT_NETWORK_ERROR");
  }
  if (outcome.exit_code == kTargetExists) {
    return Fail(Code::kAlreadyExists,
                fmt::format("{} exists and is not an empty directory", job.dir), "FILE_EXISTS");
  }
  if (outcome.exit_code == kNoParent) {
    return Fail(Code::kInvalidArgument, fmt::format("cannot make the directory for {}", job.dir),
                "VALIDATION_FAILED");
  }
  if (outcome.out_of_memory) {
    return Fail(Code::kResourceExhausted, "git clone: the sandbox ran out of memory",
                "GIT_OPERATION_FAILED");
  }
  if (outcome.exit_code != 0) return Unexpected(CloneError(output.err, job.request));
  std::string_view out = output.out;
  size_t line = out.find('\n');
  std::string_view commit = line == std::string_view::npos ? "" : out.substr(line + 1);
  return CloneResult{.repo = RedactUrl(job.request.repo),
                     .dir = job.dir,
                     .branch = std::string(out.substr(0, line)),
                     .commit = std::string(commit.substr(0, commit.find('\n')))};
}

async::Task<> RunJob(std::shared_ptr<Job> job) {
  SpawnSpec spec = CloneSpec(job->request, job->dir, job->temporary, job->on_progress != nullptr);
  Result<std::unique_ptr<Process>> process =
      co_await SpawnAs(job->sandbox->agent(), job->request.user, std::move(spec));
  if (!process) {
    job->result = Unexpected(std::move(process).error());
    job->done.Set();
    co_return;
  }
  Output output(job->on_progress);
  Ended ended;
  co_await async::Race(Follow(**process, job->request.timeout, output, ended),
                       WaitFor(job->abandoned));
  if (!ended.ended) {
    Result<void> killed = co_await (*process)->Signal(SIGKILL);
    (void)killed;  // it has just ended by itself, or goes with its connection
  }
  process->reset();
  if (ended.ended && ended.outcome) {
    job->result = Conclude(*job, *ended.outcome, output);
  } else {
    job->result = Unexpected(std::move(ended.outcome).error());
  }
  if (!job->result) co_await Clean(*job);
  job->done.Set();
}

}  // namespace

async::Task<Result<CloneResult>> GitClone(std::shared_ptr<Sandbox> sandbox, CloneRequest request,
                                          OnGitProgress on_progress) {
  CO_TRY(ValidateClone(request));
  std::string dir;
  if (request.dir) {
    CO_ASSIGN(dir, NormalizeDir(*request.dir));
  } else {
    CO_ASSIGN(std::string name, NameFromUrl(request.repo));
    dir = "/workspace/" + name;
  }
  if (dir == "/") {
    co_return Fail(Code::kAlreadyExists, "/ exists and is not an empty directory", "FILE_EXISTS");
  }
  auto job = std::make_shared<Job>();
  job->sandbox = std::move(sandbox);
  job->request = std::move(request);
  job->on_progress = std::move(on_progress);
  job->temporary = TemporaryBeside(dir);
  job->dir = std::move(dir);
  async::Executor executor = co_await async::ThisExecutor();
  AbandonOnExit abandon(job);
  async::Spawn(executor, RunJob(job), "git clone");
  co_await job->done.Wait();
  if (!job->done.is_set()) co_return Fail(Code::kCancelled, "the clone was given up");
  co_return std::move(job->result);
}

}  // namespace atl::sandbox
