// SPDX-License-Identifier: Apache-2.0
#include "oci/launcher.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>

#include "oci/bucket_client.h"
#include "oci/bundle.h"
#include "oci/image.h"
#include "oci/rootfs.h"
#include "oci/seccomp.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/namespace.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

using Clock = std::chrono::steady_clock;

// In run_dir: CgroupTree::top(), for those who look when no daemon runs.
constexpr std::string_view kCgroupsFile = "/cgroups";

class Stopwatch {
 public:
  explicit Stopwatch(std::vector<std::pair<std::string, double>>& phases) : phases_(phases) {}
  void Lap(std::string name) {
    auto now = Clock::now();
    phases_.emplace_back(std::move(name),
                         std::chrono::duration<double, std::milli>(now - start_).count());
    start_ = now;
  }
  void Restart() { start_ = Clock::now(); }

 private:
  std::vector<std::pair<std::string, double>>& phases_;
  Clock::time_point start_ = Clock::now();
};

bool IsIid(std::string_view iid) {
  return iid.size() == 16 && iid.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<void> CheckIid(const std::string& iid) {
  if (IsIid(iid)) return {};
  return Fail(Code::kInvalidArgument, fmt::format("'{}' is not an internal id", iid));
}

// crun looks up what it mounts as the sandbox's root user, who must get as far as `path`.
Result<void> CheckSearchable(const std::string& path) {
  for (size_t at = 0; at != std::string::npos; at = path.find('/', at + 1)) {
    std::string part = at == 0 ? "/" : path.substr(0, at);
    struct stat info{};
    if (::stat(part.c_str(), &info) == 0 && (info.st_mode & S_IXOTH) == 0) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("run_dir {} cannot be used: {} must be searchable by all (chmod o+x)",
                              path, part));
    }
  }
  return {};
}

// Shows the file at `target`, where every sandbox's root user can reach it: a program that lies in
// somebody's home directory has a path that is closed to them.
Result<void> Publish(const std::string& file, const std::string& target) {
  ASSIGN(sys::Fd copy, sys::CloneMount(file));
  TRY(sys::Unmount(target, MNT_DETACH | UMOUNT_NOFOLLOW));
  {
    ASSIGN(sys::Fd place, sys::Open(target, O_WRONLY | O_CREAT | O_NOFOLLOW, 0755));
  }
  return sys::AttachMount(copy.get(), target);
}

}  // namespace

Result<std::unique_ptr<Launcher>> Launcher::Open(LauncherConfig config) {
  std::unique_ptr<Launcher> launcher(new Launcher());
  // Only root passes: what lies below belongs to sandboxes and their ids.
  TRY(sys::MakeDirs(config.state_dir, 0755));
  TRY(sys::MakeDirs(config.state_dir + "/sandboxes", 0700));
  TRY(sys::MakeDirs(config.state_dir + "/buckets", 0700));
  ASSIGN(launcher->trash_, Trash::Open(config.state_dir + "/trash"));
  TRY(sys::MakeDirs(config.run_dir, 0755));
  TRY(sys::MakeDirs(config.run_dir + "/sandboxes", 0711));
  TRY(sys::MakeDirs(config.run_dir + "/crun", 0700));
  TRY(CheckSearchable(config.run_dir + "/sandboxes/"));
  TRY(sys::MakeDirs(config.run_dir + "/bin", 0711));
  TRY(Publish(config.agent_binary, config.run_dir + "/bin/agent"));
  config.agent_binary = config.run_dir + "/bin/agent";
  if (!config.opencode_binary.empty()) {
    TRY(Publish(config.opencode_binary, config.run_dir + "/bin/opencode"));
    config.opencode_binary = config.run_dir + "/bin/opencode";
  }
  if (config.seccomp_profile.empty()) config.seccomp_profile = kSeccompProfile;
  if (config.images_dir.empty()) config.images_dir = config.state_dir + "/images";
  ASSIGN(launcher->seccomp_base64_,
         LoadSeccomp(config.seccomp_profile, config.state_dir + "/seccomp.bpf"));
  ASSIGN(launcher->cgroups_, sys::CgroupTree::Open(config.cgroup_root));
  // The group may be there from before, and the hierarchy read-only now.
  TRY(launcher->cgroups_.CheckWritable());
  TRY(sys::WriteFile(config.run_dir + std::string(kCgroupsFile), launcher->cgroups_.top()));
  launcher->layers_ = Layers(config.state_dir + "/sandboxes");
  launcher->disk_guard_ =
      std::make_unique<DiskGuard>(config.state_dir + "/sandboxes", config.disk_reserve);
  launcher->layers_.SetGuard(launcher->disk_guard_.get());
  launcher->runtime_ = MakeCrunRuntime(config.run_dir + "/crun", config.runtime_deadline);
  launcher->config_ = std::move(config);
  return launcher;
}

