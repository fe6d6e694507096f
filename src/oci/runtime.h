// SPDX-License-Identifier: Apache-2.0
// What runs a bundle. crun today; an interface so that another runtime can stand in.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::oci {

enum class ContainerStatus { kCreated, kRunning, kPaused, kStopped };

struct ContainerState {
  std::string iid;
  pid_t pid = 0;  // of PID 1, in the host's numbers; 0 when stopped
  ContainerStatus status = ContainerStatus::kStopped;
};

struct RunSpec {
  std::string iid;
  std::string bundle_dir;
  std::vector<int> inherit;  // become 3, 4, ... of PID 1
  int output_fd = -1;        // stdout and stderr of the runtime and of PID 1
};

// All calls block: make them from the blocking pool.
class Runtime {
 public:
  virtual ~Runtime() = default;
  // Creates and starts; returns PID 1 in the host's numbers. On failure nothing is left running.
  virtual Result<pid_t> Run(const RunSpec& spec) = 0;
  virtual Result<void> Kill(const std::string& iid, int signal) = 0;
  // Ends it if it runs, and forgets it. One that is unknown is success.
  virtual Result<void> Delete(const std::string& iid) = 0;
  virtual Result<ContainerState> State(const std::string& iid) = 0;  // kNotFound
  virtual Result<std::vector<std::string>> List() = 0;
};

// The last lines of a log file, for errors that must say what was written there.
std::string ReadTail(int log);

// `root`: where crun keeps its state (run_dir/crun). A call that has not ended by its deadline is
// killed: kUnavailable, RUNTIME_TIMEOUT. `cgroups`: containers have groups of their own, which end
// with them; otherwise they stay in the caller's.
std::unique_ptr<Runtime> MakeCrunRuntime(
    std::string root, std::chrono::milliseconds deadline = std::chrono::seconds(30),
    bool cgroups = true);

}  // namespace atl::oci
