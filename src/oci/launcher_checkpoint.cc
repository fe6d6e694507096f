// SPDX-License-Identifier: Apache-2.0
// Sandboxes into checkpoints, and from them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string_view>
#include <thread>

#include "oci/checkpoint.h"
#include "oci/criu.h"
#include "oci/launcher.h"
#include "oci/layer_copy.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint32_t kIdRange = 65536;

// Field 22 of /proc/<pid>/stat (proc_pid_stat(5)), behind the name, which may hold anything.
Result<std::string> StartTime(pid_t pid) {
  ASSIGN(std::string stat, sys::ReadFile(fmt::format("/proc/{}/stat", pid), 4096));
  size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return Fail(Code::kInternal, "a process without a start time");
  return stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

// Namespaces begin with the kernel's defaults; these are the bundle's. The range is of groups as
// who writes it sees them.
Result<void> SetSysctls(int net_namespace, uint32_t base) {
  return sys::RunInNetworkNamespace(net_namespace, [base]() -> Result<void> {
    TRY(sys::WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"));
    return sys::WriteFile("/proc/sys/net/ipv4/ping_group_range",
                          fmt::format("{} {}", base, base + kIdRange - 1));
  });
}

// What crun would have written about a container that it had started, so that it finds, ends and
// forgets this one like any other.
Result<void> TellCrun(const std::string& state_dir, const std::string& run_dir, pid_t pid,
                      const std::string& cgroup) {
  ASSIGN(std::string started, StartTime(pid));
  ASSIGN(std::string config, sys::ReadFile(run_dir + "/bundle/config.json"));
  TRY(sys::MakeDirs(state_dir, 0700));
  TRY(sys::WriteFile(state_dir + "/config.json", config, 0600));
  std::time_t now = std::time(nullptr);
  std::tm when{};
  ::gmtime_r(&now, &when);
  char created[32];
  std::strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &when);
  // None of these paths has a character that JSON would want escaped.
  std::string status = fmt::format(
      R"({{"pid":{},"process-start-time":{},"cgroup-path":"{}","scope":"","rootfs":"{}/rootfs",)"
      R"("systemd-cgroup":false,"bundle":"{}/bundle","created":"{}","owner":"root",)"
      R"("detached":true,"external_descriptors":"[]"}})",
      pid, started, cgroup, run_dir, run_dir, created);
  return sys::WriteFile(state_dir + "/status", status, 0600);
}

Result<void> CopyLayer(const std::string& from, uint32_t from_base, const std::string& to,
                       uint32_t to_base) {
  ASSIGN(LayerCopy copy,
         LayerCopy::Open(
             {.source = from, .target = to, .source_base = from_base, .target_base = to_base}));
  TRY(copy.Pass());
  return {};
}

// Clients of the agent are those whose socket has the name that they were accepted at.
Result<void> EndClients(pid_t pid) {
  ASSIGN(sys::Fd process, sys::PidfdOpen(pid));
  std::error_code failure;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), failure)) {
    std::error_code ignored;
    if (!std::filesystem::read_symlink(entry, ignored).string().starts_with("socket:")) continue;
    int number = std::atoi(entry.path().filename().c_str());
    sys::Fd socket(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    if (!socket) continue;  // it has just left
    sockaddr_un name{};
    socklen_t size = sizeof(name);
    bool named = ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0 &&
                 name.sun_family == AF_UNIX && size > offsetof(sockaddr_un, sun_path);
    if (named) ::shutdown(socket.get(), SHUT_RDWR);
  }
  if (failure) return Fail(Code::kNotFound, "the sandbox has ended");
  return {};
}

// PID 1 has one socket of its own, to its spawner. Another one is a client's that is just leaving.
Result<void> AwaitNoClients(pid_t pid) {
  constexpr int kRounds = 200;
  constexpr std::chrono::milliseconds kPause{10};
  std::string dir = fmt::format("/proc/{}/fd", pid);
  for (int round = 0; round < kRounds; ++round) {
    std::error_code failure;
    int sockets = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir, failure)) {
      std::error_code ignored;
      if (std::filesystem::read_symlink(entry, ignored).string().starts_with("socket:")) ++sockets;
    }
    if (failure) return Fail(Code::kNotFound, "the sandbox has ended");
    if (sockets <= 1) return {};
    std::this_thread::sleep_for(kPause);
  }
  return Fail(Code::kTimeout, "its agent still has clients");
}

bool IsInAgentLeaf(int pid, const std::string& iid) {
  auto groups = sys::ReadFile(fmt::format("/proc/{}/cgroup", pid), 65536);
  return groups && groups->contains("/" + iid + "/agent\n");
}

}  // namespace

Result<void> Launcher::CanCheckpoint() const {
  TRY(FindCriu(config_.criu, config_.state_dir));
  return {};
}

