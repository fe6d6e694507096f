// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ports.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "api/sdk/handlers.h"
#include "api/sdk/process_json.h"
#include "api/sdk/terms.h"
#include "http/sse.h"
#include "sandbox/processes.h"

namespace atl::api::sdk {
namespace {

// As long as somebody waits.
constexpr std::chrono::milliseconds kWatchLimit{kMostTimeoutMs};
constexpr size_t kMostPath = 4096;
constexpr int64_t kMostPort = 65535;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

Result<uint16_t> PortOf(const json::Object& body) {
  ASSIGN(std::optional<int64_t> port, body.OptionalInt("port", {.min = 1, .max = kMostPort}));
  if (!port) return Invalid("\"port\" is missing");
  return static_cast<uint16_t>(*port);
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  int64_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  bool digits = error == std::errc() && end == text.data() + text.size();
  if (!digits || port < 1 || port > kMostPort) return std::nullopt;
  return static_cast<uint16_t>(port);
}

struct Watching {
  std::shared_ptr<sandbox::Sandbox> sandbox;  // in use until the end
  sandbox::PortProbe probe;
  std::string process;  // empty: whoever it is that listens
  bool tcp = false;
};

// The path stands in the first line of a request.
Result<void> CheckPath(std::string_view path) {
  for (char c : path) {
    if (c <= ' ' || c > '~') return Invalid("\"path\" has characters that no path of a URL has");
  }
  if (path.starts_with('/') && path.size() <= kMostPath) return {};
  return Invalid("\"path\" must begin with '/' and be short");
}

Result<Watching> ParseWatch(const json::Object& body) {
  Watching watching;
  ASSIGN(watching.probe.port, PortOf(body));
  ASSIGN(std::optional<std::string> mode, body.OptionalText("mode"));
  if (mode && *mode != "http" && *mode != "tcp") return Invalid("\"mode\" is \"http\" or \"tcp\"");
  watching.tcp = mode == "tcp";
  ASSIGN(std::optional<std::string> path, body.OptionalText("path"));
  TRY(CheckPath(path.value_or("/")));
  if (!watching.tcp) watching.probe.path = path.value_or("/");
  ASSIGN(auto least, body.OptionalInt("statusMin", {.min = 100, .max = 599}));
  ASSIGN(auto most, body.OptionalInt("statusMax", {.min = 100, .max = 599}));
  watching.probe.least_status = static_cast<int>(least.value_or(200));
  watching.probe.most_status = static_cast<int>(most.value_or(399));
  // How often is looked is up to whoever looks.
  ASSIGN(auto interval, body.OptionalInt("interval", {.min = 0, .max = kMostTimeoutMs}));
  (void)interval;
  ASSIGN(std::optional<std::string> process, body.OptionalText("processId"));
  watching.process = std::move(process).value_or("");
  return watching;
}

async::Task<Result<Watching>> BeginWatch(Call& call) {
  CO_ASSIGN(Watching watching, ParseWatch(call.body));
  if (!watching.process.empty()) call.About("processId", watching.process);
  CO_ASSIGN(watching.sandbox, co_await Use(call));
  if (!watching.process.empty()) {
    CO_TRY(co_await sandbox::GetProcess(watching.sandbox->agent(), watching.process));
  }
  co_return watching;
}

std::string EventOf(const Watching& watching, std::string_view type) {
  json::Writer writer;
  writer.BeginObject().Field("type", type).Field("port", watching.probe.port).EndObject();
  return http::EventText(writer.Take());
}

// How a process has ended instead of answering.
async::Task<std::string> ExitEvent(const Watching& watching) {
  Result<sandbox::ProcessInfo> info =
      co_await sandbox::GetProcess(watching.sandbox->agent(), watching.process);
  json::Writer writer;
  writer.BeginObject().Field("type", "process_exited").Field("port", watching.probe.port);
  if (info) writer.Field("exitCode", ExitCodeOf(*info));
  writer.EndObject();
  co_return http::EventText(writer.Take());
}

async::Task<> Wait(const Watching& watching, SendQueue& queue) {
  queue.pending() += EventOf(watching, "watching");
  Result<void> put = co_await queue.Put();
  (void)put;  // the client has gone away
  Result<int> status = co_await sandbox::WaitForPort(watching.sandbox->agent(), watching.process,
                                                     watching.probe, kWatchLimit);
  if (!status && ReasonOf(status.error()) == "PROCESS_EXITED_BEFORE_READY") {
    std::string exited = co_await ExitEvent(watching);
    queue.pending() += exited;
  } else {
    json::Writer writer;
    writer.BeginObject().Field("type", status ? "ready" : "error");
    writer.Field("port", watching.probe.port);
    if (status && !watching.tcp) writer.Field("statusCode", *status);
    if (!status) writer.Field("error", status.error().message);
    writer.EndObject();
    queue.pending() += http::EventText(writer.Take());
  }
  queue.Close();
}

async::Task<> WaitAndSend(const Watching& watching, SendQueue& queue) {
  co_await async::Both(Wait(watching, queue), queue.Send());
}

async::Task<> DoWatch(Call& call) {
  Result<Watching> watching = co_await BeginWatch(call);
  if (!watching) {
    co_await RespondFailure(call.exchange, std::move(watching).error(), call.context);
    co_return;
  }
  bool begun = co_await BeginEvents(call.exchange);
  if (!begun) co_return;
  SendQueue queue(call.exchange);
  co_await async::Race(WaitAndSend(*watching, queue), UntilHangup(call, queue));
  co_await FinishStream(call.exchange, queue.complete());
}

void WriteExposure(json::Writer& writer, Call& call, const sandbox::Exposure& exposure) {
  std::string url =
      SandboxUrl(call.services, sandbox::PreviewLabel(exposure), call.exchange.request());
  if (url.ends_with('/')) url.pop_back();
  writer.Field("port", exposure.port).Field("url", url);
  if (!exposure.name.empty()) writer.Field("name", exposure.name);
}

async::Task<Result<std::string>> DoExpose(Call& call) {
  sandbox::ExposeRequest request;
  CO_ASSIGN(request.port, PortOf(call.body));
  CO_ASSIGN(std::optional<std::string> name, call.body.OptionalText("name"));
  request.name = std::move(name).value_or("");
  CO_ASSIGN(request.token, call.body.OptionalText("token"));
  CO_TRY(co_await Use(call));
  CO_ASSIGN(auto exposure, co_await call.services.ports.Expose(call.id, std::move(request)));
  json::Writer writer = Success();
  WriteExposure(writer, call, exposure);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoUnexpose(Call& call) {
  std::optional<uint16_t> port = ParsePort(call.values.at(0));
  if (!port) co_return Fail(Code::kInvalidArgument, "the port in the path is none", "INVALID_PORT");
  CO_TRY(co_await Use(call));
  CO_TRY(co_await call.services.ports.Unexpose(call.id, *port));
  json::Writer writer = Success();
  writer.Field("port", *port);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoListExposed(Call& call) {
  CO_TRY(co_await Use(call));
  CO_ASSIGN(auto exposed, call.services.ports.Exposed(call.id));
  json::Writer writer = Success();
  writer.Field("count", exposed.size()).Key("ports").BeginArray();
  for (const sandbox::Exposure& exposure : exposed) {
    writer.BeginObject();
    WriteExposure(writer, call, exposure);
    writer.Field("status", "active").EndObject();
  }
  writer.EndArray();
  co_return Finished(writer);
}

}  // namespace

async::Task<> WatchPort(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerItself(DoWatch, services, std::move(values), exchange);
}

async::Task<> ExposePort(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoExpose, services, std::move(values), exchange);
}

async::Task<> UnexposePort(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoUnexpose, services, std::move(values), exchange);
}

async::Task<> ListExposedPorts(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoListExposed, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
