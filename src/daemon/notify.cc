// SPDX-License-Identifier: Apache-2.0
#include "daemon/notify.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "sys/fd.h"

namespace atl::daemon {
namespace {

std::string TakeVariable(const char* name) {
  const char* value = std::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  ::unsetenv(name);
  return taken;
}

std::optional<uint64_t> ParseNumber(const std::string& text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

async::Task<> Nothing() { co_return; }

}  // namespace

Notifier Notifier::FromEnvironment(bool successor) {
  std::string socket = TakeVariable("NOTIFY_SOCKET");
  std::optional<uint64_t> usec = ParseNumber(TakeVariable("WATCHDOG_USEC"));
  std::string pid = TakeVariable("WATCHDOG_PID");
  bool ours = successor || pid.empty() || pid == std::to_string(::getpid());
  std::optional<std::chrono::microseconds> watchdog;
  if (usec && *usec > 0 && ours) watchdog = std::chrono::microseconds(*usec);
  return Notifier(std::move(socket), watchdog);
}

Result<void> Notifier::Send(std::string_view state) const {
  if (socket_.empty()) return {};
  std::string what = fmt::format("tell {} of {}", socket_, state.substr(0, state.find('\n')));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  bool known = socket_[0] == '/' || socket_[0] == '@';
  if (!known || socket_.size() < 2 || socket_.size() >= sizeof(address.sun_path)) {
    return Fail(Code::kInvalidArgument, what + ": this is no name of a unix socket");
  }
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  // An abstract name begins with a NUL and ends with its length.
  if (socket_[0] == '@') address.sun_path[0] = '\0';
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  sys::Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return FailErrno(errno, what);
  ssize_t sent = ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                          reinterpret_cast<const sockaddr*>(&address), length);
  if (sent < 0) return FailErrno(errno, what);
  return {};
}

void Notifier::Tell(std::string_view state) const {
  Result<void> sent = Send(state);
  if (!sent) log::Warning("{}", sent.error().message);
}

std::optional<std::chrono::milliseconds> Notifier::watchdog_pause() const {
  if (socket_.empty() || !watchdog_) return std::nullopt;
  // sd_watchdog_enabled(3): half of what is allowed; this leaves a loop some time to come round.
  auto third = std::chrono::duration_cast<std::chrono::milliseconds>(*watchdog_ / 3);
  return std::max(third, std::chrono::milliseconds(1));
}

async::Task<> FeedWatchdog(async::Runtime& runtime, const Notifier& notifier) {
  while (std::optional<std::chrono::milliseconds> pause = notifier.watchdog_pause()) {
    // A loop that is stuck never answers, and then nobody says that all is well.
    for (int i = 0; i < runtime.shard_count(); ++i) {
      async::Executor shard = runtime.shard(i);
      co_await async::RunOn(shard, Nothing());
    }
    notifier.Tell("WATCHDOG=1");
    co_await async::Sleep(*pause);
  }
}

}  // namespace atl::daemon
