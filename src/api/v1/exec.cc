// SPDX-License-Identifier: Apache-2.0
#include "api/v1/exec.h"

#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/seed/send_queue.h"
#include "api/v1/answers/commands.h"
#include "crypto/base64.h"
#include "http/sse.h"
#include "json/utf8.h"

namespace atl::api {
namespace {

// Of each stream of an answer in JSON, which is put together in memory.
constexpr size_t kUsualOutput = 10UL << 20U;
constexpr size_t kMostOutput = 64UL << 20U;

enum class Shape : uint8_t { kJson, kEvents, kBytes };

struct Wanted {
  sandbox::ExecRequest request;
  Shape shape = Shape::kJson;
  std::optional<size_t> max_output;
  bool base64 = false;  // whatever the output is
};

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

Result<std::string> ParseStdin(const json::Object& body) {
  ASSIGN(std::optional<std::string> text, body.OptionalString("stdin"));
  ASSIGN(std::optional<std::string> encoded, body.OptionalString("stdinBase64"));
  if (text && encoded) return Invalid("give \"stdin\" or \"stdinBase64\", and not both");
  if (!encoded) return text.value_or("");
  std::optional<std::string> bytes = crypto::Base64Decode(*encoded);
  if (!bytes) return Invalid("\"stdinBase64\" is not base64");
  return *std::move(bytes);
}

Result<Wanted> ParseExec(const json::Object& body, std::string_view accept) {
  Wanted wanted;
  ASSIGN(wanted.request, ParseExecRequest(body));
  ASSIGN(wanted.max_output, ParseMaxOutput(body));
  ASSIGN(std::optional<std::string> encoding, body.OptionalString("encoding"));
  wanted.base64 = encoding == "base64";
  if (encoding && *encoding != "utf-8" && *encoding != "base64") {
    return Invalid("\"encoding\" is \"utf-8\" or \"base64\"");
  }
  if (http::ListContains(accept, "text/event-stream")) wanted.shape = Shape::kEvents;
  if (http::ListContains(accept, "application/octet-stream")) wanted.shape = Shape::kBytes;
  if (wanted.shape == Shape::kJson && wanted.max_output.value_or(0) > kMostOutput) {
    return Invalid(
        fmt::format("\"maxOutputBytes\" is at most {} in an answer of JSON; ask for "
                    "text/event-stream or application/octet-stream for more",
                    kMostOutput));
  }
  return wanted;
}

// Members of an object, without its braces.
std::string OutcomeMembers(const sandbox::ExecOutcome& outcome, bool truncated, int pid) {
  json::Writer writer;
  writer.BeginObject().Field("success", outcome.exit_code == 0 && !outcome.timed_out);
  writer.Field("exitCode", outcome.exit_code);
  if (outcome.signal != 0) writer.Field("signal", SignalName(outcome.signal));
  writer.Field("durationMs", outcome.duration_ms).Field("timedOut", outcome.timed_out);
  writer.Field("truncated", truncated).Field("oomKilled", outcome.out_of_memory);
  writer.Field("cpuMs", outcome.cpu_ms).Field("maxRssBytes", outcome.max_rss_bytes);
  writer.Field("pid", pid).EndObject();
  std::string json = writer.Take();
  return json.substr(1, json.size() - 2);
}

void WriteStream(json::Writer& writer, std::string_view name, std::string_view bytes,
                 bool truncated, bool base64) {
  // A character that the limit has cut is no reason for another encoding.
  if (truncated) bytes.remove_suffix(json::IncompleteTail(bytes));
  bool text = !base64 && json::IsUtf8(bytes);
  std::string value;
  if (text) {
    json::AppendUtf8String(value, bytes);
  } else {
    value = '"';
    json::AppendBase64(value, bytes);
    value += '"';
  }
  writer.Key(name).Raw(value);
  writer.Field(std::string(name) + "Encoding", text ? "utf-8" : "base64");
  if (truncated) writer.Field(std::string(name) + "Truncated", true);
}

async::Task<> CaptureInto(sandbox::Execution& execution, size_t limit,
                          Result<sandbox::Captured>& captured) {
  captured = co_await sandbox::Capture(execution, limit);
}

async::Task<> AnswerJson(http::Exchange& exchange, sandbox::Execution& execution,
                         const Wanted& wanted) {
  Result<sandbox::Captured> captured = Fail(Code::kCancelled, "the client has gone away");
  size_t limit = wanted.max_output.value_or(kUsualOutput);
  co_await async::Race(CaptureInto(execution, limit, captured), exchange.WaitForHangup());
  if (!captured) {
    co_await http::RespondError(exchange, std::move(captured).error());
    co_return;
  }
  bool truncated = captured->out_truncated || captured->err_truncated;
  json::Writer writer;
  writer.BeginObject();
  writer.Raw(OutcomeMembers(captured->outcome, truncated, execution.pid()));
  WriteStream(writer, "stdout", captured->out, captured->out_truncated, wanted.base64);
  WriteStream(writer, "stderr", captured->err, captured->err_truncated, wanted.base64);
  writer.EndObject();
  co_await RespondResult(exchange, writer.Take());
}

// The output as events, or standard output alone as it is; each stream up to its limit.
class Streaming : public sandbox::OutputSink {
 public:
  Streaming(http::Exchange& exchange, const Wanted& wanted)
      : queue(exchange), wanted_(wanted), events(wanted.base64) {}

