// SPDX-License-Identifier: Apache-2.0
// run and clone.
#include <fmt/format.h>

#include <utility>

#include "api/mcp/tool.h"
#include "api/seed/requests.h"
#include "json/utf8.h"
#include "sandbox/exec.h"
#include "sandbox/git_clone.h"

namespace atl::api::mcp {
namespace {

constexpr int64_t kTimeoutMs = 120'000;
constexpr int64_t kMaxTimeoutMs = 3'600'000;
// Of each stream: about what a model can still read at once.
constexpr size_t kMaxOutput = 32UL << 10U;

// Without a code point that the limit has cut.
std::string WholeText(std::string bytes, bool truncated) {
  if (truncated) bytes.resize(bytes.size() - json::IncompleteTail(bytes));
  return bytes;
}

void AppendStream(std::string& text, std::string_view title, const std::string& output,
                  bool truncated) {
  if (output.empty() && !truncated) return;
  if (!title.empty()) text += fmt::format("[{}]\n", title);
  text += output;
  if (!output.empty() && !output.ends_with('\n')) text += '\n';
  if (truncated) text += fmt::format("[cut: only the first {} bytes are shown]\n", output.size());
}

Output RunOutput(sandbox::Captured captured) {
  const sandbox::ExecOutcome& outcome = captured.outcome;
  std::string out = WholeText(std::move(captured.out), captured.out_truncated);
  std::string err = WholeText(std::move(captured.err), captured.err_truncated);
  Output output;
  AppendStream(output.text, "", out, captured.out_truncated);
  AppendStream(output.text, "stderr", err, captured.err_truncated);
  if (outcome.timed_out) output.text += "[ended by its time limit]\n";
  if (outcome.out_of_memory) output.text += "[ended by its memory limit]\n";
  output.text += fmt::format("[exit code {}]", outcome.exit_code);
  json::Writer writer;
  writer.BeginObject().Field("exitCode", outcome.exit_code).Field("stdout", out);
  writer.Field("stderr", err).Field("stdoutTruncated", captured.out_truncated);
  writer.Field("stderrTruncated", captured.err_truncated).Field("timedOut", outcome.timed_out);
  writer.Field("oomKilled", outcome.out_of_memory).Field("durationMs", outcome.duration_ms);
  writer.EndObject();
  output.structured = writer.Take();
  return output;
}

async::Task<Result<Output>> Run(Call call) {
  sandbox::ExecRequest request;
  request.command = Text(call, "command");
  request.cwd = Text(call, "cwd", "/workspace");
  request.stdin = Text(call, "stdin");
  request.user = Text(call, "user");
  request.timeout = std::chrono::milliseconds(Integer(call, "timeout_ms", kTimeoutMs));
  CO_TRY(sandbox::ValidateExec(request));
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  CO_ASSIGN(auto execution, co_await sandbox::StartExec(sandbox->agent(), std::move(request)));
  CO_ASSIGN(sandbox::Captured captured, co_await sandbox::Capture(*execution, kMaxOutput));
  co_return RunOutput(std::move(captured));
}

async::Task<Result<Output>> Clone(Call call) {
  CO_ASSIGN(sandbox::CloneRequest request, ParseClone(call.arguments));
  CO_ASSIGN(auto sandbox, co_await Acquire(call));
  CO_ASSIGN(sandbox::CloneResult cloned,
            co_await sandbox::GitClone(std::move(sandbox), std::move(request)));
  json::Writer writer;
  writer.BeginObject().Field("repo", cloned.repo).Field("dir", cloned.dir);
  writer.Field("branch", cloned.branch).Field("commit", cloned.commit).EndObject();
  std::string text = fmt::format("Cloned {} into {}: {} at {}", cloned.repo, cloned.dir,
                                 cloned.branch, cloned.commit);
  co_return Output{.text = std::move(text), .structured = writer.Take()};
}

constexpr Argument kRunArguments[] = {
    {.name = "command", .about = "A command line for bash.", .required = true},
    {.name = "cwd", .about = "An absolute path; /workspace when it is not there."},
    {.name = "stdin", .type = Type::kContent, .about = "What the command reads."},
    {.name = "user", .about = "As whom it runs: a name or a uid; root when it is not there."},
    {.name = "timeout_ms",
     .type = Type::kInteger,
     .about = "Then the command is ended; 120000 when it is not there.",
     .min = 1,
     .max = kMaxTimeoutMs},
};
constexpr Argument kCloneArguments[] = {
    {.name = "repo", .about = "An http or https URL.", .required = true},
    {.name = "branch", .about = "A branch or tag."},
    {.name = "dir", .about = "Where to; below /workspace by its name when it is not there."},
    {.name = "depth",
     .type = Type::kInteger,
     .about = "How many commits; all when it is not there.",
     .min = 1},
};

constexpr Tool kTools[] = {
    {.name = "run",
     .title = "Run a command",
     .about = "Runs a command line with bash and returns its output and exit code. Long output is "
              "cut. The command and its group end with the call.",
     .arguments = kRunArguments,
     .handler = Run,
     .destructive = true},
    {.name = "clone",
     .title = "Clone a repository",
     .about = "Clones a git repository into a new directory.",
     .arguments = kCloneArguments,
     .handler = Clone},
};

}  // namespace

std::span<const Tool> CommandTools() { return kTools; }

}  // namespace atl::api::mcp
