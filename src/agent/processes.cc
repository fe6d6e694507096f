// SPDX-License-Identifier: Apache-2.0
#include "agent/processes.h"

#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <vector>

namespace atl::agent {
namespace {

// What a program has after SIGTERM.
constexpr std::chrono::seconds kTermGrace{5};

// The session of a process, from /proc/<pid>/stat: "pid (name) state ppid pgrp session ...". The
// name may hold anything, so what counts begins after the last ')'.
pid_t SessionOf(int proc, const char* pid) {
  auto stat = sys::ReadFileAt(proc, std::string(pid) + "/stat", 4096);
  if (!stat) return -1;
  size_t at = stat->rfind(')');
  if (at == std::string::npos) return -1;
  char state = 0;
  int parent = 0;
  int group = 0;
  int session = -1;
  std::string rest = stat->substr(at + 1);
  if (std::sscanf(rest.c_str(), " %c %d %d %d", &state, &parent, &group, &session) != 4) return -1;
  return state == 'Z' ? -1 : session;
}

// The living members of a session but for its leader.
std::vector<pid_t> SessionMembers(pid_t session) {
  std::vector<pid_t> members;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return members;
  while (dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    auto [stop, error] = std::from_chars(entry->d_name, end, pid);
    if (error != std::errc() || stop != end || pid == session) continue;
    if (SessionOf(dirfd(proc), entry->d_name) == session) members.push_back(pid);
  }
  closedir(proc);
  return members;
}

}  // namespace

Result<std::shared_ptr<Child>> Processes::Start(const Program& program, Stdio stdio) {
  int raw = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (raw < 0) return FailErrno(errno, "make an eventfd");
  auto child = std::make_shared<Child>(sys::Fd(raw));
  std::lock_guard lock(mutex_);
  ASSIGN(child->pid_, spawner_->Spawn(program, stdio));
  running_[child->pid_] = child;
  return child;
}

std::optional<protocol::Exited> Processes::Status(const Child& child) {
  std::lock_guard lock(mutex_);
  return child.status_;
}

std::optional<std::chrono::steady_clock::time_point> Processes::EndBy(const Child& child) {
  std::lock_guard lock(mutex_);
  return child.end_by_;
}

bool Processes::HasSession(const Child& child) { return !SessionMembers(child.pid_).empty(); }

Result<void> Processes::Signal(const Child& child, int signo, bool group) {
  std::lock_guard lock(mutex_);
  if (child.status_) return Fail(Code::kNotFound, "the process has ended", "PROCESS_NOT_FOUND");
  return SignalLocked(child.pid_, signo, group);
}

Result<void> Processes::SignalPid(pid_t pid, int signo, bool group) {
  std::lock_guard lock(mutex_);
  if (!running_.contains(pid)) {
    return Fail(Code::kNotFound, "no running process " + std::to_string(pid) + " was started here",
                "PROCESS_NOT_FOUND");
  }
  return SignalLocked(pid, signo, group);
}

// Before the signal is sent: whoever sees the program's exit sees this too.
void Processes::NoteEndLocked(Child* child, int signo) {
  auto now = std::chrono::steady_clock::now();
  if (signo == SIGKILL) child->end_by_ = now;
  if (signo == SIGTERM && !child->end_by_) child->end_by_ = now + kTermGrace;
}

Result<void> Processes::SignalLocked(pid_t pid, int signo, bool group) {
  if (signo < 1 || signo >= NSIG) {
    return Fail(Code::kInvalidArgument, std::to_string(signo) + " is not a signal");
  }
  if (auto found = running_.find(pid); group && found != running_.end()) {
    NoteEndLocked(found->second.get(), signo);
  }
  if (kill(group ? -pid : pid, signo) != 0) return FailErrno(errno, "send the signal");
  return {};
}

void Processes::Kill(const Child& child) {
  std::lock_guard lock(mutex_);
  if (!child.status_) {
    kill(-child.pid_, SIGKILL);
  } else if (running_.contains(child.pid_)) {
    return;  // the number belongs to another program by now
  }
  KillSessionLocked(child.pid_);
}

void Processes::KillSessionLocked(pid_t session) {
  // Again until none is left: a member may fork while the list is read.
  for (int round = 0; round < 8; ++round) {
    std::vector<pid_t> members = SessionMembers(session);
    if (members.empty()) return;
    for (pid_t pid : members) kill(pid, SIGKILL);
  }
}

void Processes::ReapAll() {
  std::lock_guard lock(mutex_);
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid == spawner_->pid()) {
      spawner_->NoteDeath();
      (void)spawner_->Start();  // else the next Spawn tries again
      continue;
    }
    auto found = running_.find(pid);
    if (found == running_.end()) continue;
    Child& child = *found->second;
    child.status_ = WIFSIGNALED(status)
                        ? protocol::Exited{.exit_code = 0, .signal = WTERMSIG(status)}
                        : protocol::Exited{.exit_code = WEXITSTATUS(status), .signal = 0};
    eventfd_write(child.exited_.get(), 1);
    running_.erase(found);
  }
}

void Processes::ReapForever() {
  while (true) {
    siginfo_t info{};
    // Only looks; what is there is taken under the lock.
    if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) != 0 && errno == ECHILD) usleep(20'000);
    ReapAll();
  }
}

}  // namespace atl::agent