  async::Task<Result<void>> Take(sandbox::ProcessEvent::Kind kind, std::string_view data) override {
    bool out = kind == sandbox::ProcessEvent::Kind::kStdout;
    if (wanted_.max_output) {
      size_t& taken = out ? out_bytes_ : err_bytes_;
      std::string_view fits = data.substr(0, *wanted_.max_output - taken);
      truncated |= fits.size() < data.size();
      taken += fits.size();
      data = fits;
    }
    if (wanted_.shape == Shape::kEvents) {
      events.Output(kind, data, queue.pending());
    } else if (out) {
      queue.pending().append(data);
    }
    return queue.Put();
  }

  SendQueue queue;

 private:
  const Wanted& wanted_;
  size_t out_bytes_ = 0;
  size_t err_bytes_ = 0;

 public:
  OutputEvents events;
  bool truncated = false;
};

async::Task<> FollowInto(sandbox::Execution& execution, Streaming& streaming,
                         Result<sandbox::ExecOutcome>& outcome, bool with_events) {
  outcome = co_await execution.Follow(streaming);
  if (with_events && outcome) {
    std::string members = OutcomeMembers(*outcome, streaming.truncated, execution.pid());
    streaming.events.Complete(members, streaming.queue.pending());
  } else if (with_events) {
    streaming.events.Failure(outcome.error(), streaming.queue.pending());
  }
  streaming.queue.Close();
}

async::Task<> FollowAndSend(sandbox::Execution& execution, Streaming& streaming,
                            Result<sandbox::ExecOutcome>& outcome, bool with_events) {
  co_await async::Both(FollowInto(execution, streaming, outcome, with_events),
                       streaming.queue.Send());
}

// A command line that says what runs.
std::string DisplayOf(const sandbox::ExecRequest& request) {
  if (request.argv.empty()) return request.command;
  std::string display;
  for (const std::string& argument : request.argv) {
    if (!display.empty()) display += ' ';
    display += argument;
  }
  return display;
}

async::Task<> AnswerStream(http::Exchange& exchange, std::unique_ptr<sandbox::Execution>& execution,
                           const Wanted& wanted, const std::string& display) {
  bool with_events = wanted.shape == Shape::kEvents;
  http::ResponseHead head;
  if (with_events) head = http::EventStreamHead();
  if (!with_events) head.headers.Add("Content-Type", "application/octet-stream");
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (!begun) {
    exchange.Abort();
    co_return;
  }
  Streaming streaming(exchange, wanted);
  if (with_events) {
    std::string members = fmt::format("\"pid\":{}", execution->pid());
    streaming.events.Start(display, members, streaming.queue.pending());
  }
  Result<sandbox::ExecOutcome> outcome = Fail(Code::kCancelled, "the client has gone away");
  co_await async::Race(FollowAndSend(*execution, streaming, outcome, with_events),
                       exchange.WaitForHangup());
  execution.reset();  // ends what the command has left running
  bool complete = streaming.queue.complete() && (with_events || outcome);
  co_await FinishStream(exchange, complete);
}

struct Begun {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  std::unique_ptr<sandbox::Execution> execution;
  Wanted wanted;
  std::string display;
};

using Started = Result<std::unique_ptr<sandbox::Execution>>;

async::Task<> StartInto(sandbox::AgentClient& agent, sandbox::ExecRequest request,
                        Started& started) {
  started = co_await sandbox::StartExec(agent, std::move(request));
}

async::Task<Result<Begun>> Begin(const Services& services, std::string id,
                                 http::Exchange& exchange) {
  Begun begun;
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  CO_ASSIGN(begun.wanted, ParseExec(body, exchange.request().headers.Joined("Accept")));
  begun.display = DisplayOf(begun.wanted.request);
  CO_ASSIGN(begun.sandbox, co_await AcquireFor(services, std::move(id), exchange));
  sandbox::AgentClient& agent = begun.sandbox->agent();
  Started started = Fail(Code::kCancelled, "the client has gone away");
  if (begun.wanted.request.session.empty()) {
    started = co_await sandbox::StartExec(agent, std::move(begun.wanted.request));
  } else {
    // Commands before it may take any time.
    co_await async::Race(StartInto(agent, std::move(begun.wanted.request), started),
                         exchange.WaitForHangup());
  }
  CO_ASSIGN(begun.execution, std::move(started));
  co_return begun;
}

async::Task<> Exec(const Services& services, Values values, http::Exchange& exchange) {
  Result<Begun> begun = co_await Begin(services, std::move(values.at(0)), exchange);
  if (!begun) {
    co_await http::RespondError(exchange, std::move(begun).error());
  } else if (begun->wanted.shape == Shape::kJson) {
    co_await AnswerJson(exchange, *begun->execution, begun->wanted);
  } else {
    co_await AnswerStream(exchange, begun->execution, begun->wanted, begun->display);
  }
}

constexpr std::string_view kBytesType[] = {"application/octet-stream"};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/exec",
     .operation = "exec",
     .summary = "Runs a command. Accept: text/event-stream gives its output as it comes, "
                "application/octet-stream its standard output alone.",
     .handler = Exec,
     .answer = Media::kEvents,
     .returns = &answers::kExec,
     .streams = &answers::kExecEvent,
     .media = kBytesType,
     .body = Media::kJson,
     .fields = kExecFields},
};

}  // namespace

