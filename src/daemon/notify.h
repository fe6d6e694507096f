// SPDX-License-Identifier: Apache-2.0
// Tells the service manager how the daemon is: the protocol of sd_notify(3), spoken to the socket
// that NOTIFY_SOCKET names. Without one nothing is told.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "async/runtime.h"
#include "base/result.h"

namespace atl::daemon {

class Notifier {
 public:
  // Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: crun would pass the
  // socket on to sandboxes, and what the daemon starts is nobody's watchdog. Before other threads
  // run. `successor`: of the daemon that WATCHDOG_PID names.
  static Notifier FromEnvironment(bool successor = false);

  Notifier() = default;
  // `socket`: an absolute path, or "@" and an abstract name; `watchdog`: within what time the
  // manager wants to hear from us.
  Notifier(std::string socket, std::optional<std::chrono::microseconds> watchdog)
      : socket_(std::move(socket)), watchdog_(watchdog) {}

  // Lines such as "READY=1".
  Result<void> Send(std::string_view state) const;
  // The same; a failure goes to the log.
  void Tell(std::string_view state) const;

  // Another process speaks from now on.
  void Silence() { socket_.clear(); }

  // How long to pause between two WATCHDOG=1; nothing when nobody waits for them.
  std::optional<std::chrono::milliseconds> watchdog_pause() const;

 private:
  std::string socket_;
  std::optional<std::chrono::microseconds> watchdog_;
};

// Says WATCHDOG=1 as long as every event loop goes round. Runs for ever.
async::Task<> FeedWatchdog(async::Runtime& runtime, const Notifier& notifier);

}  // namespace atl::daemon
