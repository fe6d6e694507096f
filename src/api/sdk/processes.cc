// SPDX-License-Identifier: Apache-2.0
#include "sandbox/processes.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/process_json.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "api/seed/output_events.h"
#include "crypto/bytes.h"
#include "sandbox/files.h"

namespace atl::api::sdk {
namespace {

constexpr std::chrono::seconds kKillAfter{5};

struct Wanted {
  sandbox::ProcessRequest request;
  std::string session;
  std::optional<std::string> cwd;
};

Result<Wanted> ParseStart(const json::Object& body) {
  Wanted wanted;
  ASSIGN(std::optional<std::string> command, body.OptionalText("command"));
  if (!command || command->find_first_not_of(" \t\r\n") == std::string::npos) {
    return Fail(Code::kInvalidArgument, "\"command\" is missing or empty", "INVALID_COMMAND");
  }
  ASSIGN(wanted.session, SessionOf(body));
  ASSIGN(wanted.cwd, body.OptionalText("cwd"));
  if (wanted.cwd && wanted.cwd->empty()) wanted.cwd.reset();
  if (wanted.cwd) TRY(sandbox::AbsolutePath(*wanted.cwd));
  ASSIGN(std::optional<std::string> id, body.OptionalText("processId"));
  wanted.request.id =
      id ? *std::move(id) : fmt::format("proc_{}_{}", NowMs(), crypto::RandomHex(3));
  ASSIGN(wanted.request.program.env, EnvOf(body));
  ASSIGN(auto timeout, TimeoutOf(body, "timeoutMs"));
  ASSIGN(std::optional<bool> cleanup, body.OptionalBool("autoCleanup"));
  (void)cleanup;  // of those that have ended the last thousand are kept
  wanted.request.program.command = *std::move(command);
  TRY(sandbox::ValidateExec(wanted.request.program));
  if (timeout) {
    sandbox::ExecRequest& program = wanted.request.program;
    wanted.request.display = program.command;
    program.argv = {"timeout",
                    fmt::format("--kill-after={}", kKillAfter.count()),
                    fmt::format("{}", std::chrono::duration<double>(*timeout).count()),
                    "bash",
                    "-c",
                    std::exchange(program.command, {})};
  }
  return wanted;
}

async::Task<Result<std::string>> DoStart(Call& call) {
  CO_ASSIGN(Wanted wanted, ParseStart(call.body));
  sandbox::ProcessRequest& request = wanted.request;
  call.About("processId", request.id);
  CO_ASSIGN(auto sandbox, co_await Use(call));
  sandbox::AgentClient& agent = sandbox->agent();
  CO_ASSIGN(ShellState state, co_await StateOf(agent, wanted.session));
  request.program.cwd = Joined(state.cwd, wanted.cwd.value_or(""));
  std::vector<std::pair<std::string, std::string>> own = std::move(request.program.env);
  request.program.env = std::move(state.env);
  std::ranges::move(own, std::back_inserter(request.program.env));
  CO_ASSIGN(auto info, co_await sandbox::StartProcess(agent, std::move(request)));
  json::Writer writer = Success();
  writer.Field("processId", info.id).Field("pid", info.pid);
  writer.Field("command", info.display);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoList(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto processes, co_await sandbox::ListProcesses(sandbox->agent()));
  json::Writer writer = Success();
  writer.Key("processes").BeginArray();
  for (const sandbox::ProcessInfo& info : processes) WriteProcess(writer, info);
  writer.EndArray();
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoGet(Call& call) {
  std::string id = call.values.at(0);
  call.About("processId", id);
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto info, co_await sandbox::GetProcess(sandbox->agent(), std::move(id)));
  json::Writer writer = Success();
  writer.Key("process");
  WriteProcess(writer, info);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoKill(Call& call) {
  std::string id = call.values.at(0);
  call.About("processId", id);
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_TRY(co_await sandbox::GetProcess(sandbox->agent(), id));
  CO_TRY(co_await sandbox::StopProcess(sandbox->agent(), id));
  json::Writer writer = Success();
  writer.Field("processId", id);
  co_return Finished(writer);
}

async::Task<Result<std::string>> DoKillAll(Call& call) {
  CO_ASSIGN(auto sandbox, co_await Use(call));
  CO_ASSIGN(auto processes, co_await sandbox::ListProcesses(sandbox->agent()));
  int64_t running = std::ranges::count(processes, sandbox::ProcessStatus::kRunning,
                                       &sandbox::ProcessInfo::status);
  CO_TRY(co_await sandbox::StopProcess(sandbox->agent(), {}));
  json::Writer writer = Success();
  writer.Field("message", fmt::format("{} processes were ended", running));
  writer.Field("killedCount", running).Field("cleanedCount", running);
  co_return Finished(writer);
}

}  // namespace

std::string_view StatusName(const sandbox::ProcessInfo& info) {
  switch (info.status) {
    case sandbox::ProcessStatus::kRunning:
      return "running";
    case sandbox::ProcessStatus::kExited:
      return info.exited.exit_code == 0 ? "completed" : "failed";
    case sandbox::ProcessStatus::kKilled:
      return "killed";
    case sandbox::ProcessStatus::kError:
      return "error";
  }
  return "error";
}

int ExitCodeOf(const sandbox::ProcessInfo& info) {
  return info.exited.signal != 0 ? 128 + info.exited.signal : info.exited.exit_code;
}

void WriteProcess(json::Writer& writer, const sandbox::ProcessInfo& info) {
  writer.BeginObject().Field("id", info.id).Field("pid", info.pid);
  writer.Field("command", info.display).Field("status", StatusName(info));
  writer.Field("startTime", IsoTime(static_cast<int64_t>(info.started_ms)));
  if (info.status != sandbox::ProcessStatus::kRunning) {
    writer.Field("endTime", IsoTime(static_cast<int64_t>(info.ended_ms)));
    writer.Field("exitCode", ExitCodeOf(info));
  }
  writer.EndObject();
}

async::Task<> StartProcess(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoStart, services, std::move(values), exchange);
}

async::Task<> ListProcesses(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoList, services, std::move(values), exchange);
}

async::Task<> GetProcess(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoGet, services, std::move(values), exchange);
}

async::Task<> KillProcess(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoKill, services, std::move(values), exchange);
}

async::Task<> KillAllProcesses(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoKillAll, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
