// SPDX-License-Identifier: Apache-2.0
#include "sandbox/exec.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "async/mutex.h"
#include "metrics/atoll.h"

namespace atl::sandbox {
namespace {

// Linux refuses single arguments of 128 KiB and more (MAX_ARG_STRLEN).
constexpr size_t kMaxArgument = 128UL * 1024 - 1;
constexpr size_t kMaxArguments = 8192;
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxUser = 256;
constexpr size_t kMaxSessionStdin = 64UL * 1024;

Unexpected Invalid(std::string message, std::string reason = "VALIDATION_FAILED") {
  return Fail(Code::kInvalidArgument, std::move(message), std::move(reason));
}

Result<void> ValidateArgv(const std::vector<std::string>& argv) {
  if (argv[0].empty()) return Invalid("\"argv\" begins with an empty name", "INVALID_COMMAND");
  if (argv.size() > kMaxArguments) {
    return Invalid(
        fmt::format("\"argv\" has {} entries; at most {} are passed", argv.size(), kMaxArguments),
        "INVALID_COMMAND");
  }
  for (const std::string& argument : argv) {
    if (argument.size() <= kMaxArgument) continue;
    return Invalid(fmt::format("an entry of \"argv\" has {} bytes; at most {} can be passed",
                               argument.size(), kMaxArgument),
                   "INVALID_COMMAND");
  }
  return {};
}

// A command line that runs this program.
std::string CommandLine(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& argument : argv) {
    if (!line.empty()) line += ' ';
    line += '\'';
    for (char c : argument) {
      if (c == '\'') line += R"('\')";
      line += c;
    }
    line += '\'';
  }
  return line;
}

async::Task<Result<std::unique_ptr<Process>>> Launch(AgentClient& agent, ExecRequest& request,
                                                     bool open_stdin) {
  auto timeout = request.timeout.value_or(std::chrono::milliseconds(0));
  if (!request.session.empty()) {
    SessionSpec spec{.session = std::move(request.session),
                     .command = std::move(request.command),
                     .cwd = std::move(request.cwd),
                     .env = std::move(request.env),
                     .stdin = std::exchange(request.stdin, {}),
                     .keep = request.keep,
                     .timeout = timeout};
    if (!request.argv.empty()) spec.command = CommandLine(request.argv);
    auto process = co_await agent.ExecuteInSession(std::move(spec));
    co_return process;
  }
  ExecSpec spec;
  spec.program.argv = std::move(request.argv);
  if (spec.program.argv.empty()) spec.program.argv = {"bash", "-c", std::move(request.command)};
  spec.program.env = std::move(request.env);
  spec.program.cwd = std::move(request.cwd);
  spec.program.want_stdin = open_stdin || !request.stdin.empty();
  spec.user = std::move(request.user);
  spec.keep = request.keep;
  spec.timeout = timeout;
  auto process = co_await agent.Execute(std::move(spec));
  co_return process;
}

struct Following {
  Process& process;
  OutputSink& sink;
  Result<ProcessEvent> end = Fail(Code::kInternal, "the command has not ended");
  async::Event ended;
};

async::Task<> Pump(Following& following) {
  for (;;) {
    Result<ProcessEvent> event = co_await following.process.Next();
    if (!event || event->kind == ProcessEvent::Kind::kExited) {
      following.end = std::move(event);
      break;
    }
    Result<void> taken = co_await following.sink.Take(event->kind, event->data);
    if (!taken) {
      following.end = Unexpected(std::move(taken).error());
      break;
    }
  }
  following.ended.Set();
}

// A program need not read its stdin: what cannot be written is no failure.
async::Task<> Feed(Following& following, const std::string& stdin) {
  Result<void> written = co_await following.process.WriteStdin(stdin);
  if (written) written = co_await following.process.CloseStdin();
  co_await following.ended.Wait();
}

class Capturing : public OutputSink {
 public:
  Capturing(Captured& into, size_t limit) : into_(into), limit_(limit) {}

