// SPDX-License-Identifier: Apache-2.0
#include "agent/file_list.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "agent/file_place.h"
#include "agent/globs.h"
#include "agent/name_list.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FileInfo;
using protocol::FileKind;

// Each level holds a descriptor and the names of its directory.
constexpr size_t kMaxDepth = 512;
constexpr size_t kMaxPath = 4095;
constexpr size_t kFrameBytes = 192U << 10U;

// What the kernel shows as directories has no end.
bool IsKernels(int dir) {
  struct statfs st{};
  if (fstatfs(dir, &st) != 0) return true;
  constexpr std::array<long, 4> kMagics{PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC,
                                        CGROUP2_SUPER_MAGIC};
  return std::ranges::any_of(kMagics, [&](long magic) { return magic == st.f_type; });
}

class Lister {
 public:
  Lister(const protocol::ListFiles& request, ClientLink* link) : request_(request), link_(link) {}
  Result<void> Run(sys::Fd root);

 private:
  struct Level {
    sys::Fd dir;
    uint64_t mount = 0;
    NameList names;
    size_t next = 0;
    size_t parent_path = 0;  // how much of path_ is the parent's
    std::string_view after;  // what is known already, relative to this directory
  };

  // 0 or an errno.
  int Enter(sys::Fd dir, uint64_t mount, const char* name, std::string_view after);
  void Leave();
  Result<void> Visit(const char* name);
  void EnterIfDue(const Level& level, const char* name, const struct statx& st,
                  std::string_view after);
  bool IsExcluded(const char* name, const std::string& path) const;
  bool IsWanted(const char* name, const FileInfo& info) const;
  Result<void> Emit(std::string path, FileInfo info, int dir, const char* name);
  Result<void> Flush();

  const protocol::ListFiles& request_;
  ClientLink* link_;
  std::vector<Level> levels_;
  std::string path_;
  std::string frame_;
  uint64_t listed_ = 0;
  protocol::ListEnd end_;
};

int Lister::Enter(sys::Fd dir, uint64_t mount, const char* name, std::string_view after) {
  Level level{.mount = mount, .parent_path = path_.size(), .after = after};
  if (int err = level.names.Read(dir.get()); err != 0) return err;
  if (!after.empty()) level.next = level.names.Find(after.substr(0, after.find('/')));
  level.dir = std::move(dir);
  if (!path_.empty()) path_ += '/';
  path_ += name;
  levels_.push_back(std::move(level));
  return 0;
}

void Lister::Leave() {
  path_.resize(levels_.back().parent_path);
  levels_.pop_back();
}

Result<void> Lister::Run(sys::Fd root) {
  struct statx st{};
  if (statx(root.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) {
    return sys::FailFile(errno, request_.path);
  }
  if (!S_ISDIR(st.stx_mode)) return sys::FailFile(ENOTDIR, request_.path);
  ASSIGN(root, Reopen(root.get(), O_RDONLY | O_DIRECTORY, request_.path));
  if (int err = Enter(std::move(root), st.stx_mnt_id, "", request_.after); err != 0) {
    return sys::FailFile(err, request_.path);
  }
  while (!levels_.empty() && !end_.more) {
    Level& level = levels_.back();
    if (level.next == level.names.size()) {
      Leave();
    } else {
      TRY(Visit(level.names[level.next++]));
    }
  }
  TRY(Flush());
  return link_->Send(end_);
}

bool Lister::IsExcluded(const char* name, const std::string& path) const {
  if (!request_.hidden && name[0] == '.') return true;
  return MatchesAny(request_.exclude, name, path);
}

bool Lister::IsWanted(const char* name, const FileInfo& info) const {
  if (request_.kinds != 0 && (request_.kinds & (1U << static_cast<unsigned>(info.kind))) == 0) {
    return false;
  }
  bool by_size = request_.min_size > 0 || request_.max_size < UINT64_MAX;
  if (by_size && (info.kind != FileKind::kFile || info.size < request_.min_size ||
                  info.size > request_.max_size)) {
    return false;
  }
  auto mtime = static_cast<int64_t>(info.mtime_ns);
  if (mtime < static_cast<int64_t>(request_.newer_than_ns) ||
      mtime > static_cast<int64_t>(request_.older_than_ns)) {
    return false;
  }
  return request_.name.empty() || fnmatch(request_.name.c_str(), name, 0) == 0;
}

Result<void> Lister::Visit(const char* name) {
  Level& level = levels_.back();
  // The first name behind the cursor's: itself it is known, what is in it is perhaps not.
  std::string_view after = std::exchange(level.after, std::string_view());
  size_t slash = std::min(after.find('/'), after.size());
  bool known = !after.empty() && after.substr(0, slash) == name;
  after.remove_prefix(known ? std::min(slash + 1, after.size()) : after.size());
  std::string path = path_.empty() ? name : path_ + "/" + name;
  if (path.size() > kMaxPath) {
    ++end_.skipped;
    return {};
  }
  if (IsExcluded(name, path)) return {};
  struct statx st{};
  if (statx(level.dir.get(), name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
            STATX_BASIC_STATS | STATX_MNT_ID, &st) != 0) {
    if (errno != ENOENT) ++end_.skipped;
    return {};
  }
  FileInfo info = ToInfo(st);
  if (!known && IsWanted(name, info)) {
    TRY(Emit(std::move(path), std::move(info), level.dir.get(), name));
    if (end_.more) return {};
  }
  if (S_ISDIR(st.stx_mode)) EnterIfDue(level, name, st, after);
  return {};
}

void Lister::EnterIfDue(const Level& level, const char* name, const struct statx& st,
                        std::string_view after) {
  if (levels_.size() >= request_.max_depth) return;
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  sys::Fd dir;
  int err = ELOOP;
  if (levels_.size() < kMaxDepth) {
    dir = sys::Fd(openat(level.dir.get(), name, kFlags));
    err = dir ? 0 : errno;
  }
  if (dir && st.stx_mnt_id != level.mount && IsKernels(dir.get())) return;
  if (dir) err = Enter(std::move(dir), st.stx_mnt_id, name, after);
  if (err != 0 && err != ENOENT) ++end_.skipped;
}

Result<void> Lister::Emit(std::string path, FileInfo info, int dir, const char* name) {
  if (listed_ == request_.limit) {
    end_.more = true;
    return {};
  }
  if (info.kind == FileKind::kSymlink) {
    std::array<char, kMaxPath + 1> target;
    ssize_t size = readlinkat(dir, name, target.data(), target.size());
    if (size > 0) info.target.assign(target.data(), static_cast<size_t>(size));
  }
  protocol::Writer writer(std::move(frame_));
  writer(protocol::FileEntry{.path = std::move(path), .info = std::move(info)});
  frame_ = std::move(writer).Take();
  ++listed_;
  return frame_.size() >= kFrameBytes ? Flush() : Result<void>();
}

Result<void> Lister::Flush() {
  if (!frame_.empty()) TRY(link_->SendData(protocol::FrameType::kFileEntries, frame_));
  frame_.clear();
  return {};
}

}  // namespace

Result<void> RunListFiles(const protocol::ListFiles& request, ClientLink* link) {
  TRY(CheckGlobs(request.exclude));
  TRY(CheckGlobs({request.name}));
  ASSIGN(sys::Fd root, OpenPath(request.path, Follow::kYes));
  return Lister(request, link).Run(std::move(root));
}

}  // namespace atl::agent
