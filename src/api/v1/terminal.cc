// SPDX-License-Identifier: Apache-2.0
#include "api/v1/terminal.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "api/v1/answers/commands.h"
#include "api/v1/exec.h"
#include "http/websocket.h"
#include "json/reader.h"
#include "json/writer.h"
#include "sandbox/id.h"

namespace atl::api {
namespace {

constexpr int64_t kMaxLinger = 86'400;
constexpr std::chrono::milliseconds kDrainTick{1'000};
constexpr size_t kMaxControl = 4096;

// A parameter as forms encode it: browsers write a space as '+'.
std::string FormValue(const http::RequestHead& request, std::string_view name) {
  std::string query;
  for (char c : request.query()) {
    if (c == '+') query += "%20";
    if (c != '+') query += c;
  }
  return http::QueryParameter(query, name).value_or("");
}

// The parameter as a number within [min, max]; `fallback` when it is not there.
Result<int64_t> NumberOf(const http::RequestHead& request, std::string_view name, int64_t min,
                         int64_t max, int64_t fallback) {
  std::string text = Query(request, name);
  if (text.empty()) return fallback;
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= min && value <= max) {
    return value;
  }
  return Fail(Code::kInvalidArgument,
              fmt::format("\"{}\" must be a whole number from {} to {}", name, min, max),
              "VALIDATION_FAILED");
}

std::string ErrorFrame(const Error& error) {
  json::Writer writer;
  writer.BeginObject().Field("type", "error").Field("code", ReasonOf(error));
  writer.Field("message", error.message).EndObject();
  return writer.Take();
}

std::string ExitFrame(const sandbox::TerminalEvent& event) {
  json::Writer writer;
  writer.BeginObject().Field("type", "exit").Field("code", event.exit_code);
  const char* name = event.signal > 0 ? ::sigabbrev_np(event.signal) : nullptr;
  if (name != nullptr) writer.Field("signal", fmt::format("SIG{}", name));
  if (event.timed_out) writer.Field("timedOut", true);
  writer.EndObject();
  return writer.Take();
}

std::string ReadyFrame(const sandbox::TerminalView& view, std::string_view name, uint64_t offset) {
  json::Writer writer;
  writer.BeginObject().Field("type", "ready").Field("session", name).Field("pid", view.pid());
  writer.Field("created", view.created()).Field("offset", offset).EndObject();
  return writer.Take();
}

std::string SkippedFrame(uint64_t bytes) {
  json::Writer writer;
  writer.BeginObject().Field("type", "skipped").Field("bytes", bytes).EndObject();
  return writer.Take();
}

// One WebSocket at a terminal.
struct Viewing {
  const Services& services;
  http::Exchange& exchange;
  http::WebSocket& socket;
  std::string id;
  std::string name;
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use as long as somebody looks
  std::unique_ptr<sandbox::TerminalView> view;
  // How it ends; nothing: the client has gone.
  std::optional<uint16_t> close_code;
  std::string last_frame;
};

// What the terminal says, to the client.
async::Task<> PassOutput(Viewing& viewing) {
  using Kind = sandbox::TerminalEvent::Kind;
  uint64_t offset = viewing.view->offset();
  while (true) {
    Result<sandbox::TerminalEvent> event = co_await viewing.view->Next();
    if (!event && event.error().code == Code::kCancelled) co_return;
    if (!event) {
      viewing.last_frame = ErrorFrame(event.error());
      viewing.close_code = http::kCloseInternal;
      co_return;
    }
    Result<void> sent;
    switch (event->kind) {
      case Kind::kOutput:
        offset += event->data.size();
        sent = co_await viewing.socket.SendBinary(event->data);
        break;
      case Kind::kReplayed: {
        std::string ready = ReadyFrame(*viewing.view, viewing.name, offset);
        sent = co_await viewing.socket.SendText(ready);
        break;
      }
      case Kind::kSkipped: {
        offset += event->skipped;
        std::string skipped = SkippedFrame(event->skipped);
        sent = co_await viewing.socket.SendText(skipped);
        break;
      }
      case Kind::kExited:
        viewing.last_frame = ExitFrame(*event);
        viewing.close_code = http::kCloseNormal;
        co_return;
    }
    if (!sent) co_return;
  }
}

// A text message: {"type":"resize","cols","rows"}. Other types are for other servers.
async::Task<Result<void>> Control(Viewing& viewing, std::string_view text) {
  CO_ASSIGN(json::Object message,
            json::Object::Parse(text, false, {.max_bytes = kMaxControl, .max_depth = 4}));
  CO_ASSIGN(std::string type, message.String("type"));
  if (type != "resize") co_return Result<void>();
  CO_ASSIGN(auto cols, message.OptionalInt("cols", {.min = 1, .max = 1000}));
  CO_ASSIGN(auto rows, message.OptionalInt("rows", {.min = 1, .max = 1000}));
  if (!cols || !rows) {
    co_return Fail(Code::kInvalidArgument, "a resize needs \"cols\" and \"rows\"",
                   "VALIDATION_FAILED");
  }
  sandbox::TerminalSize size{.cols = static_cast<uint32_t>(*cols),
                             .rows = static_cast<uint32_t>(*rows)};
  Result<void> resized = co_await viewing.view->Resize(size);
  co_return resized;
}

// Somebody may have put the sandbox to sleep although it is looked at.
async::Task<Result<void>> Type(Viewing& viewing, std::string_view keys) {
  std::optional<sandbox::Info> info = viewing.services.registry.Find(viewing.id);
  if (info && info->state == sandbox::State::kPaused) {
    CO_TRY(co_await viewing.services.registry.Wake(viewing.id));
  }
  Result<void> typed = co_await viewing.view->Type(keys);
  co_return typed;
}

// What the client says, to the terminal.
async::Task<> PassInput(Viewing& viewing) {
  while (true) {
    Result<std::optional<http::WebSocketMessage>> message = co_await viewing.socket.Read();
    if (!message || !*message) co_return;
    const http::WebSocketMessage& said = **message;
    Result<void> done;
    if (said.text) {
      done = co_await Control(viewing, said.data);
    } else {
      done = co_await Type(viewing, said.data);
    }
    if (done) continue;
    std::string frame = ErrorFrame(done.error());
    Result<void> sent = co_await viewing.socket.SendText(frame);
    if (!sent) co_return;
  }
}

// The terminal goes on without this daemon: whoever looks at it had better go to the next one.
async::Task<> WatchDrain(Viewing& viewing) {
  while (!viewing.exchange.draining()) co_await async::Sleep(kDrainTick);
  viewing.close_code = http::kCloseGoingAway;
}

async::Task<> View(Viewing& viewing) {
  co_await async::Race(async::Race(PassOutput(viewing), PassInput(viewing)),
                       async::Race(viewing.socket.WatchPeer(), WatchDrain(viewing)));
  if (!viewing.close_code) co_return;
  if (!viewing.last_frame.empty()) {
    Result<void> sent = co_await viewing.socket.SendText(viewing.last_frame);
    (void)sent;  // the client has gone away
  }
  co_await viewing.socket.Close(*viewing.close_code, {});
}

async::Task<> OpenTerminal(const Services& services, Values values, http::Exchange& exchange) {
  if (Result<void> asked = http::CheckWebSocketHandshake(exchange.request()); !asked) {
    co_await http::RespondHandshakeError(exchange, std::move(asked).error());
    co_return;
  }
  Result<sandbox::TerminalSpec> spec = TerminalSpecOf(exchange.request());
  if (!spec) {
    co_await http::RespondError(exchange, std::move(spec).error());
    co_return;
  }
  co_await ShowTerminal(services, std::move(values.at(0)), *std::move(spec), exchange);
}

std::string ListJson(const std::vector<sandbox::TerminalInfo>& infos) {
  json::Writer writer;
  writer.BeginObject().Key("terminals").BeginArray();
  for (const sandbox::TerminalInfo& info : infos) {
    writer.BeginObject().Field("name", info.name).Field("command", info.command);
    writer.Field("pid", info.pid).Field("running", info.running);
    if (!info.running) writer.Field("exitCode", info.exit_code);
    writer.Field("cols", uint64_t{info.size.cols}).Field("rows", uint64_t{info.size.rows});
    writer.Field("viewers", uint64_t{info.viewers});
    writer.Field("ageMs", info.age_ms).EndObject();
  }
  writer.EndArray().EndObject();
  return writer.Take();
}

async::Task<Result<std::string>> ReadList(const Services& services, std::string id) {
  std::shared_ptr<sandbox::Sandbox> sandbox = services.registry.Observe(id);
  if (sandbox == nullptr && !services.registry.Find(id))
    co_return Unexpected(sandbox::NoSuchSandbox(id));
  // One that is stopped has none.
  if (sandbox == nullptr) co_return ListJson({});
  CO_ASSIGN(auto infos, co_await sandbox->agent().ListTerminals());
  co_return ListJson(infos);
}

async::Task<> ListTerminals(const Services& services, std::string id, http::Exchange& exchange) {
  Result<std::string> list = co_await ReadList(services, std::move(id));
  co_await RespondResult(exchange, std::move(list));
}

async::Task<Result<void>> Close(const Services& services, std::string id, std::string name,
                                http::Exchange& exchange) {
  CO_ASSIGN(auto sandbox, co_await AcquireFor(services, std::move(id), exchange));
  Result<void> closed = co_await sandbox->agent().CloseTerminal(std::move(name));
  co_return closed;
}

async::Task<> CloseTerminal(const Services& services, Values values, http::Exchange& exchange) {
  Result<void> closed =
      co_await Close(services, std::move(values.at(0)), std::move(values.at(1)), exchange);
  if (!closed) {
    co_await http::RespondError(exchange, std::move(closed).error());
    co_return;
  }
  http::ResponseHead head{.status = 204};
  Result<void> sent = co_await exchange.Respond(std::move(head), {});
  (void)sent;  // the client has gone away
}

constexpr Field kOpenQuery[] = {
    {.name = "cols", .kind = Kind::kInteger, .about = "80", .min = 1, .max = 1000},
    {.name = "rows", .kind = Kind::kInteger, .about = "24", .min = 1, .max = 1000},
    {.name = "session", .about = "The name of the terminal, which is joined or made: default"},
    {.name = "shell", .about = "The program of a new one: bash"},
    {.name = "command", .about = "A command line for the shell of a new one"},
    {.name = "cwd", .kind = Kind::kPath, .about = "Where a new one begins: /workspace"},
    {.name = "create",
     .kind = Kind::kInteger,
     .about = "0: only one that is there",
     .min = 0,
     .max = 1},
    {.name = "since",
     .kind = Kind::kInteger,
     .about = "Output before this offset is not repeated",
     .min = 0},
    {.name = "linger",
     .kind = Kind::kInteger,
     .about = "Seconds after its last viewer in which a new one is closed; 0: never",
     .min = 0,
     .max = kMaxLinger},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's for a new one"},
    {.name = "user", .about = "Of a new one: name, uid, uid:gid or name:group; root"},
    {.name = "timeoutMs",
     .kind = Kind::kInteger,
     .about = "After which a new one is hung up: SIGHUP, then SIGKILL",
     .min = 1,
     .max = static_cast<double>(kMaxExecMs)},
};

constexpr Route kRoutes[] = {
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/pty",
     .operation = "openTerminal",
     .summary = "A terminal: binary messages are keys and output, text messages are JSON.",
     .handler = OpenTerminal,
     .answer = Media::kWebSocket,
     .query = kOpenQuery},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/terminals",
     .operation = "listTerminals",
     .summary = "The terminals of a sandbox, also those that have ended a while ago.",
     .handler = OfSandbox<ListTerminals>,
     .returns = &answers::kTerminalList},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/terminals/{name}",
     .operation = "closeTerminal",
     .summary = "Ends a terminal and what runs in it.",
     .handler = CloseTerminal,
     .answer = Media::kNone},
};

}  // namespace