  async::Task<Result<void>> Take(ProcessEvent::Kind kind, std::string_view data) override {
    bool out = kind == ProcessEvent::Kind::kStdout;
    std::string& text = out ? into_.out : into_.err;
    size_t room = limit_ - text.size();
    if (data.size() > room) (out ? into_.out_truncated : into_.err_truncated) = true;
    text.append(data.substr(0, room));
    co_return Result<void>();
  }

 private:
  Captured& into_;
  size_t limit_;
};

}  // namespace

Result<void> ValidateExec(const ExecRequest& request) {
  if (request.argv.empty() == request.command.empty()) {
    return Invalid("give a \"command\" for bash or an \"argv\", and not both", "INVALID_COMMAND");
  }
  if (!request.argv.empty()) TRY(ValidateArgv(request.argv));
  if (request.command.size() > kMaxArgument) {
    return Invalid(
        fmt::format("\"command\" has {} bytes; at most {} can be passed to bash; write a script to "
                    "a file for more, or pass it as stdin",
                    request.command.size(), kMaxArgument),
        "INVALID_COMMAND");
  }
  bool where_it_is = !request.session.empty() && request.cwd.empty();
  if (!where_it_is && (!request.cwd.starts_with('/') || request.cwd.size() > kMaxPath)) {
    return Invalid("\"cwd\" must be an absolute path");
  }
  if (!request.session.empty() && !request.user.empty()) {
    return Invalid("a session has a user of its own");
  }
  if (!request.session.empty() && request.stdin.size() > kMaxSessionStdin) {
    return Invalid(fmt::format("in a session \"stdin\" has at most {} bytes", kMaxSessionStdin));
  }
  if (request.user.size() > kMaxUser) return Invalid("\"user\" is too long");
  return ValidateEnv(request.env);
}

async::Task<Result<void>> Execution::Signal(int signo) {
  Result<void> sent = co_await process_->Signal(signo);
  co_return sent;
}

async::Task<Result<ExecOutcome>> Execution::Follow(OutputSink& sink) {
  Following following{.process = *process_, .sink = sink};
  if (stdin_.empty()) {
    co_await Pump(following);
  } else {
    co_await async::Race(Pump(following), Feed(following, stdin_));
  }
  CO_ASSIGN(ProcessEvent end, std::move(following.end));
  auto took = std::chrono::steady_clock::now() - begin_;
  ExecOutcome outcome{.exit_code = end.timed_out ? kTimeoutExitCode : end.exit_code,
                      .signal = end.signal,
                      .timed_out = end.timed_out,
                      .out_of_memory = end.out_of_memory};
  outcome.duration_ms = std::chrono::duration<double, std::milli>(took).count();
  outcome.cpu_ms = static_cast<double>(end.cpu_us) / 1000;
  outcome.max_rss_bytes = end.max_rss_bytes;
  co_return outcome;
}

async::Task<Result<std::unique_ptr<Execution>>> StartExec(AgentClient& agent, ExecRequest request) {
  CO_TRY(ValidateExec(request));
  metrics::Measure measure(metrics::Get().spawn_seconds);
  Result<std::unique_ptr<Process>> process = co_await Launch(agent, request, false);
  measure.Succeeded(process.has_value());
  if (!process) co_return Unexpected(std::move(process).error());
  co_return std::make_unique<Execution>(*std::move(process), std::move(request.stdin));
}

async::Task<Result<std::unique_ptr<Process>>> StartConversation(AgentClient& agent,
                                                                ExecRequest request) {
  CO_TRY(ValidateExec(request));
  metrics::Measure measure(metrics::Get().spawn_seconds);
  Result<std::unique_ptr<Process>> process = co_await Launch(agent, request, true);
  measure.Succeeded(process.has_value());
  if (!process) co_return Unexpected(std::move(process).error());
  if (!request.stdin.empty()) {
    // A program need not read it.
    Result<void> written = co_await (*process)->WriteStdin(request.stdin);
    (void)written;
  }
  co_return process;
}

async::Task<Result<Captured>> Capture(Execution& execution, size_t limit) {
  Captured captured;
  Capturing sink(captured, limit);
  CO_ASSIGN(captured.outcome, co_await execution.Follow(sink));
  co_return captured;
}

}  // namespace atl::sandbox
