// SPDX-License-Identifier: Apache-2.0
#include "oci/trash.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/log.h"
#include "sys/fd.h"
#include "sys/quota.h"

namespace atl::oci {
namespace {

constexpr int kMostOfOneName = 10'000;
constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{300};

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

std::vector<std::string> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, DirCloser> stream(::opendir(path.c_str()));
  if (!stream) return names;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

Result<std::string> MoveInto(const std::string& path, const std::string& dir,
                             const std::string& name) {
  for (int number = 0; number < kMostOfOneName; ++number) {
    std::string target =
        number == 0 ? fmt::format("{}/{}", dir, name) : fmt::format("{}/{}.{}", dir, name, number);
    if (::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) {
      return target;
    }
    int err = errno;
    struct stat info{};
    if (err == ENOENT && ::lstat(path.c_str(), &info) != 0 && errno == ENOENT) {
      return std::string();
    }
    if (err != EEXIST) return FailErrno(err, fmt::format("move {} to {}", path, target));
  }
  return Fail(Code::kResourceExhausted,
              fmt::format("move {} into {}: every name is taken", path, dir));
}

Result<std::unique_ptr<Trash>> Trash::Open(std::string dir) {
  TRY(sys::MakeDirs(dir, 0700));
  std::unique_ptr<Trash> trash(new Trash(std::move(dir)));
  trash->worker_ = std::jthread([self = trash.get()](std::stop_token stop) { self->Work(stop); });
  return trash;
}

Trash::Trash(std::string dir) : dir_(std::move(dir)) {}

Trash::~Trash() {
  worker_.request_stop();
  if (worker_.joinable()) worker_.join();
}

Result<void> Trash::Put(const std::string& path, const std::string& name) {
  ASSIGN(std::string moved, MoveInto(path, dir_, name));
  if (moved.empty()) return {};
  std::lock_guard guard(mutex_);
  filled_ = true;
  empty_ = false;
  changed_.notify_all();
  return {};
}

std::set<uint32_t> Trash::Owners() const {
  std::set<uint32_t> owners;
  for (const std::string& name : NamesIn(dir_)) {
    const std::string path = fmt::format("{}/{}", dir_, name);
    auto project = sys::ProjectOf(path);
    if (project && *project != 0) owners.insert(*project);
    struct stat info{};
    bool layer = ::lstat((path + "/upper").c_str(), &info) == 0;
    if (layer && info.st_uid != 0) owners.insert(info.st_uid);
  }
  return owners;
}

bool Trash::AwaitEmpty(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return empty_; });
}

void Trash::Work(const std::stop_token& stop) {
  std::chrono::seconds pause = kFirstPause;
  while (!stop.stop_requested()) {
    {
      std::lock_guard guard(mutex_);
      filled_ = false;
    }
    bool failed = false;
    for (const std::string& name : NamesIn(dir_)) {
      if (stop.stop_requested()) return;
      Result<void> removed = sys::RemoveTree(fmt::format("{}/{}", dir_, name));
      if (removed) continue;
      failed = true;
      log::Warning("remove what was deleted: {}; trying again", removed.error().message);
    }
    std::unique_lock lock(mutex_);
    auto filled = [this] { return filled_; };
    if (failed) {
      changed_.wait_for(lock, stop, pause, filled);
      pause = std::min(pause * 2, kLongestPause);
      continue;
    }
    pause = kFirstPause;
    if (filled_) continue;
    empty_ = true;
    changed_.notify_all();
    changed_.wait(lock, stop, filled);
  }
}

}  // namespace atl::oci
