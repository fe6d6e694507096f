// SPDX-License-Identifier: Apache-2.0
#include "api/mcp/mcp.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "api/mcp/calls.h"
#include "api/mcp/tool.h"
#include "crypto/bytes.h"
#include "sandbox/id.h"

namespace atl::api::mcp {
namespace {

constexpr std::string_view kVersion = "2025-06-18";
constexpr std::string_view kSessionHeader = "Mcp-Session-Id";
constexpr size_t kMostSessionBytes = 128;
constexpr size_t kMostIdBytes = 256;

constexpr int kParseError = -32700;
constexpr int kInvalidRequest = -32600;
constexpr int kMethodNotFound = -32601;
constexpr int kInvalidParams = -32602;

Calls& CallsUnderWay() {
  static Calls calls;
  return calls;
}

struct Message {
  json::Object object;
  std::string id;  // as JSON; empty: a notification
  std::string method;
  json::Object params;
};

struct Scope {
  std::string sandbox;  // empty: all
  std::string session;  // empty: none
  bool scoped() const { return !sandbox.empty(); }
};

std::string Failure(std::string_view id, int code, std::string_view message) {
  json::Writer writer;
  writer.BeginObject().Field("jsonrpc", "2.0").Key("id").Raw(id.empty() ? "null" : id);
  writer.Key("error").BeginObject().Field("code", code).Field("message", message);
  writer.EndObject().EndObject();
  return writer.Take();
}

std::string Success(std::string_view id, std::string_view result) {
  json::Writer writer;
  writer.BeginObject().Field("jsonrpc", "2.0").Key("id").Raw(id);
  writer.Key("result").Raw(result).EndObject();
  return writer.Take();
}

async::Task<> Reply(http::Exchange& exchange, int status, std::string json) {
  Result<void> sent = co_await http::RespondJson(exchange, status, std::move(json));
  (void)sent;  // the client has gone away
}

async::Task<> ReplyEmpty(http::Exchange& exchange, int status) {
  http::ResponseHead head;
  head.status = status;
  Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
  (void)sent;  // the client has gone away
}

// A string or a whole number, as JSON; nothing when it is neither.
std::optional<std::string> IdAsJson(const json::Object& object, std::string_view name) {
  if (object.IsString(name)) {
    std::string text = object.String(name).value_or("");
    if (text.size() > kMostIdBytes) return std::nullopt;
    std::string json;
    json::AppendString(json, text);
    return json;
  }
  Result<std::optional<int64_t>> number = object.OptionalInt(name, {});
  if (!number || !*number) return std::nullopt;
  return std::to_string(**number);
}

Result<json::Object> ObjectOrEmpty(const json::Object& from, std::string_view name) {
  ASSIGN(std::optional<json::Object> object, from.OptionalObject(name));
  if (object) return *std::move(object);
  return json::Object::Parse("", true);
}

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

// What makes it a message of JSON-RPC; `id` is set as soon as it is known.
Result<Message> ParseMessage(json::Object object, std::string& id) {
  std::vector<std::string> names = object.Names();
  if (std::ranges::find(names, "id") != names.end()) {
    std::optional<std::string> given = IdAsJson(object, "id");
    if (!given) return Invalid("\"id\" must be a string or a whole number");
    id = *std::move(given);
  }
  ASSIGN(std::string version, object.String("jsonrpc"));
  if (version != "2.0") return Invalid(R"("jsonrpc" must be "2.0")");
  bool answer = object.Has("result") || object.Has("error");
  std::string method;
  if (!answer) {
    ASSIGN(method, object.String("method"));
  }
  ASSIGN(json::Object params, ObjectOrEmpty(object, "params"));
  return Message{std::move(object), id, std::move(method), std::move(params)};
}

Result<Scope> ScopeOf(const http::RequestHead& request) {
  Scope scope;
  std::optional<std::string> sandbox = http::QueryParameter(request.query(), "sandbox");
  if (sandbox) {
    TRY(sandbox::ValidateId(*sandbox));
    scope.sandbox = *std::move(sandbox);
  }
  auto version = request.headers.Get("MCP-Protocol-Version");
  if (version && *version != kVersion) {
    return Invalid(
        fmt::format("MCP-Protocol-Version {:.40}: {} is spoken here", *version, kVersion));
  }
  scope.session = request.headers.Joined(kSessionHeader);
  bool visible = std::ranges::all_of(scope.session, [](char c) { return c >= 0x21 && c <= 0x7E; });
  if (scope.session.size() > kMostSessionBytes || !visible) {
    return Invalid("Mcp-Session-Id must be at most 128 visible characters");
  }
  return scope;
}

std::string InitializeJson(const Scope& scope) {
  json::Writer writer;
  writer.BeginObject().Field("protocolVersion", kVersion).Key("capabilities").BeginObject();
  writer.Key("tools").BeginObject().Field("listChanged", false).EndObject().EndObject();
  writer.Key("serverInfo").BeginObject().Field("name", "atoll").Field("title", "Atoll");
  writer.Field("version", ATOLL_VERSION).EndObject();
  std::string about = "Linux sandboxes to run commands and edit files in. Work is in /workspace.";
  if (scope.scoped())
    about = fmt::format("The tools work in the sandbox {}. ", scope.sandbox) + about;
  writer.Field("instructions", about).EndObject();
  return writer.Take();
}

std::string ToolsJson(const Scope& scope) {
  json::Writer writer;
  writer.BeginObject().Key("tools").BeginArray();
  for (const Tool* tool : ToolsFor(scope.scoped())) WriteTool(writer, *tool, scope.scoped());
  writer.EndArray().EndObject();
  return writer.Take();
}

std::string ResultJson(const Result<Output>& output) {
  json::Writer writer;
  std::string text = output
                         ? output->text
                         : fmt::format("{}: {}", ReasonOf(output.error()), output.error().message);
  writer.BeginObject().Key("content").BeginArray().BeginObject().Field("type", "text");
  writer.Field("text", text).EndObject().EndArray();
  if (output) {
    writer.Key("structuredContent").Raw(output->structured);
  } else {
    writer.Key("structuredContent").BeginObject().Field("code", ReasonOf(output.error()));
    writer.Field("message", output.error().message).EndObject();
  }
  writer.Field("isError", !output.has_value()).EndObject();
  return writer.Take();
}

struct Callable {
  const Tool* tool = nullptr;
  json::Object arguments;
};

Result<Callable> ParseCall(const Message& message, const Scope& scope) {
  ASSIGN(std::string name, message.params.String("name"));
  std::vector<const Tool*> tools = ToolsFor(scope.scoped());
  auto found = std::ranges::find(tools, name, [](const Tool* tool) { return tool->name; });
  if (found == tools.end()) return Invalid(fmt::format("there is no tool {:.64}", name));
  ASSIGN(json::Object arguments, ObjectOrEmpty(message.params, "arguments"));
  TRY(CheckArguments(**found, scope.scoped(), arguments));
  return Callable{*found, std::move(arguments)};
}

async::Task<> RunInto(const Tool& tool, Call call, std::optional<Result<Output>>& output) {
  Result<Output> result = co_await tool.handler(std::move(call));
  output = std::move(result);
}

async::Task<> CallTool(const Services& services, const Scope& scope, const Message& message,
                       http::Exchange& exchange) {
  Result<Callable> callable = ParseCall(message, scope);
  if (!callable) {
    co_await Reply(exchange, 200, Failure(message.id, kInvalidParams, callable.error().message));
    co_return;
  }
  sandbox::Waited waited;
  Call call{.services = services,
            .request = exchange.request(),
            .sandbox = scope.sandbox,
            .scoped = scope.scoped(),
            .arguments = std::move(callable->arguments),
            .waited = &waited};
  if (!scope.scoped() && callable->tool->of_sandbox) call.sandbox = Text(call, "sandbox");
  Result<void> valid;
  if (callable->tool->of_sandbox) valid = sandbox::ValidateId(call.sandbox);
  std::optional<Result<Output>> output;
  if (!valid) output = Unexpected(std::move(valid).error());
  // Ids of requests are the client's own: without a session nobody can tell whose one is.
  Calls::Entry entry(CallsUnderWay(), scope.session + ' ' + message.id);
  if (!output) {
    co_await async::Race(
        async::Race(RunInto(*callable->tool, std::move(call), output), exchange.WaitForHangup()),
        entry.cancelled().Wait());
  }
  if (!output || entry.cancelled().is_set()) {
    co_await ReplyEmpty(exchange, 202);
    co_return;
  }
  if (!*output) {
    bool answered = co_await http::AnsweredElsewhere(exchange, output->error());
    if (answered) co_return;
  }
  waited.SayIn(exchange);
  co_await Reply(exchange, 200, Success(message.id, ResultJson(*output)));
}

async::Task<> Initialize(const Scope& scope, const Message& message, http::Exchange& exchange) {
  Result<std::string> wanted = message.params.String("protocolVersion");
  if (!wanted) {
    co_await Reply(exchange, 200, Failure(message.id, kInvalidParams, wanted.error().message));
    co_return;
  }
  http::ResponseHead head;
  head.headers.Add("Content-Type", "application/json");
  head.headers.Add("Cache-Control", "no-store");
  constexpr size_t kRandomBytes = 16;
  head.headers.Add(std::string(kSessionHeader),
                   scope.session.empty() ? crypto::RandomHex(kRandomBytes) : scope.session);
  Result<void> sent =
      co_await exchange.Respond(std::move(head), Success(message.id, InitializeJson(scope)));
  (void)sent;  // the client has gone away
}

void Notified(const Scope& scope, const Message& message) {
  if (message.method != "notifications/cancelled" || scope.session.empty()) return;
  std::optional<std::string> id = IdAsJson(message.params, "requestId");
  if (id) CallsUnderWay().Cancel(scope.session + ' ' + *id);
}

async::Task<> Answer(const Services& services, const Scope& scope, const Message& message,
                     http::Exchange& exchange) {
  if (message.id.empty() || message.method.empty()) {
    Notified(scope, message);
    co_await ReplyEmpty(exchange, 202);
  } else if (message.method == "initialize") {
    co_await Initialize(scope, message, exchange);
  } else if (message.method == "ping") {
    co_await Reply(exchange, 200, Success(message.id, "{}"));
  } else if (message.method == "tools/list") {
    co_await Reply(exchange, 200, Success(message.id, ToolsJson(scope)));
  } else if (message.method == "tools/call") {
    co_await CallTool(services, scope, message, exchange);
  } else {
    std::string why = fmt::format("there is no method {:.64}", message.method);
    co_await Reply(exchange, 200, Failure(message.id, kMethodNotFound, why));
  }
}

}  // namespace

async::Task<> Post(const Services& services, http::Exchange& exchange) {
  Result<Scope> scope = ScopeOf(exchange.request());
  if (!scope) {
    co_await Reply(exchange, 400, Failure("", kInvalidRequest, scope.error().message));
    co_return;
  }
  Result<std::string> body = co_await exchange.ReadBody(kMaxBodyBytes);
  if (!body) {
    int status = http::ErrorHead(body.error()).status;
    co_await Reply(exchange, status, Failure("", kInvalidRequest, body.error().message));
    co_return;
  }
  Result<json::Object> object = json::Object::Parse(*body);
  if (!object) {
    int code = object.error().reason == "INVALID_JSON" ? kParseError : kInvalidRequest;
    co_await Reply(exchange, 400, Failure("", code, object.error().message));
    co_return;
  }
  std::string id;
  Result<Message> message = ParseMessage(*std::move(object), id);
  if (!message) {
    co_await Reply(exchange, 400, Failure(id, kInvalidRequest, message.error().message));
    co_return;
  }
  co_await Answer(services, *scope, *message, exchange);
}

async::Task<> EndSession(http::Exchange& exchange) { return ReplyEmpty(exchange, 204); }

async::Task<> Refuse(http::Exchange& exchange, Error error) {
  int status = http::ErrorHead(error).status;
  co_await Reply(exchange, status, Failure("", kInvalidRequest, error.message));
}

}  // namespace atl::api::mcp
