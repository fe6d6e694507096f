// SPDX-License-Identifier: Apache-2.0
// The OCI bundle of a sandbox: what config.json says about its namespaces, mounts and privileges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::oci {

inline constexpr std::string_view kAgentPath = "/.atoll/agent";
inline constexpr std::string_view kOpencodePath = "/opt/opencode/bin/opencode";
inline constexpr std::string_view kWorkspace = "/workspace";

// What uid 0 inside may do to what belongs to the sandbox. No CAP_SYS_ADMIN, CAP_SYS_PTRACE,
// CAP_NET_ADMIN, CAP_NET_RAW, CAP_MKNOD.
const std::vector<std::string>& Capabilities();

struct BundleSpec {
  std::string iid;
  std::string hostname;
  std::string rootfs;          // absolute
  std::string user_namespace;  // the path of one that crun is to join
  std::string agent_binary;
  std::string opencode_binary;          // empty: none
  std::vector<std::string> agent_args;  // after kAgentPath
  std::vector<std::string> env;         // "KEY=value", for PID 1
  uint64_t open_files = 65536;          // soft; the hard limit is the daemon's, a million at most
  std::string cgroups_path;             // Cgroup::work_path()
  bool mount_cgroup2 = false;           // show /sys/fs/cgroup inside, read-only (v2 hosts)
  std::string seccomp_bpf_base64;
};

// The text of config.json.
std::string BundleConfig(const BundleSpec& spec);
// Writes `bundle_dir`/config.json, readable by root alone.
Result<void> WriteBundle(const std::string& bundle_dir, const BundleSpec& spec);

}  // namespace atl::oci
