// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace atl::sys {
namespace {

using Clock = std::chrono::steady_clock;

class FileActions {
 public:
  FileActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  void Dup2(int from, int to) { ::posix_spawn_file_actions_adddup2(&actions_, from, to); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    // A group of its own: a timeout ends the program's children too.
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// A child that is killed and reaped unless it was waited for.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ < 0) return;
    Kill();
    Wait();
  }
  void Kill() const {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }
  int Wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_;
};

struct Capture {
  Fd fd;
  std::string* into = nullptr;
};

// Returns false at end of file.
bool Drain(Capture& capture, size_t limit) {
  char buffer[16384];
  ssize_t n = ::read(capture.fd.get(), buffer, sizeof(buffer));
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  size_t room = limit - std::min(limit, capture.into->size());
  capture.into->append(buffer, std::min(room, static_cast<size_t>(n)));
  return true;
}

Result<Fd> StdinOf(const std::string& data) {
  if (data.empty()) return Open("/dev/null", O_RDONLY);
  if (data.size() > 65536) return Fail(Code::kTooLarge, "stdin of a command is above 64 KiB");
  ASSIGN(Pipe pipe, MakePipe());
  TRY(WriteAll(pipe.write.get(), data));
  return std::move(pipe.read);
}

// Reads until both ends are closed, `pidfd` says the program ended, or time is up. A program that
// leaves a daemon behind which holds the pipes does not keep the caller waiting.
Result<void> Collect(std::vector<Capture>& captures, int pidfd, const Command& command) {
  const Clock::time_point until = Clock::now() + command.timeout;
  constexpr std::chrono::milliseconds kWatchPeriod{50};
  bool exited = false;
  while (true) {
    std::vector<pollfd> polls;
    for (const Capture& c : captures) polls.push_back({c.fd.get(), POLLIN, 0});
    if (!exited) polls.push_back({pidfd, POLLIN, 0});
    if (polls.empty()) return {};
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
    if (left.count() <= 0) {
      return Fail(Code::kTimeout, fmt::format("{} did not end within {} ms", command.argv[0],
                                              command.timeout.count()));
    }
    if (command.watch) {
      TRY(command.watch());
      left = std::min(left, kWatchPeriod);
    }
    int ready = ::poll(polls.data(), polls.size(), exited ? 0 : static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return FailErrno(errno, "wait for " + command.argv[0]);
    if (ready == 0 && exited) return {};
    for (size_t i = captures.size(); i-- > 0;) {
      if ((polls[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      if (!Drain(captures[i], command.capture_limit))
        captures.erase(captures.begin() + static_cast<long>(i));
    }
    if (!exited && polls.back().fd == pidfd && polls.back().revents != 0) exited = true;
  }
}

}  // namespace

Result<Fd> PidfdOpen(pid_t pid) {
  long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return FailErrno(errno, fmt::format("open process {}", pid));
  return Fd(static_cast<int>(fd));
}

Result<Finished> Run(const Command& command) {
  Finished finished;
  FileActions actions;
  ASSIGN(Fd in, StdinOf(command.stdin_data));
  std::vector<Capture> captures;
  Fd out = Fd();
  Fd err = Fd();
  // Everything that the child shall have is first moved above the numbers it will get, so that one
  // dup2 cannot overwrite the source of another.
  const int floor = 3 + static_cast<int>(command.inherit.size());
  std::vector<Fd> moved;
  auto place = [&](int from, int to) -> Result<void> {
    Fd high(::fcntl(from, F_DUPFD_CLOEXEC, floor));
    if (!high) return FailErrno(errno, "duplicate a descriptor for a command");
    actions.Dup2(high.get(), to);
    moved.push_back(std::move(high));
    return {};
  };
  TRY(place(in.get(), 0));
  auto output = [&](int fd, int to, std::string* into) -> Result<void> {
    if (fd >= 0) return place(fd, to);
    ASSIGN(Pipe pipe, MakePipe());
    TRY(place(pipe.write.get(), to));
    ::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK);
    captures.push_back(Capture{.fd = std::move(pipe.read), .into = into});
    return {};
  };
  TRY(output(command.stdout_fd, 1, &finished.out));
  TRY(output(command.stderr_fd, 2, &finished.err));
  for (size_t i = 0; i < command.inherit.size(); ++i) {
    TRY(place(command.inherit[i], 3 + static_cast<int>(i)));
  }
  SpawnAttributes attributes;
  pid_t pid = -1;
  std::vector<char*> argv = Pointers(command.argv);
  std::vector<char*> env = Pointers(command.env);
  int rc = ::posix_spawnp(&pid, argv[0], actions.get(), attributes.get(), argv.data(),
                          command.env.empty() ? environ : env.data());
  if (rc != 0) return FailErrno(rc, fmt::format("run {}", command.argv[0]));
  Child child(pid);
  moved.clear();
  ASSIGN(Fd pidfd, PidfdOpen(pid));
  // Who returns early ends and reaps the child.
  TRY(Collect(captures, pidfd.get(), command));
  finished.exit_code = child.Wait();
  return finished;
}

Result<std::string> RunChecked(const Command& command) {
  ASSIGN(Finished finished, Run(command));
  if (finished.exit_code == 0) return std::move(finished.out);
  std::string tail = finished.err;
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  if (tail.size() > 2000) tail = "…" + tail.substr(tail.size() - 2000);
  return Fail(Code::kInternal, fmt::format("{} ended with exit code {}: {}",
                                           fmt::join(command.argv, " "), finished.exit_code, tail));
}

}  // namespace atl::sys
