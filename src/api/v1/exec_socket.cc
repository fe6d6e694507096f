// SPDX-License-Identifier: Apache-2.0
#include "api/v1/exec_socket.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "api/v1/exec.h"
#include "http/websocket.h"
#include "sandbox/exec.h"

namespace atl::api {
namespace {

constexpr int64_t kMaxTimeoutMs = 7LL * 24 * 60 * 60 * 1000;
// The first byte of a binary message to the client.
constexpr char kStdoutTag = 1;
constexpr char kStderrTag = 2;
constexpr std::chrono::milliseconds kRequestLimit{30'000};

std::string ErrorFrame(const Error& error) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("code", ReasonOf(error));
  writer.Field("message", error.message).EndObject();
  return writer.Take();
}

std::string ExitFrame(const sandbox::ProcessEvent& event) {
  json::Writer writer;
  writer.BeginObject().Field("type", "exit").Field("exitCode", event.exit_code);
  if (event.signal != 0) writer.Field("signal", SignalName(event.signal));
  writer.Field("timedOut", event.timed_out).Field("oomKilled", event.out_of_memory);
  writer.Field("cpuMs", static_cast<double>(event.cpu_us) / 1000);
  writer.Field("maxRssBytes", event.max_rss_bytes).EndObject();
  return writer.Take();
}

Result<sandbox::ExecSpec> ParseRequest(std::string_view text) {
  ASSIGN(json::Object body, json::Object::Parse(text));
  ASSIGN(ProgramFields fields, ParseProgram(body));
  sandbox::ExecRequest request{.argv = std::move(fields.argv),
                               .command = std::move(fields.command),
                               .env = std::move(fields.env),
                               .user = std::move(fields.user)};
  if (fields.cwd) request.cwd = *std::move(fields.cwd);
  TRY(sandbox::ValidateExec(request));
  sandbox::ExecSpec spec;
  spec.program.argv = std::move(request.argv);
  if (spec.program.argv.empty()) spec.program.argv = {"bash", "-c", std::move(request.command)};
  spec.program.env = std::move(request.env);
  spec.program.cwd = std::move(request.cwd);
  spec.program.want_stdin = true;
  spec.user = std::move(request.user);
  ASSIGN(auto timeout, body.OptionalInt("timeoutMs", {.min = 1, .max = kMaxTimeoutMs}));
  if (timeout) spec.timeout = std::chrono::milliseconds(*timeout);
  return spec;
}

struct Running {
  http::WebSocket& socket;
  sandbox::Process& process;
  // How it ends; nothing: the client has gone.
  std::optional<std::string> last_frame;
  bool failed = false;
};

async::Task<> PassOutput(Running& running) {
  std::string message;
  while (true) {
    Result<sandbox::ProcessEvent> event = co_await running.process.Next();
    if (!event && event.error().code == Code::kCancelled) co_return;
    if (!event) {
      running.last_frame = ErrorFrame(event.error());
      running.failed = true;
      co_return;
    }
    if (event->kind == sandbox::ProcessEvent::Kind::kExited) {
      running.last_frame = ExitFrame(*event);
      co_return;
    }
    bool out = event->kind == sandbox::ProcessEvent::Kind::kStdout;
    message.assign(1, out ? kStdoutTag : kStderrTag);
    message += event->data;
    Result<void> sent = co_await running.socket.SendBinary(message);
    if (!sent) co_return;
  }
}

// {"type":"stdin_end"} or {"type":"signal","signal":"SIGINT"}; others are for newer servers.
async::Task<Result<void>> Control(Running& running, std::string_view text) {
  CO_ASSIGN(json::Object message, json::Object::Parse(text));
  CO_ASSIGN(std::string type, message.String("type"));
  Result<void> done;
  if (type == "stdin_end") {
    done = co_await running.process.CloseStdin();
  } else if (type == "signal") {
    CO_ASSIGN(int signal, ParseSignal(message, "signal"));
    done = co_await running.process.Signal(signal);
  }
  co_return done;
}

async::Task<> PassInput(Running& running) {
  while (true) {
    Result<std::optional<http::WebSocketMessage>> message = co_await running.socket.Read();
    if (!message || !*message) co_return;
    const http::WebSocketMessage& said = **message;
    Result<void> done;
    if (said.text) {
      done = co_await Control(running, said.data);
    } else {
      done = co_await running.process.WriteStdin(said.data);
    }
    if (done) continue;
    std::string frame = ErrorFrame(done.error());
    Result<void> sent = co_await running.socket.SendText(frame);
    if (!sent) co_return;
  }
}

async::Task<> ReadInto(http::WebSocket& socket,
                       std::optional<Result<std::optional<http::WebSocketMessage>>>& first) {
  first = co_await socket.Read();
}

// The first message; nothing when there is nobody to answer.
async::Task<std::optional<Result<sandbox::ExecSpec>>> ReadRequest(http::WebSocket& socket) {
  std::optional<Result<std::optional<http::WebSocketMessage>>> first;
  bool in_time = co_await async::WithTimeout(kRequestLimit, ReadInto(socket, first));
  if (!in_time) {
    co_return Fail(Code::kTimeout, "no request came within 30 seconds", "VALIDATION_FAILED");
  }
  if (!first || !*first || !**first) co_return std::nullopt;
  const http::WebSocketMessage& message = ***first;
  if (!message.text) {
    co_return Fail(Code::kInvalidArgument, "the first message is the request, as JSON",
                   "VALIDATION_FAILED");
  }
  co_return ParseRequest(message.data);
}

async::Task<> SayAndClose(http::WebSocket& socket, std::string frame, uint16_t code) {
  Result<void> sent = co_await socket.SendText(frame);
  (void)sent;  // the client has gone away
  co_await socket.Close(code, {});
}

async::Task<> Converse(sandbox::Sandbox& sandbox, http::WebSocket& socket) {
  std::optional<Result<sandbox::ExecSpec>> spec = co_await ReadRequest(socket);
  if (!spec) co_return;
  if (!*spec) {
    co_await SayAndClose(socket, ErrorFrame(spec->error()), http::kClosePolicy);
    co_return;
  }
  Result<std::unique_ptr<sandbox::Process>> process =
      co_await sandbox.agent().Execute(**std::move(spec));
  if (!process) {
    co_await SayAndClose(socket, ErrorFrame(process.error()), http::kCloseInternal);
    co_return;
  }
  std::string start = fmt::format(R"({{"type":"start","pid":{}}})", (*process)->pid());
  Result<void> sent = co_await socket.SendText(start);
  if (!sent) co_return;
  Running running{.socket = socket, .process = **process};
  co_await async::Race(async::Race(PassOutput(running), PassInput(running)), socket.WatchPeer());
  process->reset();  // ends what the command has left running
  if (!running.last_frame) co_return;
  uint16_t code = running.failed ? http::kCloseInternal : http::kCloseNormal;
  co_await SayAndClose(socket, *std::move(running.last_frame), code);
}

async::Task<> ExecSocket(const Services& services, Values values, http::Exchange& exchange) {
  if (Result<void> asked = http::CheckWebSocketHandshake(exchange.request()); !asked) {
    co_await http::RespondHandshakeError(exchange, std::move(asked).error());
    co_return;
  }
  auto sandbox = co_await AcquireFor(services, std::move(values.at(0)), exchange);
  if (!sandbox) {
    co_await http::RespondError(exchange, std::move(sandbox).error());
    co_return;
  }
  auto socket = co_await http::WebSocket::Accept(exchange);
  if (!socket) co_return;  // the client has gone away
  co_await Converse(**sandbox, **socket);
}

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/exec/ws",
     .operation = "execSocket",
     .summary = "Runs a command: the first message is its request, binary ones are stdin, and back "
                "come binary ones with a first byte of 1 (stdout) or 2 (stderr).",
     .handler = ExecSocket,
     .answer = Media::kWebSocket},
};

}  // namespace

std::span<const Route> ExecSocketRoutes() { return kRoutes; }

}  // namespace atl::api
