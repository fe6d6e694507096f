// SPDX-License-Identifier: Apache-2.0
#include "agent/watch_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "agent/globs.h"
#include "agent/name_list.h"
#include "agent/staging.h"
#include "sys/file_error.h"

namespace atl::agent {
namespace {

using protocol::FileEvent;
using protocol::FileEventKind;

constexpr size_t kMaxDepth = 256;
constexpr size_t kMaxPath = 4000;
constexpr uint32_t kMask = IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |
                           IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR |
                           IN_DONT_FOLLOW | IN_EXCL_UNLINK;

FileEventKind KindOf(uint32_t mask) {
  if ((mask & IN_CREATE) != 0) return FileEventKind::kCreate;
  if ((mask & IN_DELETE) != 0) return FileEventKind::kDelete;
  if ((mask & IN_MOVED_FROM) != 0) return FileEventKind::kMoveFrom;
  if ((mask & IN_MOVED_TO) != 0) return FileEventKind::kMoveTo;
  return (mask & IN_MODIFY) != 0 ? FileEventKind::kModify : FileEventKind::kAttrib;
}

// What is written before it has its name: the agent's own (file_content.cc, file_copy.cc,
// shell.cc, staging.h).
bool IsOwnName(const std::string& name) {
  return name.starts_with(".atoll-write-") || name.starts_with(".atoll-copy-") ||
         name.starts_with(".atoll-shell-") || IsStagingName(name);
}

// Of a file that has no name yet (O_TMPFILE) the kernel tells "#" and the number of its inode.
bool IsNameless(const std::string& name) {
  return name.size() > 1 && name[0] == '#' &&
         name.find_first_not_of("0123456789", 1) == std::string::npos;
}

std::string Join(const std::string& dir, const std::string& name) {
  return dir.empty() ? name : dir + "/" + name;
}

}  // namespace

Result<void> WatchTree::Start() {
  // The old one first: a user may have few of them.
  inotify_ = sys::Fd();
  dirs_.clear();
  by_name_.clear();
  moved_.clear();
  failure_ = 0;
  inotify_ = sys::Fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_) failure_ = errno;
  root_ = inotify_ ? Add(-1, "", "", false, 0) : -1;
  if (root_ >= 0 && failure_ == 0) return {};
  if (failure_ == 0) return sys::FailFile(ENOENT, request_.path);
  if (failure_ == ENOSPC || failure_ == EMFILE) {
    // Not a full disk, nor open files: what the kernel lets one user watch.
    const char* limit = inotify_ ? "max_user_watches" : "max_user_instances";
    return Fail(Code::kResourceExhausted,
                "watch " + request_.path +
                    ": the kernel's limit of watches is reached; end programs that watch files, or "
                    "have fs.inotify." +
                    limit + " raised on the host",
                "WATCH_LIMIT_REACHED");
  }
  Error error = ErrnoError(failure_, "watch " + request_.path);
  error.code = Code::kInternal;
  error.reason = "WATCH_START_ERROR";
  return Unexpected(std::move(error));
}

std::string WatchTree::PathOf(int dir) const {
  std::string path;
  for (auto found = dirs_.find(dir); found != dirs_.end() && found->second.parent >= 0;
       found = dirs_.find(found->second.parent)) {
    path = path.empty() ? found->second.name : found->second.name + "/" + path;
    if (path.size() > kMaxPath) break;
  }
  return path;
}

std::string WatchTree::Absolute(const std::string& path) const {
  return path.empty() ? base_ : base_ + "/" + path;
}

bool WatchTree::IsWatched(const std::string& name, const std::string& path) const {
  return only_.empty() && request_.recursive && !IsOwnName(name) &&
         !MatchesAny(request_.exclude, name.c_str(), path);
}

bool WatchTree::IsWanted(const std::string& name, const std::string& path, bool directory) const {
  if (IsOwnName(name)) return false;
  if (!only_.empty()) return name == only_;
  if (MatchesAny(request_.exclude, name.c_str(), path)) return false;
  return directory || request_.include.empty() || MatchesAny(request_.include, name.c_str(), path);
}

int WatchTree::Add(int parent, const std::string& name, const std::string& path, bool tell,
                   size_t depth) {
  if (depth > kMaxDepth || path.size() > kMaxPath) return -1;
  int dir = inotify_add_watch(inotify_.get(), Absolute(path).c_str(), kMask);
  if (dir < 0) {
    // What has vanished, or was never a directory, is not missed.
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) failure_ = errno;
    return -1;
  }
  Place(dir, parent, name);
  // Watched first, looked at second: what is made between the two is told twice, not never.
  if (request_.recursive && only_.empty()) Scan(dir, path, tell, depth);
  return dir;
}

