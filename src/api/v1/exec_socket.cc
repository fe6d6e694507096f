// SPDX-License-Identifier: Apache-2.0
#include "api/v1/exec_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "api/v1/exec.h"
#include "http/websocket.h"
#include "sandbox/exec.h"
#include "sandbox/terminal_process.h"

namespace atl::api {
namespace {

// The first byte of a binary message to the client.
constexpr char kStdoutTag = 1;
constexpr char kStderrTag = 2;
constexpr json::IntRange kSide{.min = 1, .max = 1000};
constexpr std::chrono::milliseconds kRequestLimit{30'000};

std::string ErrorFrame(const Error& error) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("code", ReasonOf(error));
  writer.Field("message", error.message).EndObject();
  return writer.Take();
}

std::string ExitFrame(const sandbox::ProcessEvent& event, bool truncated) {
  json::Writer writer;
  writer.BeginObject().Field("type", "exit").Field("exitCode", event.exit_code);
  if (event.signal != 0) writer.Field("signal", SignalName(event.signal));
  writer.Field("timedOut", event.timed_out).Field("oomKilled", event.out_of_memory);
  writer.Field("truncated", truncated);
  writer.Field("cpuMs", static_cast<double>(event.cpu_us) / 1000);
  writer.Field("maxRssBytes", event.max_rss_bytes).EndObject();
  return writer.Take();
}

struct Wanted {
  sandbox::ExecRequest request;
  std::optional<size_t> max_output;
  std::optional<sandbox::TerminalSize> terminal;
};

Result<sandbox::TerminalSize> ParseSize(const json::Object& body, sandbox::TerminalSize size) {
  ASSIGN(auto cols, body.OptionalInt("cols", kSide));
  ASSIGN(auto rows, body.OptionalInt("rows", kSide));
  if (cols) size.cols = static_cast<uint32_t>(*cols);
  if (rows) size.rows = static_cast<uint32_t>(*rows);
  return size;
}

constexpr Field kTerminalFields[] = {
    {.name = "tty",
     .kind = Kind::kBoolean,
     .about = "On a terminal: all output is stdout, and what is sent is typed."},
    {.name = "cols",
     .kind = Kind::kInteger,
     .about = "Of the terminal; 80.",
     .min = 1,
     .max = 1000},
    {.name = "rows",
     .kind = Kind::kInteger,
     .about = "Of the terminal; 24.",
     .min = 1,
     .max = 1000},
};
// Without "encoding": bytes are sent as they are.
constexpr size_t kShared = std::size(kExecFields) - 1;
constexpr auto kRequestFields = [] {
  std::array<Field, kShared + std::size(kTerminalFields)> fields{};
  std::copy_n(std::begin(kExecFields), kShared, fields.begin());
  std::ranges::copy(kTerminalFields, fields.begin() + kShared);
  return fields;
}();

Result<Wanted> ParseRequest(std::string_view text) {
  ASSIGN(json::Object body, json::Object::Parse(text));
  if (body.Has("encoding")) {
    return Fail(Code::kInvalidArgument, "\"encoding\": output comes as bytes here",
                "VALIDATION_FAILED");
  }
  TRY(CheckNames(kRequestFields, text));
  Wanted wanted;
  ASSIGN(wanted.request, ParseExecRequest(body));
  ASSIGN(wanted.max_output, ParseMaxOutput(body));
  ASSIGN(std::optional<bool> tty, body.OptionalBool("tty"));
  ASSIGN(sandbox::TerminalSize size, ParseSize(body, {}));
  if (tty.value_or(false)) wanted.terminal = size;
  if (wanted.terminal && !wanted.request.session.empty()) {
    return Fail(Code::kInvalidArgument, "\"tty\": a command in a session has no terminal",
                "VALIDATION_FAILED");
  }
  return wanted;
}

struct Running {
  sandbox::AgentClient& agent;
  http::WebSocket& socket;
  Wanted wanted;
  bool in_session = false;
  std::unique_ptr<sandbox::Process> process;
  sandbox::TerminalProcess* terminal = nullptr;  // the process, when it has one
  async::Event started;
  bool truncated = false;
  // How it ends; nothing: the client has gone.
  std::optional<std::string> last_frame;
  bool failed = false;
};

void EndWith(Running& running, const Error& error) {
  running.last_frame = ErrorFrame(error);
  running.failed = true;
}

async::Task<> PassOutput(Running& running) {
  std::string message;
  size_t out_room = running.wanted.max_output.value_or(SIZE_MAX);
  size_t err_room = out_room;
  while (true) {
    Result<sandbox::ProcessEvent> event = co_await running.process->Next();
    if (!event && event.error().code == Code::kCancelled) co_return;
    if (!event) {
      EndWith(running, event.error());
      co_return;
    }
    if (event->kind == sandbox::ProcessEvent::Kind::kExited) {
      bool lost = running.terminal != nullptr && running.terminal->lost();
      running.last_frame = ExitFrame(*event, running.truncated || lost);
      co_return;
    }
    bool out = event->kind == sandbox::ProcessEvent::Kind::kStdout;
    size_t& room = out ? out_room : err_room;
    std::string_view fits = event->data.substr(0, room);
    room -= fits.size();
    running.truncated |= fits.size() < event->data.size();
    if (fits.empty()) continue;
    message.assign(1, out ? kStdoutTag : kStderrTag);
    message += fits;
    Result<void> sent = co_await running.socket.SendBinary(message);
    if (!sent) co_return;
  }
}

async::Task<Result<void>> StartProcess(Running& running) {
  Wanted& wanted = running.wanted;
  if (wanted.terminal) {
    CO_ASSIGN(auto process, co_await sandbox::StartOnTerminal(
                                running.agent, std::move(wanted.request), *wanted.terminal));
    running.terminal = process.get();
    running.process = std::move(process);
  } else {
    // In a session, commands before it may take any time.
    CO_ASSIGN(running.process,
              co_await sandbox::StartConversation(running.agent, std::move(wanted.request)));
  }
  co_return Result<void>();
}

async::Task<> StartAndPassOutput(Running& running) {
  Result<void> begun = co_await StartProcess(running);
  if (!begun) {
    EndWith(running, begun.error());
    co_return;
  }
  running.started.Set();
  std::string start = fmt::format(R"({{"type":"start","pid":{}}})", running.process->pid());
  Result<void> sent = co_await running.socket.SendText(start);
  if (sent) co_await PassOutput(running);
}

Unexpected NotInSession(std::string_view what) {
  return Fail(Code::kInvalidArgument,
              fmt::format("a command in a session {}; end it by closing the WebSocket", what),
              "VALIDATION_FAILED");
}

async::Task<Result<void>> Resize(Running& running, const json::Object& message) {
  if (running.terminal == nullptr) {
    co_return Fail(Code::kInvalidArgument, "a resize is for a command with a \"tty\"",
                   "VALIDATION_FAILED");
  }
  CO_ASSIGN(sandbox::TerminalSize size, ParseSize(message, *running.wanted.terminal));
  running.wanted.terminal = size;
  Result<void> resized = co_await running.terminal->Resize(size);
  co_return resized;
}

// {"type":"stdin_end"}, {"type":"signal","signal":"SIGINT"} or {"type":"resize","cols","rows"};
// others are for newer servers.
async::Task<Result<void>> Control(Running& running, std::string_view text) {
  CO_ASSIGN(json::Object message, json::Object::Parse(text));
  CO_ASSIGN(std::string type, message.String("type"));
  Result<void> done;
  if (type == "signal" && running.in_session) co_return NotInSession("takes no signals");
  if (type == "stdin_end" && !running.in_session) {
    done = co_await running.process->CloseStdin();
  } else if (type == "signal") {
    CO_ASSIGN(int signal, ParseSignal(message, "signal"));
    done = co_await running.process->Signal(signal);
  } else if (type == "resize") {
    done = co_await Resize(running, message);
  }
  co_return done;
}

async::Task<> PassInput(Running& running) {
  while (true) {
    Result<std::optional<http::WebSocketMessage>> message = co_await running.socket.Read();
    if (!message || !*message) co_return;
    const http::WebSocketMessage& said = **message;
    if (!running.in_session) {
      co_await running.started.Wait();
      if (!running.started.is_set()) co_return;
    }
    Result<void> done;
    if (said.text) {
      done = co_await Control(running, said.data);
    } else if (running.in_session) {
      done = NotInSession("reads the \"stdin\" of its request alone");
    } else {
      done = co_await running.process->WriteStdin(said.data);
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
async::Task<std::optional<Result<Wanted>>> ReadRequest(http::WebSocket& socket) {
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
  std::optional<Result<Wanted>> wanted = co_await ReadRequest(socket);
  if (!wanted) co_return;
  if (!*wanted) {
    co_await SayAndClose(socket, ErrorFrame(wanted->error()), http::kClosePolicy);
    co_return;
  }
  Running running{.agent = sandbox.agent(),
                  .socket = socket,
                  .wanted = **std::move(wanted),
                  .process = {},
                  .started = {},
                  .last_frame = {}};
  running.in_session = !running.wanted.request.session.empty();
  co_await async::Race(async::Race(StartAndPassOutput(running), PassInput(running)),
                       socket.WatchPeer());
  running.process.reset();  // ends what the command has left running, unless it is kept
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
     .answer = Media::kWebSocket,
     .fields = kRequestFields},
};

}  // namespace

std::span<const Route> ExecSocketRoutes() { return kRoutes; }

}  // namespace atl::api
