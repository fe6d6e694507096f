// SPDX-License-Identifier: Apache-2.0
#include "sandbox/processes.h"

#include <fmt/format.h>

#include <utility>

#include "crypto/bytes.h"
#include "sandbox/agent_request.h"

namespace atl::sandbox {
namespace {

// SIGTERM and what follows are longer.
constexpr std::chrono::milliseconds kStopLimit{30'000};
constexpr uint32_t kStopGraceMs = 5000;
// The agent may wait so long for the last output of a program before it says that it has ended.

}  // namespace

std::string DisplayOf(const ExecRequest& program) {
  if (program.argv.empty()) return program.command;
  std::string display;
  for (const std::string& argument : program.argv) {
    if (!display.empty()) display += ' ';
    display += argument;
  }
  return display;
}

std::string_view StatusName(ProcessStatus status) {
  switch (status) {
    case ProcessStatus::kRunning:
      return "running";
    case ProcessStatus::kExited:
      return "exited";
    case ProcessStatus::kKilled:
      return "killed";
    case ProcessStatus::kError:
      return "error";
  }
  return "error";
}

bool EndedForMemory(const AgentClient& agent, const ProcessInfo& info) {
  if (info.ended_ms == 0) return false;
  int signal = info.exited.signal;
  return HadEndedForMemory(agent.ooms(),
                           {.who = fmt::format("{} {}", info.id, info.started_ms),
                            .exit_code = signal != 0 ? 128 + signal : info.exited.exit_code,
                            .max_rss_bytes = info.max_rss_bytes},
                           static_cast<int64_t>(info.ended_ms));
}

std::string_view RestartName(Restart restart) {
  switch (restart) {
    case Restart::kNever:
      return "never";
    case Restart::kOnFailure:
      return "on-failure";
    case Restart::kAlways:
      return "always";
  }
  return "never";
}

std::optional<Restart> ParseRestart(std::string_view name) {
  for (Restart restart : {Restart::kNever, Restart::kOnFailure, Restart::kAlways}) {
    if (RestartName(restart) == name) return restart;
  }
  return std::nullopt;
}

async::Task<Result<ProcessInfo>> StartProcess(AgentClient& agent, ProcessRequest request) {
  ExecRequest& program = request.program;
  CO_TRY(ValidateExec(program));
  if (request.display.empty()) request.display = DisplayOf(program);
  if (request.id.empty()) request.id = "proc-" + crypto::RandomHex(6);
  protocol::ProcessStart start{.id = std::move(request.id),
                               .argv = program.argv,
                               .env = agent.EnvironmentOf(program.user, std::move(program.env)),
                               .cwd = std::move(program.cwd),
                               .user = program.user,
                               .display = request.display.substr(0, 1024),
                               .restart = request.restart};
  if (start.argv.empty()) start.argv = {"bash", "-c", std::move(program.command)};
  if (request.service) {
    protocol::ServiceStart service{.process = std::move(start)};
    Result<ProcessInfo> info = co_await AskAgent<ProcessInfo>(agent.socket_path(), service);
    co_return info;
  }
  Result<ProcessInfo> info = co_await AskAgent<ProcessInfo>(agent.socket_path(), start);
  co_return info;
}

async::Task<Result<ProcessInfo>> GetProcess(AgentClient& agent, std::string id) {
  protocol::ProcessGet request{.id = std::move(id)};
  Result<ProcessInfo> info = co_await AskAgent<ProcessInfo>(agent.socket_path(), request);
  co_return info;
}

async::Task<Result<std::vector<ProcessInfo>>> ListProcesses(AgentClient& agent) {
  protocol::ProcessList request;
  auto all = co_await ListFromAgent<ProcessInfo>(agent.socket_path(), request);
  co_return all;
}

async::Task<Result<void>> SignalProcess(AgentClient& agent, std::string id, int signo) {
  protocol::ProcessSignal request{.id = std::move(id), .signo = signo};
  CO_TRY(co_await AskAgent<protocol::Ok>(agent.socket_path(), request));
  co_return Result<void>();
}

async::Task<Result<void>> StopProcess(AgentClient& agent, std::string id) {
  protocol::ProcessStop request{.id = std::move(id), .grace_ms = kStopGraceMs};
  CO_TRY(co_await AskAgent<protocol::Ok>(agent.socket_path(), request, kStopLimit));
  co_return Result<void>();
}

async::Task<Result<std::unique_ptr<ProcessLogReader>>> ProcessLogReader::Open(
    AgentClient& agent, std::string id, uint64_t offset, std::optional<uint64_t> limit,
    bool follow) {
  protocol::ProcessLogs request{
      .id = std::move(id), .offset = offset, .limit = limit.value_or(~0ULL), .follow = follow};
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(agent.socket_path()));
  CO_TRY(co_await connection->Send(request));
  co_return std::make_unique<ProcessLogReader>(std::move(connection));
}

async::Task<Result<ProcessLogReader::Item>> ProcessLogReader::Next() {
  CO_ASSIGN(protocol::Frame frame, co_await connection_->Next());
  if (frame.type == protocol::FrameType::kLogChunk) {
    CO_ASSIGN(LogChunk chunk, ExpectFromAgent<LogChunk>(frame));
    co_return Item(std::move(chunk));
  }
  CO_ASSIGN(ProcessInfo info, ExpectFromAgent<ProcessInfo>(frame));
  co_return Item(std::move(info));
}

}  // namespace atl::sandbox
