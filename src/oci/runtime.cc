// SPDX-License-Identifier: Apache-2.0
#include "oci/runtime.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>

#include "sys/fd.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

namespace json = boost::json;

Result<std::string> FindProgram(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    size_t colon = rest.find(':');
    std::string candidate = fmt::format("{}/{}", rest.substr(0, colon), name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return Fail(Code::kNotFound, fmt::format("{} is not installed", name));
}

// A copy of crun in memory that nobody can change any more. So that a container cannot overwrite
// the program that set it up, crun makes such a copy of itself at every call and starts again from
// it; started from one, it does not.
Result<sys::Fd> SealedCopy(const std::string& program) {
  ASSIGN(std::string bytes, sys::ReadFile(program, 64U << 20U));
#ifdef MFD_EXEC
  constexpr unsigned kExecutable = MFD_EXEC;
#else
  constexpr unsigned kExecutable = 0x10;
#endif
  sys::Fd copy(::memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING | kExecutable));
  // Before Linux 6.3 the flag is unknown and every copy is executable.
  if (!copy) copy = sys::Fd(::memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!copy) return FailErrno(errno, "memfd_create");
  TRY(sys::WriteAll(copy.get(), bytes));
  if (::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) <
      0) {
    return FailErrno(errno, "sealing a copy of crun");
  }
  return copy;
}

// Above it are exit codes of programs that a signal has ended.
constexpr int kSignalled = 128;

// The client's own time is not what has passed.
Error Late(Error error) {
  if (error.code != Code::kTimeout) return error;
  error.code = Code::kUnavailable;
  error.reason = "RUNTIME_TIMEOUT";
  return error;
}

class CrunRuntime : public Runtime {
 public:
  CrunRuntime(std::string root, std::chrono::milliseconds deadline, bool cgroups)
      : root_(std::move(root)), deadline_(deadline), cgroups_(cgroups) {
    auto program = FindProgram("crun");
    if (!program) return;
    auto copy = SealedCopy(*program);
    if (!copy) return;
    copy_ = *std::move(copy);
    // Not /proc/self: the child puts other descriptors in this one's place before it executes.
    program_ = fmt::format("/proc/{}/fd/{}", ::getpid(), copy_.get());
  }

  Result<pid_t> Run(const RunSpec& spec) override {
    std::string pid_file = spec.bundle_dir + "/pid";
    sys::Command command{
        .argv = Argv({"run", "--detach", "--bundle", spec.bundle_dir, "--pid-file", pid_file})};
    if (!spec.inherit.empty()) {
      command.argv.push_back(fmt::format("--preserve-fds={}", spec.inherit.size()));
    }
    command.argv.push_back(spec.iid);
    command.inherit = spec.inherit;
    command.stdout_fd = spec.output_fd;
    command.stderr_fd = spec.output_fd;
    command.timeout = deadline_;
    auto finished = sys::Run(command);
    if (finished && finished->exit_code == 0) {
      if (auto pid = ReadPid(pid_file)) return pid;
    }
    // What has been made of it by then, crun itself knows best how to take away.
    (void)Delete(spec.iid);
    if (!finished) return Unexpected(Late(std::move(finished).error()).Wrap("crun run"));
    // One that was killed says nothing of what it was asked for: another try may succeed.
    bool killed = finished->exit_code > kSignalled;
    return Fail(killed ? Code::kUnavailable : Code::kInternal,
                fmt::format("crun run ended with code {}: {}", finished->exit_code,
                            ReadTail(spec.output_fd)),
                killed ? "CONTAINER_UNAVAILABLE" : "");
  }

  Result<void> Kill(const std::string& iid, int signal) override {
    TRY(Call({"kill", iid, fmt::format("{}", signal)}));
    return {};
  }

  Result<void> Delete(const std::string& iid) override {
    if (!Known(iid)) return {};
    // Of one that has ended there is nothing but this directory: calling crun for that costs most
    // of the time that a delete takes.
    std::string state = fmt::format("{}/{}", root_, iid);
    if (HasEnded(state) && sys::RemoveTree(state)) return {};
    auto deleted = Call({"delete", "--force", iid});
    if (deleted || !Known(iid)) return {};
    // A crun that fails or hangs keeps nothing: of what has no process this directory is all.
    if (HasEnded(state) || HasNotBegun(state)) return sys::RemoveTree(state);
    return Unexpected(std::move(deleted).error());
  }

