// SPDX-License-Identifier: Apache-2.0
// The run directory: who holds it, and where its daemon listens.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::daemon {

// What one daemon holds and no two may share: its run directory, its state directory, and its name
// for cgroups, in which a daemon takes what it does not know for left over. The kernel lets go of
// all when the process ends, however it ends.
class DaemonLock {
 public:
  // Makes the directories. kAlreadyExists when another daemon has one of them.
  static Result<DaemonLock> Take(const std::string& run_dir, const std::string& state_dir,
                                 const std::string& cgroup);
  // Another daemon may take it.
  void Release() { held_.clear(); }

 private:
  explicit DaemonLock(std::vector<sys::Fd> held) : held_(std::move(held)) {}
  std::vector<sys::Fd> held_;
};

// `address`: "127.0.0.1:8787", for the command line to find the daemon by.
Result<void> WriteAddress(const std::string& run_dir, const std::string& address);

}  // namespace atl::daemon
