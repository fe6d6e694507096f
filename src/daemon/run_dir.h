// SPDX-License-Identifier: Apache-2.0
// The run directory: who holds it, and where its daemon listens.
#pragma once

#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace atl::daemon {

// The lock that one daemon holds on its run directory. The kernel lets go of it when the process
// ends, however it ends.
class RunDirLock {
 public:
  // Makes the directory. kAlreadyExists when another daemon holds it; the message names its pid.
  static Result<RunDirLock> Take(const std::string& run_dir);
  // Another daemon may take it.
  void Release() { fd_.Reset(); }

 private:
  explicit RunDirLock(sys::Fd fd) : fd_(std::move(fd)) {}
  sys::Fd fd_;
};

// `address`: "127.0.0.1:8787", for the command line to find the daemon by.
Result<void> WriteAddress(const std::string& run_dir, const std::string& address);

}  // namespace atl::daemon
