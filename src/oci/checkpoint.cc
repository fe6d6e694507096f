// SPDX-License-Identifier: Apache-2.0
#include "oci/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>
#include <string_view>
#include <utility>

#include "oci/bundle.h"
#include "oci/criu.h"
#include "oci/wipe.h"
#include "sys/fd.h"
#include "sys/process.h"

namespace atl::oci {
namespace {

constexpr uint32_t kIdRange = 65536;
// PID 1's descriptors: 0 is /dev/null, 1 and 2 the log, 3 the listener, then the leaves' files.
constexpr int kListener = 3;
constexpr int kFirstLeaf = 4;
constexpr size_t kMostManifestBytes = 1U << 20U;
constexpr size_t kMostFilesBytes = 256U << 20U;
// Of one file that is open and has no name any more.
constexpr const char* kMostDeletedBytes = "67108864";

struct Descriptor {
  int number = 0;
  std::string key;  // "file[<mount>:<inode>]"
};

struct BoundMount {
  std::string target;
  std::string source;
};

struct Manifest {
  uint32_t base = 0;
  std::vector<Descriptor> descriptors;
  std::vector<BoundMount> mounts;
};

std::vector<std::string_view> Words(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

template <class OnLine>
void EachLine(std::string_view text, OnLine on_line) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    on_line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

template <class Number>
Number ToNumber(std::string_view text) {
  Number value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// What leads out of the sandbox from PID 1, by the names that CRIU has for it.
Result<std::vector<Descriptor>> OutwardDescriptors(pid_t pid) {
  std::vector<Descriptor> found;
  std::string proc = fmt::format("/proc/{}", pid);
  for (int number = 0; number < 256; ++number) {
    std::string link = fmt::format("{}/fd/{}", proc, number);
    struct stat info{};
    if (::stat(link.c_str(), &info) != 0) continue;
    char target[512];
    ssize_t size = ::readlink(link.c_str(), target, sizeof(target));
    std::string_view to(target, size < 0 ? 0 : static_cast<size_t>(size));
    bool leads_out = number <= kListener || to.ends_with("/cgroup.procs");
    if (!leads_out) continue;
    ASSIGN(std::string text, sys::ReadFile(fmt::format("{}/fdinfo/{}", proc, number), 4096));
    size_t at = text.find("mnt_id:");
    if (at == std::string::npos) {
      return Fail(Code::kInternal, fmt::format("{} has no mount", link));
    }
    at = text.find_first_of("0123456789", at);
    auto mount = ToNumber<uint64_t>(std::string_view(text).substr(at));
    found.push_back({number, fmt::format("file[{:x}:{:x}]", mount, uint64_t{info.st_ino})});
  }
  return found;
}

// The mounts whose content is the host's: what the bundle binds, and device nodes.
Result<std::vector<BoundMount>> OutwardMounts(pid_t pid) {
  ASSIGN(std::string text, sys::ReadFile(fmt::format("/proc/{}/mountinfo", pid), 1U << 20U));
  std::vector<BoundMount> found;
  EachLine(text, [&](std::string_view line) {
    // 158 153 0:6 /null /dev/null rw,nosuid - devtmpfs devtmpfs rw
    std::vector<std::string_view> words = Words(line);
    size_t dash = line.find(" - ");
    if (words.size() < 7 || dash == std::string_view::npos) return;
    std::string_view type = line.substr(dash + 3);
    std::string target(words[4]);
    if (target == kAgentPath || target == kOpencodePath) {
      found.push_back({target, "-"});
    } else if (type.starts_with("cgroup2 ")) {
      // Nobody may mount it anew who is not root over the namespace that shows it.
      found.push_back({target, "cgroup"});
    } else if (type.starts_with("devtmpfs ")) {
      found.push_back({target, "/dev" + std::string(words[3])});
    }
  });
  return found;
}

std::string Encode(const Manifest& manifest) {
  std::string text = fmt::format("base {}\n", manifest.base);
  for (const Descriptor& one : manifest.descriptors) {
    text += fmt::format("fd {} {}\n", one.number, one.key);
  }
  for (const BoundMount& one : manifest.mounts) {
    text += fmt::format("mount {} {}\n", one.target, one.source);
  }
  return text;
}

Result<Manifest> ReadManifest(const std::string& dir) {
  ASSIGN(std::string text, sys::ReadFile(dir + "/checkpoint", kMostManifestBytes));
  Manifest manifest;
  EachLine(text, [&](std::string_view line) {
    std::vector<std::string_view> words = Words(line);
    if (words.size() == 2 && words[0] == "base") manifest.base = ToNumber<uint32_t>(words[1]);
    if (words.size() != 3) return;
    if (words[0] == "fd") {
      manifest.descriptors.push_back({ToNumber<int>(words[1]), std::string(words[2])});
    } else if (words[0] == "mount") {
      manifest.mounts.push_back({std::string(words[1]), std::string(words[2])});
    }
  });
  if (manifest.base == 0 || manifest.descriptors.empty()) {
    return Fail(Code::kInternal, fmt::format("{}/checkpoint is not whole", dir));
  }
  return manifest;
}

// Names of the files in a directory.
Result<std::vector<std::string>> FilesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return FailErrno(errno, "list " + path);
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_type == DT_REG) names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  return names;
}

// A restore gives what leads out to every file of the name that it knows it by, and programs inside
// may have opened one that they called so.
Result<void> CheckNames(const std::string& images, const std::set<std::string>& keys) {
  ASSIGN(std::string files, sys::ReadFile(images + "/files.img", kMostFilesBytes));
  for (const std::string& key : keys) {
    if (!files.contains("/" + key.substr(1))) continue;
    return Fail(Code::kFailedPrecondition,
                fmt::format("a program has opened a file /{}, a name that stands for one outside",
                            key.substr(1)));
  }
  return {};
}

// A file without a name gets one again for a moment, by a path that CRIU looks up in the mount tree
// of the host before there is the sandbox's own, and clears away as root: a directory that is a
// symlink by then leads out.
Result<void> CheckNoGhosts(const std::string& images) {
  ASSIGN(std::vector<std::string> names, FilesIn(images));
  for (const std::string& name : names) {
    if (!name.starts_with("ghost-file-")) continue;
    return Fail(Code::kFailedPrecondition,
                "a program has a file or directory open that was removed, which is not restored");
  }
  return {};
}

Result<void> MakeReadable(const std::string& images) {
  ASSIGN(std::vector<std::string> names, FilesIn(images));
  for (const std::string& name : names) {
    std::string path = images + "/" + name;
    if (::chmod(path.c_str(), 0644) != 0) return FailErrno(errno, "make readable " + path);
  }
  return {};
}

void AppendVarint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80U));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

