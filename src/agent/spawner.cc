// SPDX-License-Identifier: Apache-2.0
#include "agent/spawner.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "agent/spawner_child.h"
#include "protocol/connection.h"
#include "protocol/wire.h"

namespace atl::agent {
namespace {

constexpr int kReplyTimeoutMs = 1000;
constexpr int kReplyRounds = 30;

std::string EncodeProgram(const Program& program) {
  protocol::Writer writer;
  writer(program.self);
  writer(program.terminal);
  writer(program.argv);
  writer(program.env);
  writer(program.cwd);
  writer(program.uid);
  writer(program.gid);
  writer(program.groups);
  return std::move(writer).Take();
}

Error SpawnError(const SpawnReply& reply, const Program& program) {
  Error error = ErrnoError(reply.error, "start " + program.argv[0]);
  switch (reply.stage) {
    case SpawnStage::kClone:
      if (reply.error == EAGAIN) {
        error.message = "the sandbox's process limit is reached";
        error.reason = "TOO_MANY_PROCESSES";
      }
      error.code = Code::kResourceExhausted;
      return error;
    case SpawnStage::kCwd:
      error = ErrnoError(reply.error, "the working directory " + program.cwd);
      error.code = Code::kInvalidArgument;
      error.reason = "VALIDATION_FAILED";
      return error;
    case SpawnStage::kTerminal:
      error = ErrnoError(reply.error, "give the program its terminal");
      return error;
    case SpawnStage::kExec:
      if (reply.error == ENOENT) error.reason = "COMMAND_NOT_FOUND";
      if (reply.error == EACCES || reply.error == EPERM) {
        error.reason = "COMMAND_PERMISSION_DENIED";
      }
      if (reply.error == E2BIG) error.code = Code::kTooLarge;
      if (reply.error == ENOEXEC) error.code = Code::kInvalidArgument;
      return error;
    default:
      return error;
  }
}

// Runs in the forked child.
[[noreturn]] void BecomeSpawner(sys::Fd socket, const std::vector<sys::Fd>& work_procs,
                                bool join_work) {
  if (join_work) {
    for (const sys::Fd& procs : work_procs) (void)!write(procs.get(), "0", 1);
  }
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "atoll-spawner");
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  // 3 and 4 are the two that stay; duplicates first, because either may already be 3 or 4.
  int high_socket = fcntl(socket.get(), F_DUPFD_CLOEXEC, 16);
  int high_self = self < 0 ? -1 : fcntl(self, F_DUPFD_CLOEXEC, 16);
  dup3(high_socket, 3, O_CLOEXEC);
  if (high_self >= 0) dup3(high_self, 4, O_CLOEXEC);
  syscall(SYS_close_range, high_self >= 0 ? 5U : 4U, ~0U, 0U);
  (void)socket.Release();
  RunSpawner(3, high_self >= 0 ? 4 : -1);
}

}  // namespace

Result<void> Spawner::Start() {
  ASSIGN(auto pair, sys::MakeSocketPair(SOCK_STREAM));
  pid_t child = fork();
  if (child < 0) return FailErrno(errno, "fork the spawner");
  if (child == 0) BecomeSpawner(std::move(pair.second), work_procs_, started_before_);
  socket_ = std::move(pair.first);
  pid_ = child;
  started_before_ = true;
  return {};
}

Result<void> Spawner::Send(const std::string& request, Stdio stdio) {
  auto size = static_cast<uint32_t>(request.size());
  std::array<int, 3> fds{stdio.in, stdio.out, stdio.err};
  iovec part{&size, sizeof(size)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(head), fds.data(), sizeof(fds));
  ssize_t sent = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (sent != sizeof(size)) return FailErrno(sent < 0 ? errno : EPIPE, "ask the spawner");
  return protocol::SendBytes(socket_.get(), request);
}

Result<pid_t> Spawner::Spawn(const Program& program, Stdio stdio) {
  std::string request = EncodeProgram(program);
  if (request.size() > kMaxSpawnRequest) return Fail(Code::kTooLarge, "too many arguments");
  if (pid_ < 0) TRY(Start());
  Result<void> sent = Send(request, stdio);
  if (!sent) {
    // It was killed a moment ago, from inside. Nothing was started.
    TRY(Start());
    TRY(Send(request, stdio));
  }
  SpawnReply reply;
  for (int round = 0; round < kReplyRounds; ++round) {
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, kReplyTimeoutMs) > 0) {
      ssize_t count = recv(socket_.get(), &reply, sizeof(reply), MSG_WAITALL);
      if (count != sizeof(reply)) break;
      if (reply.stage != SpawnStage::kStarted) return Unexpected(SpawnError(reply, program));
      return reply.pid;
    }
    // A program inside may have stopped it.
    if (pid_ > 0) kill(pid_, SIGCONT);
  }
  if (pid_ > 0) kill(pid_, SIGKILL);
  socket_.Reset();
  return Fail(Code::kUnavailable, "the sandbox could not start a process; try again");
}

}  // namespace atl::agent
