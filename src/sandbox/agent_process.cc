// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "base/clock.h"
#include "protocol/exec.h"
#include "sandbox/agent_client.h"
#include "sandbox/agent_connection.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr std::chrono::milliseconds kStartLimit{30'000};

// `overrides` over `base`: of two values of a name the later one counts.
std::vector<std::pair<std::string, std::string>> MergeEnv(
    std::vector<std::pair<std::string, std::string>> base,
    std::vector<std::pair<std::string, std::string>> overrides) {
  for (auto& [name, value] : overrides) {
    auto same = std::ranges::find(base, name, &std::pair<std::string, std::string>::first);
    if (same == base.end()) {
      base.emplace_back(std::move(name), std::move(value));
    } else {
      same->second = std::move(value);
    }
  }
  return base;
}

class AgentProcess : public Process {
 public:
  AgentProcess(std::unique_ptr<AgentConnection> connection, uint32_t pid, std::string socket_path,
               OomBook ooms)
      : connection_(std::move(connection)),
        pid_(static_cast<int>(pid)),
        socket_path_(std::move(socket_path)),
        ooms_(std::move(ooms)) {}

  int pid() const override { return pid_; }

  async::Task<Result<ProcessEvent>> Next() override {
    while (!exited_) {
      CO_ASSIGN(protocol::Frame frame, co_await connection_->Next());
      if (frame.type == FrameType::kStdout || frame.type == FrameType::kStderr) {
        if (frame.payload.empty()) continue;
        auto kind = frame.type == FrameType::kStdout ? ProcessEvent::Kind::kStdout
                                                     : ProcessEvent::Kind::kStderr;
        co_return ProcessEvent{.kind = kind, .data = frame.payload};
      }
      if (frame.type == FrameType::kUsage) {
        CO_ASSIGN(usage_, ExpectFromAgent<protocol::Usage>(frame));
        continue;
      }
      CO_ASSIGN(auto exited, ExpectFromAgent<protocol::Exited>(frame));
      exited_ = true;
      ProcessEvent event = ExitEvent(exited);
      Ended ended{.who = fmt::format("{} {}", pid_, begun_ms_),
                  .exit_code = event.exit_code,
                  .max_rss_bytes = event.max_rss_bytes};
      event.out_of_memory = co_await EndedForMemory(ooms_, std::move(ended));
      co_return event;
    }
    co_return Fail(Code::kFailedPrecondition, "the program has ended");
  }

  async::Task<Result<void>> WriteStdin(std::string_view data) override {
    Result<void> sent = co_await connection_->SendData(FrameType::kStdin, data);
    co_return sent;
  }

  async::Task<Result<void>> CloseStdin() override {
    Result<void> sent = co_await connection_->SendEmpty(FrameType::kStdinEnd);
    co_return sent;
  }

  // On a connection of its own: this one may be full of input that the program does not read.
  async::Task<Result<void>> Signal(int signo) override {
    protocol::Signal request{.pid = static_cast<uint32_t>(pid_), .signo = signo, .group = true};
    CO_ASSIGN(auto connection, co_await AgentConnection::Open(socket_path_));
    CO_TRY(co_await connection->Send(request));
    CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kStartLimit));
    CO_TRY(ExpectFromAgent<protocol::Ok>(frame));
    co_return Result<void>();
  }

 private:
  ProcessEvent ExitEvent(const protocol::Exited& exited) const {
    ProcessEvent event{.kind = ProcessEvent::Kind::kExited};
    event.signal = std::clamp(exited.signal, 0, 127);
    event.exit_code = event.signal != 0 ? 128 + event.signal : exited.exit_code & 0xff;
    event.timed_out = usage_.timed_out;
    event.cpu_us = usage_.cpu_us;
    event.max_rss_bytes = usage_.max_rss_bytes;
    return event;
  }

  std::unique_ptr<AgentConnection> connection_;
  int pid_;
  std::string socket_path_;
  OomBook ooms_;
  protocol::Usage usage_;
  int64_t begun_ms_ = NowMs();
  bool exited_ = false;
};

protocol::Spawn ToRequest(SpawnSpec spec, std::vector<std::pair<std::string, std::string>> base) {
  return protocol::Spawn{.argv = std::move(spec.argv),
                         .env = MergeEnv(std::move(base), std::move(spec.env)),
                         .cwd = std::move(spec.cwd),
                         .want_stdin = spec.want_stdin,
                         .kill_grace_ms = static_cast<uint32_t>(spec.kill_grace.count())};
}