Result<sys::CgroupTree> InspectCgroups(const LauncherConfig& config) {
  auto top = sys::ReadFile(config.run_dir + std::string(kCgroupsFile), 4096);
  return sys::CgroupTree::Inspect(config.cgroup_root, top ? *top : std::string());
}

std::string Launcher::RunDir(const std::string& iid) const {
  return fmt::format("{}/sandboxes/{}", config_.run_dir, iid);
}

Result<Launched> Launcher::Launch(const LaunchSpec& spec) {
  TRY(CheckIid(spec.iid));
  auto launched = LaunchSteps(spec);
  if (!launched) (void)Stop(spec.iid);
  return launched;
}

Result<Launched> Launcher::LaunchSteps(const LaunchSpec& spec) {
  Launched launched;
  Stopwatch watch(launched.phases);
  std::string run_dir = RunDir(spec.iid);
  ASSIGN(Image image, ImageStore(config_.images_dir).Find(spec.image));
  ASSIGN(sys::Cgroup cgroup, cgroups_.Create(spec.iid));
  ASSIGN(std::vector<sys::Fd> procs, cgroup.OpenAgentProcs());
  ASSIGN(std::vector<sys::Fd> work_procs, cgroup.OpenWorkProcs());
  watch.Lap("cgroup");

  ASSIGN(OpenLayer layer, layers_.Open({.iid = spec.iid,
                                        .id_base = spec.id_base,
                                        .disk_bytes = spec.disk_bytes,
                                        .inodes = spec.inodes}));
  if (!spec.checkpoint.empty()) TRY(FillLayer(spec, layer.dir()));
  watch.Lap("layer");

  ASSIGN(sys::Fd users, sys::MakeUserNamespace({.base = spec.id_base}));
  watch.Lap("users");
  RootfsTimes times;
  ASSIGN(sys::Mount rootfs, MountRootfs({.image_rootfs = image.rootfs,
                                         .layer = layer.dir(),
                                         .target = run_dir + "/rootfs",
                                         .id_base = spec.id_base,
                                         .user_namespace = users.get(),
                                         .bounded = spec.disk_bytes > 0},
                                        &times));
  launched.phases.emplace_back("idmap", times.idmap_ms);
  launched.phases.emplace_back("overlay", times.overlay_ms);
  watch.Restart();

  ASSIGN(sys::Fd log, sys::Open(run_dir + "/log", O_RDWR | O_CREAT | O_APPEND, 0600));
  Leaves leaves{.log = log.get()};
  for (const sys::Fd& file : procs) leaves.procs.push_back(file.get());
  for (const sys::Fd& file : work_procs) leaves.procs.push_back(file.get());
  TRY(WriteContainer(spec, cgroup, users.get()));
  watch.Lap("bundle");
  if (spec.checkpoint.empty()) {
    ASSIGN(launched.pid, RunContainer(spec, leaves));
    watch.Lap("crun");
  } else {
    // What is restored may take more than what was kept.
    TRY(cgroup.SetLimits({.memory_bytes = spec.limits.memory_bytes}));
    ASSIGN(launched.pid, Revive(spec, leaves));
    watch.Lap("revive");
  }
  TRY(cgroup.SetLimits(spec.limits));
  watch.Lap("limits");
  auto pidfd = sys::PidfdOpen(launched.pid);
  auto net_namespace = sys::OpenNamespace(launched.pid, "net");
  if (!pidfd || !net_namespace) {
    return Fail(Code::kInternal, fmt::format("PID 1 of the sandbox ended as soon as crun had "
                                             "started it: {}",
                                             ReadTail(log.get())));
  }
  launched.pidfd = *std::move(pidfd);
  launched.net_namespace = *std::move(net_namespace);
  disk_guard_->Runs(spec.iid, launched.pid);
  TRY(rootfs.Detach());
  layer.Close();
  watch.Lap("detach");
  return launched;
}

