// SPDX-License-Identifier: Apache-2.0
// Commands. What is waited for runs in the session's shell itself; what is streamed runs beside it,
// as a subshell of it would, so that the session is free meanwhile.
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/sdk/text_pieces.h"
#include "api/seed/send_queue.h"
#include "http/sse.h"
#include "sandbox/exec.h"
#include "sandbox/files.h"
#include "sandbox/sessions.h"

namespace atl::api::sdk {
namespace {

// Of each stream of an answer, which is put together in memory.
constexpr size_t kMostOutput = 64UL << 20U;

struct Command {
  sandbox::ExecRequest request;
  std::string session;
  std::optional<std::string> cwd;
};

Result<Command> ParseCommand(const json::Object& body) {
  Command command;
  ASSIGN(std::optional<std::string> text, body.OptionalText("command"));
  command.request.command = std::move(text).value_or("");
  if (command.request.command.empty()) {
    return Fail(Code::kInvalidArgument, "\"command\" is missing or empty", "INVALID_COMMAND");
  }
  ASSIGN(command.session, SessionOf(body));
  ASSIGN(command.cwd, body.OptionalText("cwd"));
  if (command.cwd && command.cwd->empty()) command.cwd.reset();
  if (command.cwd) TRY(sandbox::AbsolutePath(*command.cwd));
  ASSIGN(command.request.timeout, TimeoutOf(body, "timeoutMs"));
  ASSIGN(command.request.env, EnvOf(body));
  ASSIGN(std::optional<bool> background, body.OptionalBool("background"));
  if (background.value_or(false)) {
    return Fail(Code::kInvalidArgument, "what runs in the background is a process",
                "VALIDATION_FAILED");
  }
  return command;
}

std::string TimedOut(std::chrono::milliseconds limit) {
  return fmt::format("Command timed out after {}ms", limit.count());
}

// A working directory that is not there is told as a shell tells it.
bool IsNoDirectory(const Error& error, const Command& command) {
  return command.cwd && error.code == Code::kInvalidArgument &&
         ReasonOf(error) == "VALIDATION_FAILED";
}

std::string NoDirectory(const Command& command) {
  return fmt::format("bash: cd: {}: No such file or directory\n", *command.cwd);
}

std::string ResultJson(const Command& command, const sandbox::Captured& captured) {
  const sandbox::ExecOutcome& outcome = captured.outcome;
  json::Writer writer;
  writer.BeginObject().Field("success", outcome.exit_code == 0);
  writer.Field("exitCode", outcome.exit_code).Field("stdout", captured.out);
  writer.Field("stderr", captured.err).Field("command", command.request.command);
  writer.Field("duration", outcome.duration_ms);
  if (!command.session.empty()) writer.Field("sessionId", command.session);
  if (captured.out_truncated || captured.err_truncated) writer.Field("truncated", true);
  return Finished(writer);
}

struct Running {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  std::unique_ptr<sandbox::Execution> execution;
  Result<sandbox::Captured> captured = Fail(Code::kCancelled, "the client has gone away");
};

async::Task<> RunToEnd(const Command& command, Running& running) {
  Started started;
  sandbox::AgentClient& agent = running.sandbox->agent();
  if (command.session.empty()) {
    started = co_await sandbox::StartExec(agent, command.request);
  } else {
    started = co_await sandbox::StartInSession(agent, command.request);
  }
  if (!started) {
    running.captured = Unexpected(std::move(started).error());
    co_return;
  }
  running.execution = *std::move(started);
  running.captured = co_await sandbox::Capture(*running.execution, kMostOutput);
}

async::Task<> EndAbandoned(sandbox::Execution* execution) {
  if (execution == nullptr) co_return;
  Result<void> ended = co_await execution->Signal(SIGKILL);
  (void)ended;  // it has ended by itself
}

async::Task<Result<std::string>> DoExecute(Call& call) {
  CO_ASSIGN(Command command, ParseCommand(call.body));
  call.About("command", command.request.command);
  if (!command.session.empty()) call.About("sessionId", command.session);
  sandbox::ExecRequest& request = command.request;
  request.session = command.session;
  if (command.session.empty()) {
    request.cwd = Joined(kWorkspace, command.cwd.value_or(""));
    // What a command leaves in the background stays.
    request.keep = true;
  } else {
    request.cwd = command.cwd.value_or("");
    if (!request.cwd.empty()) request.cwd = Joined(kWorkspace, request.cwd);
  }
  CO_TRY(sandbox::ValidateExec(request));
  Running running;
  CO_ASSIGN(running.sandbox, co_await Use(call));
  co_await async::Race(RunToEnd(command, running), call.exchange.WaitForHangup());
  if (!running.captured) {
    const Error& error = running.captured.error();
    bool abandoned = error.code == Code::kCancelled && command.session.empty();
    if (abandoned) co_await EndAbandoned(running.execution.get());
    if (!IsNoDirectory(error, command)) co_return Unexpected(error);
    sandbox::Captured none;
    none.outcome.exit_code = 1;
    none.err = NoDirectory(command);
    co_return ResultJson(command, none);
  }
  sandbox::Captured& captured = *running.captured;
  auto limit = request.timeout.value_or(std::chrono::milliseconds(0));
  if (captured.outcome.timed_out && !command.session.empty()) {
    co_return Fail(Code::kInternal, fmt::format("Command timeout after {}ms", limit.count()),
                   "COMMAND_EXECUTION_ERROR");
  }
  if (captured.outcome.timed_out) captured.err += TimedOut(limit);
  co_return ResultJson(command, captured);
}

// What is no text becomes replacement characters, for the SDK has text alone.
class Events : public sandbox::OutputSink {
 public:
  explicit Events(http::Exchange& exchange) : queue(exchange) {}

