// SPDX-License-Identifier: Apache-2.0
#include "api/v1/processes.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "api/seed/output_events.h"
#include "api/v1/answers/commands.h"
#include "api/v1/exec.h"
#include "api/v1/process_logs.h"
#include "api/v1/process_wait.h"
#include "json/reader.h"

namespace atl::api {
namespace {

using SandboxPtr = std::shared_ptr<sandbox::Sandbox>;

struct Wanted {
  sandbox::ProcessRequest request;
  bool service = false;
  bool keep_awake = false;
};

Result<Wanted> ParseStart(const json::Object& body) {
  Wanted wanted;
  sandbox::ProcessRequest& request = wanted.request;
  ASSIGN(std::optional<bool> service, body.OptionalBool("service"));
  ASSIGN(std::optional<bool> keep_awake, body.OptionalBool("keepAwake"));
  wanted.service = service.value_or(false);
  wanted.keep_awake = keep_awake.value_or(false);
  if (wanted.keep_awake && !wanted.service) {
    return Fail(Code::kInvalidArgument, "\"keepAwake\" is of a \"service\"", "VALIDATION_FAILED");
  }
  if (wanted.service) request.restart = sandbox::Restart::kAlways;
  ASSIGN(std::optional<std::string> id, body.OptionalText("id"));
  request.id = id.value_or("");
  ASSIGN(ProgramFields program, ParseProgram(body));
  request.program.argv = std::move(program.argv);
  request.program.command = std::move(program.command);
  request.program.env = std::move(program.env);
  request.program.user = std::move(program.user);
  if (program.cwd) request.program.cwd = *std::move(program.cwd);
  ASSIGN(std::optional<std::string> restart, body.OptionalText("restart"));
  if (restart) {
    std::optional<sandbox::Restart> known = sandbox::ParseRestart(*restart);
    if (!known) {
      return Fail(Code::kInvalidArgument, R"("restart" is "never", "on-failure" or "always")",
                  "VALIDATION_FAILED");
    }
    request.restart = *known;
  }
  TRY(sandbox::ValidateExec(request.program));
  return wanted;
}

std::string ProcessJson(const Services& services, const SandboxPtr& sandbox,
                        const sandbox::ProcessInfo& info) {
  json::Writer writer;
  auto service = services.registry.services().Find(sandbox->iid(), info.id);
  WriteProcess(writer, sandbox->agent(), info, service ? &*service : nullptr);
  return writer.Take();
}

// One that could not be started is told of, too.
async::Task<Result<sandbox::ProcessInfo>> Look(const Services& services, SandboxPtr sandbox,
                                               std::string process) {
  Result<sandbox::ProcessInfo> info = co_await sandbox::GetProcess(sandbox->agent(), process);
  if (info || ReasonOf(info.error()) != "PROCESS_NOT_FOUND") co_return info;
  auto service = services.registry.services().Find(sandbox->iid(), process);
  if (service) co_return sandbox::InfoOf(*service);
  co_return info;
}

async::Task<Result<std::string>> DoStart(const Services& services, std::string id,
                                         http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text));
  CO_ASSIGN(Wanted wanted, ParseStart(body));
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(id), exchange));
  if (wanted.service) {
    CO_ASSIGN(sandbox::ProcessInfo info,
              co_await sandbox::StartService(services.registry, sandbox, std::move(wanted.request),
                                             wanted.keep_awake));
    co_return ProcessJson(services, sandbox, info);
  }
  CO_ASSIGN(sandbox::ProcessInfo info,
            co_await sandbox::StartProcess(sandbox->agent(), std::move(wanted.request)));
  // Another program has the name of what was a service.
  CO_TRY(co_await sandbox::ForgetService(services.registry, sandbox, info.id));
  co_return ProcessJson(services, sandbox, info);
}