// A userns image with other ids. It is two magic numbers, a length and a protobuf message
// (userns.proto): fields 1 and 2, the maps of users and groups, of one extent {1: inside, 2:
// outside, 3: count} each.
std::string WithIds(std::string_view image, uint32_t base) {
  std::string extent;
  for (auto [field, value] : {std::pair{1U, 0U}, {2U, base}, {3U, kIdRange}}) {
    AppendVarint(extent, field << 3U);
    AppendVarint(extent, value);
  }
  std::string message;
  for (unsigned field : {1U, 2U}) {
    AppendVarint(message, field << 3U | 2U);
    AppendVarint(message, extent.size());
    message += extent;
  }
  std::string out(image.substr(0, 8));
  auto size = static_cast<uint32_t>(message.size());
  for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(size >> shift));
  return out + message;
}

// The same images with other ids, without a copy of them.
Result<void> MakeView(const RestoreSpec& spec) {
  std::string images = spec.dir + "/images";
  TRY(sys::MakeDirs(spec.scratch, 0755));
  ASSIGN(std::vector<std::string> names, FilesIn(images));
  for (const std::string& name : names) {
    std::string from = images + "/" + name;
    std::string to = spec.scratch + "/" + name;
    if (name.starts_with("userns-")) {
      ASSIGN(std::string image, sys::ReadFile(from, 4096));
      if (image.size() < 12) return Fail(Code::kInternal, from + " is not whole");
      TRY(sys::WriteFile(to, WithIds(image, spec.id_base), 0644));
    } else if (name.ends_with(".img") && ::link(from.c_str(), to.c_str()) != 0) {
      return FailErrno(errno, "link " + to);
    }
  }
  return {};
}

struct View {
  std::string path;
  ~View() { (void)sys::RemoveTree(path); }
};

}  // namespace

