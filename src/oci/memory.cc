// SPDX-License-Identifier: Apache-2.0
// What ran in a sandbox that was stopped, kept for its next start, and what runs in one that is
// copied, for its copies:
//   state_dir/memory/<iid>        a checkpoint without a layer, and `key`
//   state_dir/memory/<iid>.part   one that is being made, for <iid> or for all copies of one fork
//   state_dir/memory/<iid>.taken  one that a start goes on from; that start is its last use. Those
//                                 of copies are one set of files
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "oci/checkpoint.h"
#include "oci/launcher.h"

namespace atl::oci {
namespace {

constexpr size_t kMostKeyBytes = 4096;

// What there is beside memory: lists of it, files that are open and have no name any more.
constexpr uint64_t kMostBeside = uint64_t{64} << 20U;

// Memory that fills the disk would take the files of others with it. How much has to stay free.
Result<uint64_t> CheckRoom(const std::string& dir, const sys::Cgroup& cgroup) {
  struct statvfs space{};
  if (::statvfs(dir.c_str(), &space) != 0) return FailErrno(errno, "look for room in " + dir);
  ASSIGN(sys::CgroupUsage usage, cgroup.Usage());
  uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
  uint64_t total = uint64_t{space.f_blocks} * space.f_frsize;
  constexpr uint64_t kReserve = uint64_t{1} << 30U;
  uint64_t reserve = std::min(kReserve, total / 20);
  if (free > usage.memory_bytes + reserve) return reserve;
  return Fail(Code::kResourceExhausted,
              fmt::format("{} has {} MiB free, its memory takes up to {} MiB", dir, free >> 20U,
                          usage.memory_bytes >> 20U));
}

}  // namespace

std::string Launcher::MemoryDir(const std::string& iid) const {
  return fmt::format("{}/memory/{}", config_.state_dir, iid);
}

bool Launcher::HasMemory(const std::string& iid) const {
  return ::access(MemoryDir(iid).c_str(), F_OK) == 0;
}

Result<void> Launcher::KeepMemory(const KeepSpec& spec) {
  const std::string& iid = spec.iid;
  std::string dir = MemoryDir(iid);
  std::string part = dir + ".part";
  auto keep = [&]() -> Result<void> {
    TRY(sys::MakeDirs(config_.state_dir + "/memory", 0711));
    ASSIGN(uint64_t reserve, CheckRoom(config_.state_dir + "/memory", cgroups_.Find(iid)));
    TRY(DropMemory(iid));
    TRY(sys::MakeDirs(part, 0700));
    // CRIU reads as the sandbox's root user what nobody else may read.
    if (::chown(part.c_str(), spec.id_base, spec.id_base) != 0)
      return FailErrno(errno, "give away " + part);
    TRY(DumpProcesses({.iid = iid,
                       .id_base = spec.id_base,
                       .dir = part,
                       .for_copies = false,
                       .most_bytes = spec.memory_bytes == 0 ? 0 : spec.memory_bytes + kMostBeside,
                       .least_free = reserve}));
    TRY(sys::WriteFile(part + "/key", spec.key, 0600));
    if (std::rename(part.c_str(), dir.c_str()) != 0) return FailErrno(errno, "place " + dir);
    return {};
  };
  Result<void> kept = keep();
  if (!kept) (void)DropMemory(iid);
  return kept;
}

std::string Launcher::CopiedImages(const std::string& to) const {
  return MemoryDir(to) + ".part/images";
}

Result<double> Launcher::CopyMemory(const CopySpec& spec) {
  using Clock = std::chrono::steady_clock;
  std::string part = MemoryDir(spec.to) + ".part";
  Clock::time_point begin = Clock::now();
  Clock::time_point end;
  auto copy = [&]() -> Result<void> {
    TRY(sys::MakeDirs(config_.state_dir + "/memory", 0711));
    ASSIGN(uint64_t reserve, CheckRoom(config_.state_dir + "/memory", cgroups_.Find(spec.iid)));
    TRY(sys::RemoveTree(part));
    TRY(sys::MakeDirs(part, 0700));
    Result<void> dumped =
        DumpProcesses({.iid = spec.iid,
                       .id_base = spec.id_base,
                       .dir = part,
                       .most_bytes = spec.memory_bytes == 0 ? 0 : spec.memory_bytes + kMostBeside,
                       .least_free = reserve,
                       .while_still = spec.while_still,
                       .begins = [&begin] { begin = Clock::now(); },
                       .stop = spec.stop});
    end = Clock::now();
    return dumped;
  };
  Result<void> copied = copy();
  if (!copied) {
    (void)sys::RemoveTree(part);
    return Unexpected(std::move(copied).error());
  }
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

Result<std::vector<std::string>> Launcher::ShareMemory(const std::string& to,
                                                       const std::vector<MemoryShare>& copies) {
  std::string part = MemoryDir(to) + ".part";
  std::vector<std::string> shares;
  for (const MemoryShare& copy : copies) {
    std::string share = MemoryDir(copy.iid) + ".taken";
    TRY(sys::RemoveTree(share));
    TRY(sys::MakeDirs(share + "/images", 0755));
    std::error_code failure;
    for (const auto& image : std::filesystem::directory_iterator(part + "/images", failure)) {
      std::string name = share + "/images/" + image.path().filename().string();
      if (::link(image.path().c_str(), name.c_str()) != 0) return FailErrno(errno, "link " + name);
    }
    if (failure) return FailErrno(failure.value(), "list " + part);
    std::string manifest = share + "/checkpoint";
    if (::link((part + "/checkpoint").c_str(), manifest.c_str()) != 0) {
      return FailErrno(errno, "link " + manifest);
    }
    // CRIU reads as the sandbox's root user what nobody else may read.
    if (::chmod(share.c_str(), 0700) != 0 ||
        ::chown(share.c_str(), copy.id_base, copy.id_base) != 0) {
      return FailErrno(errno, "give away " + share);
    }
    shares.push_back(std::move(share));
  }
  TRY(sys::RemoveTree(part));
  return shares;
}

Result<std::string> Launcher::TakeMemory(const std::string& iid, const std::string& key) {
  std::string dir = MemoryDir(iid);
  if (!HasMemory(iid)) return std::string();
  ASSIGN(std::string kept_with, sys::ReadFile(dir + "/key", kMostKeyBytes));
  if (kept_with != key) {
    TRY(DropMemory(iid));
    return std::string();
  }
  std::string taken = dir + ".taken";
  TRY(sys::RemoveTree(taken));
  if (std::rename(dir.c_str(), taken.c_str()) != 0) return FailErrno(errno, "take " + dir);
  return taken;
}

Result<void> Launcher::DropMemory(const std::string& iid) {
  std::string dir = MemoryDir(iid);
  for (const char* suffix : {"", ".part", ".taken"}) TRY(sys::RemoveTree(dir + suffix));
  return {};
}

}  // namespace atl::oci