Result<void> Launcher::DumpProcesses(const CheckpointOf& of) {
  ASSIGN(std::string criu, FindCriu(config_.criu, config_.state_dir));
  ASSIGN(ContainerState state, runtime_->State(of.iid));
  if (!of.while_still) {
    if (!of.for_copies) TRY(EndClients(state.pid));
    TRY(AwaitNoClients(state.pid));
  }
  ASSIGN(std::vector<int> agents, GatherAgents(of.iid));
  Result<void> dumped =
      Dump({.criu = criu,
            .deadline = config_.checkpoint_deadline,
            .pid = state.pid,
            .processes = [cgroup = cgroups_.Find(of.iid)] { return cgroup.Processes(); },
            .dir = of.dir,
            .id_base = of.id_base,
            .agent_binary = config_.agent_binary,
            .opencode_binary = config_.opencode_binary,
            .for_copies = of.for_copies,
            .most_bytes = of.most_bytes,
            .least_free = of.least_free,
            .while_still = of.while_still,
            .begins = of.begins,
            .stop = of.stop});
  // CRIU that was killed in the middle leaves its code in processes that wait for it.
  bool broken = !dumped && ReasonOf(dumped.error()) == "CHECKPOINT_CUT_SHORT";
  if (of.while_still && broken) (void)cgroups_.Find(of.iid).Kill();
  if (of.while_still && !broken) DisperseAgents(of.iid, agents);
  return dumped;
}

// In a cgroup namespace whose root is `work`, no process may be beside it.
Result<std::vector<int>> Launcher::GatherAgents(const std::string& iid) {
  ASSIGN(std::vector<sys::Fd> work, cgroups_.Find(iid).OpenWorkProcs());
  ASSIGN(std::vector<int> processes, cgroups_.Find(iid).Processes());
  std::vector<int> agents;
  for (int pid : processes) {
    if (IsInAgentLeaf(pid, iid)) agents.push_back(pid);
  }
  for (int pid : agents) {
    for (const sys::Fd& procs : work) {
      Result<void> moved = sys::WriteAll(procs.get(), std::to_string(pid));
      if (!moved && moved.error().sys_errno != ESRCH) {
        DisperseAgents(iid, agents);
        return Unexpected(std::move(moved).error());
      }
    }
  }
  return agents;
}

void Launcher::DisperseAgents(const std::string& iid, const std::vector<int>& agents) {
  auto leaf = cgroups_.Find(iid).OpenAgentProcs();
  if (!leaf) return;
  for (int pid : agents) {
    // One that has ended meanwhile stays where it is.
    for (const sys::Fd& procs : *leaf) (void)sys::WriteAll(procs.get(), std::to_string(pid));
  }
}

Result<void> Launcher::SettleAgent(const std::string& iid, pid_t pid) {
  if (!IsInAgentLeaf(pid, iid)) DisperseAgents(iid, {pid});
  return {};
}

Result<void> Launcher::Checkpoint(const std::string& iid, uint32_t id_base,
                                  const std::string& dir) {
  Result<void> dumped = DumpProcesses({.iid = iid, .id_base = id_base, .dir = dir});
  // A layer that is copied after the last process has ended is what they left.
  TRY(cgroups_.Find(iid).Kill());
  TRY(std::move(dumped));
  ASSIGN(OpenLayer layer, layers_.Show(iid));
  TRY(sys::MakeDirs(dir + "/layer", 0700));
  return CopyLayer(layer.dir() + "/upper", id_base, dir + "/layer/upper", id_base);
}

Result<void> Launcher::FillLayer(const LaunchSpec& spec, const std::string& layer) {
  if (::access((spec.checkpoint + "/layer").c_str(), F_OK) != 0) return {};
  ASSIGN(uint32_t base, CheckpointBase(spec.checkpoint));
  return CopyLayer(spec.checkpoint + "/layer/upper", base, layer + "/upper", spec.id_base);
}

Result<pid_t> Launcher::Revive(const LaunchSpec& spec, const Leaves& leaves) {
  ASSIGN(std::string criu, FindCriu(config_.criu, config_.state_dir));
  std::string run_dir = RunDir(spec.iid);
  ASSIGN(pid_t pid,
         RestoreProcesses({.criu = criu,
                           .deadline = config_.checkpoint_deadline,
                           .dir = spec.checkpoint,
                           .scratch = fmt::format("{}/view-{}", spec.checkpoint, spec.iid),
                           .rootfs = run_dir + "/rootfs",
                           .pid_file = run_dir + "/bundle/pid",
                           .log_file = run_dir + "/criu.log",
                           .id_base = spec.id_base,
                           .agent_binary = config_.agent_binary,
                           .opencode_binary = config_.opencode_binary,
                           .cgroup = cgroups_.Find(spec.iid).work_dir(),
                           .listener = spec.agent_socket,
                           .leaf_procs = leaves.procs,
                           .output = leaves.log}));
  ASSIGN(sys::Fd net_namespace, sys::OpenNamespace(pid, "net"));
  TRY(SetSysctls(net_namespace.get(), spec.id_base));
  std::string state_dir = fmt::format("{}/crun/{}", config_.run_dir, spec.iid);
  TRY(TellCrun(state_dir, run_dir, pid, cgroups_.Find(spec.iid).work_path()));
  return pid;
}

}  // namespace atl::oci
