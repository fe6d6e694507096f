// SPDX-License-Identifier: Apache-2.0
#include "api/sdk/terms.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "api/seed/output_events.h"
#include "api/seed/requests.h"
#include "api/v1/file_json.h"
#include "base/log.h"
#include "http/sse.h"
#include "metrics/atoll.h"

namespace atl::api::sdk {
namespace {

constexpr std::chrono::seconds kHeartbeat{15};

// Statuses that the SDK gives its codes. What is not here keeps its own.
constexpr std::pair<std::string_view, int> kStatuses[] = {
    {"BACKUP_CREATE_FAILED", 500},
    {"BACKUP_EXPIRED", 400},
    {"BACKUP_NOT_FOUND", 404},
    {"BACKUP_RESTORE_FAILED", 500},
    {"CODE_EXECUTION_ERROR", 500},
    {"COMMAND_EXECUTION_ERROR", 500},
    {"COMMAND_NOT_FOUND", 404},
    {"COMMAND_PERMISSION_DENIED", 403},
    {"CONTAINER_UNAVAILABLE", 503},
    {"CONTEXT_NOT_FOUND", 404},
    {"FILE_EXISTS", 409},
    {"FILE_NOT_FOUND", 404},
    {"FILE_TOO_LARGE", 413},
    {"GIT_AUTH_FAILED", 401},
    {"GIT_BRANCH_NOT_FOUND", 404},
    {"GIT_NETWORK_ERROR", 502},
    {"GIT_OPERATION_FAILED", 500},
    {"GIT_REPOSITORY_NOT_FOUND", 404},
    {"INVALID_BACKUP_CONFIG", 400},
    {"INVALID_COMMAND", 400},
    {"INVALID_GIT_URL", 400},
    {"INVALID_PORT", 400},
    {"INTERPRETER_NOT_READY", 503},
    {"IS_DIRECTORY", 400},
    {"JAVASCRIPT_NOT_AVAILABLE", 501},
    {"METHOD_NOT_ALLOWED", 405},
    {"NAME_TOO_LONG", 400},
    {"NOT_DIRECTORY", 400},
    {"NOT_OFFERED", 501},
    {"NO_SPACE", 500},
    {"PERMISSION_DENIED", 403},
    {"PORT_ALREADY_EXPOSED", 409},
    {"PORT_NOT_EXPOSED", 404},
    {"PROCESS_NOT_FOUND", 404},
    {"PYTHON_NOT_AVAILABLE", 501},
    {"READ_ONLY", 403},
    {"RESOURCE_BUSY", 409},
    {"SESSION_ALREADY_EXISTS", 409},
    {"SESSION_DESTROYED", 410},
    {"SESSION_TERMINATED", 410},
    {"TOO_MANY_LINKS", 500},
    {"VALIDATION_FAILED", 400},
    {"WATCH_START_ERROR", 500},
};

// What the SDK has another word for.
constexpr std::pair<std::string_view, std::string_view> kWords[] = {
    {"CAPACITY_EXCEEDED", "CONTAINER_UNAVAILABLE"}, {"CONTEXT_BUSY", "RESOURCE_BUSY"},
    {"DIRECTORY_NOT_EMPTY", "FILESYSTEM_ERROR"},    {"INVALID_JSON", "VALIDATION_FAILED"},
    {"NOT_REGULAR_FILE", "FILESYSTEM_ERROR"},       {"PROCESS_ALREADY_EXISTS", "PROCESS_ERROR"},
    {"UNAVAILABLE", "CONTAINER_UNAVAILABLE"},
};

void AppendMember(std::string& members, std::string_view name, std::string_view json) {
  if (!members.empty()) members += ',';
  members += fmt::format("\"{}\":{}", name, json);
}

std::string Quoted(std::string_view text) {
  std::string quoted;
  json::AppendString(quoted, text);
  return quoted;
}

// What the SDK's classes of some errors promise to have.
std::string ContextOf(const Error& error, std::string_view code, std::string_view given) {
  std::string members(given);
  if (code == "VALIDATION_FAILED" || code == "INVALID_GIT_URL") {
    std::string one = fmt::format(R"([{{"field":"","message":{},"code":{}}}])",
                                  Quoted(error.message), Quoted(ReasonOf(error)));
    AppendMember(members, "validationErrors", one);
  } else if (code == "CONTAINER_UNAVAILABLE") {
    AppendMember(members, "reason", R"("no_container_instance_available")");
    AppendMember(members, "retryable", "true");
  } else if (code == "INVALID_BACKUP_CONFIG") {
    AppendMember(members, "reason", Quoted(error.message));
  }
  return members;
}

async::Task<> KeepAlive(SendQueue& queue) {
  while (true) {
    co_await async::Sleep(kHeartbeat);
    // Whoever has something to say says enough; only one at a time may wait for the client.
    if (!queue.pending().empty()) continue;
    queue.pending() += ": still here\n\n";
    Result<void> put = co_await queue.Put();
    if (!put) co_return;
  }
}

Result<json::Object> NoBody() { return json::Object::Parse({}, true); }

async::Task<Result<json::Object>> ReadBody(http::Exchange& exchange) {
  const std::string& method = exchange.request().method;
  if (method == "GET" || method == "HEAD") co_return NoBody();
  Result<json::Object> body = co_await ReadJsonBody(exchange);
  co_return body;
}

async::Task<Result<json::Object>> ReadUpload(http::Exchange& exchange) {
  Result<std::string> text = co_await exchange.ReadBody(kMostUploadBody);
  if (text) co_return json::Object::Parse(*text, true, json::Limits{.max_bytes = kMostUploadBody});
  Error error = std::move(text).error();
  if (error.code == Code::kTooLarge) error.reason = "FILE_TOO_LARGE";
  co_return Unexpected(std::move(error));
}

async::Task<> AnswerBody(JsonAnswer answer, const Services& services, Values values,
                         http::Exchange& exchange, Result<json::Object> body) {
  if (!body) {
    co_await RespondFailure(exchange, std::move(body).error());
    co_return;
  }
  Call call(services, std::move(values), exchange, *std::move(body));
  Result<std::string> json = co_await answer(call);
  co_await RespondJson(call, std::move(json));
}

}  // namespace

void Call::About(std::string_view name, std::string_view value) {
  AppendMember(context, name, Quoted(value.substr(0, 4096)));
}

async::Task<Result<std::shared_ptr<sandbox::Sandbox>>> Use(Call& call) {
  auto sandbox = co_await AcquireOrCreate(call.services, call.id, call.exchange);
  co_return sandbox;
}

std::string Now() { return IsoTime(NowMs()); }

json::Writer Success() {
  json::Writer writer;
  writer.BeginObject().Field("success", true);
  return writer;
}

std::string Finished(json::Writer& writer) {
  writer.Field("timestamp", Now()).EndObject();
  return writer.Take();
}

Failure FailureOf(const Error& error) {
  std::string_view reason = ReasonOf(error);
  const auto* word = std::ranges::find(kWords, reason, [](const auto& pair) { return pair.first; });
  std::string_view code = word == std::end(kWords) ? reason : word->second;
  // A limit of the sandbox, which waiting does not lift.
  if (error.code == Code::kResourceExhausted && reason.starts_with("TOO_MANY_")) {
    code = "RESOURCE_BUSY";
  }
  const auto* known =
      std::ranges::find(kStatuses, code, [](const auto& pair) { return pair.first; });
  int status = known == std::end(kStatuses) ? HttpStatus(error.code) : known->second;
  return {.status = status, .code = code};
}

std::string FailureJson(const Error& error, std::string_view context) {
  Failure failure = FailureOf(error);
  json::Writer writer;
  writer.BeginObject().Field("code", failure.code).Field("message", error.message);
  writer.Key("context").Raw("{" + ContextOf(error, failure.code, context) + "}");
  writer.Field("httpStatus", failure.status).Field("timestamp", Now()).EndObject();
  return writer.Take();
}

async::Task<> RespondFailure(http::Exchange& exchange, Error error, std::string_view context) {
  bool answered = co_await http::AnsweredElsewhere(exchange, error);
  if (answered) co_return;
  const http::RequestHead& request = exchange.request();
  Failure failure = FailureOf(error);
  metrics::CountError(ReasonOf(error));
  if (failure.status >= 500 && failure.status != 501) {
    log::Warning("{} http://{}{}: {} [{}]", request.method, request.host, request.path(),
                 error.message, exchange.request_id());
  }
  if (exchange.response_started()) {
    exchange.Abort();
    co_return;
  }
  http::ResponseHead head = http::ErrorHead(error);
  head.status = failure.status;
  Result<void> sent = co_await exchange.Respond(std::move(head), FailureJson(error, context));
  (void)sent;  // the client has gone away
}

async::Task<> RespondJson(Call& call, Result<std::string> json) {
  if (!json) {
    co_await RespondFailure(call.exchange, std::move(json).error(), call.context);
    co_return;
  }
  co_await RespondResult(call.exchange, std::move(json));
}

async::Task<> AnswerJson(JsonAnswer answer, const Services& services, Values values,
                         http::Exchange& exchange) {
  Result<json::Object> body = co_await ReadBody(exchange);
  co_await AnswerBody(answer, services, std::move(values), exchange, std::move(body));
}

async::Task<> AnswerUpload(JsonAnswer answer, const Services& services, Values values,
                           http::Exchange& exchange) {
  Result<json::Object> body = co_await ReadUpload(exchange);
  co_await AnswerBody(answer, services, std::move(values), exchange, std::move(body));
}

async::Task<> AnswerItself(OwnAnswer answer, const Services& services, Values values,
                           http::Exchange& exchange) {
  Result<json::Object> body = co_await ReadBody(exchange);
  if (!body) {
    co_await RespondFailure(exchange, std::move(body).error());
    co_return;
  }
  Call call(services, std::move(values), exchange, *std::move(body));
  co_await answer(call);
}

Result<std::string> RequiredText(const json::Object& body, std::string_view name) {
  ASSIGN(std::string text, body.Text(name));
  if (!text.empty()) return text;
  return Fail(Code::kInvalidArgument, fmt::format("\"{}\" is empty", name), "VALIDATION_FAILED");
}

Result<std::vector<std::pair<std::string, std::string>>> EnvOf(const json::Object& body,
                                                               std::string_view name) {
  ASSIGN(auto variables, EnvWithoutNulls(body, name));
  TRY(sandbox::ValidateEnv(variables));
  return variables;
}

Result<std::optional<std::chrono::milliseconds>> TimeoutOf(const json::Object& body,
                                                           std::string_view name) {
  ASSIGN(std::optional<int64_t> timeout, body.OptionalInt(name, {.min = 1, .max = kMostTimeoutMs}));
  if (!timeout) return std::nullopt;
  return std::chrono::milliseconds(*timeout);
}

async::Task<bool> BeginEvents(http::Exchange& exchange) {
  http::ResponseHead head = http::EventStreamHead();
  head.headers.Set("Cache-Control", "no-store");
  head.headers.Set("X-Content-Type-Options", "nosniff");
  Result<void> begun = co_await exchange.StartResponse(std::move(head));
  if (!begun) exchange.Abort();
  co_return begun.has_value();
}

async::Task<> UntilHangup(Call& call, SendQueue& queue) {
  co_await async::Race(KeepAlive(queue), call.exchange.WaitForHangup());
}

}  // namespace atl::api::sdk
