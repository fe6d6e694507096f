// SPDX-License-Identifier: Apache-2.0
#include "agent/spawner_child.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "protocol/wire.h"
#include "sys/fd.h"

namespace atl::agent {
namespace {

struct Request {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string cwd;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // `gid`, then the others
  bool self = false;
  bool terminal = false;
  std::array<sys::Fd, 3> stdio;
};

// What the clone needs, prepared before it: it runs on the spawner's memory and must not allocate.
struct Launch {
  std::vector<std::string> candidates;
  std::vector<char*> argv;
  std::vector<char*> env;
  const Request* request = nullptr;
  int self_exe = -1;
  SpawnStage stage = SpawnStage::kStarted;
  int error = 0;
};

bool ReadExactly(int socket, char* out, size_t size) {
  while (size > 0) {
    ssize_t count = recv(socket, out, size, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

// False when the other end is gone.
bool ReceiveRequest(int socket, Request* request, bool* valid) {
  *valid = false;
  uint32_t size = 0;
  iovec part{&size, sizeof(size)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 3)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t count = 0;
  do {
    count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  } while (count < 0 && errno == EINTR);
  if (count != sizeof(size) || size > kMaxSpawnRequest) return false;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  bool have_fds = head != nullptr && head->cmsg_len == CMSG_LEN(sizeof(int) * 3);
  for (size_t i = 0; have_fds && i < request->stdio.size(); ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
    request->stdio[i] = sys::Fd(fd);
  }
  std::string body(size, '\0');
  if (!ReadExactly(socket, body.data(), size)) return false;
  protocol::Reader reader(body);
  reader(request->self);
  reader(request->terminal);
  reader(request->argv);
  reader(request->env);
  reader(request->cwd);
  reader(request->uid);
  reader(request->gid);
  reader(request->groups);
  request->groups.insert(request->groups.begin(), request->gid);
  *valid = have_fds && reader.Finish() && !request->argv.empty();
  return true;
}

// The paths to try, as execvpe would.
std::vector<std::string> Candidates(const Request& request) {
  const std::string& name = request.argv[0];
  if (name.find('/') != std::string::npos) return {name};
  std::string path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& entry : request.env) {
    if (entry.starts_with("PATH=")) path = entry.substr(5);
  }
  std::vector<std::string> candidates;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find(':', begin), path.size());
    if (end > begin) candidates.push_back(path.substr(begin, end - begin) + "/" + name);
    begin = end + 1;
  }
  return candidates;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

int Report(Launch* launch, SpawnStage stage, int error) {
  launch->stage = stage;
  launch->error = error;
  return 127;
}

// The name of a command that exists nowhere is ENOENT; one found but refused is EACCES.
int Exec(Launch* launch) {
  const Request& request = *launch->request;
  if (request.self) {
    syscall(SYS_execveat, launch->self_exe, "", launch->argv.data(), launch->env.data(),
            AT_EMPTY_PATH);
    return Report(launch, SpawnStage::kExec, errno);
  }
  int error = ENOENT;
  for (const std::string& candidate : launch->candidates) {
    execve(candidate.c_str(), launch->argv.data(), launch->env.data());
    if (errno == ENOENT || errno == ENOTDIR) continue;
    error = errno;
    if (errno != EACCES) break;
  }
  return Report(launch, SpawnStage::kExec, error);
}

// Raw calls for ids: those of the C library would act on the spawner's idea of itself.
bool SetIds(const Request& request) {
  if (request.uid == geteuid() && request.gid == getegid() && request.groups.size() == 1) {
    return true;
  }
  gid_t gid = request.gid;
  return syscall(SYS_setgroups, request.groups.size(), request.groups.data()) == 0 &&
         syscall(SYS_setresgid, gid, gid, gid) == 0 &&
         syscall(SYS_setresuid, request.uid, request.uid, request.uid) == 0;
}

// Runs in the new process, on the spawner's memory, while the spawner waits (CLONE_VFORK).
int Child(void* argument) {
  auto* launch = static_cast<Launch*>(argument);
  const Request& request = *launch->request;
  setsid();
  for (int i = 0; i < 3; ++i) {
    if (dup2(request.stdio[static_cast<size_t>(i)].get(), i) < 0) {
      return Report(launch, SpawnStage::kDescriptors, errno);
    }
  }
  if (request.terminal && syscall(SYS_ioctl, 0, TIOCSCTTY, 0) != 0) {
    return Report(launch, SpawnStage::kTerminal, errno);
  }
  umask(022);
  if (!SetIds(request)) return Report(launch, SpawnStage::kIds, errno);
  if (chdir(request.cwd.c_str()) != 0) return Report(launch, SpawnStage::kCwd, errno);
  return Exec(launch);
}

SpawnReply Start(const Request& request, int self_exe) {
  alignas(64) static std::array<char, 64U << 10U> stack;
  Launch launch{.candidates = Candidates(request),
                .argv = Pointers(request.argv),
                .env = Pointers(request.env),
                .request = &request,
                .self_exe = self_exe};
  int pid =
      clone(Child, stack.data() + stack.size(), CLONE_PARENT | CLONE_VM | CLONE_VFORK, &launch);
  if (pid < 0) return {.pid = -1, .stage = SpawnStage::kClone, .error = errno};
  return {.pid = pid, .stage = launch.stage, .error = launch.error};
}

}  // namespace

void RunSpawner(int socket, int self_exe) {
  // Children inherit these: whatever the agent ignores or blocks is its own affair. By the system
  // call itself, because libc does not let go of the two signals that it uses.
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } by_default = {};
  for (int signal = 1; signal < NSIG; ++signal) {
    syscall(SYS_rt_sigaction, signal, &by_default, nullptr, sizeof(by_default.mask));
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  while (true) {
    Request request;
    bool valid = false;
    if (!ReceiveRequest(socket, &request, &valid)) _exit(0);
    SpawnReply reply{.pid = -1, .stage = SpawnStage::kReceive, .error = EBADMSG};
    if (valid) reply = Start(request, self_exe);
    if (send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply)) _exit(0);
  }
}

}  // namespace atl::agent
