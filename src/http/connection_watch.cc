// SPDX-License-Identifier: Apache-2.0
// What a connection watches beside its work: limits of time, and whether the client still waits.
#include <algorithm>
#include <utility>

#include "http/connection.h"

namespace atl::http {
namespace {

// How long an answer may take until it is looked whether the client still waits.
constexpr std::chrono::milliseconds kPromptAnswer{500};

// Between attempts to interrupt a read that is not waiting just now.
constexpr std::chrono::milliseconds kAgain{300};

}  // namespace

// One for the whole connection: limits move on, and most are never reached, so the timer is seldom
// touched.
async::Task<> Connection::WatchDeadline() {
  while (true) {
    auto now = Clock::now();
    if (deadline_ <= now) {
      late_ = true;
      stream_.Interrupt();
      // Again, should the reader have had its turn to come and not have waited just now.
      deadline_ = now + kAgain;
    }
    if (gone_ && gone_since_ <= now && !watch_) {
      watch_ = stream_.WatchHangup([this] { TellGone(); });
    }
    auto wake = gone_ && !watch_ ? gone_since_ : now + options_.idle_timeout;
    co_await alarm_.SleepUntil(std::min(deadline_, wake));
  }
}

void Connection::TellGone() {
  // It may end the watch.
  std::function<void()> gone = std::exchange(gone_, {});
  if (gone) gone();
}

// Most answers come at once: only those that do not are worth a watch on the socket.
void Connection::WatchHangup(std::function<void()> gone) {
  watch_.reset();
  gone_ = std::move(gone);
  if (!gone_) return;
  gone_since_ = Clock::now() + kPromptAnswer;
  alarm_.WakeBy(gone_since_);
}

void Connection::SetDeadline(std::chrono::milliseconds limit) {
  late_ = false;
  deadline_ = Clock::now() + limit;
  alarm_.WakeBy(deadline_);
}

}  // namespace atl::http
