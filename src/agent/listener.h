// SPDX-License-Identifier: Apache-2.0
// The descriptor that clients connect to.
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::agent {

class Listener {
 public:
  explicit Listener(sys::Fd fd) : fd_(std::move(fd)) {}

  // The next client; nothing when the descriptor is none to listen on. `revived` is called before
  // the first client that comes after a Park.
  std::optional<sys::Fd> Accept(const std::function<void()>& revived);

  // See protocol::Park.
  Result<void> Park();

 private:
  bool IsListening() const;

  sys::Fd fd_;
  std::atomic<bool> parked_ = false;
};

}  // namespace atl::agent
