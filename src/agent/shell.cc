// SPDX-License-Identifier: Apache-2.0
#include "agent/shell.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "agent/shell_driver.h"

namespace atl::agent {
namespace {

constexpr size_t kMaxSaid = 4096;
constexpr int kEndMs = 10'000;
constexpr size_t kMaxFormer = 32;
constexpr off_t kRoom = 256L << 10U;  // more than a command takes

// Since boot, in the unit of /proc/<pid>/stat.
uint64_t NowTicks() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  auto hertz = static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return static_cast<uint64_t>(now.tv_sec) * hertz +
         static_cast<uint64_t>(now.tv_nsec) * hertz / 1'000'000'000;
}

// The newest process id that was given here (the last field of proc_loadavg(5)); 0: not known.
pid_t NewestPid() {
  auto text = sys::ReadFile("/proc/loadavg", 256);
  size_t at = text ? text->rfind(' ') : std::string::npos;
  return at == std::string::npos ? 0 : std::atoi(text->c_str() + at);
}

// The living members of a session that began at `since` or later, without its leader. A tick is
// long: of those that began in the first, `newest` and those with smaller numbers were there
// before.
std::vector<pid_t> MembersSince(pid_t session, uint64_t since, pid_t newest) {
  std::vector<pid_t> members;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return members;
  while (dirent* entry = readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    auto [stop, error] = std::from_chars(entry->d_name, end, pid);
    if (error != std::errc() || stop != end || pid == session) continue;
    auto stat = sys::ReadFileAt(dirfd(proc), std::string(entry->d_name) + "/stat", 4096);
    size_t at = stat ? stat->rfind(')') : std::string::npos;
    if (at == std::string::npos) continue;
    char state = 0;
    int of = 0;
    unsigned long long started = 0;
    int read = std::sscanf(stat->c_str() + at + 1,
                           " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                           "%*d %llu",
                           &state, &of, &started);
    bool since_then = started > since || (started == since && pid > newest);
    if (read == 3 && of == session && state != 'Z' && since_then) members.push_back(pid);
  }
  closedir(proc);
  return members;
}

// Whether commands fit there.
bool HasRoom(const std::string& dir) {
  std::string probe = dir + "/probe";
  auto file = sys::Open(probe, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  bool fits = file && posix_fallocate(file->get(), 0, kRoom) == 0;
  unlink(probe.c_str());
  return fits;
}

// Whoever lives there may have filled one, or taken it away.
Result<std::string> MakeDirFor(const Program& program) {
  int error = ENOENT;
  for (const char* parent : {"/dev/shm", "/tmp", "/var/tmp"}) {
    std::string name = std::string(parent) + "/.atoll-shell-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      error = errno;
    } else if (!HasRoom(name)) {
      error = ENOSPC;
      rmdir(name.c_str());
    } else if (chown(name.c_str(), program.uid, program.gid) != 0) {
      error = errno;
      rmdir(name.c_str());
    } else {
      return name;
    }
  }
  return FailErrno(error, "make a directory for the shell");
}

// What commands left there, one level deep.
void RemoveDir(const std::string& dir) {
  if (DIR* entries = opendir(dir.c_str()); entries != nullptr) {
    while (dirent* entry = readdir(entries)) unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
  }
  rmdir(dir.c_str());
}

// What the shell says instead of a status (shell_driver.h).
Result<void> WhyNot(char said) {
  switch (said) {
    case 'E':
      return Fail(Code::kInvalidArgument, "the working directory cannot be entered",
                  "VALIDATION_FAILED");
    case 'V':
      return Fail(Code::kFailedPrecondition,
                  "the session has a variable of the request as a read-only one; the command was "
                  "not run",
                  "COMMAND_EXECUTION_ERROR");
    case 'L':
      return Fail(Code::kFailedPrecondition,
                  "break or continue outside of a loop: what is behind it in the command was not "
                  "run",
                  "COMMAND_EXECUTION_ERROR");
    default:
      return {};
  }
}

Result<sys::Fd> MakeFifo(const std::string& path, const Program& program) {
  if (mkfifo(path.c_str(), 0600) != 0) return FailErrno(errno, "make a FIFO for the shell");
  if (chown(path.c_str(), program.uid, program.gid) != 0) {
    return FailErrno(errno, "give the shell its FIFO");
  }
  return sys::Open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
}

}  // namespace

Result<std::unique_ptr<Shell>> Shell::Make(Processes* processes, Program program) {
  ASSIGN(std::string dir, MakeDirFor(program));
  auto shell = std::unique_ptr<Shell>(new Shell(processes, std::move(program), std::move(dir)));
  ASSIGN(std::string key, NewShellKey());
  shell->names_ = "__atoll_" + key.substr(0, 8) + "_";
  TRY(shell->Start({}));
  return shell;
}

Shell::~Shell() {
  EndAll();
  RemoveDir(dir_);
}

Result<void> Shell::Start(const std::string& state) {
  ASSIGN(sys::Pipe commands, sys::MakePipe());
  ASSIGN(sys::Pipe status, sys::MakePipe());
  ASSIGN(sys::Fd null, sys::Open("/dev/null", O_RDWR));
  if (fcntl(status.read.get(), F_SETFL, O_NONBLOCK) != 0) {
    return FailErrno(errno, "make a pipe non-blocking");
  }
  Program program = program_;
  program.argv = {"bash", "--norc", "--noprofile", "-c", ShellDriver(names_), "bash", dir_};
  program.argv.emplace_back(state.empty() ? "" : "saved");
  Stdio stdio{.in = commands.read.get(), .out = status.write.get(), .err = null.get()};
  auto child = processes_->Start(program, stdio);
  if (!child && !state.empty()) {
    // Where it began may be gone by now; where it was, the state says.
    program.cwd = "/";
    child = processes_->Start(program, stdio);
  }
  if (!child) return Unexpected(std::move(child).error());
  child_ = *std::move(child);
  pid_ = static_cast<uint32_t>(child_->pid());
  commands_ = std::move(commands.write);
  status_ = std::move(status.read);
  said_.clear();
  return {};
}