Result<void> Launcher::WriteContainer(const LaunchSpec& spec, const sys::Cgroup& cgroup,
                                      int user_namespace) {
  std::string run_dir = RunDir(spec.iid);
  std::string users = fmt::format("/proc/{}/fd/{}", ::getpid(), user_namespace);
  return WriteBundle(run_dir + "/bundle", {.iid = spec.iid,
                                           .hostname = spec.hostname,
                                           .rootfs = run_dir + "/rootfs",
                                           .user_namespace = users,
                                           .agent_binary = config_.agent_binary,
                                           .opencode_binary = config_.opencode_binary,
                                           .agent_args = spec.agent_args,
                                           .env = spec.env,
                                           .open_files = config_.open_files,
                                           .cgroups_path = cgroup.work_path(),
                                           .mount_cgroup2 = cgroups_.mode() == sys::CgroupMode::kV2,
                                           .seccomp_bpf_base64 = seccomp_base64_});
}

Result<pid_t> Launcher::RunContainer(const LaunchSpec& spec, const Leaves& leaves) {
  RunSpec run{.iid = spec.iid, .bundle_dir = RunDir(spec.iid) + "/bundle", .output_fd = leaves.log};
  run.inherit.push_back(spec.agent_socket);
  run.inherit.insert(run.inherit.end(), leaves.procs.begin(), leaves.procs.end());
  return runtime_->Run(run);
}

Result<Launched> Launcher::Adopt(const std::string& iid) {
  TRY(CheckIid(iid));
  ASSIGN(ContainerState state, runtime_->State(iid));
  if (state.pid <= 1 || state.status == ContainerStatus::kStopped) {
    return Fail(Code::kNotFound, fmt::format("container {} has ended", iid));
  }
  Launched launched{.pid = state.pid};
  ASSIGN(launched.pidfd, sys::PidfdOpen(state.pid));
  ASSIGN(launched.net_namespace, sys::OpenNamespace(state.pid, "net"));
  disk_guard_->Runs(iid, state.pid);
  return launched;
}

Result<void> Launcher::Stop(const std::string& iid) {
  TRY(CheckIid(iid));
  // First the processes: crun, finding some, sleeps ten milliseconds before it looks again.
  TRY(cgroups_.Find(iid).Remove());
  TRY(runtime_->Delete(iid));
  buckets().EndAll(iid);
  TRY(sys::Unmount(RunDir(iid) + "/rootfs", MNT_DETACH | UMOUNT_NOFOLLOW));
  TRY(layers_.Hide(iid));
  disk_guard_->Ends(iid);
  return sys::RemoveTree(RunDir(iid));
}

Result<void> Launcher::Destroy(const std::string& iid) {
  TRY(Stop(iid));
  TRY(DropMemory(iid));
  TRY(sys::RemoveTree(BucketsFile(iid)));
  TRY(layers_.Release(iid));
  return trash_->Put(LayerDir(iid), iid);
}

Result<std::string> Launcher::SetAside(const std::string& iid) {
  std::string lost = config_.state_dir + "/lost";
  TRY(sys::MakeDirs(lost, 0700));
  TRY(DropMemory(iid));
  TRY(sys::RemoveTree(BucketsFile(iid)));
  TRY(layers_.Release(iid));
  std::time_t now = std::time(nullptr);
  return MoveInto(LayerDir(iid), lost, fmt::format("{}-{:%Y%m%dT%H%M%SZ}", iid, fmt::gmtime(now)));
}

BucketClients Launcher::buckets() const {
  return BucketClients({.run_dir = config_.run_dir + "/sandboxes",
                        .spool_dir = config_.state_dir + "/buckets/spool",
                        .agent_binary = config_.agent_binary,
                        .seccomp_base64 = seccomp_base64_});
}

std::string Launcher::BucketsFile(const std::string& iid) const {
  return fmt::format("{}/buckets/{}", config_.state_dir, iid);
}

size_t Launcher::agent_procs_count() const { return cgroups_.hierarchies(); }

}  // namespace atl::oci
