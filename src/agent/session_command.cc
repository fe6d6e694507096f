// SPDX-License-Identifier: Apache-2.0
#include "agent/session_command.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

namespace atl::agent {
namespace {

using protocol::FrameType;
using std::chrono::milliseconds;

constexpr milliseconds kTermGrace{5'000};
constexpr int kTickMs = 20;
constexpr uint64_t kMaxTimeoutMs = 1ULL << 40U;
// Of a stream, after the end: more than its pipe holds is of programs in the background.
constexpr ssize_t kMostAfterEnd = 1 << 20;

// Whether the client has closed its end. It has nothing to say while its command runs.
bool HasLeft(int socket) {
  char byte = 0;
  ssize_t count = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count >= 0 || (errno != EAGAIN && errno != EINTR);
}

}  // namespace

Result<void> SessionCommand::Run(const protocol::SessionExec& request) {
  // It may have left while it waited for its turn.
  if (HasLeft(socket_) && !request.keep) return {};
  if (!shell_->alive()) TRY(shell_->Restart(false));
  // What the command before has said at its end.
  (void)shell_->ReadStatus();
  meter_.emplace(static_cast<pid_t>(shell_->child()->pid()));
  auto streams = shell_->Begin(
      {.text = request.command, .cwd = request.cwd, .env = request.env, .stdin = request.stdin});
  if (!streams) return Unbegun(std::move(streams).error());
  streams_ = *std::move(streams);
  keep_ = request.keep;
  uint64_t timeout = request.timeout_ms > 0 ? request.timeout_ms : session_->timeout_ms;
  if (timeout > 0) deadline_ = Clock::now() + milliseconds(std::min(timeout, kMaxTimeoutMs));
  watch_.emplace(shell_);
  (void)outbox_->Put(protocol::Started{.pid = shell_->child()->pid()});
  while (Step()) {
  }
  shell_->Finish();
  Result<void> said = Conclude();
  drain_->Add(std::move(streams_.out));
  drain_->Add(std::move(streams_.err));
  return said;
}

Result<void> SessionCommand::Unbegun(Error error) {
  shell_->Finish();
  bool ours = error.sys_errno == EMFILE || error.sys_errno == ENFILE || error.sys_errno == ENOMEM;
  if (ours) return Unexpected(std::move(error));
  // Its directory was taken away, or is full; or it has just ended.
  shell_->End();
  (void)shell_->Restart(true);
  return Fail(Code::kGone,
              "the session's shell cannot be told of the command, which was not run (" +
                  error.message + "); the next command gets a new one",
              "SESSION_TERMINATED");
}

void SessionCommand::Leave() {
  outbox_->Discard();
  if (keep_) {
    alone_ = true;
  } else {
    client_gone_ = true;
    GiveUp(milliseconds(0));
  }
}

void SessionCommand::GiveUp(milliseconds grace) {
  if (kill_at_ || over_) return;
  // Before its children end: it would go on with the next one.
  shell_->Freeze();
  kill_at_ = Clock::now() + grace;
  LookAtUsage();
  if (grace.count() > 0) shell_->SignalCommand(SIGTERM);
}

void SessionCommand::LookAtUsage() {
  Clock::time_point begin = Clock::now();
  meter_->Look(shell_->CommandMembers(), begin);
}

void SessionCommand::CheckGivenUp() {
  if (!kill_at_) return;
  bool late = Clock::now() >= *kill_at_;
  // Children of what was just killed may be new.
  for (int round = 0; late && round < 8 && shell_->SignalCommand(SIGKILL); ++round) {
  }
  if (!late && shell_->SignalCommand(0)) return;
  usage_ = meter_->Take(true);
  shell_->End();
  over_ = true;
}

int SessionCommand::PollMs() const {
  if (kill_at_) return kTickMs;
  Clock::time_point due = std::min(meter_->next_look(), watch_->next_look());
  if (deadline_) due = std::min(due, *deadline_);
  auto left = std::chrono::ceil<milliseconds>(due - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

bool SessionCommand::Step() {
  if (!alone_ && !client_gone_ && !outbox_->Flush()) Leave();
  if (deadline_ && Clock::now() >= *deadline_ && !kill_at_) {
    timed_out_ = true;
    GiveUp(kTermGrace);
  }
  CheckGivenUp();
  if (over_) return false;
  bool listening = !alone_ && !client_gone_;
  bool room = !listening || outbox_->empty();
  if (!kill_at_ && Clock::now() >= meter_->next_look()) LookAtUsage();
  if (!kill_at_ && Clock::now() >= watch_->next_look() && watch_->IsStuck()) return Abandon();
  auto events = static_cast<short>(POLLIN | (room ? 0 : POLLOUT));
  std::array<pollfd, 6> fds{{
      {.fd = listening ? socket_ : -1, .events = events, .revents = 0},
      {.fd = replaced_ ? -1 : shell_->status_fd(), .events = POLLIN, .revents = 0},
      {.fd = shell_->child()->exited_fd(), .events = POLLIN, .revents = 0},
      {.fd = room ? streams_.out.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = room ? streams_.err.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = kill_at_ ? -1 : session_->closing.get(), .events = POLLIN, .revents = 0},
  }};
  if (poll(fds.data(), fds.size(), PollMs()) < 0) return errno == EINTR;
  if ((fds[0].revents & ~POLLOUT) != 0 && HasLeft(socket_)) Leave();
  if ((fds[1].revents & POLLIN) != 0) HearShell();
  // `exec` has put another program in the shell's place.
  if (fds[1].revents != 0 && (fds[1].revents & POLLIN) == 0) replaced_ = true;
  if (fds[2].revents != 0) over_ = true;
  if (fds[5].revents != 0) GiveUp(milliseconds(0));
  err_first_ = !err_first_;
  for (bool err : {err_first_, !err_first_}) {
    if (fds[err ? 4 : 3].revents == 0) continue;
    opened_ |= err;
    if (!listening || outbox_->empty()) ReadOutput(err);
  }
  return !over_;
}

void SessionCommand::HearShell() {
  auto status = shell_->ReadStatus();
  if (status) {
    status_ = *status;
    if (status_) usage_ = meter_->Take(false);
  } else {
    refused_ = Unexpected(status.error());
  }
  over_ = over_ || status_ || !refused_;
  // It ended at the moment at which it was given up.
  if (over_ && kill_at_) {
    shell_->Thaw();
    timed_out_ = false;
  }
}

bool SessionCommand::Abandon() {
  // It may have said it meanwhile.
  HearShell();
  if (over_) return false;
  stuck_ = true;
  over_ = true;
  for (int round = 0; round < 8 && shell_->SignalCommand(SIGKILL); ++round) {
  }
  shell_->End();
  return false;
}

ssize_t SessionCommand::ReadOutput(bool err) {
  sys::Fd* pipe = err ? &streams_.err : &streams_.out;
  ssize_t count = outbox_->ReadFrom(pipe->get(), err ? FrameType::kStderr : FrameType::kStdout);
  if (alone_ || client_gone_) outbox_->Discard();
  if (count == 0 || (count < 0 && errno != EAGAIN)) pipe->Reset();
  return count;
}

void SessionCommand::TakeRest(bool err) {
  ssize_t taken = 0;
  pollfd there{.fd = err ? streams_.err.get() : -1, .events = POLLIN, .revents = 0};
  if (err && streams_.err && poll(&there, 1, 0) > 0) opened_ = true;
  while ((err ? streams_.err : streams_.out) && taken < kMostAfterEnd) {
    if (!outbox_->FlushAll()) client_gone_ = true;
    ssize_t count = client_gone_ ? 0 : ReadOutput(err);
    // What is not at its end has a writer.
    if (err && count != 0 && !client_gone_) opened_ = true;
    if (count <= 0) return;
    taken += count;
  }
}

Result<void> SessionCommand::Terminated(const protocol::Exited& exited, bool told) const {
  std::string why = "the command has ended the shell of the session, with exit code " +
                    std::to_string(exited.signal != 0 ? 128 + exited.signal : exited.exit_code);
  if (stuck_) {
    why =
        "the shell of the session does not do what it is told any more: a command has stopped it "
        "or changed what it needs (options, traps, functions, limits, descriptors)";
  } else if (!told) {
    why = "the shell of the session ended before the command, which was not run";
  }
  return Fail(Code::kGone, why + "; the next command gets a new one", "SESSION_TERMINATED");
}

Result<void> SessionCommand::Conclude() {
  if (!alone_ && !client_gone_) {
    TakeRest(false);
    TakeRest(true);
  }
  // A status without the streams is of no command: bash has not begun it.
  if (status_ && !opened_ && !alone_ && !client_gone_) {
    status_.reset();
    stuck_ = true;
    shell_->End();
  }
  bool ended_shell = !status_ && refused_ && !kill_at_;
  protocol::Exited exited = shell_->exited();
  bool told = shell_->told();
  // A shell that cannot be started now is tried again by the next command.
  if (!shell_->alive() && !session_->closed) (void)shell_->Restart(ended_shell);
  if (alone_ || client_gone_) return {};
  TRY(outbox_->FlushAll());
  if (!refused_) return refused_;
  if (session_->closed) {
    return Fail(Code::kGone, "the session was closed", "SESSION_DESTROYED");
  }
  if (ended_shell) return Terminated(exited, told);
  usage_.timed_out = timed_out_;
  ASSIGN(std::string usage, protocol::Encode(usage_));
  ASSIGN(std::string end, protocol::Encode(timed_out_ ? protocol::Exited{.signal = SIGTERM}
                                                      : protocol::Exited{.exit_code = *status_}));
  TRY(outbox_->PutFrame(usage + end));
  return outbox_->FlushAll();
}

}  // namespace atl::agent
