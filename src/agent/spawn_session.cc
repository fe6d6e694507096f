// SPDX-License-Identifier: Apache-2.0
#include "agent/spawn_session.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "agent/user.h"

namespace atl::agent {
namespace {

using protocol::FrameType;

constexpr int kSmallPipe = 64 << 10;
constexpr int kLargePipe = 1 << 20;
constexpr uint32_t kMaxGraceMs = 30'000;
constexpr int kEndTickMs = 25;
// What a program has after the SIGTERM that ends its time.
constexpr std::chrono::seconds kTermGrace{5};
constexpr uint64_t kMaxTimeoutMs = 1ULL << 40U;

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

Result<Program> ToProgram(const protocol::Exec& request) {
  ASSIGN(Program program,
         ToProgram(protocol::Spawn{.argv = request.argv, .env = request.env, .cwd = request.cwd}));
  TRY(SetUser(request.user, &program));
  return program;
}

Result<void> SpawnSession::Start(const Program& program, bool want_stdin) {
  ASSIGN(child_, StartWithPipes(processes_, program, want_stdin, false, &pipes_));
  (void)outbox_->Put(protocol::Started{.pid = child_->pid()});
  return {};
}

void SpawnSession::Follow(uint32_t kill_grace_ms) {
  // The client may have sent its stdin together with the request.
  client_gone_ = !HandleInput();
  while (!client_gone_ && Step()) {
  }
  pipes_ = {};
  if (client_gone_) EndProgram(kill_grace_ms);
}

Result<void> SpawnSession::Run(const protocol::Spawn& request) {
  ASSIGN(Program program, ToProgram(request));
  TRY(Start(program, request.want_stdin));
  Follow(request.kill_grace_ms);
  if (client_gone_) return {};
  auto status = processes_->Status(*child_);
  if (status && outbox_->Put(*status)) (void)outbox_->FlushAll();
  return {};
}

Result<void> SpawnSession::Run(const protocol::Exec& request) {
  ASSIGN(Program program, ToProgram(request));
  TRY(Start(program, request.want_stdin));
  keep_ = request.keep;
  if (request.timeout_ms > 0) {
    deadline_ =
        Clock::now() + std::chrono::milliseconds(std::min(request.timeout_ms, kMaxTimeoutMs));
  }
  Follow(request.kill_grace_ms);
  auto status = processes_->Status(*child_);
  if (client_gone_ || alone_ || !status) return {};
  protocol::Usage usage = processes_->UsageOf(*child_);
  usage.timed_out = timed_out_;
  ASSIGN(std::string end, protocol::Encode(usage));
  ASSIGN(std::string exited, protocol::Encode(*status));
  if (outbox_->PutFrame(end + exited)) (void)outbox_->FlushAll();
  return {};
}

int SpawnSession::PollTimeout() const {
  if (ending_) return kEndTickMs;
  if (exited_) return outbox_->empty() ? kDrainMs : -1;
  if (!deadline_) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
}

bool SpawnSession::GoOnAlone() {
  if (!keep_) {
    client_gone_ = true;
    return false;
  }
  alone_ = true;
  outbox_->Discard();
  // What it was still to be told will not come.
  stdin_ended_ = true;
  if (stdin_pending_.empty()) pipes_.in.Reset();
  return true;
}

void SpawnSession::Expire() {
  if (timed_out_) {
    processes_->Kill(*child_);
    deadline_.reset();
    return;
  }
  // It may have ended by itself at this moment.
  timed_out_ = processes_->Signal(*child_, SIGTERM, true).has_value();
  deadline_ = timed_out_ ? std::optional(Clock::now() + kTermGrace) : std::nullopt;
}

void SpawnSession::EndRest() {
  auto end_by = processes_->EndBy(*child_);
  ending_ = end_by && processes_->HasSession(*child_);
  if (!ending_ || std::chrono::steady_clock::now() < *end_by) return;
  processes_->Kill(*child_);
  ending_ = false;
}

bool SpawnSession::Step() {
  if (!outbox_->Flush() && !GoOnAlone()) return false;
  bool room = outbox_->empty();
  if (ending_) EndRest();
  if (exited_ && !ending_ && room && !pipes_.out && !pipes_.err) return false;
  if (deadline_ && !exited_ && Clock::now() >= *deadline_) Expire();
  bool stdin_waits = !stdin_pending_.empty();
  auto events = static_cast<short>((room ? 0 : POLLOUT) | (stdin_waits ? 0 : POLLIN));
  // A negative descriptor is ignored by poll.
  std::array<pollfd, 5> fds{{
      {.fd = alone_ ? -1 : socket_, .events = events, .revents = 0},
      {.fd = exited_ ? -1 : child_->exited_fd(), .events = POLLIN, .revents = 0},
      {.fd = room ? pipes_.out.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = room ? pipes_.err.get() : -1, .events = POLLIN, .revents = 0},
      {.fd = stdin_waits ? pipes_.in.get() : -1, .events = POLLOUT, .revents = 0},
  }};
  int ready = poll(fds.data(), fds.size(), PollTimeout());
  if (ready < 0) return errno == EINTR;
  if (ready == 0) return ending_ || !exited_;  // exited, and silent since
  bool hung_up = (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  bool input = (fds[0].revents & POLLIN) != 0;
  if (hung_up && !input && !GoOnAlone()) return false;
  if (input && (!ReceiveSome(socket_, parser_) || !HandleInput()) && !GoOnAlone()) return false;
  if (fds[4].revents != 0) {
    WriteStdin();
    if (!alone_ && !HandleInput() && !GoOnAlone()) return false;
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
  if (alone_) outbox_->Discard();
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