  async::Task<Result<void>> Take(sandbox::ProcessEvent::Kind kind, std::string_view data) override {
    bool out = kind == sandbox::ProcessEvent::Kind::kStdout;
    Output(out ? "stdout" : "stderr", pieces_.at(out ? 0 : 1).Take(data));
    return queue.Put();
  }

  void Start(const Command& command, int pid) {
    json::Writer writer = Begin("start");
    writer.Field("command", command.request.command);
    if (!command.session.empty()) writer.Field("sessionId", command.session);
    if (pid > 0) writer.Field("pid", pid);
    End(writer);
  }

  void Output(std::string_view type, std::string_view data) {
    if (data.empty()) return;
    json::Writer writer = Begin(type);
    writer.Field("data", data);
    End(writer);
  }

  void Complete(int exit_code) {
    Flush();
    json::Writer writer = Begin("complete");
    writer.Field("exitCode", exit_code);
    End(writer);
  }

  void Failed(const Error& error) {
    Flush();
    json::Writer writer = Begin("error");
    writer.Field("error", error.message).Field("code", FailureOf(error).code);
    End(writer);
  }

  SendQueue queue;

 private:
  static json::Writer Begin(std::string_view type) {
    json::Writer writer;
    writer.BeginObject().Field("type", type).Field("timestamp", Now());
    return writer;
  }
  void End(json::Writer& writer) {
    writer.EndObject();
    queue.pending() += http::EventText(writer.Take());
  }
  void Flush() {
    Output("stdout", pieces_[0].Rest());
    Output("stderr", pieces_[1].Rest());
  }

  std::array<TextPieces, 2> pieces_;  // of stdout and stderr
};

struct Streaming {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  Command command;
  Started execution;
};

async::Task<> BesideInto(sandbox::AgentClient& agent, const std::string& session,
                         sandbox::ExecRequest& request, Result<void>& begun) {
  begun = co_await BeginBeside(agent, session, request);
}

async::Task<Result<Streaming>> BeginStream(Call& call) {
  Streaming streaming;
  CO_ASSIGN(streaming.command, ParseCommand(call.body));
  Command& command = streaming.command;
  call.About("command", command.request.command);
  if (!command.session.empty()) call.About("sessionId", command.session);
  CO_TRY(sandbox::ValidateExec(command.request));
  CO_ASSIGN(streaming.sandbox, co_await Use(call));
  sandbox::AgentClient& agent = streaming.sandbox->agent();
  sandbox::ExecRequest request = command.request;
  request.cwd = command.cwd.value_or("");
  // Commands before it may take any time.
  Result<void> begun = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(BesideInto(agent, command.session, request, begun),
                       call.exchange.WaitForHangup());
  if (!begun) co_return Unexpected(std::move(begun).error());
  request.keep = true;
  streaming.execution = co_await sandbox::StartExec(agent, std::move(request));
  if (!streaming.execution && !IsNoDirectory(streaming.execution.error(), command)) {
    co_return Unexpected(std::move(streaming.execution).error());
  }
  co_return streaming;
}

async::Task<> Follow(Streaming& streaming, Events& events, bool& ended) {
  const Command& command = streaming.command;
  if (!streaming.execution) {
    events.Start(command, 0);
    events.Output("stderr", NoDirectory(command));
    events.Complete(1);
  } else {
    events.Start(command, (*streaming.execution)->pid());
    Result<sandbox::ExecOutcome> outcome = co_await (*streaming.execution)->Follow(events);
    if (!outcome) {
      events.Failed(outcome.error());
    } else {
      auto limit = command.request.timeout.value_or(std::chrono::milliseconds(0));
      if (outcome->timed_out) events.Output("stderr", TimedOut(limit));
      events.Complete(outcome->exit_code);
      ended = true;
    }
  }
  events.queue.Close();
}

async::Task<> FollowAndSend(Streaming& streaming, Events& events, bool& ended) {
  co_await async::Both(Follow(streaming, events, ended), events.queue.Send());
}

async::Task<> DoExecuteStream(Call& call) {
  Result<Streaming> streaming = co_await BeginStream(call);
  if (!streaming) {
    co_await RespondFailure(call.exchange, std::move(streaming).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  Events events(call.exchange);
  bool ended = false;
  if (begun) {
    co_await async::Race(FollowAndSend(*streaming, events, ended), UntilHangup(call, events.queue));
  }
  if (!ended && streaming->execution) co_await EndAbandoned(streaming->execution->get());
  if (begun) co_await FinishStream(call.exchange, events.queue.complete());
}

}  // namespace

async::Task<> Execute(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoExecute, services, std::move(values), exchange);
}

async::Task<> ExecuteStream(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoExecuteStream, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