std::span<const Route> TerminalRoutes() { return kRoutes; }

Result<sandbox::TerminalSpec> TerminalSpecOf(const http::RequestHead& request) {
  sandbox::TerminalSpec spec;
  ASSIGN(int64_t cols, NumberOf(request, "cols", 1, 1000, spec.size.cols));
  ASSIGN(int64_t rows, NumberOf(request, "rows", 1, 1000, spec.size.rows));
  spec.size = {.cols = static_cast<uint32_t>(cols), .rows = static_cast<uint32_t>(rows)};
  ASSIGN(int64_t since, NumberOf(request, "since", 0, INT64_MAX, 0));
  spec.offset = static_cast<uint64_t>(since);
  ASSIGN(int64_t linger, NumberOf(request, "linger", 0, kMaxLinger, 0));
  spec.linger = std::chrono::seconds(linger);
  ASSIGN(int64_t create, NumberOf(request, "create", 0, 1, 1));
  spec.create = create == 1;
  if (std::string name = FormValue(request, "session"); !name.empty()) spec.name = std::move(name);
  if (std::string cwd = FormValue(request, "cwd"); !cwd.empty()) spec.cwd = std::move(cwd);
  std::string shell = FormValue(request, "shell");
  std::string command = FormValue(request, "command");
  if (!command.empty()) {
    spec.argv = {shell.empty() ? "bash" : shell, "-c", std::move(command)};
  } else if (!shell.empty()) {
    spec.argv = {std::move(shell)};
  }
  if (std::string env = FormValue(request, "env"); !env.empty()) {
    ASSIGN(json::Object variables, json::Object::Parse(env));
    ASSIGN(spec.env, ParseEnv(variables));
  }
  spec.user = FormValue(request, "user");
  ASSIGN(int64_t timeout, NumberOf(request, "timeoutMs", 1, kMaxExecMs, 0));
  spec.timeout = std::chrono::milliseconds(timeout);
  spec.of_user = !spec.user.empty() || timeout > 0;
  TRY(sandbox::ValidateTerminal(spec));
  return spec;
}

