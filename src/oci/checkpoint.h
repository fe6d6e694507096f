// SPDX-License-Identifier: Apache-2.0
// A sandbox's processes with their memory in files, and any number of sandboxes from those. CRIU
// (https://criu.org) does the work; it is optional, so everything here may be unavailable.
//
// A checkpoint is a directory:
//   images/       what CRIU wrote; readable by every sandbox's root user, so of nobody's secrets
//   layer/        the upper directory as it was, with the ids of `base`. Not there: the checkpoint
//                 is one sandbox's own, and goes with the layer that it has
//   checkpoint    lines: "base 268435456", "fd 4 file[eb:8b4b2]" (a descriptor of PID 1 that leads
//                 out, as CRIU calls it), "mount /dev/null /dev/null" (where a mount comes from)
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"

namespace atl::oci {

struct DumpSpec {
  std::string criu;
  std::chrono::milliseconds deadline{60'000};  // CriuRun::deadline
  pid_t pid = 0;  // PID 1, parked (protocol::Park) and in the `work` leaf
  std::function<Result<std::vector<int>>()> processes;  // all of them, now
  std::string dir;
  uint32_t id_base = 0;
  std::string agent_binary;  // as the bundle names it
  std::string opencode_binary;
  // Several sandboxes may come of it: what a fork empties is empty.
  bool for_copies = true;
  // It is given up when images/ takes more, or leaves less free: memory that processes share is
  // written once for each of them. 0: no limit.
  uint64_t most_bytes = 0;
  uint64_t least_free = 0;
  // Given: they go on afterwards, whatever comes out, and stand still while this is called, which
  // is when all is written. PID 1 is not parked then, and who is connected to it stays connected.
  std::function<Result<void>()> while_still;
  std::function<void()> begins;  // with that: they are about to be stopped
  // With that: they need not go on any more, and it is ended at once.
  std::stop_token stop;
};
// Writes images/ and `checkpoint`. Without `while_still` the processes are gone afterwards,
// whatever comes out.
Result<void> Dump(const DumpSpec& spec);

struct RestoreSpec {
  std::string criu;
  std::chrono::milliseconds deadline{60'000};  // CriuRun::deadline
  std::string dir;                             // of the checkpoint
  std::string scratch;  // a directory on the same file system, made for this and removed after
  std::string rootfs;   // mounted
  std::string pid_file;
  std::string log_file;
  uint32_t id_base = 0;
  std::string agent_binary;
  std::string opencode_binary;
  std::string cgroup;           // v2: the directory that the sandbox has at /sys/fs/cgroup
  int listener = -1;            // borrowed, as what follows
  std::vector<int> leaf_procs;  // as PID 1 has them: of the `agent` leaf, then of `work`
  int output = -1;
};
// PID 1 in the host's numbers; it and all others are in the `work` leaf. On failure nothing is left
// running.
Result<pid_t> RestoreProcesses(const RestoreSpec& spec);

// The ids that the checkpoint's layer has.
Result<uint32_t> CheckpointBase(const std::string& dir);

}  // namespace atl::oci