void WatchTree::Scan(int dir, const std::string& path, bool tell, size_t depth) {
  sys::Fd fd(open(Absolute(path).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  NameList names;
  if (!fd || names.Read(fd.get()) != 0) return;
  for (size_t i = 0; i < names.size() && failure_ == 0; ++i) {
    struct stat st{};
    if (fstatat(fd.get(), names[i], &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    std::string name = names[i];
    std::string child = Join(path, name);
    bool directory = S_ISDIR(st.st_mode);
    if (tell && IsWanted(name, child, directory)) {
      emit_(FileEvent{.kind = FileEventKind::kCreate, .directory = directory, .path = child});
    }
    if (directory && IsWatched(name, child)) Add(dir, name, child, tell, depth + 1);
  }
}

void WatchTree::Place(int dir, int parent, const std::string& name) {
  Forget(dir);
  dirs_[dir] = Dir{.parent = parent, .name = name};
  by_name_[{parent, name}] = dir;
}

void WatchTree::Forget(int dir) {
  auto found = dirs_.find(dir);
  if (found == dirs_.end()) return;
  auto named = by_name_.find({found->second.parent, found->second.name});
  // Its name may be another's by now.
  if (named != by_name_.end() && named->second == dir) by_name_.erase(named);
  dirs_.erase(found);
}

int WatchTree::Find(int parent, const std::string& name) const {
  auto named = by_name_.find({parent, name});
  return named == by_name_.end() ? -1 : named->second;
}

void WatchTree::Remove(int dir) {
  std::vector<int> left{dir};
  while (!left.empty()) {
    int one = left.back();
    left.pop_back();
    for (auto child = by_name_.lower_bound({one, ""});
         child != by_name_.end() && child->first.first == one; ++child) {
      left.push_back(child->second);
    }
    if (!dirs_.contains(one)) continue;
    Forget(one);
    inotify_rm_watch(inotify_.get(), one);
  }
}

void WatchTree::ForgetMoved() {
  for (const auto& [cookie, dir] : std::exchange(moved_, {})) Remove(dir);
}

void WatchTree::HandleDir(int parent, const inotify_event& event, const std::string& name,
                          const std::string& path) {
  if ((event.mask & IN_MOVED_FROM) != 0) {
    if (int dir = Find(parent, name); dir >= 0) moved_[event.cookie] = dir;
    return;
  }
  if ((event.mask & (IN_CREATE | IN_MOVED_TO)) == 0) return;
  auto moved = moved_.find(event.cookie);
  if (event.cookie != 0 && moved != moved_.end()) {
    int dir = moved->second;
    moved_.erase(moved);
    if (IsWatched(name, path)) {
      Place(dir, parent, name);
    } else {
      Remove(dir);
    }
  } else if (IsWatched(name, path)) {
    Add(parent, name, path, true, 0);
  }
}

void WatchTree::HandleEntry(int parent, const inotify_event& event, const std::string& name) {
  std::string path = Join(PathOf(parent), name);
  bool directory = (event.mask & IN_ISDIR) != 0;
  if ((event.mask & (IN_ATTRIB | IN_MODIFY)) != 0 && IsNameless(name)) {
    struct stat st{};
    if (lstat(Absolute(path).c_str(), &st) != 0) return;
  }
  if (IsWanted(name, path, directory)) {
    emit_(FileEvent{
        .kind = KindOf(event.mask), .directory = directory, .cookie = event.cookie, .path = path});
  }
  if (directory) HandleDir(parent, event, name, path);
}

WatchTree::Next WatchTree::Handle(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return Next::kStartAnew;
  if ((event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0) {
    bool ends = event.wd == root_;
    if ((event.mask & IN_IGNORED) != 0) Forget(event.wd);
    return ends ? Next::kGone : Next::kGoOn;
  }
  if (event.len > 0 && dirs_.contains(event.wd)) HandleEntry(event.wd, event, event.name);
  return Next::kGoOn;
}

Result<bool> WatchTree::Read() {
  alignas(inotify_event) std::array<char, 64U << 10U> buffer;
  ssize_t count = read(inotify_.get(), buffer.data(), buffer.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (count < 0) return FailErrno(errno, "read what has changed");
  for (ssize_t at = 0; at < count;) {
    // The kernel keeps events aligned.
    const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
    Next next = Handle(*event);
    if (next == Next::kGone) return false;
    if (next == Next::kStartAnew) {
      emit_(FileEvent{.kind = FileEventKind::kOverflow});
      // Directories were made and moved that nobody has told of.
      Result<void> begun = Start();
      if (!begun && begun.error().code == Code::kNotFound) return false;
      if (!begun) return Unexpected(std::move(begun).error());
      return true;
    }
    at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
  }
  // Whoever watches has to know that something is not seen.
  if (std::exchange(failure_, 0) != 0) emit_(FileEvent{.kind = FileEventKind::kOverflow});
  return true;
}

}  // namespace atl::agent
