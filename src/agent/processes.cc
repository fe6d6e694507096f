// SPDX-License-Identifier: Apache-2.0
#include "agent/processes.h"

#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

namespace atl::agent {
namespace {

// What a program has after SIGTERM.
constexpr std::chrono::seconds kTermGrace{5};

// The group and the session of a process, from /proc/<pid>/stat: "pid (name) state ppid pgrp
// session ...". The name may hold anything, so what counts begins after the last ')'.
struct Membership {
  pid_t group = -1;
  pid_t session = -1;  // -1: ended
};

Membership MembershipOf(int proc, const char* pid) {
  auto stat = sys::ReadFileAt(proc, std::string(pid) + "/stat", 4096);
  if (!stat) return {};
  size_t at = stat->rfind(')');
  if (at == std::string::npos) return {};
  char state = 0;
  int parent = 0;
  Membership of;
  std::string rest = stat->substr(at + 1);
  int read = std::sscanf(rest.c_str(), " %c %d %d %d", &state, &parent, &of.group, &of.session);
  return read != 4 || state == 'Z' ? Membership() : of;
}

// Calls `each` with every living process that leads no session.
void ForEachMember(auto each) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return;
  while (dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    auto [stop, error] = std::from_chars(entry->d_name, end, pid);
    if (error != std::errc() || stop != end) continue;
    Membership of = MembershipOf(dirfd(proc), entry->d_name);
    if (of.session != pid && of.group > 1) each(of);
  }
  closedir(proc);
}

// The process groups of a session that have living members other than its leader.
std::set<pid_t> SessionGroups(pid_t session) {
  std::set<pid_t> groups;
  ForEachMember([&](const Membership& of) {
    if (of.session == session) groups.insert(of.group);
  });
  return groups;
}

Result<std::shared_ptr<Child>> MakeChild() {
  int raw = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (raw < 0) return FailErrno(errno, "make an eventfd");
  return std::make_shared<Child>(sys::Fd(raw));
}

}  // namespace

Result<std::shared_ptr<Child>> Processes::Start(const Program& program, Stdio stdio) {
  ASSIGN(auto child, MakeChild());
  std::lock_guard spawn_lock(spawn_mutex_);
  {
    std::lock_guard lock(mutex_);
    spawning_ = true;
  }
  Result<pid_t> pid = spawner_->Spawn(program, stdio);
  std::lock_guard lock(mutex_);
  spawning_ = false;
  auto unclaimed = std::exchange(unclaimed_, {});
  if (unclaimed.contains(spawner_->pid())) spawner_->NoteDeath();
  if (!pid) return Unexpected(std::move(pid).error());
  child->pid_ = *pid;
  if (auto ended = unclaimed.find(*pid); ended != unclaimed.end()) {
    NoteExit(*child, ended->second);
  } else {
    running_[*pid] = child;
  }
  return child;
}

Result<std::shared_ptr<Child>> Processes::Fork(const std::function<void()>& body) {
  ASSIGN(auto child, MakeChild());
  // Whatever is allocated, is before: the pid has to be known when the lock is given back.
  std::lock_guard lock(mutex_);
  running_.reserve(running_.size() + 1);
  pid_t pid = fork();
  if (pid < 0) return FailErrno(errno, "fork");
  if (pid == 0) {
    body();
    _exit(1);
  }
  child->pid_ = pid;
  running_[pid] = child;
  return child;
}

std::optional<protocol::Exited> Processes::Status(const Child& child) {
  std::lock_guard lock(mutex_);
  return child.status_;
}

protocol::Usage Processes::UsageOf(const Child& child) {
  std::lock_guard lock(mutex_);
  return child.usage_;
}

std::optional<std::chrono::steady_clock::time_point> Processes::EndBy(const Child& child) {
  std::lock_guard lock(mutex_);
  return child.end_by_;
}

bool Processes::HasSession(const Child& child) { return !SessionGroups(child.pid_).empty(); }

std::set<pid_t> Processes::SessionsWithOthers() {
  std::set<pid_t> sessions;
  ForEachMember([&](const Membership& of) { sessions.insert(of.session); });
  return sessions;
}

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
  // By group, which the kernel ends as a whole: members that fork meanwhile cannot outrun it. Again
  // until none is left, because a member may have made a group of its own.
  for (int round = 0; round < 8; ++round) {
    std::set<pid_t> groups = SessionGroups(session);
    if (groups.empty()) return;
    for (pid_t group : groups) kill(-group, SIGKILL);
  }
}

Processes::End Processes::MakeEnd(int status, const rusage& used) {
  auto micros = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
  };
  return {.status = status,
          .usage = {.cpu_us = micros(used.ru_utime) + micros(used.ru_stime),
                    .max_rss_bytes = static_cast<uint64_t>(used.ru_maxrss) * 1024}};
}

void Processes::NoteExit(Child& child, const End& end) {
  child.status_ = WIFSIGNALED(end.status)
                      ? protocol::Exited{.exit_code = 0, .signal = WTERMSIG(end.status)}
                      : protocol::Exited{.exit_code = WEXITSTATUS(end.status), .signal = 0};
  child.usage_ = end.usage;
  eventfd_write(child.exited_.get(), 1);
}

void Processes::ReapAll() {
  std::lock_guard lock(mutex_);
  int status = 0;
  rusage used{};
  pid_t pid = 0;
  while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
    if (pid == spawner_->pid()) {
      spawner_->NoteDeath();  // the next Spawn starts it again
      continue;
    }
    auto found = running_.find(pid);
    if (found == running_.end()) {
      if (spawning_) unclaimed_[pid] = MakeEnd(status, used);
      continue;
    }
    NoteExit(*found->second, MakeEnd(status, used));
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