async::Task<> ShowTerminal(const Services& services, std::string id, sandbox::TerminalSpec spec,
                           http::Exchange& exchange) {
  // Nobody starts one for what is certainly not in it.
  std::optional<sandbox::Info> info = services.registry.Find(id);
  if (!spec.create && info && info->state == sandbox::State::kStopped) {
    Error error{.code = Code::kNotFound,
                .message = fmt::format("there is no terminal named {}", spec.name),
                .reason = "TERMINAL_NOT_FOUND"};
    co_await http::RespondError(exchange, std::move(error));
    co_return;
  }
  auto sandbox = co_await AcquireFor(services, id, exchange);
  if (!sandbox) {
    co_await http::RespondError(exchange, std::move(sandbox).error());
    co_return;
  }
  std::string name = spec.name;
  auto view = co_await (*sandbox)->agent().OpenTerminal(std::move(spec));
  if (!view && view.error().reason == "TERMINAL_NOT_FOUND") {
    co_await http::RespondError(exchange, std::move(view).error());
    co_return;
  }
  auto socket = co_await http::WebSocket::Accept(exchange);
  if (!socket) co_return;  // the client has gone away
  if (!view) {
    // Not as a status: a page in a browser would not learn why.
    std::string frame = ErrorFrame(view.error());
    Result<void> sent = co_await (*socket)->SendText(frame);
    (void)sent;
    co_await (*socket)->Close(http::kCloseInternal, ReasonOf(view.error()));
    co_return;
  }
  Viewing viewing{.services = services,
                  .exchange = exchange,
                  .socket = **socket,
                  .id = std::move(id),
                  .name = std::move(name),
                  .sandbox = *std::move(sandbox),
                  .view = *std::move(view)};
  co_await View(viewing);
}

}  // namespace atl::api
