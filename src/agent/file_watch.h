// SPDX-License-Identifier: Apache-2.0
// Tells a client what changes in a directory, until it leaves. Events of 75 ms go out together.
// While the client does not read, the kernel's queue fills; when that is full an event says so.
#pragma once

#include <atomic>
#include <memory>

#include "agent/client_link.h"
#include "protocol/watch.h"

namespace atl::agent {

// One of the few watches that a sandbox may have at a time: each is a process, and what the kernel
// gives for them is shared with other sandboxes. Counts as long as it lives.
class WatchPlace {
 public:
  static Result<WatchPlace> Take();
  // Whether Take would succeed.
  static bool IsThere();

 private:
  struct GiveBack {
    void operator()(std::atomic<int>* taken) const { taken->fetch_sub(1); }
  };
  explicit WatchPlace(std::atomic<int>* taken) : taken_(taken) {}
  std::unique_ptr<std::atomic<int>, GiveBack> taken_;
};

Result<void> RunWatchFiles(const protocol::WatchFiles& request, ClientLink* link);

}  // namespace atl::agent
