// SPDX-License-Identifier: Apache-2.0
#include "oci/probe.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/result.h"
#include "oci/bundle.h"
#include "oci/disk_image.h"
#include "oci/layer.h"
#include "oci/seccomp.h"
#include "sys/cgroup.h"
#include "sys/fd.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/overlay.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint32_t kProbeBase = 0x0fff0000;  // below every sandbox's range
constexpr uint64_t kProbeDisk = 32ULL << 20U;

Check Do(std::string name, const std::function<Result<std::string>()>& probe,
         bool required = true) {
  Result<std::string> result = probe();
  return {.name = std::move(name),
          .ok = result.has_value(),
          .required = required,
          .detail = result ? *std::move(result) : std::move(result).error().message};
}

Result<std::string> Kernel() {
  utsname name{};
  ::uname(&name);
  if (::geteuid() != 0) return Fail(Code::kPermissionDenied, "must be run by root");
  return fmt::format("Linux {} {}", name.release, name.machine);
}

Result<std::string> UserNamespaces() {
  TRY(sys::MakeUserNamespace({.base = kProbeBase}));
  return "available";
}

// Its own directory on the file system that sandboxes will be on, gone with the object.
class Scratch {
 public:
  explicit Scratch(const std::string& parent)
      : dir_(fmt::format("{}/probe.{}", parent, ::getpid())) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { (void)sys::RemoveTree(dir_); }
  Result<void> Make() {
    for (const char* name : {"lower", "upper", "work", "merged"}) {
      TRY(sys::MakeDirs(fmt::format("{}/{}", dir_, name), 0755));
    }
    return sys::WriteFile(dir_ + "/lower/file", "probe");
  }
  std::string Path(std::string_view name) const { return fmt::format("{}/{}", dir_, name); }

 private:
  std::string dir_;
};

Result<std::string> IdmappedMounts(const Scratch& scratch) {
  ASSIGN(sys::Fd users, sys::MakeUserNamespace({.base = kProbeBase}));
  ASSIGN(sys::Fd view, sys::CloneIdmapped(scratch.Path("lower"), users.get()));
  struct stat info{};
  if (::fstatat(view.get(), "file", &info, 0) < 0) return FailErrno(errno, "looking through it");
  if (info.st_uid != kProbeBase) {
    return Fail(Code::kFailedPrecondition, "owners are not mapped on this file system");
  }
  return "available";
}

Result<std::string> OverlayOnIdmapped(const Scratch& scratch) {
  ASSIGN(sys::Fd users, sys::MakeUserNamespace({.base = kProbeBase}));
  ASSIGN(sys::Fd view, sys::CloneIdmapped(scratch.Path("lower"), users.get()));
  ASSIGN(sys::Fd overlay, sys::MakeOverlay(view.get(),
                                           {.lower = scratch.Path("lower"),
                                            .upper = scratch.Path("upper"),
                                            .work = scratch.Path("work")},
                                           scratch.Path("merged")));
  TRY(sys::WriteFileAt(overlay.get(), "file", "changed"));
  ASSIGN(std::string below, sys::ReadFile(scratch.Path("lower") + "/file", 64));
  if (below != "probe") return Fail(Code::kInternal, "a write went through to the lower layer");
  return "available";
}

Result<std::string> Cgroups() {
  ASSIGN(auto tree, sys::CgroupTree::Inspect("atoll-probe"));
  std::string names;
  bool complete = true;
  for (std::string_view wanted : {"memory", "pids", "cpu", "freezer", "io"}) {
    bool found = std::ranges::find(tree.controllers(), wanted) != tree.controllers().end();
    if (wanted != "freezer" && wanted != "io") complete = complete && found;
    if (found) names += fmt::format(" {}", wanted);
  }
  std::string detail = fmt::format("{}:{}", sys::CgroupModeName(tree.mode()), names);
  if (!complete) return Fail(Code::kFailedPrecondition, detail + "; memory, pids, cpu are needed");
  return detail;
}

Result<std::string> Version(const std::string& program) {
  auto out = sys::RunChecked({.argv = {program, "--version"}});
  if (!out) {
    return Fail(Code::kNotFound,
                fmt::format("cannot run {}; install the package '{}': {}", program,
                            program == "nft" ? "nftables" : program, out.error().message));
  }
  return out->substr(0, out->find('\n'));
}