protocol::Exec ToRequest(ExecSpec spec, const AgentClient& agent) {
  SpawnSpec& program = spec.program;
  return protocol::Exec{.argv = std::move(program.argv),
                        .env = agent.EnvironmentOf(spec.user, std::move(program.env)),
                        .cwd = std::move(program.cwd),
                        .user = std::move(spec.user),
                        .want_stdin = program.want_stdin,
                        .keep = spec.keep,
                        .kill_grace_ms = static_cast<uint32_t>(program.kill_grace.count()),
                        .timeout_ms = static_cast<uint64_t>(spec.timeout.count())};
}

Result<uint32_t> CheckPid(uint32_t pid) {
  if (pid > 1 && pid <= (1U << 22U)) return pid;
  return Fail(Code::kInternal, fmt::format("the agent says that a program has pid {}", pid));
}

struct Begun {
  std::unique_ptr<AgentConnection> connection;
  uint32_t pid = 0;
};

// Sends a request that begins a program or joins one; Reply carries its pid.
template <class Reply, class Request>
async::Task<Result<Begun>> Begin(std::string socket_path, const Request& request) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kStartLimit));
  CO_ASSIGN(auto reply, ExpectFromAgent<Reply>(frame));
  co_return Begun{.connection = std::move(connection), .pid = reply.pid};
}

}  // namespace

async::Task<Result<std::unique_ptr<Process>>> AgentClient::Spawn(SpawnSpec spec) {
  protocol::Spawn request = ToRequest(std::move(spec), base_env_);
  CO_ASSIGN(Begun begun, co_await Begin<protocol::Started>(socket_path_, request));
  CO_TRY(CheckPid(begun.pid));
  co_return std::make_unique<AgentProcess>(std::move(begun.connection), begun.pid, socket_path_,
                                           ooms_);
}

std::vector<std::pair<std::string, std::string>> AgentClient::EnvironmentOf(
    std::string_view user, std::vector<std::pair<std::string, std::string>> added) const {
  auto env = base_env_;
  // The agent knows what these are of another user.
  if (!user.empty()) {
    std::erase_if(env, [](const auto& entry) {
      return entry.first == "HOME" || entry.first == "USER" || entry.first == "LOGNAME";
    });
  }
  return MergeEnv(std::move(env), std::move(added));
}

async::Task<Result<std::unique_ptr<Process>>> AgentClient::Execute(ExecSpec spec) {
  protocol::Exec request = ToRequest(std::move(spec), *this);
  Result<Begun> begun = co_await Begin<protocol::Started>(socket_path_, request);
  if (!begun) co_return Unexpected(std::move(begun).error());
  CO_TRY(CheckPid(begun->pid));
  co_return std::make_unique<AgentProcess>(std::move(begun->connection), begun->pid, socket_path_,
                                           ooms_);
}

async::Task<Result<std::unique_ptr<Process>>> AgentClient::ExecuteInSession(SessionSpec spec) {
  protocol::SessionExec request{.id = std::move(spec.session),
                                .command = std::move(spec.command),
                                .cwd = std::move(spec.cwd),
                                .env = std::move(spec.env),
                                .stdin = std::move(spec.stdin),
                                .keep = spec.keep,
                                .timeout_ms = static_cast<uint64_t>(spec.timeout.count())};
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(socket_path_));
  CO_TRY(co_await connection->Send(request));
  // Without a limit: commands before it may take any time.
  CO_ASSIGN(protocol::Frame frame, co_await connection->Next());
  Result<protocol::Started> started = ExpectFromAgent<protocol::Started>(frame);
  if (!started) co_return Unexpected(std::move(started).error());
  CO_TRY(CheckPid(started->pid));
  co_return std::make_unique<AgentProcess>(std::move(connection), started->pid, socket_path_,
                                           ooms_);
}

async::Task<Result<int>> AgentClient::SpawnDetached(std::string name, SpawnSpec spec) {
  protocol::Spawn request = ToRequest(std::move(spec), base_env_);
  request.detached = true;
  request.name = std::move(name);
  CO_ASSIGN(Begun begun, co_await Begin<protocol::Started>(socket_path_, request));
  CO_TRY(CheckPid(begun.pid));
  co_return static_cast<int>(begun.pid);
}

async::Task<Result<std::unique_ptr<Process>>> AgentClient::Attach(std::string name,
                                                                  uint64_t offset) {
  protocol::Attach request{.name = std::move(name), .offset = offset};
  CO_ASSIGN(Begun begun, co_await Begin<protocol::Attached>(socket_path_, request));
  co_return std::make_unique<AgentProcess>(std::move(begun.connection), begun.pid, socket_path_,
                                           ooms_);
}

}  // namespace atl::sandbox
