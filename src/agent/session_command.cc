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
  if (!streams) {
    shell_->Finish();
    return Unexpected(std::move(streams).error());
  }
  streams_ = *std::move(streams);
  keep_ = request.keep;
  uint64_t timeout = request.timeout_ms > 0 ? request.timeout_ms : session_->timeout_ms;
  if (timeout > 0) deadline_ = Clock::now() + milliseconds(std::min(timeout, kMaxTimeoutMs));
  (void)outbox_->Put(protocol::Started{.pid = shell_->child()->pid()});
  while (Step()) {
  }
  shell_->Finish();
  Result<void> said = Conclude();
  drain_->Add(std::move(streams_.out));
  drain_->Add(std::move(streams_.err));
  return said;
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
  Clock::time_point due = meter_->next_look();
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
  auto events = static_cast<short>(POLLIN | (room ? 0 : POLLOUT));
  std::array<pollfd, 6> fds{{
      {.fd = listening ? socket_ : -1, .events = events, .revents = 0},
      {.fd = shell_->status_fd(), .events = POLLIN, .revents = 0},
      {.fd = shell_->child()->exited_fd(), .events = POLLIN, .revents = 0},
      {.fd = room ? streams_.out.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = room ? streams_.err.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = kill_at_ ? -1 : session_->closing.get(), .events = POLLIN, .revents = 0},
  }};
  if (poll(fds.data(), fds.size(), PollMs()) < 0) return errno == EINTR;
  if ((fds[0].revents & ~POLLOUT) != 0 && HasLeft(socket_)) Leave();
  if ((fds[1].revents & POLLIN) != 0) {
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
  if (fds[2].revents != 0) over_ = true;
  if (fds[5].revents != 0) GiveUp(milliseconds(0));
  err_first_ = !err_first_;
  for (bool err : {err_first_, !err_first_}) {
    if ((listening && !outbox_->empty()) || fds[err ? 4 : 3].revents == 0) continue;
    ReadOutput(err);
  }
  return !over_;
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
  while ((err ? streams_.err : streams_.out) && taken < kMostAfterEnd) {
    if (!outbox_->FlushAll()) client_gone_ = true;
    ssize_t count = client_gone_ ? 0 : ReadOutput(err);
    if (count <= 0) return;
    taken += count;
  }
}

Result<void> SessionCommand::Conclude() {
  if (!alone_ && !client_gone_) {
    TakeRest(false);
    TakeRest(true);
  }
  bool ended_shell = !status_ && refused_ && !kill_at_;
  protocol::Exited exited = shell_->exited();
  // A shell that cannot be started now is tried again by the next command.
  if (!shell_->alive() && !session_->closed) (void)shell_->Restart(ended_shell);
  if (alone_ || client_gone_) return {};
  TRY(outbox_->FlushAll());
  if (!refused_) return refused_;
  if (session_->closed) {
    return Fail(Code::kGone, "the session was closed", "SESSION_DESTROYED");
  }
  if (ended_shell) {
    return Fail(Code::kGone,
                "the command has ended the shell of the session, with exit code " +
                    std::to_string(exited.signal != 0 ? 128 + exited.signal : exited.exit_code) +
                    "; the next command gets a new one",
                "SESSION_TERMINATED");
  }
  usage_.timed_out = timed_out_;
  ASSIGN(std::string usage, protocol::Encode(usage_));
  ASSIGN(std::string end, protocol::Encode(timed_out_ ? protocol::Exited{.signal = SIGTERM}
                                                      : protocol::Exited{.exit_code = *status_}));
  TRY(outbox_->PutFrame(usage + end));
  return outbox_->FlushAll();
}

}  // namespace atl::agent