Result<void> Dump(const DumpSpec& spec) {
  std::string images = spec.dir + "/images";
  TRY(sys::MakeDirs(images, 0755));
  Manifest manifest{.base = spec.id_base};
  ASSIGN(manifest.descriptors, OutwardDescriptors(spec.pid));
  ASSIGN(manifest.mounts, OutwardMounts(spec.pid));
  std::string log = images + "/dump.log";
  sys::Command command{.argv = {spec.criu, "dump", "-t", std::to_string(spec.pid), "-D", images,
                                "-o", log, "-v1", "--file-locks", "--manage-cgroups=ignore",
                                "--empty-ns", "net", "--tcp-close", "--ghost-limit",
                                kMostDeletedBytes}};
  // Where programs watch files, which an overlay names by numbers that only a search leads back
  // from.
  for (const char* path :
       {"/workspace", "/root", "/home", "/tmp", "/app", "/data", "/srv", "/opt", "/var"}) {
    command.argv.insert(command.argv.end(), {"--irmap-scan-path", path});
  }
  std::set<std::string> keys;
  for (const Descriptor& one : manifest.descriptors) keys.insert(one.key);
  for (const std::string& key : keys) {
    command.argv.insert(command.argv.end(), {"--external", key});
  }
  for (const BoundMount& one : manifest.mounts) {
    command.argv.insert(command.argv.end(),
                        {"--external", fmt::format("mnt[{}]:{}", one.target, one.target)});
  }
  auto wipe = [&spec]() -> Result<void> {
    if (!spec.for_copies) return {};
    ASSIGN(std::vector<int> processes, spec.processes());
    return WipeAsInFork(processes);
  };
  CriuRun run{.command = std::move(command),
              .what = "criu dump",
              .log = log,
              .images = images,
              .deadline = spec.deadline,
              .stop = spec.stop,
              .most_bytes = spec.most_bytes,
              .least_free = spec.least_free};
  if (spec.while_still) {
    // Connections that are open stay so, but for the copies'.
    run.command.argv.insert(run.command.argv.end(),
                            {"--leave-running", "--network-lock", "skip", "--skip-in-flight"});
    TRY(RunCriuWatched(std::move(run), spec.dir,
                       {.begins = spec.begins, .stopped = wipe, .written = spec.while_still}));
  } else {
    TRY(wipe());
    TRY(RunCriu(std::move(run)));
  }
  TRY(CheckNames(images, keys));
  if (!spec.for_copies) TRY(CheckNoGhosts(images));
  TRY(MakeReadable(images));
  return sys::WriteFile(spec.dir + "/checkpoint", Encode(manifest), 0644);
}

Result<pid_t> RestoreProcesses(const RestoreSpec& spec) {
  ASSIGN(Manifest manifest, ReadManifest(spec.dir));
  View view{spec.scratch};
  TRY(MakeView(spec));
  ASSIGN(sys::Fd null, sys::Open("/dev/null", O_RDWR));

  sys::Command command;
  command.inherit.push_back(spec.listener);
  command.inherit.insert(command.inherit.end(), spec.leaf_procs.begin(), spec.leaf_procs.end());
  command.inherit.push_back(null.get());
  command.inherit.push_back(spec.output);
  int leaves = static_cast<int>(spec.leaf_procs.size());
  // Processes are born in the group of who restores them, and in its view of groups.
  std::string join;
  for (int i = leaves / 2; i < leaves; ++i) {
    join += fmt::format("echo 0 > /proc/self/fd/{} && ", kFirstLeaf + i);
  }
  command.argv = {"/bin/sh",     "-c",           join + "exec unshare --cgroup \"$@\"",
                  "sh",          spec.criu,      "restore",
                  "-d",          "-D",           spec.scratch,
                  "-o",          spec.log_file,  "-v1",
                  "--root",      spec.rootfs,    "--pidfile",
                  spec.pid_file, "--file-locks", "--manage-cgroups=ignore",
                  "--empty-ns",  "net",          "--tcp-close"};
  std::set<std::string> told;
  for (const Descriptor& one : manifest.descriptors) {
    if (!told.insert(one.key).second) continue;
    int with = one.number;
    if (one.number == 0) with = kFirstLeaf + leaves;
    if (one.number == 1 || one.number == 2) with = kFirstLeaf + leaves + 1;
    if (one.number >= kFirstLeaf + leaves) {
      return Fail(Code::kFailedPrecondition, "the checkpoint is of a host with other cgroups");
    }
    // A descriptor that is a file in the images is looked for by its path, whose first character,
    // the slash of any other, is left out. Only so may it be something else than a file.
    command.argv.insert(command.argv.end(),
                        {"--inherit-fd", fmt::format("fd[{}]:{}", with, one.key.substr(1))});
  }
  for (const BoundMount& one : manifest.mounts) {
    std::string source = one.source;
    if (one.target == kAgentPath) source = spec.agent_binary;
    if (one.target == kOpencodePath) source = spec.opencode_binary;
    if (one.source == "cgroup") source = spec.cgroup;
    if (one.source == "cgroup" && source.empty()) {
      return Fail(Code::kFailedPrecondition, "the checkpoint is of a host with other cgroups");
    }
    command.argv.insert(command.argv.end(),
                        {"--external", fmt::format("mnt[{}]:{}", one.target, source)});
  }
  (void)::unlink(spec.pid_file.c_str());
  TRY(RunCriu({.command = std::move(command),
               .what = "criu restore",
               .log = spec.log_file,
               .deadline = spec.deadline}));
  ASSIGN(std::string text, sys::ReadFile(spec.pid_file, 64));
  auto pid = ToNumber<pid_t>(text);
  if (pid <= 1) return Fail(Code::kInternal, spec.pid_file + " holds no process id");
  return pid;
}

Result<uint32_t> CheckpointBase(const std::string& dir) {
  ASSIGN(Manifest manifest, ReadManifest(dir));
  return manifest.base;
}

}  // namespace atl::oci