async::Task<> Start(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoStart(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoList(const Services& services, std::string id,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_ASSIGN(auto all, co_await sandbox::ListProcesses(sandbox->agent()));
  std::map<std::string, sandbox::Service> known;
  for (sandbox::Service& service : services.registry.services().Of(sandbox->iid())) {
    known.emplace(service.request.id, std::move(service));
  }
  json::Writer writer;
  writer.BeginObject().Key("processes").BeginArray();
  for (const sandbox::ProcessInfo& info : all) {
    auto service = known.extract(info.id);
    WriteProcess(writer, sandbox->agent(), info, service.empty() ? nullptr : &service.mapped());
  }
  for (const auto& [process, service] : known) {
    WriteProcess(writer, sandbox->agent(), sandbox::InfoOf(service), &service);
  }
  writer.EndArray().EndObject();
  co_return writer.Take();
}

async::Task<> ListAll(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoList(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoShow(const Services& services, Values values,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_ASSIGN(auto info, co_await Look(services, sandbox, std::move(values.at(1))));
  co_return ProcessJson(services, sandbox, info);
}

async::Task<> ShowOne(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoShow(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoSignal(const Services& services, Values values,
                                          http::Exchange& exchange) {
  CO_ASSIGN(std::string text, co_await exchange.ReadBody(kMaxBodyBytes));
  CO_ASSIGN(json::Object body, json::Object::Parse(text, true));
  CO_ASSIGN(int signal, ParseSignal(body, "signal"));
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  CO_TRY(co_await sandbox::SignalProcess(sandbox->agent(), std::move(values.at(1)), signal));
  co_return R"({"success":true})";
}

async::Task<> SignalOne(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoSignal(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoStop(const Services& services, Values values,
                                        http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(values.at(0)), exchange));
  std::string process = values.at(1);
  CO_ASSIGN(auto info, co_await Look(services, sandbox, process));
  CO_TRY(co_await sandbox::ForgetService(services.registry, sandbox, process));
  if (info.started_ms == 0) co_return ProcessJson(services, sandbox, info);
  CO_TRY(co_await sandbox::StopProcess(sandbox->agent(), process));
  CO_ASSIGN(info, co_await sandbox::GetProcess(sandbox->agent(), std::move(process)));
  co_return ProcessJson(services, sandbox, info);
}

async::Task<> StopOne(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoStop(services, std::move(values), exchange);
  co_await RespondResult(exchange, std::move(json));
}

async::Task<Result<std::string>> DoStopAll(const Services& services, std::string id,
                                           http::Exchange& exchange) {
  CO_ASSIGN(SandboxPtr sandbox, co_await AcquireFor(services, std::move(id), exchange));
  CO_TRY(co_await sandbox::ForgetService(services.registry, sandbox, std::string()));
  CO_TRY(co_await sandbox::StopProcess(sandbox->agent(), std::string()));
  co_return R"({"success":true})";
}

async::Task<> StopAll(const Services& services, Values values, http::Exchange& exchange) {
  Result<std::string> json = co_await DoStopAll(services, std::move(values.at(0)), exchange);
  co_await RespondResult(exchange, std::move(json));
}

constexpr Field kStartFields[] = {
    {.name = "command", .about = "A command line for bash."},
    {.name = "argv", .kind = Kind::kTextList, .about = "A program and its arguments, instead."},
    {.name = "id",
     .about = "1 to 64 letters, digits, '.', '_' and '-'; a new one when it is not there."},
    {.name = "env", .kind = Kind::kTextMap, .about = "Added to the sandbox's; null is skipped."},
    {.name = "cwd", .about = "/workspace when it is not there."},
    {.name = "user", .about = "name, uid, uid:gid or name:group; root when it is not there."},
    {.name = "restart",
     .about = "When it ends by itself: \"never\" (usual), \"on-failure\", \"always\" (a service)."},
    {.name = "service",
     .kind = Kind::kBoolean,
     .about = "It is started again whenever the sandbox is, until it is stopped by DELETE."},
    {.name = "keepAwake",
     .kind = Kind::kBoolean,
     .about = "Of a service: while it runs the sandbox neither sleeps nor stops by itself."},
};
constexpr Field kSignalFields[] = {
    {.name = "signal", .kind = Kind::kAny, .about = "\"SIGTERM\" (usual), \"HUP\", 15, ..."},
};

constexpr Route kRoutes[] = {
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/processes",
     .operation = "startProcess",
     .summary = "Starts a program in the background. It outlives the request and the daemon.",
     .handler = Start,
     .returns = &answers::kProcess,
     .body = Media::kJson,
     .fields = kStartFields},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/processes",
     .operation = "listProcesses",
     .summary = "The processes that run, and the last thousand that have ended.",
     .handler = ListAll,
     .returns = &answers::kProcessList},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/processes",
     .operation = "stopProcesses",
     .summary = "Ends all of them.",
     .handler = StopAll,
     .returns = &answers::kDone},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/processes/{process}",
     .operation = "getProcess",
     .summary = "One process.",
     .handler = ShowOne,
     .returns = &answers::kProcess},
    {.method = "DELETE",
     .pattern = "/v1/sandboxes/{id}/processes/{process}",
     .operation = "stopProcess",
     .summary =
         "Ends it with what it has started, also in sessions of its own (setsid), unless that "
         "has no ATOLL_PROCESS in its environment or runs as another user: SIGTERM, 5 s, "
         "SIGKILL. A service is none any more.",
     .handler = StopOne,
     .returns = &answers::kProcess},
    {.method = "POST",
     .pattern = "/v1/sandboxes/{id}/processes/{process}/signal",
     .operation = "signalProcess",
     .summary = "Sends a signal to its process group.",
     .handler = SignalOne,
     .returns = &answers::kDone,
     .body = Media::kJson,
     .fields = kSignalFields},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/processes/{process}/logs",
     .operation = "getProcessLogs",
     .summary = "What it has written, from an offset on.",
     .handler = RespondLogs,
     .answer = Media::kEvents,
     .returns = &answers::kLogs,
     .streams = &answers::kLogEvent,
     .query = kLogQuery,
     .headers = kLastEventId},
    {.method = "GET",
     .pattern = "/v1/sandboxes/{id}/processes/{process}/wait",
     .operation = "waitForProcess",
     .summary = "Answers when it has ended, has written something or listens.",
     .handler = RespondWait,
     .returns = &answers::kWaited,
     .query = kWaitQuery},
};

}  // namespace

