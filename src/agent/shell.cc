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

namespace atl::agent {
namespace {

constexpr size_t kMaxSaid = 4096;
constexpr int kEndMs = 10'000;
constexpr size_t kMaxFormer = 32;

// One line: bash counts the lines of its messages from it. In order: away with our descriptors from
// where programs have theirs; the saved state; then for each number its files. Words begin with
// `builtin` because commands may define functions of any name. `$?` is what the last command left.
constexpr const char* kDriver =
    "exec 250<&0 251>&1 0</dev/null 1>/dev/null 2>/dev/null; __atoll_d=$1; __atoll_r=0; "
    "__atoll_f() { builtin return \"$1\"; }; builtin shopt -s expand_aliases; "
    "if [[ -n $2 ]]; then builtin set --; builtin . \"$__atoll_d/state\"; fi; builtin set --; "
    "while IFS=' ' builtin read -r -u 250 __atoll_n __atoll_x; do "
    "__atoll_i=/dev/null; __atoll_k=; __atoll_u=; "
    "if [[ $__atoll_x == *i* ]]; then __atoll_i=$__atoll_d/$__atoll_n.in; fi; "
    "if [[ $__atoll_x == *b* ]]; then builtin . \"$__atoll_d/$__atoll_n.before\"; fi; "
    "if [[ -n $__atoll_k ]]; then builtin printf 'E %s\\n' \"$__atoll_n\" >&251; builtin continue; "
    "fi; "
    "builtin mapfile __atoll_a < \"$__atoll_d/$__atoll_n.cmd\"; "
    "builtin printf -v __atoll_t '%s' \"${__atoll_a[@]}\"; "
    "case $- in *e*) ;; *) __atoll_f \"$__atoll_r\" ;; esac; "
    "builtin eval \"$__atoll_t\" < \"$__atoll_i\" > \"$__atoll_d/$__atoll_n.out\" "
    "2> \"$__atoll_d/$__atoll_n.err\" 250<&- 251>&-; __atoll_r=$?; "
    "if [[ -n $__atoll_u ]]; then builtin eval \"$__atoll_u\"; fi; "
    "builtin printf '%s %s\\n' \"$__atoll_n\" \"$__atoll_r\" >&251; "
    "builtin unset -v __atoll_a __atoll_t __atoll_u; "
    "{ builtin shopt -p; builtin declare -p; builtin declare -f; builtin declare -F; "
    "builtin alias -p; builtin trap -p; builtin umask -p; "
    "builtin printf 'builtin cd -- %q\\n' \"$PWD\"; builtin set +o; } "
    ">| \"$__atoll_d/$__atoll_n.saved\" && "
    "builtin printf 'S %s\\n' \"$__atoll_n\" >&251; done";

// For bash, whatever the text has in it.
std::string Quote(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'') {
      quoted += R"('\'')";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// Moves to the directory and sets the variables; collects how that is undone.
std::string BeforeScript(const ShellCommand& command) {
  std::string script;
  if (!command.cwd.empty()) {
    script += "__atoll_o=$PWD; __atoll_p=${OLDPWD-}; if builtin cd -- " + Quote(command.cwd) +
              "; then __atoll_u+='builtin cd -- \"$__atoll_o\"; OLDPWD=$__atoll_p; '; else "
              "__atoll_k=1; builtin return 0; fi\n";
  }
  for (const auto& [name, value] : command.env) {
    script += "if [[ -v " + name + " ]]; then __atoll_u+=\"builtin unset -v " + name + "; ${" +
              name + "@A}; \"; else __atoll_u+='builtin unset -v " + name +
              "; '; fi; builtin export " + name + "=" + Quote(value) + "\n";
  }
  return script;
}

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

Result<std::string> MakeDirFor(const Program& program) {
  struct stat shm{};
  bool has_shm = stat("/dev/shm", &shm) == 0 && S_ISDIR(shm.st_mode);
  std::string name = std::string(has_shm ? "/dev/shm" : "/tmp") + "/.atoll-shell-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) return FailErrno(errno, "make a directory for the shell");
  if (chown(name.c_str(), program.uid, program.gid) != 0) {
    int error = errno;
    rmdir(name.c_str());
    return FailErrno(error, "give the shell its directory");
  }
  return name;
}

// What commands left there, one level deep.
void RemoveDir(const std::string& dir) {
  if (DIR* entries = opendir(dir.c_str()); entries != nullptr) {
    while (dirent* entry = readdir(entries)) unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
  }
  rmdir(dir.c_str());
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
  program.argv = {"bash", "--norc", "--noprofile", "-c", kDriver, "bash", dir_};
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
  commands_ = std::move(commands.write);
  status_ = std::move(status.read);
  said_.clear();
  return {};
}

bool Shell::alive() const { return child_ && !processes_->Status(*child_); }

protocol::Exited Shell::exited() const {
  return child_ ? processes_->Status(*child_).value_or(protocol::Exited{}) : protocol::Exited{};
}

Result<void> Shell::Restart(bool fresh) {
  if (child_) former_.push_back(std::move(child_));
  child_.reset();
  if (former_.size() > kMaxFormer) {
    std::erase_if(former_, [this](const auto& child) { return !processes_->HasSession(*child); });
  }
  std::string state = fresh ? std::string() : state_;
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
  ShellStreams streams;
  std::string flags = "-";
  TRY(WriteFor("cmd", command.text));
  if (std::string before = BeforeScript(command); !before.empty()) {
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
  TRY(sys::WriteAll(commands_.get(), std::to_string(number_) + " " + flags + "\n"));
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
      uint64_t number = std::strtoull(line.c_str() + 2, nullptr, 10);
      std::string saved = dir_ + "/" + std::to_string(number) + ".saved";
      if (!state_.empty() && state_ != saved) unlink(state_.c_str());
      state_ = std::move(saved);
    } else if (line == "E " + std::to_string(number_)) {
      return Fail(Code::kInvalidArgument, "the working directory cannot be entered",
                  "VALIDATION_FAILED");
    } else if (line.starts_with(std::to_string(number_) + " ")) {
      status = std::atoi(line.c_str() + line.find(' ')) & 0xff;
    }
  }
  if (said_.size() >= kMaxSaid) said_.clear();
  return status;
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
