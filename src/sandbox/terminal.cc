// SPDX-License-Identifier: Apache-2.0
#include "sandbox/terminal.h"

#include <fmt/format.h>

#include <algorithm>

#include "protocol/exec.h"
#include "protocol/terminal.h"
#include "sandbox/agent_client.h"
#include "sandbox/agent_connection.h"
#include "sandbox/run.h"

namespace atl::sandbox {
namespace {

using protocol::FrameType;

constexpr std::chrono::milliseconds kOpenLimit{30'000};
constexpr size_t kMaxName = 128;
constexpr uint32_t kMaxSide = 1000;
constexpr size_t kMaxPath = 4095;
constexpr size_t kMaxUser = 256;
constexpr uint32_t kMaxPid = 1U << 22U;

Unexpected Invalid(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message), "VALIDATION_FAILED");
}

int CodeOf(const protocol::Exited& exited) {
  return exited.signal != 0 ? 128 + std::clamp(exited.signal, 0, 127) : exited.exit_code & 0xff;
}

protocol::OpenTerminal ToRequest(TerminalSpec spec,
                                 std::vector<std::pair<std::string, std::string>> env) {
  // A later value of a name counts, so each is there once.
  auto set = [&env](std::string name, std::string value) {
    std::erase_if(env, [&name](const auto& one) { return one.first == name; });
    env.emplace_back(std::move(name), std::move(value));
  };
  set("TERM", "xterm-256color");
  for (auto& [name, value] : spec.env) set(std::move(name), std::move(value));
  return {.name = std::move(spec.name),
          .create = spec.create,
          .offset = spec.offset,
          .cols = spec.size.cols,
          .rows = spec.size.rows,
          .argv = std::move(spec.argv),
          .env = std::move(env),
          .cwd = std::move(spec.cwd),
          .linger_ms = static_cast<uint32_t>(spec.linger.count())};
}

class AgentTerminal : public TerminalView {
 public:
  AgentTerminal(std::unique_ptr<AgentConnection> connection, protocol::TerminalOpened opened)
      : connection_(std::move(connection)), opened_(opened) {}

  int pid() const override { return static_cast<int>(opened_.pid); }
  bool created() const override { return opened_.created; }
  uint64_t offset() const override { return opened_.offset; }

  async::Task<Result<TerminalEvent>> Next() override {
    using Kind = TerminalEvent::Kind;
    while (true) {
      CO_ASSIGN(protocol::Frame frame, co_await connection_->Next());
      if (frame.type == FrameType::kStdout) {
        if (frame.payload.empty()) continue;
        co_return TerminalEvent{.kind = Kind::kOutput, .data = frame.payload};
      }
      if (frame.type == FrameType::kTerminalReplayed) {
        co_return TerminalEvent{.kind = Kind::kReplayed};
      }
      if (frame.type == FrameType::kTerminalSkipped) {
        CO_ASSIGN(auto gap, ExpectFromAgent<protocol::TerminalSkipped>(frame));
        co_return TerminalEvent{.kind = Kind::kSkipped, .skipped = gap.bytes};
      }
      if (frame.type == FrameType::kUsage) {
        CO_ASSIGN(usage_, ExpectFromAgent<protocol::Usage>(frame));
        continue;
      }
      CO_ASSIGN(auto exited, ExpectFromAgent<protocol::Exited>(frame));
      co_return TerminalEvent{.kind = Kind::kExited,
                              .exit_code = CodeOf(exited),
                              .signal = std::clamp(exited.signal, 0, 127),
                              .timed_out = usage_.timed_out,
                              .cpu_us = usage_.cpu_us,
                              .max_rss_bytes = usage_.max_rss_bytes};
    }
  }

  async::Task<Result<void>> Type(std::string_view keys) override {
    Result<void> sent = co_await connection_->SendData(FrameType::kStdin, keys);
    co_return sent;
  }

  async::Task<Result<void>> Resize(TerminalSize size) override {
    CO_TRY(ValidateTerminalSize(size));
    protocol::ResizeTerminal resize{.cols = size.cols, .rows = size.rows};
    Result<void> sent = co_await connection_->Send(resize);
    co_return sent;
  }

 private:
  std::unique_ptr<AgentConnection> connection_;
  protocol::TerminalOpened opened_;
  protocol::Usage usage_;
};

template <class Request>
async::Task<Result<std::unique_ptr<TerminalView>>> Open(std::string socket_path,
                                                        const Request& request) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kOpenLimit));
  Result<protocol::TerminalOpened> opened = ExpectFromAgent<protocol::TerminalOpened>(frame);
  if (!opened) co_return Unexpected(std::move(opened).error());
  if (opened->pid <= 1 || opened->pid > kMaxPid) {
    co_return Fail(Code::kInternal,
                   fmt::format("the agent says that a terminal has pid {}", opened->pid));
  }
  co_return std::make_unique<AgentTerminal>(std::move(connection), *opened);
}