std::span<const Route> ProcessRoutes() { return kRoutes; }

void WriteProcess(json::Writer& writer, const sandbox::AgentClient& agent,
                  const sandbox::ProcessInfo& info, const sandbox::Service* service) {
  writer.BeginObject().Field("id", info.id).Field("command", info.display);
  writer.Field("status", sandbox::StatusName(info.status)).Field("pid", info.pid);
  writer.Field("cwd", info.cwd);
  if (!info.user.empty()) writer.Field("user", info.user);
  writer.Field("restart", sandbox::RestartName(info.restart)).Field("restarts", info.restarts);
  if (service != nullptr) {
    writer.Field("service", true).Field("keepAwake", service->keep_awake);
  }
  if (info.started_ms != 0) {
    writer.Field("startTime", IsoTime(static_cast<int64_t>(info.started_ms)));
  }
  if (info.ended_ms != 0) {
    int signal = info.exited.signal;
    writer.Field("endTime", IsoTime(static_cast<int64_t>(info.ended_ms)));
    writer.Field("exitCode", signal != 0 ? 128 + signal : info.exited.exit_code);
    if (signal != 0) writer.Field("signal", SignalName(signal));
    writer.Field("oomKilled", sandbox::EndedForMemory(agent, info));
    writer.Field("cpuMs", static_cast<double>(info.cpu_us) / 1000);
    writer.Field("maxRssBytes", info.max_rss_bytes);
  }
  if (!info.error.empty()) writer.Field("error", info.error);
  writer.Field("logBegin", info.log_begin).Field("logEnd", info.log_end).EndObject();
}

}  // namespace atl::api
