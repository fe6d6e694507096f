// SPDX-License-Identifier: Apache-2.0
#include "agent/walk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/entry_stat.h"
#include "agent/name_list.h"
#include "agent/settle.h"
#include "agent/staging.h"
#include "agent/target_dir.h"

namespace atl::agent {
namespace {

using Clock = std::chrono::steady_clock;

// Each level holds a descriptor and the names of its directory.
constexpr size_t kMaxDepth = 512;
constexpr size_t kMaxPath = 4095;  // longer ones could not be asked for
constexpr size_t kFrameBytes = 256U << 10U;
// A client that hears nothing for long gives up.
constexpr std::chrono::seconds kFlushInterval{1};
constexpr unsigned kEntriesPerLook = 64;

// Paths relative to the directory that is walked, as names by the path of their parent.
using NameSet = std::set<std::string, std::less<>>;
using Excluded = std::map<std::string, NameSet, std::less<>>;

// An absolute path without what means nothing: "/a/b" of "//a/./b/".
std::string CleanPath(std::string_view path) {
  std::string clean;
  while (!path.empty()) {
    size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    if (!part.empty() && part != ".") (clean += '/') += part;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return clean;
}

Result<Excluded> MakeExcluded(const protocol::Walk& request) {
  std::string dir = CleanPath(request.dir);
  Excluded excluded;
  for (const std::string& given : request.exclude) {
    if (!given.starts_with('/')) {
      return Fail(Code::kInvalidArgument, "an excluded path is not absolute: " + given);
    }
    std::string path = CleanPath(given);
    if (path == dir || dir.starts_with(path + "/")) {
      return Fail(Code::kInvalidArgument, "the directory " + dir + " is excluded as a whole");
    }
    if (!path.starts_with(dir + "/")) continue;
    std::string_view relative = std::string_view(path).substr(dir.size() + 1);
    if (!protocol::IsTreePath(relative)) {
      return Fail(Code::kInvalidArgument, "an excluded path is not usable: " + path);
    }
    size_t slash = relative.rfind('/');
    bool top = slash == std::string_view::npos;
    std::string parent(top ? std::string_view() : relative.substr(0, slash));
    excluded[parent].emplace(top ? relative : relative.substr(slash + 1));
  }
  return excluded;
}

class Walker {
 public:
  Walker(ClientLink* link, Excluded excluded) : link_(link), excluded_(std::move(excluded)) {}

  Result<void> Run(sys::Fd root);

 private:
  struct Level {
    sys::Fd dir;
    NameList names;
    size_t next = 0;
    size_t parent_path = 0;  // how much of path_ is the parent's
    const NameSet* excluded = nullptr;
  };

  // Makes an open directory the current one and says that it is there. 0 or why not.
  int Enter(sys::Fd dir, const char* name);
  Result<void> Leave();
  void Visit(const char* name);
  // 0 or why the entry cannot be stored.
  int VisitDir(const char* name);
  int VisitOther(const char* name, const struct statx& st);
  bool IsHidden(const Level& level, const char* name) const;
  // What is left of a restore that was decided is finished before anybody lists the directory. 0 or
  // why not, and then `settled_` says more.
  int SettleIfLeft(int dir, NameList* names, struct statx* st);
  Result<void> FlushIfDue();
  Result<void> Flush();

  ClientLink* link_;
  Excluded excluded_;
  XattrReader xattrs_;
  protocol::RecordWriter records_;
  std::vector<Level> levels_;
  std::string path_;  // of the current directory, relative to the root
  uint64_t mount_ = 0;
  protocol::WalkEnd end_;
  Result<void> settled_;
  Clock::time_point flushed_ = Clock::now();
  unsigned looked_ = 0;
};

Result<void> Walker::Run(sys::Fd root) {
  struct statx st{};
  if (statx(root.get(), "", AT_EMPTY_PATH, kEntryStatMask, &st) != 0) {
    return FailErrno(errno, "stat the directory");
  }
  mount_ = st.stx_mnt_id;
  if (int error = Enter(std::move(root), ""); error != 0) {
    TRY(std::move(settled_));
    return FailErrno(error, "read the directory");
  }
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.next == level.names.size()) {
      TRY(Leave());
    } else {
      const char* name = level.names[level.next++];
      if (!IsHidden(level, name)) Visit(name);
      if (!settled_) return settled_;
    }
    TRY(FlushIfDue());
  }
  TRY(Flush());
  return link_->Send(end_);
}

bool Walker::IsHidden(const Level& level, const char* name) const {
  if (name[0] == '.' && IsStagingName(name)) return true;
  return level.excluded != nullptr && level.excluded->contains(std::string_view(name));
}

Result<void> Walker::FlushIfDue() {
  if (records_.size() >= kFrameBytes) return Flush();
  if (++looked_ < kEntriesPerLook) return {};
  looked_ = 0;
  return Clock::now() - flushed_ < kFlushInterval ? Result<void>() : Flush();
}

Result<void> Walker::Flush() {
  if (!records_.empty()) TRY(link_->SendData(protocol::FrameType::kTree, records_.payload()));
  records_.Clear();
  flushed_ = Clock::now();
  return {};
}

int Walker::SettleIfLeft(int dir, NameList* names, struct statx* st) {
  bool left = false;
  for (size_t i = names->Find(kReadyPrefix); i < names->size() && !left; ++i) {
    std::string_view name = (*names)[i];
    if (!name.starts_with(kReadyPrefix)) break;
    left = IsStagingName(name);
  }
  if (!left) return 0;
  settled_ = SettleLeftovers(dir);
  if (!settled_) return EIO;
  *names = NameList();
  if (lseek(dir, 0, SEEK_SET) != 0) return errno;
  if (int error = names->Read(dir); error != 0) return error;
  return statx(dir, "", AT_EMPTY_PATH, kEntryStatMask, st) == 0 ? 0 : errno;
}

int Walker::Enter(sys::Fd dir, const char* name) {
  struct statx st{};
  if (statx(dir.get(), "", AT_EMPTY_PATH, kEntryStatMask, &st) != 0) return errno;
  if (st.stx_mnt_id != mount_) return EXDEV;
  Level level;
  if (int error = level.names.Read(dir.get()); error != 0) return error;
  if (int error = SettleIfLeft(dir.get(), &level.names, &st); error != 0) return error;
  protocol::TreeEntry entry = ToEntry(st);
  entry.name = name;
  if (int error = xattrs_.ReadFd(dir.get(), &entry.meta.xattrs); error != 0) return error;
  if (fchdir(dir.get()) != 0) return errno;
  level.dir = std::move(dir);
  level.parent_path = path_.size();
  if (!path_.empty()) path_ += '/';
  path_ += name;
  if (auto found = excluded_.find(path_); found != excluded_.end()) level.excluded = &found->second;
  levels_.push_back(std::move(level));
  records_.Add(entry);
  return 0;
}

Result<void> Walker::Leave() {
  records_.Add(protocol::LeaveDir{});
  path_.resize(levels_.back().parent_path);
  levels_.pop_back();
  if (levels_.empty() || fchdir(levels_.back().dir.get()) == 0) return {};
  return FailErrno(errno, "return to the directory " + path_);
}

void Walker::Visit(const char* name) {
  struct statx st{};
  int error = 0;
  if (path_.size() + 1 + std::char_traits<char>::length(name) > kMaxPath) {
    error = ENAMETOOLONG;
  } else if (statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, kEntryStatMask, &st) !=
             0) {
    error = errno;
  } else if (st.stx_mnt_id != mount_) {
    error = EXDEV;
  } else {
    error = S_ISDIR(st.stx_mode) ? VisitDir(name) : VisitOther(name, st);
  }
  if (error == 0) {
    ++end_.entries;
  } else {
    ++end_.skipped;
    records_.Add(protocol::SkippedEntry{.name = name, .sys_errno = error});
  }
}

int Walker::VisitDir(const char* name) {
  if (levels_.size() > kMaxDepth) return ELOOP;
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = open(name, kFlags | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = open(name, kFlags);
  if (fd < 0) return errno;
  return Enter(sys::Fd(fd), name);
}

int Walker::VisitOther(const char* name, const struct statx& st) {
  protocol::TreeEntry entry = ToEntry(st);
  entry.name = name;
  if (int error = xattrs_.ReadAt(name, &entry.meta.xattrs); error != 0) return error;
  if (S_ISLNK(st.stx_mode)) {
    char target[kMaxPath + 1];
    ssize_t size = readlink(name, target, sizeof(target));
    if (size <= 0) return size < 0 ? errno : EINVAL;
    if (static_cast<size_t>(size) > kMaxPath) return ENAMETOOLONG;
    entry.link_target.assign(target, static_cast<size_t>(size));
  }
  records_.Add(entry);
  return 0;
}

}  // namespace

Result<void> RunWalk(const protocol::Walk& request, ClientLink* link) {
  ASSIGN(Excluded excluded, MakeExcluded(request));
  ASSIGN(sys::Fd root, OpenTargetDir(request.dir));
  return Walker(link, std::move(excluded)).Run(std::move(root));
}

}  // namespace atl::agent
