// SPDX-License-Identifier: Apache-2.0
#include "daemon/takeover.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>

extern char** environ;

namespace atl::daemon {
namespace {

constexpr const char* kVariable = "ATOLL_TAKEOVER";
// Descriptors of the successor: the line, the mount namespace, the listeners.
constexpr int kLineFd = 3;
constexpr int kNamespaceFd = 4;
constexpr int kFirstListener = 5;
constexpr size_t kMaxListeners = 64;
constexpr std::chrono::minutes kTurnLimit{2};
constexpr size_t kMaxCommandLine = 1UL << 20U;

std::vector<std::string> SplitAtNul(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    size_t end = std::min(text.find('\0'), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return parts;
}

Result<char> ReadWord(int fd, std::chrono::milliseconds limit) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  int count = ::poll(&ready, 1, static_cast<int>(limit.count()));
  if (count == 0) return Fail(Code::kTimeout, "the other daemon says nothing");
  char word = 0;
  if (count < 0 || ::read(fd, &word, 1) != 1) {
    return Fail(Code::kUnavailable, "the other daemon has ended");
  }
  return word;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// posix_spawn's lists, freed whatever happens.
struct SpawnPlan {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};

  SpawnPlan() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
};

}  // namespace

Result<Origin> Origin::Remember() {
  Origin origin;
  char self[4096];
  ssize_t size = ::readlink("/proc/self/exe", self, sizeof(self));
  if (size < 0) return FailErrno(errno, "find this program's own path");
  origin.program.assign(self, static_cast<size_t>(size));
  ASSIGN(std::string command, sys::ReadFile("/proc/self/cmdline", kMaxCommandLine));
  origin.argv = SplitAtNul(command);
  ASSIGN(origin.mount_namespace, sys::Open("/proc/self/ns/mnt", O_RDONLY));
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    if (!text.starts_with(std::string(kVariable) + "=")) origin.environment.emplace_back(text);
  }
  return origin;
}

Result<Successor> Successor::Start(const Origin& origin, std::span<const sys::Fd> listeners) {
  if (listeners.size() > kMaxListeners) return Fail(Code::kInternal, "too many listeners");
  ASSIGN(auto line, sys::MakeSocketPair(SOCK_STREAM));
  // The targets of dup2 must not be sources that are still needed: all are copied high first.
  std::vector<sys::Fd> high;
  auto lift = [&high](int fd) -> Result<void> {
    sys::Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 100));
    if (!copy) return FailErrno(errno, "copy a descriptor for the new daemon");
    high.push_back(std::move(copy));
    return {};
  };
  TRY(lift(line.second.get()));
  TRY(lift(origin.mount_namespace.get()));
  for (const sys::Fd& listener : listeners) TRY(lift(listener.get()));
  SpawnPlan plan;
  for (size_t i = 0; i < high.size(); ++i) {
    posix_spawn_file_actions_adddup2(&plan.files, high[i].get(), kLineFd + static_cast<int>(i));
  }
  std::vector<std::string> argv = origin.argv;
  std::vector<std::string> environment = origin.environment;
  environment.push_back(fmt::format("{}={}", kVariable, listeners.size()));
  pid_t pid = 0;
  int error = ::posix_spawn(&pid, origin.program.c_str(), &plan.files, &plan.attributes,
                            Pointers(argv).data(), Pointers(environment).data());
  if (error != 0) return FailErrno(error, fmt::format("start {}", origin.program));
  return Successor(pid, std::move(line.first));
}

Result<void> Successor::Await(char word, std::chrono::milliseconds limit) {
  ASSIGN(char said, ReadWord(line_.get(), limit));
  if (said == word) return {};
  return Fail(Code::kUnavailable, "the new daemon says what nobody expects");
}

Result<void> Successor::Say(char word) {
  return sys::WriteAll(line_.get(), std::string_view(&word, 1));
}

void Successor::End() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

Result<std::optional<Predecessor>> Predecessor::FromEnvironment() {
  const char* text = std::getenv(kVariable);
  if (text == nullptr) return std::optional<Predecessor>();
  std::string count_text = text;
  ::unsetenv(kVariable);
  size_t count = 0;
  auto [end, error] =
      std::from_chars(count_text.data(), count_text.data() + count_text.size(), count);
  if (error != std::errc() || count > kMaxListeners) {
    return Fail(Code::kInvalidArgument, fmt::format("{} is not for people to set", kVariable));
  }
  Predecessor predecessor;
  auto take = [](int fd) -> Result<sys::Fd> {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
      return FailErrno(errno, "take an inherited descriptor");
    return sys::Fd(fd);
  };
  ASSIGN(predecessor.line_, take(kLineFd));
  ASSIGN(sys::Fd mount_namespace, take(kNamespaceFd));
  for (size_t i = 0; i < count; ++i) {
    ASSIGN(sys::Fd listener, take(kFirstListener + static_cast<int>(i)));
    predecessor.listeners_.push_back(std::move(listener));
  }
  // setns forgets the working directory.
  ASSIGN(std::string here, [] -> Result<std::string> {
    char path[4096];
    if (::getcwd(path, sizeof(path)) == nullptr) return FailErrno(errno, "getcwd");
    return std::string(path);
  }());
  if (::setns(mount_namespace.get(), CLONE_NEWNS) < 0) {
    return FailErrno(errno, "enter the mount namespace that the running daemon was started in");
  }
  if (::chdir(here.c_str()) < 0) return FailErrno(errno, fmt::format("chdir to {}", here));
  return std::optional<Predecessor>(std::move(predecessor));
}

sys::Fd Predecessor::TakeListener(const std::string& address, uint16_t port) {
  for (sys::Fd& listener : listeners_) {
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    if (!listener ||
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) < 0) {
      continue;
    }
    char text[INET6_ADDRSTRLEN] = {};
    uint16_t bound_port = 0;
    if (bound.ss_family == AF_INET) {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&bound);
      ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
      bound_port = ntohs(v4->sin_port);
    } else if (bound.ss_family == AF_INET6) {
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&bound);
      ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
      bound_port = ntohs(v6->sin6_port);
    }
    if (address == text && (port == 0 || port == bound_port)) return std::move(listener);
  }
  return {};
}

Result<void> Predecessor::AwaitTurn() {
  TRY(sys::WriteAll(line_.get(), std::string_view(&kCanRun, 1)));
  auto word = ReadWord(line_.get(), kTurnLimit);
  if (!word) return Unexpected(std::move(word).error().Wrap("wait for the running daemon"));
  if (*word == kGo) return {};
  return Fail(Code::kUnavailable, "the running daemon says what nobody expects");
}

void Predecessor::SayServing() {
  // One that has ended meanwhile needs not to know.
  (void)sys::WriteAll(line_.get(), std::string_view(&kServes, 1));
}

}  // namespace atl::daemon
