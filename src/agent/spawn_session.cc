// SPDX-License-Identifier: Apache-2.0
#include "agent/spawn_session.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr int kSmallPipe = 64 << 10;
constexpr int kLargePipe = 1 << 20;
constexpr uint32_t kMaxGraceMs = 30'000;
constexpr int kEndTickMs = 25;

bool HasNul(const std::string& text) { return text.find('\0') != std::string::npos; }

Result<void> SetNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0) return {};
  return FailErrno(errno, "make a pipe non-blocking");
}

// Makes the pipe larger when what was read says that the program fills it.
void GrowPipe(int fd, ssize_t last_read) {
  // Only once: afterwards reads are longer than the small pipe. Every page counts against a limit
  // per user, so quiet programs keep the small one.
  if (last_read == kSmallPipe && fcntl(fd, F_GETPIPE_SZ) == kSmallPipe) {
    fcntl(fd, F_SETPIPE_SZ, kLargePipe);
  }
}

}  // namespace

Result<Program> ToProgram(const protocol::Spawn& request) {
  if (request.argv.empty() || request.argv[0].empty()) {
    return Fail(Code::kInvalidArgument, "there is no command");
  }
  if (request.cwd.empty() || HasNul(request.cwd)) {
    return Fail(Code::kInvalidArgument, "there is no usable working directory");
  }
  Program program{.argv = request.argv, .cwd = request.cwd, .uid = request.uid, .gid = request.gid};
  for (const std::string& argument : program.argv) {
    if (HasNul(argument)) return Fail(Code::kInvalidArgument, "an argument contains a NUL");
  }
  for (const auto& [key, value] : request.env) {
    if (key.empty() || key.find('=') != std::string::npos || HasNul(key) || HasNul(value)) {
      return Fail(Code::kInvalidArgument, "bad environment variable " + key);
    }
    program.env.push_back(key + "=" + value);
  }
  return program;
}

Result<std::shared_ptr<Child>> StartWithPipes(Processes* processes, const Program& program,
                                              bool want_stdin, bool merge, ProgramPipes* pipes) {
  sys::Pipe in;
  sys::Pipe err;
  if (want_stdin) {
    ASSIGN(in, sys::MakePipe());
    TRY(SetNonBlocking(in.write.get()));
  } else {
    ASSIGN(in.read, sys::Open("/dev/null", O_RDONLY));
  }
  ASSIGN(sys::Pipe out, sys::MakePipe());
  TRY(SetNonBlocking(out.read.get()));
  if (!merge) {
    ASSIGN(err, sys::MakePipe());
    TRY(SetNonBlocking(err.read.get()));
  }
  Stdio stdio{.in = in.read.get(),
              .out = out.write.get(),
              .err = merge ? out.write.get() : err.write.get()};
  ASSIGN(auto child, processes->Start(program, stdio));
  *pipes = {.in = std::move(in.write), .out = std::move(out.read), .err = std::move(err.read)};
  return child;
}

Result<void> SpawnSession::Run(const protocol::Spawn& request) {
  ASSIGN(Program program, ToProgram(request));
  ASSIGN(child_, StartWithPipes(processes_, program, request.want_stdin, false, &pipes_));
  (void)outbox_->Put(protocol::Started{.pid = child_->pid()});
  // The client may have sent its stdin together with the request.
  client_gone_ = !HandleInput();
  while (!client_gone_ && Step()) {
  }
  pipes_ = {};
  if (client_gone_) {
    EndProgram(request.kill_grace_ms);
    return {};
  }
  auto status = processes_->Status(*child_);
  if (status && outbox_->Put(*status)) (void)outbox_->FlushAll();
  return {};
}

int SpawnSession::PollTimeout() const {
  if (ending_) return kEndTickMs;
  return exited_ && outbox_->empty() ? kDrainMs : -1;
}

void SpawnSession::EndRest() {
  auto end_by = processes_->EndBy(*child_);
  ending_ = end_by && processes_->HasSession(*child_);
  if (!ending_ || std::chrono::steady_clock::now() < *end_by) return;
  processes_->Kill(*child_);
  ending_ = false;
}