bool Shell::alive() const { return child_ && !processes_->Status(*child_); }

bool Shell::HasOthers(const std::set<pid_t>& sessions) const {
  auto has = [&](const auto& child) { return sessions.contains(child->pid()); };
  return (child_ && has(child_)) || std::ranges::any_of(former_, has);
}

protocol::Exited Shell::exited() const {
  return child_ ? processes_->Status(*child_).value_or(protocol::Exited{}) : protocol::Exited{};
}

Result<void> Shell::Restart(bool fresh) {
  if (child_) former_.push_back(std::move(child_));
  child_.reset();
  if (former_.size() > kMaxFormer) {
    std::erase_if(former_, [this](const auto& child) { return !processes_->HasSession(*child); });
  }
  if (fresh) {
    // Whatever has been done to the old one.
    auto dir = MakeDirFor(program_);
    RemoveDir(dir_);
    if (dir) dir_ = *std::move(dir);
    state_.clear();
  }
  std::string state = state_;
  if (std::string name = dir_ + "/state"; !state.empty() && state != name) {
    // Whoever lives in that directory may have taken it away.
    state = std::rename(state.c_str(), name.c_str()) == 0 ? name : std::string();
  }
  state_ = state;
  return Start(state);
}

std::string Shell::File(const char* kind) const {
  return dir_ + "/" + std::to_string(number_) + "." + kind;
}

Result<void> Shell::WriteFor(const char* kind, std::string_view text) const {
  std::string path = File(kind);
  ASSIGN(sys::Fd file, sys::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY(sys::WriteAll(file.get(), text));
  if (fchown(file.get(), program_.uid, program_.gid) != 0) {
    return FailErrno(errno, "give the shell its command");
  }
  return {};
}

Result<ShellStreams> Shell::Begin(const ShellCommand& command) {
  ++number_;
  told_ = false;
  ASSIGN(key_, NewShellKey());
  ShellStreams streams;
  std::string flags = "-";
  TRY(WriteFor("cmd", command.text));
  if (std::string before = BeforeScript(names_, command.cwd, command.env); !before.empty()) {
    TRY(WriteFor("before", before));
    flags += 'b';
  }
  if (!command.stdin.empty()) {
    TRY(WriteFor("in", command.stdin));
    flags += 'i';
  }
  ASSIGN(streams.out, MakeFifo(File("out"), program_));
  ASSIGN(streams.err, MakeFifo(File("err"), program_));
  began_ticks_ = NowTicks();
  newest_before_ = NewestPid();
  std::string line = std::to_string(number_) + " " + flags + " " + key_ + "\n";
  TRY(sys::WriteAll(commands_.get(), line));
  return streams;
}

Result<std::optional<int>> Shell::ReadStatus() {
  std::array<char, 512> buffer{};
  while (said_.size() < kMaxSaid) {
    ssize_t count = read(status_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    said_.append(buffer.data(), static_cast<size_t>(count));
  }
  std::optional<int> status;
  for (size_t end = said_.find('\n'); end != std::string::npos; end = said_.find('\n')) {
    std::string line = said_.substr(0, end);
    said_.erase(0, end + 1);
    if (line.starts_with("S ")) {
      NoteSaved(std::strtoull(line.c_str() + 2, nullptr, 10));
    } else if (line.size() > 2 && std::string_view(line).substr(2).starts_with(key_)) {
      if (line[0] == 'B') told_ = true;
      if (line[0] == 'R') status = std::atoi(line.c_str() + 2 + key_.size()) & 0xff;
      TRY(WhyNot(line[0]));
    }
  }
  if (said_.size() >= kMaxSaid) said_.clear();
  return status;
}

void Shell::NoteSaved(uint64_t number) {
  std::string saved = dir_ + "/" + std::to_string(number) + ".saved";
  if (!state_.empty() && state_ != saved) unlink(state_.c_str());
  state_ = std::move(saved);
}

void Shell::Finish() {
  for (const char* kind : {"cmd", "before", "in", "out", "err"}) unlink(File(kind).c_str());
}

void Shell::Freeze() { (void)processes_->Signal(*child_, SIGSTOP, false); }

void Shell::Thaw() { (void)processes_->Signal(*child_, SIGCONT, false); }

std::vector<pid_t> Shell::CommandMembers() const {
  return MembersSince(static_cast<pid_t>(child_->pid()), began_ticks_, newest_before_);
}

bool Shell::SignalCommand(int signo) {
  std::vector<pid_t> members = CommandMembers();
  if (signo != 0) {
    for (pid_t member : members) kill(member, signo);
  }
  return !members.empty();
}

void Shell::End() {
  (void)processes_->Signal(*child_, SIGKILL, false);
  pollfd exited{.fd = child_->exited_fd(), .events = POLLIN, .revents = 0};
  poll(&exited, 1, kEndMs);
}

void Shell::EndAll() {
  if (child_) processes_->Kill(*child_);
  for (const auto& child : former_) processes_->Kill(*child);
}

}  // namespace atl::agent