  Result<ContainerState> State(const std::string& iid) override {
    if (!Known(iid)) return Fail(Code::kNotFound, fmt::format("no container {}", iid));
    ASSIGN(std::string text, Call({"state", iid}));
    boost::system::error_code failure;
    json::value value = json::parse(text, failure);
    const json::object* object = failure ? nullptr : value.if_object();
    if (object == nullptr) return Fail(Code::kInternal, "crun state: not JSON");
    ContainerState state{.iid = iid};
    if (const json::value* pid = object->if_contains("pid"); pid != nullptr && pid->is_int64()) {
      state.pid = static_cast<pid_t>(pid->get_int64());
    }
    const json::value* status = object->if_contains("status");
    const json::string* name = status == nullptr ? nullptr : status->if_string();
    if (name != nullptr && *name == "running") state.status = ContainerStatus::kRunning;
    if (name != nullptr && *name == "created") state.status = ContainerStatus::kCreated;
    if (name != nullptr && *name == "paused") state.status = ContainerStatus::kPaused;
    if (state.status == ContainerStatus::kStopped) state.pid = 0;
    return state;
  }

  // crun keeps a directory for each.
  Result<std::vector<std::string>> List() override {
    std::vector<std::string> names;
    DIR* directory = ::opendir(root_.c_str());
    if (directory == nullptr) {
      if (errno == ENOENT) return names;
      return FailErrno(errno, fmt::format("listing {}", root_));
    }
    while (const dirent* entry = ::readdir(directory)) {
      if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    }
    ::closedir(directory);
    std::ranges::sort(names);
    return names;
  }

 private:
  std::vector<std::string> Argv(std::initializer_list<std::string> arguments) const {
    std::vector<std::string> argv = {
        program_, "--root", root_,
        cgroups_ ? "--cgroup-manager=cgroupfs" : "--cgroup-manager=disabled"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }

  Result<std::string> Call(std::initializer_list<std::string> arguments) const {
    auto output = sys::RunChecked({.argv = Argv(arguments), .timeout = deadline_});
    if (!output) return Unexpected(Late(std::move(output).error()));
    return output;
  }

  bool Known(const std::string& iid) const {
    return ::access(fmt::format("{}/{}", root_, iid).c_str(), F_OK) == 0;
  }

  // A crun that was killed before it wrote which process is PID 1 has let none run.
  static bool HasNotBegun(const std::string& state) {
    return ::access((state + "/status").c_str(), F_OK) != 0 && errno == ENOENT;
  }

  // Whether crun says which process is PID 1, and that one is no more.
  static bool HasEnded(const std::string& state) {
    auto text = sys::ReadFile(state + "/status", 1U << 20U);
    if (!text) return false;
    boost::system::error_code failure;
    json::value value = json::parse(*text, failure);
    const json::object* object = failure ? nullptr : value.if_object();
    const json::value* pid = object == nullptr ? nullptr : object->if_contains("pid");
    if (pid == nullptr || !pid->is_int64() || pid->get_int64() <= 1) return false;
    auto stat = sys::ReadFile(fmt::format("/proc/{}/stat", pid->get_int64()), 4096);
    if (!stat) return stat.error().sys_errno == ENOENT;
    // "1234 (name) Z ...": nobody has taken note of its end yet.
    size_t name_end = stat->rfind(')');
    return name_end != std::string::npos && stat->substr(name_end).starts_with(") Z");
  }

  static Result<pid_t> ReadPid(const std::string& file) {
    ASSIGN(std::string text, sys::ReadFile(file, 64));
    pid_t pid = 0;
    std::from_chars(text.data(), text.data() + text.size(), pid);
    if (pid <= 1) return Fail(Code::kInternal, fmt::format("{} holds no process id", file));
    return pid;
  }

  std::string root_;
  std::chrono::milliseconds deadline_;
  bool cgroups_;
  sys::Fd copy_;
  std::string program_ = "crun";
};

}  // namespace

std::string ReadTail(int log) {
  char buffer[2048];
  off_t end = ::lseek(log, 0, SEEK_END);
  if (end <= 0) return {};
  off_t start = std::max<off_t>(0, end - static_cast<off_t>(sizeof(buffer)));
  ssize_t n = ::pread(log, buffer, sizeof(buffer), start);
  if (n <= 0) return {};
  std::string text(buffer, static_cast<size_t>(n));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::unique_ptr<Runtime> MakeCrunRuntime(std::string root, std::chrono::milliseconds deadline,
                                         bool cgroups) {
  return std::make_unique<CrunRuntime>(std::move(root), deadline, cgroups);
}

}  // namespace atl::oci