bool SpawnSession::Step() {
  if (!outbox_->Flush()) {
    client_gone_ = true;
    return false;
  }
  bool room = outbox_->empty();
  if (ending_) EndRest();
  if (exited_ && !ending_ && room && !pipes_.out && !pipes_.err) return false;
  bool stdin_waits = !stdin_pending_.empty();
  auto events = static_cast<short>((room ? 0 : POLLOUT) | (stdin_waits ? 0 : POLLIN));
  // A negative descriptor is ignored by poll.
  std::array<pollfd, 5> fds{{
      {.fd = socket_, .events = events, .revents = 0},
      {.fd = exited_ ? -1 : child_->exited_fd(), .events = POLLIN, .revents = 0},
      {.fd = room ? pipes_.out.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = room ? pipes_.err.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = stdin_waits ? pipes_.in.get() : -1, .events = POLLOUT, .revents = 0},
  }};
  int ready = poll(fds.data(), fds.size(), PollTimeout());
  if (ready < 0) return errno == EINTR;
  if (ready == 0) return ending_;  // exited, and silent since
  if ((fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0 && (fds[0].revents & POLLIN) == 0) {
    client_gone_ = true;
    return false;
  }
  if ((fds[0].revents & POLLIN) != 0 && (!ReceiveSome(socket_, parser_) || !HandleInput())) {
    client_gone_ = true;
    return false;
  }
  if (fds[4].revents != 0) {
    WriteStdin();
    if (!HandleInput()) client_gone_ = true;
  }
  if (fds[1].revents != 0) {
    exited_ = true;
    EndRest();
  }
  // One frame fits the outbox: the two streams take turns.
  err_first_ = !err_first_;
  for (bool err : {err_first_, !err_first_}) {
    if (!outbox_->empty() || fds[err ? 3 : 2].revents == 0) continue;
    ReadOutput(err ? &pipes_.err : &pipes_.out, err ? FrameType::kStderr : FrameType::kStdout);
  }
  return !client_gone_;
}

bool SpawnSession::ReadOutput(sys::Fd* pipe, FrameType type) {
  ssize_t count = outbox_->ReadFrom(pipe->get(), type);
  if (count < 0 && errno == EAGAIN) return true;
  if (count <= 0) {
    pipe->Reset();
    return false;
  }
  GrowPipe(pipe->get(), count);
  return true;
}

// Handles frames until stdin is full. False: the client sent something wrong.
bool SpawnSession::HandleInput() {
  while (stdin_pending_.empty()) {
    auto frame = parser_->Next();
    if (!frame) return false;
    if (!*frame) return true;
    if (!HandleFrame(**frame)) return false;
    WriteStdin();
  }
  return true;
}

bool SpawnSession::HandleFrame(const protocol::Frame& frame) {
  switch (frame.type) {
    case FrameType::kStdin:
      // After the end, or for a program that closed its stdin, there is nobody to give it to.
      if (pipes_.in && !stdin_ended_) stdin_pending_ = frame.payload;
      return true;
    case FrameType::kStdinEnd:
      stdin_ended_ = true;
      return true;
    case FrameType::kSignalProcess: {
      auto signal = protocol::Decode<protocol::SignalProcess>(frame.payload);
      if (!signal) return false;
      (void)processes_->Signal(*child_, signal->signo, true);  // it may just have ended
      return true;
    }
    default:
      return false;
  }
}

void SpawnSession::WriteStdin() {
  while (pipes_.in && stdin_written_ < stdin_pending_.size()) {
    ssize_t count = write(pipes_.in.get(), stdin_pending_.data() + stdin_written_,
                          stdin_pending_.size() - stdin_written_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) {
      pipes_.in.Reset();
      break;
    }
    stdin_written_ += static_cast<size_t>(count);
  }
  stdin_pending_.clear();
  stdin_written_ = 0;
  if (stdin_ended_) pipes_.in.Reset();
}

void SpawnSession::EndProgram(uint32_t grace_ms) {
  if (grace_ms > 0 && processes_->Signal(*child_, SIGTERM, true)) {
    pollfd exited{.fd = child_->exited_fd(), .events = POLLIN, .revents = 0};
    poll(&exited, 1, static_cast<int>(std::min(grace_ms, kMaxGraceMs)));
  }
  // A program that ended by itself may have left something running in the background on purpose.
  if (grace_ms > 0 || !exited_ || ending_) processes_->Kill(*child_);
}

}  // namespace atl::agent