// Loads rules such as those of a sandbox into a network namespace that ends with this thread.
Result<std::string> Redirect() {
  Result<std::string> result = Fail(Code::kInternal, "not tried");
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) < 0) {
      result = FailErrno(errno, "making a network namespace");
      return;
    }
    auto loaded = sys::RunChecked(
        {.argv = {"nft", "-f", "-"},
         .stdin_data =
             "table inet probe { chain redirect_out { type nat hook output priority -100; "
             "ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :9; }\n}\n"});
    if (loaded) {
      result = std::string("available");
    } else {
      result = Unexpected(std::move(loaded).error());
    }
  }).join();
  return result;
}

Result<std::string> Seccomp() {
  auto profile = sys::ReadFile(std::string(kSeccompProfile));
  if (!profile) {
    return Fail(Code::kNotFound, fmt::format("no profile at {}; install the package "
                                             "'golang-github-containers-common'",
                                             kSeccompProfile));
  }
  ASSIGN(SeccompFilter filter, CompileSeccomp(*profile, Capabilities()));
  return fmt::format("{} rules, {} instructions", filter.rules, filter.bpf.size() / 8);
}

Result<std::string> DiskLimits(const Scratch& scratch) {
  std::string dir = scratch.Path("lower");
  if (Layers(dir).kind() == DiskLimitKind::kQuota) return "project quota";
  std::string image = scratch.Path("disk.img");
  TRY(MakeDiskImage(image, {.bytes = kProbeDisk}));
  ASSIGN(sys::Mount mount, MountDiskImage(image, scratch.Path("merged")));
  TRY(sys::WriteFile(scratch.Path("merged") + "/file", "probe"));
  return "images (the file system has no project quota)";
}

Result<std::string> OpenFiles() {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  std::string detail = fmt::format("{} at most", files.rlim_max);
  if (files.rlim_max < 4096) return Fail(Code::kFailedPrecondition, detail + "; 4096 are needed");
  return detail;
}

Result<uint64_t> Setting(const std::string& name) {
  ASSIGN(std::string text, sys::ReadFile("/proc/sys/fs/inotify/" + name, 64));
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// packaging/atoll.sysctl.conf has these numbers, too.
Result<std::string> Watches() {
  constexpr uint64_t kInstances = 1024;
  constexpr uint64_t kWatches = 524'288;
  ASSIGN(uint64_t instances, Setting("max_user_instances"));
  ASSIGN(uint64_t watches, Setting("max_user_watches"));
  std::string detail =
      fmt::format("{} instances and {} directories for each sandbox", instances, watches);
  if (instances >= kInstances && watches >= kWatches) return detail;
  return Fail(Code::kFailedPrecondition,
              fmt::format("{}, which is little for tools that watch files: run 'sysctl "
                          "fs.inotify.max_user_instances={} fs.inotify.max_user_watches={}', and "
                          "write the same into a file in /etc/sysctl.d",
                          detail, std::max(instances, kInstances), std::max(watches, kWatches)));
}

}  // namespace

std::vector<Check> ProbeHost(const std::string& scratch_parent) {
  Scratch scratch(scratch_parent);
  std::vector<Check> checks;
  checks.push_back(Do("root on Linux", Kernel));
  checks.push_back(Do("user namespaces", UserNamespaces));
  checks.push_back(Do("scratch directory", [&]() -> Result<std::string> {
    TRY(scratch.Make());
    return scratch_parent;
  }));
  checks.push_back(Do("id-mapped mounts", [&] { return IdmappedMounts(scratch); }));
  checks.push_back(Do("overlay on an id-mapped image", [&] { return OverlayOnIdmapped(scratch); }));
  checks.push_back(Do("cgroups", Cgroups));
  checks.push_back(Do("crun", [] { return Version("crun"); }));
  checks.push_back(Do("system call filter", Seccomp));
  checks.push_back(Do("nftables in a namespace", Redirect));
  checks.push_back(Do("open files", OpenFiles));
  checks.push_back(Do("watching files", Watches, false));
  checks.push_back(Do("limits of disk", [&] { return DiskLimits(scratch); }, false));
  checks.push_back(Do("mmdebstrap (to make images)", [] { return Version("mmdebstrap"); }, false));
  return checks;
}

}  // namespace atl::oci
