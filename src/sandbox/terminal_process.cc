// SPDX-License-Identifier: Apache-2.0
#include "sandbox/terminal_process.h"

#include <fmt/format.h>

#include "crypto/bytes.h"
#include "sandbox/agent_request.h"

namespace atl::sandbox {
namespace {

constexpr std::string_view kEndOfInput = "\x04";
// Once nobody looks: hung up at once.
constexpr std::chrono::milliseconds kNoLinger{1};

}  // namespace

async::Task<Result<ProcessEvent>> TerminalProcess::Next() {
  while (true) {
    CO_ASSIGN(TerminalEvent event, co_await view_->Next());
    if (event.kind == TerminalEvent::Kind::kOutput) {
      co_return ProcessEvent{.kind = ProcessEvent::Kind::kStdout, .data = event.data};
    }
    if (event.kind == TerminalEvent::Kind::kSkipped) lost_ = true;
    if (event.kind != TerminalEvent::Kind::kExited) continue;
    Ended ended{.who = fmt::format("terminal {}", view_->pid()),
                .exit_code = event.exit_code,
                .max_rss_bytes = event.max_rss_bytes};
    bool for_memory = co_await EndedForMemory(agent_.ooms(), std::move(ended));
    co_return ProcessEvent{.kind = ProcessEvent::Kind::kExited,
                           .exit_code = event.exit_code,
                           .signal = event.signal,
                           .out_of_memory = for_memory,
                           .timed_out = event.timed_out,
                           .cpu_us = event.cpu_us,
                           .max_rss_bytes = event.max_rss_bytes};
  }
}

async::Task<Result<void>> TerminalProcess::WriteStdin(std::string_view data) {
  Result<void> typed = co_await view_->Type(data);
  co_return typed;
}

async::Task<Result<void>> TerminalProcess::CloseStdin() {
  Result<void> typed = co_await view_->Type(kEndOfInput);
  co_return typed;
}

async::Task<Result<void>> TerminalProcess::Signal(int signo) {
  protocol::Signal request{
      .pid = static_cast<uint32_t>(view_->pid()), .signo = signo, .group = true};
  CO_TRY(co_await AskAgent<protocol::Ok>(agent_.socket_path(), request));
  co_return Result<void>();
}

async::Task<Result<void>> TerminalProcess::Resize(TerminalSize size) {
  Result<void> resized = co_await view_->Resize(size);
  co_return resized;
}

async::Task<Result<std::unique_ptr<TerminalProcess>>> StartOnTerminal(AgentClient& agent,
                                                                      ExecRequest request,
                                                                      TerminalSize size) {
  CO_TRY(ValidateExec(request));
  if (!request.session.empty()) {
    co_return Fail(Code::kInvalidArgument, "a command in a session has no terminal",
                   "VALIDATION_FAILED");
  }
  TerminalSpec spec{.name = "exec-" + crypto::RandomHex(8),
                    .size = size,
                    .argv = std::move(request.argv),
                    .env = std::move(request.env),
                    .cwd = std::move(request.cwd),
                    .linger = request.keep ? std::chrono::milliseconds(0) : kNoLinger,
                    .of_user = true,
                    .user = std::move(request.user),
                    .timeout = request.timeout.value_or(std::chrono::milliseconds(0))};
  if (spec.argv.empty()) spec.argv = {"bash", "-c", std::move(request.command)};
  CO_ASSIGN(auto view, co_await agent.OpenTerminal(std::move(spec)));
  if (!request.stdin.empty()) {
    CO_TRY(co_await view->Type(request.stdin));
  }
  co_return std::make_unique<TerminalProcess>(agent, std::move(view));
}

}  // namespace atl::sandbox
