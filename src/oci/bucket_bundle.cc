// SPDX-License-Identifier: Apache-2.0
#include "oci/bucket_bundle.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <vector>

#include "sys/fd.h"

namespace atl::oci {
namespace {

namespace json = boost::json;

constexpr uint64_t kAddressSpace = 1ULL << 30U;
constexpr uint64_t kStack = 1ULL << 20U;  // of each of its threads
constexpr std::string_view kPlace = "/mnt";

json::object MountOf(std::string_view type, std::string_view source, std::string_view target,
                     json::array options) {
  return json::object{
      {"destination", target}, {"type", type}, {"source", source}, {"options", std::move(options)}};
}

json::object Bind(std::string_view source, std::string_view target) {
  return MountOf("bind", source, target, {"bind", "ro", "nosuid", "nodev"});
}

json::array Mounts(const BucketBundleSpec& spec) {
  json::array mounts = {
      MountOf("proc", "proc", "/proc", {"nosuid", "noexec", "nodev"}),
      MountOf("tmpfs", "tmpfs", "/dev", {"nosuid", "noexec", "mode=755", "size=64k"}),
      MountOf("tmpfs", "tmpfs", kPlace,
              {"nosuid", "nodev", "size=4k", "mode=700",
               fmt::format("uid={}", spec.mount.id_base + kBucketClientId)}),
      MountOf("bind", spec.spool_dir, "/tmp", {"bind", "nosuid", "nodev", "noexec"}),
  };
  // Programs, and what says where a store is and whom it may be believed.
  for (std::string_view path : {"/usr", "/etc/ssl", "/etc/resolv.conf", "/etc/hosts",
                                "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/mime.types"}) {
    if (::access(std::string(path).c_str(), F_OK) == 0) mounts.push_back(Bind(path, path));
  }
  // libfuse asks a program to mount for it, by one of these names.
  for (std::string_view path : {"/usr/bin/fusermount", "/usr/bin/fusermount3"}) {
    struct stat info{};
    bool is_file = ::lstat(std::string(path).c_str(), &info) == 0 && S_ISREG(info.st_mode);
    if (is_file) mounts.push_back(Bind(spec.agent_binary, path));
  }
  mounts.push_back(Bind(spec.agent_binary, "/atoll/bin/fusermount"));
  return mounts;
}

json::array Arguments(const BucketMount& mount) {
  std::string bucket = mount.bucket;
  if (!mount.prefix.empty()) bucket += ":/" + mount.prefix;
  std::vector<std::string> options = {
      // The mount is not its own, so it must not try to make one.
      "auto_unmount,allow_other,default_permissions",
      "passwd_file=/proc/self/fd/4",
      "url=" + mount.endpoint,
      "endpoint=" + mount.region,
      "use_path_request_style,sigv4",
      // Whoever is inside may use it; the sandbox is the border.
      fmt::format("uid={},gid={},umask=0000,mp_umask=0000", mount.id_base, mount.id_base),
      // A store that does not answer is an error inside, not a wait without end.
      "connect_timeout=5,readwrite_timeout=15,retries=2",
      // What others change is seen within seconds; what is remembered is bounded.
      "stat_cache_expire=10,max_stat_cache_size=20000,multireq_max=8",
      // A file goes to the store when it is closed, as a whole: one that does not fit is an error.
      "tmpdir=/tmp,ensure_diskfree=64,max_dirty_data=-1",
  };
  if (mount.read_only) options.emplace_back("ro");
  json::array arguments = {kBucketClient, bucket, kPlace, "-f"};
  for (const std::string& option : options) {
    arguments.emplace_back("-o");
    arguments.emplace_back(option);
  }
  return arguments;
}

json::object Config(const BucketBundleSpec& spec) {
  uint32_t id = spec.mount.id_base + kBucketClientId;
  json::array namespaces;
  // The network is the host's: that is where stores are.
  for (std::string_view type : {"pid", "mount", "ipc", "uts"}) {
    namespaces.push_back(json::object{{"type", type}});
  }
  json::object process{
      {"terminal", false},
      {"user", {{"uid", id}, {"gid", id}}},
      {"args", Arguments(spec.mount)},
      {"env", {"PATH=/atoll/bin:/usr/bin", "HOME=/", "LANG=C.UTF-8", "MALLOC_ARENA_MAX=2"}},
      {"cwd", "/"},
      {"capabilities", json::object()},
      {"rlimits",
       {{{"type", "RLIMIT_AS"}, {"hard", kAddressSpace}, {"soft", kAddressSpace}},
        {{"type", "RLIMIT_STACK"}, {"hard", kStack}, {"soft", kStack}},
        {{"type", "RLIMIT_NPROC"}, {"hard", 256}, {"soft", 256}},
        {{"type", "RLIMIT_NOFILE"}, {"hard", 1024}, {"soft", 1024}},
        {{"type", "RLIMIT_CORE"}, {"hard", 0}, {"soft", 0}}}},
      {"oomScoreAdj", 1},
      {"noNewPrivileges", true}};
  json::object config{{"ociVersion", "1.0.2"},
                      {"process", std::move(process)},
                      {"root", {{"path", "rootfs"}, {"readonly", true}}},
                      {"hostname", "bucket"},
                      {"mounts", Mounts(spec)},
                      {"linux", {{"namespaces", std::move(namespaces)}}}};
  if (!spec.seccomp_base64.empty()) {
    config["annotations"] = {{"run.oci.seccomp_bpf_data", spec.seccomp_base64}};
  }
  return config;
}

}  // namespace

Result<void> WriteBucketBundle(const std::string& dir, const BucketBundleSpec& spec) {
  std::string root = dir + "/rootfs";
  TRY(sys::MakeDirs(root, 0755));
  for (const char* name : {"bin", "lib", "lib64", "sbin"}) {
    std::string target = fmt::format("usr/{}", name);
    if (::access(("/" + target).c_str(), F_OK) != 0) continue;
    if (::symlink(target.c_str(), fmt::format("{}/{}", root, name).c_str()) < 0) {
      return FailErrno(errno, fmt::format("make {}/{}", root, name));
    }
  }
  return sys::WriteFile(dir + "/config.json", json::serialize(Config(spec)), 0600);
}

}  // namespace atl::oci