std::span<const Route> ExecRoutes() { return kRoutes; }

Result<ProgramFields> ParseProgram(const json::Object& body) {
  ProgramFields program;
  ASSIGN(std::optional<std::string> command, body.OptionalText("command"));
  program.command = command.value_or("");
  ASSIGN(auto argv, body.OptionalTextList("argv"));
  program.argv = std::move(argv).value_or(std::vector<std::string>());
  if (program.command.empty() && program.argv.empty()) {
    return Fail(Code::kInvalidArgument, "there is neither a \"command\" nor an \"argv\"",
                "INVALID_COMMAND");
  }
  ASSIGN(std::optional<json::Object> env, body.OptionalObject("env"));
  if (env) {
    ASSIGN(program.env, ParseEnv(*env));
  }
  ASSIGN(program.cwd, body.OptionalText("cwd"));
  ASSIGN(std::optional<std::string> user, body.OptionalText("user"));
  program.user = user.value_or("");
  return program;
}

Result<json::StringMap> ParseEnv(const json::Object& env) {
  json::StringMap variables;
  for (std::string& name : env.Names()) {
    ASSIGN(std::optional<std::string> value, env.OptionalText(name));
    if (value) variables.emplace_back(std::move(name), *std::move(value));
  }
  return variables;
}

Result<sandbox::ExecRequest> ParseExecRequest(const json::Object& body) {
  sandbox::ExecRequest request;
  ASSIGN(ProgramFields program, ParseProgram(body));
  request.argv = std::move(program.argv);
  request.command = std::move(program.command);
  request.env = std::move(program.env);
  request.user = std::move(program.user);
  ASSIGN(std::optional<std::string> session, body.OptionalText("session"));
  request.session = session.value_or("");
  if (!request.session.empty()) request.cwd.clear();  // where the shell is
  if (program.cwd) request.cwd = *std::move(program.cwd);
  ASSIGN(request.stdin, ParseStdin(body));
  ASSIGN(std::optional<int64_t> timeout,
         body.OptionalInt("timeoutMs", {.min = 1, .max = kMaxExecMs}));
  if (timeout) request.timeout = std::chrono::milliseconds(*timeout);
  ASSIGN(std::optional<bool> kill, body.OptionalBool("killOnDisconnect"));
  request.keep = !kill.value_or(true);
  TRY(sandbox::ValidateExec(request));
  return request;
}

Result<std::optional<size_t>> ParseMaxOutput(const json::Object& body) {
  ASSIGN(std::optional<int64_t> most,
         body.OptionalInt("maxOutputBytes", {.min = 0, .max = 1LL << 50U}));
  if (!most) return std::optional<size_t>();
  return std::optional(static_cast<size_t>(*most));
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  if (name != nullptr) return std::string("SIG") + name;
  return signal > 0 ? fmt::format("SIG{}", signal) : "";
}

Result<int> ParseSignal(const json::Object& body, std::string_view field) {
  if (!body.IsString(field)) {
    ASSIGN(std::optional<int64_t> number, body.OptionalInt(field, {.min = 1, .max = NSIG - 1}));
    return static_cast<int>(number.value_or(SIGTERM));
  }
  ASSIGN(std::string name, body.Text(field));
  std::string_view bare = name;
  if (bare.starts_with("SIG")) bare.remove_prefix(3);
  for (int signal = 1; signal < NSIG; ++signal) {
    const char* known = sigabbrev_np(signal);
    if (known != nullptr && bare == known) return signal;
  }
  return Invalid(fmt::format("\"{}\": there is no signal {:.40}", field, name));
}

}  // namespace atl::api
