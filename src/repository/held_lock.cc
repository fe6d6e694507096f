// SPDX-License-Identifier: Apache-2.0
#include "repository/held_lock.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/log.h"
#include "repository/lock_owner.h"

namespace atl::repository {
namespace {

// Goes on while the machine sleeps: others do not sleep with it.
int64_t BootMilliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return (static_cast<int64_t>(now.tv_sec) * 1000) + (now.tv_nsec / 1'000'000);
}

}  // namespace

HeldLock::HeldLock(Locks& locks, bool exclusive, const Id& file)
    : locks_(locks), exclusive_(exclusive), file_(file), renewed_ms_(BootMilliseconds()) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Renew(stop); });
}

HeldLock::~HeldLock() {
  thread_.request_stop();
  thread_.join();
  locks_.RemoveFile(file_);
  locks_.Leave(exclusive_);
}

bool HeldLock::valid() const {
  if (BootMilliseconds() - renewed_ms_.load() > locks_.times_.give_up.count()) lost_ = true;
  return !lost_;
}

void HeldLock::Renew(const std::stop_token& stop) {
  const std::chrono::milliseconds usual = locks_.times_.refresh;
  const std::chrono::milliseconds soon =
      std::min<std::chrono::milliseconds>(usual / 2, std::chrono::seconds(30));
  std::chrono::milliseconds pause = usual;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, stop, pause, [] { return false; });
    }
    if (stop.stop_requested()) return;
    // Others may act on its absence by now; a new file would hide that from nobody but us.
    if (!valid()) return;
    const int64_t begun = BootMilliseconds();
    auto file = locks_.PutFile(exclusive_, stop);
    if (!file) {
      if (stop.stop_requested()) return;
      log::Warning("the lock {} of {} could not be renewed: {}", file_.Short(),
                   locks_.store_.name(), file.error().message);
      pause = soon;
      continue;
    }
    locks_.RemoveFile(file_);
    file_ = *file;
    renewed_ms_ = begun;
    pause = usual;
  }
}

}  // namespace atl::repository
