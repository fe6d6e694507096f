// SPDX-License-Identifier: Apache-2.0

#include "sandbox/exec.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "api/bridge/handlers.h"
#include "api/bridge/terms.h"
#include "api/seed/send_queue.h"
#include "api/v1/file_json.h"
#include "http/sse.h"
#include "json/reader.h"
#include "json/utf8.h"
#include "json/writer.h"
#include "sandbox/sessions.h"

namespace atl::api::bridge {
namespace {

constexpr int64_t kMostTimeoutMs = 7LL * 24 * 60 * 60 * 1000;
// What shells say of a program that is not there, and of one that they may not run.
constexpr int kNotFoundExitCode = 127;
constexpr int kNotExecutableExitCode = 126;

Result<sandbox::ExecRequest> ParseExec(std::string_view text, std::string session) {
  ASSIGN(json::Object body, json::Object::Parse(text));
  sandbox::ExecRequest request;
  ASSIGN(auto argv, body.OptionalTextList("argv"));
  if (!argv || argv->empty()) {
    return Fail(Code::kInvalidArgument, "\"argv\" must be an array with at least one string");
  }
  request.argv = *std::move(argv);
  ASSIGN(std::optional<std::string> cwd, body.OptionalText("cwd"));
  if (!session.empty()) TRY(CheckSessionId(session));
  // In a session: where that is.
  if (session.empty() || cwd) {
    ASSIGN(request.cwd, WorkspacePath(cwd.value_or("")));
  } else {
    request.cwd.clear();
  }
  request.session = std::move(session);
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeout_ms", {.min = 1, .max = kMostTimeoutMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  // What a command leaves in the background stays, and so does one whose client has gone away.
  request.keep = true;
  TRY(sandbox::ValidateExec(request));
  return request;
}

// Clients decode every event by itself, so a code point that is cut by the end of a piece waits for
// its rest: for at most 3 bytes.
class Events : public sandbox::OutputSink {
 public:
  explicit Events(http::Exchange& exchange) : queue(exchange) {}

  async::Task<Result<void>> Take(sandbox::ProcessEvent::Kind kind, std::string_view data) override {
    bool out = kind == sandbox::ProcessEvent::Kind::kStdout;
    std::string& waiting = waiting_.at(out ? 0 : 1);
    std::string joined = std::exchange(waiting, {});
    if (!joined.empty()) data = joined.append(data);
    size_t tail = json::IncompleteTail(data);
    waiting.assign(data.substr(data.size() - tail));
    Output(out ? "stdout" : "stderr", data.substr(0, data.size() - tail));
    return queue.Put();
  }

  void Output(std::string_view event, std::string_view data) {
    if (data.empty()) return;
    Begin(event);
    json::AppendBase64(queue.pending(), data);
    queue.pending() += "\n\n";
  }

  void Exit(int exit_code) {
    Flush();
    Begin("exit");
    queue.pending() += fmt::format("{{\"exit_code\":{}}}\n\n", exit_code);
  }

  void Failed(const Error& error, std::string_view code) {
    Flush();
    Begin("error");
    queue.pending() += FailureJson(error.message, code) + "\n\n";
  }

  void Flush() {
    Output("stdout", std::exchange(waiting_[0], {}));
    Output("stderr", std::exchange(waiting_[1], {}));
  }

  SendQueue queue;

 private:
  void Begin(std::string_view event) { queue.pending() += fmt::format("event: {}\ndata: ", event); }

  std::array<std::string, 2> waiting_;  // of stdout and stderr
};

struct Begun {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  std::string program;
  std::optional<std::chrono::milliseconds> timeout;
  // What has been started, or why nothing could be.
  Result<std::unique_ptr<sandbox::Execution>> execution;
};

async::Task<Result<Begun>> Begin(const Services& services, std::string id,
                                 http::Exchange& exchange) {
  Begun begun;
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(sandbox::ExecRequest request,
            ParseExec(text, exchange.request().headers.Joined("Session-Id")));
  begun.program = request.argv.front();
  begun.timeout = request.timeout;
  CO_ASSIGN(begun.sandbox, co_await AcquireOrCreate(services, std::move(id), exchange));
  sandbox::AgentClient& agent = begun.sandbox->agent();
  if (request.session.empty()) {
    begun.execution = co_await sandbox::StartExec(agent, std::move(request));
  } else {
    begun.execution = co_await sandbox::StartInSession(agent, std::move(request));
  }
  co_return begun;
}

// As a shell, which runs it elsewhere, says it.
void NotStarted(const Begun& begun, Events& events) {
  const Error& error = begun.execution.error();
  std::string_view reason = ReasonOf(error);
  if (reason == "COMMAND_NOT_FOUND") {
    events.Output("stderr", fmt::format("{}: command not found\n", begun.program));
    events.Exit(kNotFoundExitCode);
  } else if (reason == "COMMAND_PERMISSION_DENIED") {
    events.Output("stderr", fmt::format("{}: Permission denied\n", begun.program));
    events.Exit(kNotExecutableExitCode);
  } else {
    events.Failed(error, "exec_error");
  }
  events.queue.Close();
}

async::Task<> Follow(Begun& begun, Events& events) {
  Result<sandbox::ExecOutcome> outcome = co_await (*begun.execution)->Follow(events);
  if (!outcome) {
    events.Failed(outcome.error(), kExecFailed);
  } else {
    if (outcome->timed_out) {
      events.Flush();
      std::string message =
          fmt::format("Command timed out after {}ms\n",
                      begun.timeout.value_or(std::chrono::milliseconds(0)).count());
      events.Output("stderr", message);
    }
    events.Exit(outcome->exit_code);
  }
  events.queue.Close();
}

async::Task<> FollowAndSend(Begun& begun, Events& events) {
  if (begun.execution) {
    co_await async::Both(Follow(begun, events), events.queue.Send());
  } else {
    NotStarted(begun, events);
    co_await events.queue.Send();
  }
}

}  // namespace

async::Task<> Exec(const Services& services, Values values, http::Exchange& exchange) {
  Result<Begun> begun = co_await Begin(services, std::move(values.at(0)), exchange);
  if (!begun) {
    co_await RespondFailure(exchange, std::move(begun).error(), kExecFailed);
    co_return;
  }
  http::ResponseHead head = http::EventStreamHead();
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  Result<void> started = co_await exchange.StartResponse(std::move(head));
  if (!started) {
    exchange.Abort();
    co_return;
  }
  Events events(exchange);
  co_await async::Race(FollowAndSend(*begun, events), exchange.WaitForHangup());
  co_await FinishStream(exchange, events.queue.complete());
}

}  // namespace atl::api::bridge
