// SPDX-License-Identifier: Apache-2.0
#include "repository/lock_owner.h"

#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <set>
#include <string>

namespace atl::repository {
namespace {

// Close enough to the start of the process: a lock with its number that is older is another's.
const Time kStart = Now();

std::mutex& HeldMutex() {
  static std::mutex mutex;
  return mutex;
}
std::set<Id>& HeldLocks() {
  static std::set<Id> held;
  return held;
}

}  // namespace

Time Now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {.seconds = now.tv_sec, .nanos = static_cast<uint32_t>(now.tv_nsec)};
}

const std::string& HostName() {
  static const std::string name = [] {
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return std::string("localhost");
    return std::string(buffer.data());
  }();
  return name;
}

const std::string& UserName() {
  static const std::string name = [] {
    std::array<char, 4096> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
        found != nullptr) {
      return std::string(found->pw_name);
    }
    return std::to_string(::geteuid());
  }();
  return name;
}

LockRecord OwnLock(bool exclusive) {
  return {.time = Now(),
          .exclusive = exclusive,
          .hostname = HostName(),
          .username = UserName(),
          .pid = ::getpid(),
          .uid = ::geteuid(),
          .gid = ::getegid()};
}

void SurviveHangup() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    if (::sigaction(SIGHUP, nullptr, &action) != 0) return;
    if ((action.sa_flags & SA_SIGINFO) != 0 || action.sa_handler != SIG_DFL) return;
    action = {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGHUP, &action, nullptr);
  });
}

void HoldLock(const Id& id) {
  const std::lock_guard lock(HeldMutex());
  HeldLocks().insert(id);
}

void ForgetLock(const Id& id) {
  const std::lock_guard lock(HeldMutex());
  HeldLocks().erase(id);
}

bool OwnerIsGone(const Id& id, const LockRecord& record) {
  if (record.hostname != HostName() || record.pid <= 0) return false;
  if (record.pid == ::getpid()) {
    const std::lock_guard lock(HeldMutex());
    return !HeldLocks().contains(id) && record.time < kStart;
  }
  return ::kill(static_cast<pid_t>(record.pid), 0) != 0 && errno == ESRCH;
}

}  // namespace atl::repository
