// SPDX-License-Identifier: Apache-2.0
#include "sandbox/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "async/mutex.h"
#include "metrics/atoll.h"

namespace atl::sandbox {
namespace {

using std::chrono::milliseconds;

// Linux refuses single arguments of 128 KiB and more (MAX_ARG_STRLEN).
constexpr size_t kMaxCommandBytes = 128UL * 1024 - 1;
// "NAME=value", of which Linux passes as much as of an argument.
constexpr size_t kMaxVariableBytes = kMaxCommandBytes;
constexpr size_t kMaxPathBytes = 4095;
constexpr milliseconds kTermGrace{5'000};
// What SIGKILL does not end within this time (a process that waits for a device) is given up.
constexpr milliseconds kKillGrace{10'000};
// How long the output of a command that ended in time may go on (a background child writes it), not
// counted while its reader is what it waits for.
constexpr milliseconds kOutputGrace{15'000};
constexpr milliseconds kTick{100};
constexpr milliseconds kRetry{1'000};

bool IsNameStart(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }

bool IsEnvName(std::string_view name) {
  if (name.empty() || !IsNameStart(name[0])) return false;
  return std::ranges::all_of(name, [](char c) { return IsNameStart(c) || (c >= '0' && c <= '9'); });
}

Unexpected Invalid(std::string message, std::string reason = "VALIDATION_FAILED") {
  return Fail(Code::kInvalidArgument, std::move(message), std::move(reason));
}

struct Following {
  Process& process;
  OutputSink& sink;
  Result<RunOutcome> outcome = Fail(Code::kInternal, "the command has not ended");
  bool timed_out = false;   // it has got the signal
  bool asking = false;      // the signal is on its way...
  async::Event answered;    // ...and this says that timed_out is known
  bool delivering = false;  // the sink has not taken the last piece yet
};

async::Task<> Pump(Following& following) {
  for (;;) {
    Result<ProcessEvent> event = co_await following.process.Next();
    if (!event) {
      following.outcome = Unexpected(std::move(event).error());
      co_return;
    }
    if (event->kind == ProcessEvent::Kind::kExited) {
      // The exit may be known before the answer to the signal that caused it.
      if (following.asking) co_await following.answered.Wait();
      following.outcome =
          RunOutcome{.exit_code = following.timed_out ? kTimeoutExitCode : event->exit_code,
                     .timed_out = following.timed_out,
                     .out_of_memory = event->out_of_memory};
      co_return;
    }
    following.delivering = true;
    Result<void> taken = co_await following.sink.Take(event->kind, event->data);
    following.delivering = false;
    if (!taken) {
      following.outcome = Unexpected(std::move(taken).error());
      co_return;
    }
  }
}

// SIGTERM, until it is known what became of it.
async::Task<> Terminate(Following& following) {
  following.asking = true;
  for (;;) {
    Result<void> sent = co_await following.process.Signal(SIGTERM);
    bool ended = !sent && sent.error().reason == "PROCESS_NOT_FOUND";
    following.timed_out = sent.has_value();
    following.answered.Set();
    if (sent || ended) co_return;
    co_await async::Sleep(kRetry);
  }
}

// Ends only when even SIGKILL was of no use. What the command leaves running in its session the
// agent kills, 5 s after the SIGTERM.
async::Task<> Watch(Following& following, milliseconds timeout) {
  co_await async::Sleep(timeout);
  co_await Terminate(following);
  if (following.timed_out) {
    co_await async::Sleep(kTermGrace);
    Result<void> killed = co_await following.process.Signal(SIGKILL);
    (void)killed;  // it has just ended: Pump is about to say so
    co_await async::Sleep(kKillGrace);
  } else {
    // It ended in time, and what it wrote is still on its way.
    for (milliseconds waited{0}; waited < kOutputGrace;) {
      co_await async::Sleep(kTick);
      if (!following.delivering) waited += kTick;
    }
  }
  following.outcome = RunOutcome{.exit_code = kTimeoutExitCode, .timed_out = true};
}

}  // namespace

Result<void> ValidateEnv(const std::vector<std::pair<std::string, std::string>>& env) {
  for (const auto& [name, value] : env) {
    if (!IsEnvName(name)) {
      return Invalid(fmt::format("\"env\": \"{:.100}\" is not the name of a variable", name));
    }
    if (name.size() + 1 + value.size() > kMaxVariableBytes) {
      return Invalid(fmt::format("\"env\": \"{:.100}\" has {} bytes; at most {} can be passed",
                                 name, name.size() + 1 + value.size(), kMaxVariableBytes));
    }
  }
  return {};
}

Result<void> ValidateRun(const RunRequest& request) {
  if (request.command.empty()) return Invalid("\"command\" is empty", "INVALID_COMMAND");
  if (request.command.size() > kMaxCommandBytes) {
    return Invalid(
        fmt::format("\"command\" has {} bytes; at most {} can be passed to bash; write a script to "
                    "a file for more",
                    request.command.size(), kMaxCommandBytes),
        "INVALID_COMMAND");
  }
  if (!request.cwd.starts_with('/') || request.cwd.size() > kMaxPathBytes) {
    return Invalid("\"cwd\" must be an absolute path");
  }
  return ValidateEnv(request.env);
}

async::Task<Result<std::unique_ptr<Process>>> StartRun(AgentClient& agent, RunRequest request) {
  CO_TRY(ValidateRun(request));
  SpawnSpec spec;
  spec.argv = {"bash", "-c", std::move(request.command)};
  spec.env = std::move(request.env);
  spec.cwd = std::move(request.cwd);
  metrics::Measure measure(metrics::Get().spawn_seconds);
  Result<std::unique_ptr<Process>> process = co_await agent.Spawn(std::move(spec));
  measure.Succeeded(process.has_value());
  if (!process && process.error().code == Code::kNotFound &&
      process.error().reason != "SANDBOX_NOT_FOUND") {
    Error error = std::move(process).error();
    error.code = Code::kInvalidArgument;
    co_return Unexpected(std::move(error));
  }
  co_return process;
}

async::Task<Result<RunOutcome>> FollowRun(Process& process, std::optional<milliseconds> timeout,
                                          OutputSink& sink) {
  Following following{.process = process, .sink = sink};
  if (timeout) {
    co_await async::Race(Pump(following), Watch(following, *timeout));
  } else {
    co_await Pump(following);
  }
  co_return std::move(following.outcome);
}

async::Task<Result<std::unique_ptr<Process>>> SpawnAs(AgentClient& agent, std::string user,
                                                      SpawnSpec program) {
  if (user.empty()) {
    Result<std::unique_ptr<Process>> process = co_await agent.Spawn(std::move(program));
    co_return process;
  }
  ExecSpec spec{.program = std::move(program), .user = std::move(user)};
  Result<std::unique_ptr<Process>> process = co_await agent.Execute(std::move(spec));
  co_return process;
}

}  // namespace atl::sandbox