// Older agents know the plain one alone.
async::Task<Result<std::unique_ptr<TerminalView>>> OpenEither(
    std::string socket_path, const protocol::OpenUserTerminal& request, bool of_user) {
  if (of_user) {
    Result<std::unique_ptr<TerminalView>> view = co_await Open(std::move(socket_path), request);
    co_return view;
  }
  Result<std::unique_ptr<TerminalView>> view =
      co_await Open(std::move(socket_path), request.terminal);
  co_return view;
}

template <class Reply, class Request>
async::Task<Result<Reply>> Ask(std::string socket_path, const Request& request) {
  CO_ASSIGN(auto connection, co_await AgentConnection::Open(std::move(socket_path)));
  CO_TRY(co_await connection->Send(request));
  CO_ASSIGN(protocol::Frame frame, co_await connection->NextWithin(kOpenLimit));
  Result<Reply> reply = ExpectFromAgent<Reply>(frame);
  if (!reply) co_return Unexpected(std::move(reply).error());
  co_return reply;
}

}  // namespace

Result<void> ValidateTerminalName(std::string_view name) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (!name.empty() && name.size() <= kMaxName && std::ranges::all_of(name, fits)) return {};
  return Invalid("the name of a terminal is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'");
}

Result<void> ValidateTerminalSize(TerminalSize size) {
  if (size.cols >= 1 && size.cols <= kMaxSide && size.rows >= 1 && size.rows <= kMaxSide) return {};
  return Invalid(fmt::format("a terminal has 1 to {} columns and rows", kMaxSide));
}

Result<void> ValidateTerminal(const TerminalSpec& spec) {
  TRY(ValidateTerminalName(spec.name));
  TRY(ValidateTerminalSize(spec.size));
  TRY(ValidateEnv(spec.env));
  if (spec.user.size() > kMaxUser) return Invalid("\"user\" is too long");
  if (spec.cwd.starts_with('/') && spec.cwd.size() <= kMaxPath) return {};
  return Invalid("\"cwd\" must be an absolute path");
}

async::Task<Result<std::unique_ptr<TerminalView>>> AgentClient::OpenTerminal(TerminalSpec spec) {
  CO_TRY(ValidateTerminal(spec));
  bool any_shell = spec.argv.empty();
  if (any_shell) spec.argv = {"bash"};
  bool of_user = spec.of_user;
  protocol::OpenUserTerminal request{.terminal = {},
                                     .user = std::move(spec.user),
                                     .timeout_ms = static_cast<uint64_t>(spec.timeout.count())};
  auto env = of_user ? EnvironmentOf(request.user, {}) : base_env_;
  request.terminal = ToRequest(std::move(spec), std::move(env));
  Result<std::unique_ptr<TerminalView>> view = co_await OpenEither(socket_path_, request, of_user);
  if (!view && any_shell && view.error().reason == "COMMAND_NOT_FOUND") {
    request.terminal.argv = {"sh"};
    view = co_await OpenEither(socket_path_, request, of_user);
  }
  co_return view;
}

async::Task<Result<std::vector<TerminalInfo>>> AgentClient::ListTerminals() {
  protocol::ListTerminals request;
  CO_ASSIGN(auto answer, co_await Ask<protocol::Terminals>(socket_path_, request));
  std::vector<TerminalInfo> infos;
  for (protocol::Terminal& one : answer.terminals) {
    // What a program inside may have made of its name goes into logs and answers.
    if (!ValidateTerminalName(one.name)) continue;
    infos.push_back({.name = std::move(one.name),
                     .command = std::move(one.command),
                     .pid = static_cast<int>(one.pid),
                     .running = one.running,
                     .exit_code = one.running ? 0 : CodeOf(one.exited),
                     .size = {.cols = one.cols, .rows = one.rows},
                     .viewers = one.viewers,
                     .age_ms = one.age_ms});
  }
  co_return infos;
}

async::Task<Result<void>> AgentClient::CloseTerminal(std::string name) {
  CO_TRY(ValidateTerminalName(name));
  protocol::CloseTerminal request{.name = std::move(name)};
  CO_TRY(co_await Ask<protocol::Ok>(socket_path_, request));
  co_return Result<void>();
}

}  // namespace atl::sandbox
