// SPDX-License-Identifier: Apache-2.0
#include "oci/bundle.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/json.hpp>

#include "sys/fd.h"

namespace atl::oci {
namespace {

namespace json = boost::json;

constexpr rlim_t kMostOpenFiles = 1U << 20U;

json::array Strings(const std::vector<std::string>& values) {
  return json::array(values.begin(), values.end());
}

json::object MakeMount(std::string_view type, std::string_view source, std::string_view target,
                       std::initializer_list<std::string_view> options) {
  json::array list;
  for (std::string_view option : options) list.emplace_back(option);
  return json::object{
      {"destination", target}, {"type", type}, {"source", source}, {"options", std::move(list)}};
}

json::array Mounts(const BundleSpec& spec) {
  json::array mounts;
  mounts.push_back(MakeMount("proc", "proc", "/proc", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(
      MakeMount("tmpfs", "tmpfs", "/dev", {"nosuid", "strictatime", "mode=755", "size=65536k"}));
  // The kernel has a few thousand terminals for everybody: none of the sandboxes gets them all.
  mounts.push_back(MakeMount(
      "devpts", "devpts", "/dev/pts",
      {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "max=512"}));
  mounts.push_back(MakeMount("tmpfs", "shm", "/dev/shm",
                             {"nosuid", "noexec", "nodev", "mode=1777", "size=268435456"}));
  mounts.push_back(MakeMount("mqueue", "mqueue", "/dev/mqueue", {"nosuid", "noexec", "nodev"}));
  mounts.push_back(MakeMount("sysfs", "sysfs", "/sys", {"nosuid", "noexec", "nodev", "ro"}));
  if (spec.mount_cgroup2) {
    mounts.push_back(MakeMount("cgroup", "cgroup", "/sys/fs/cgroup",
                               {"nosuid", "noexec", "nodev", "relatime", "ro"}));
  }
  mounts.push_back(
      MakeMount("bind", spec.agent_binary, kAgentPath, {"bind", "ro", "nosuid", "nodev"}));
  if (!spec.opencode_binary.empty()) {
    mounts.push_back(
        MakeMount("bind", spec.opencode_binary, kOpencodePath, {"bind", "ro", "nosuid", "nodev"}));
  }
  return mounts;
}

json::object Process(const BundleSpec& spec) {
  json::array args;
  args.emplace_back(kAgentPath);
  for (const std::string& arg : spec.agent_args) args.emplace_back(arg);
  json::array capabilities = Strings(Capabilities());
  // The hard limit cannot be raised without CAP_SYS_RESOURCE: as much as the daemon has.
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  rlim_t most = std::min(files.rlim_max, kMostOpenFiles);
  // A soft limit near the hard one costs programs that close every number there could be.
  rlim_t usual = std::min<rlim_t>(most, spec.open_files);
  return json::object{
      {"terminal", false},
      {"user", {{"uid", 0}, {"gid", 0}}},
      {"args", std::move(args)},
      {"env", Strings(spec.env)},
      {"cwd", kWorkspace},
      {"capabilities",
       {{"bounding", capabilities}, {"effective", capabilities}, {"permitted", capabilities}}},
      {"rlimits",
       {{{"type", "RLIMIT_NOFILE"}, {"hard", most}, {"soft", usual}},
        {{"type", "RLIMIT_CORE"}, {"hard", 0}, {"soft", 0}}}},
      // The service manager may have made the daemon less likely to be ended for want of memory.
      // crun takes 0 for nothing.
      {"oomScoreAdj", 1},
      {"noNewPrivileges", true}};
}

// Docker's and Podman's lists.
json::array MaskedPaths() {
  return {"/proc/acpi",        "/proc/asound",   "/proc/interrupts",
          "/proc/kcore",       "/proc/keys",     "/proc/latency_stats",
          "/proc/sched_debug", "/proc/scsi",     "/proc/timer_list",
          "/proc/timer_stats", "/sys/dev/block", "/sys/devices/virtual/powercap",
          "/sys/firmware",     "/sys/fs/selinux"};
}

json::array ReadonlyPaths() {
  return {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
}

json::object Linux(const BundleSpec& spec) {
  // Made by crun it would belong to root, whose limits all sandboxes would share.
  json::array namespaces = {json::object{{"type", "user"}, {"path", spec.user_namespace}}};
  for (std::string_view type : {"pid", "mount", "ipc", "uts", "network", "cgroup"}) {
    namespaces.push_back(json::object{{"type", type}});
  }
  return json::object{{"namespaces", std::move(namespaces)},
                      {"cgroupsPath", spec.cgroups_path},
                      {"sysctl",
                       {{"net.ipv6.conf.all.disable_ipv6", "1"},
                        {"net.ipv6.conf.default.disable_ipv6", "1"},
                        {"net.ipv4.ip_unprivileged_port_start", "0"},
                        {"net.ipv4.ping_group_range", "0 65535"}}},
                      {"maskedPaths", MaskedPaths()},
                      {"readonlyPaths", ReadonlyPaths()}};
}

}  // namespace

const std::vector<std::string>& Capabilities() {
  static const std::vector<std::string> capabilities = {
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
      "CAP_KILL",    "CAP_SETGID",           "CAP_SETUID",    "CAP_SETPCAP",
      "CAP_SETFCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"};
  return capabilities;
}

std::string BundleConfig(const BundleSpec& spec) {
  json::object config{{"ociVersion", "1.0.2"},
                      {"process", Process(spec)},
                      {"root", {{"path", spec.rootfs}, {"readonly", false}}},
                      {"hostname", spec.hostname},
                      {"mounts", Mounts(spec)},
                      {"linux", Linux(spec)}};
  if (!spec.seccomp_bpf_base64.empty()) {
    config["annotations"] = {{"run.oci.seccomp_bpf_data", spec.seccomp_bpf_base64}};
  }
  return json::serialize(config);
}

Result<void> WriteBundle(const std::string& bundle_dir, const BundleSpec& spec) {
  TRY(sys::MakeDirs(bundle_dir, 0700));
  // Not synced: after a crash of the host there is no container that it could describe.
  return sys::WriteFile(bundle_dir + "/config.json", BundleConfig(spec), 0600);
}

}  // namespace atl::oci
